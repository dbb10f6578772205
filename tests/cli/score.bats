#!/usr/bin/env bats
# Variant scores: against the judge (tests/tools/brute_score.c), and every way of asking for a score
# against every other. The variants are those of test-data/variants.

load common
load score_common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	bgzip -dc "$PIECES" > p.fa
	thin 25 "$PANEL" real.vcf
	# a few hundred ALTs of all kinds in one file
	bcftools view --no-version "$KINDS" > kinds.vcf
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	ln -s "$BATS_FILE_TMPDIR/p.fa" p.fa
	ln -s "$BATS_FILE_TMPDIR/real.vcf" real.vcf
	ln -s "$BATS_FILE_TMPDIR/kinds.vcf" kinds.vcf
	mkdir out
}

# ---- the numbers

# like_brute MODEL TOLERANCE VCF OPTIONS...
like_brute() {
	local model=$1 tolerance=$2 input=$3
	shift 3
	"$CROCUTA" score -q --no-version -m "$model" -f p.fa -O t "$@" "$input" > got
	brute "$model" p.fa "$input" "$@" > want
	vcf near got want "$tolerance"
}

# The shipped model: to 1e-4 nats. The test model's weights are random and its logits are tens
# large, so that float32 leaves up to 8e-4 in a sum of 256 positions (brute_score's own distance from
# plain loops in double, --device reference): it is held to 1e-5 a position and with --reduce mean.
both_models() { # OPTIONS...
	for input in real.vcf kinds.vcf; do
		like_brute "$TINY" 1e-4 $input "$@"
		like_brute "$MODEL" 2.5e-3 $input "$@"
	done
}

@test "scores are the judge's, as a user starts: windows on the grid" {
	both_models
}

@test "scores are the judge's: fixed placement" {
	both_models --placement fixed
}

@test "scores are the judge's: the variant in the centre, both halves whole" {
	slow
	both_models --placement fixed --readout all --window 512
}

@test "scores are the judge's: grid, compared to the window's end" {
	slow
	both_models --readout all --window 512
}

@test "scores are the judge's: odd windows, steps, read-outs" {
	slow
	both_models --window 301 --readout 41 --step 77
	both_models --window 400 --readout 399 --step 1
	both_models --window 333 --readout 100 --placement fixed
	both_models --window 128 --readout 1 --max-indel 200
	both_models --window 2 --readout 1
}

@test "scores are the judge's: one strand, mean, four classes" {
	both_models --strands forward --window 512
	both_models --strands reverse --window 512 --placement fixed
	both_models --classes acgt --window 512
	like_brute "$MODEL" 1e-5 real.vcf --reduce mean
	like_brute "$MODEL" 1e-5 kinds.vcf --reduce mean --placement fixed --readout all
	like_brute "$TINY" 1e-5 kinds.vcf --reduce mean --classes acgt --strands reverse
}

@test "scores of plain loops in double" {
	slow
	head -n 60 real.vcf > few.vcf
	like_brute "$TINY" 1e-4 few.vcf --window 200
	"$TOOLS/brute_score" "$TINY" p.fa few.vcf --window 200 --device reference > want
	vcf near got want 1e-4
}

@test "every real variant of the panel" {
	slow
	bcftools view --no-version "$PANEL" > all.vcf
	like_brute "$TINY" 1e-4 all.vcf --window 300
	[ "$(body got | wc -l)" = 999 ]
	every 'NR == 1 || $10 == "OK" || $10 == "OK&EDGE"' <(body got)
}

@test "--no-reuse: within 1e-4" {
	for options in "" "--placement fixed" "--readout all" "--placement fixed --readout all"; do
		for input in real.vcf kinds.vcf; do
			# shellcheck disable=SC2086
			"$CROCUTA" score -q -m "$TINY" -f p.fa -O t $options $input > reuse
			# shellcheck disable=SC2086
			"$CROCUTA" score -q -m "$TINY" -f p.fa -O t $options --no-reuse $input > plain
			vcf near reuse plain 1e-4
		done
	done
	like_brute "$TINY" 1e-4 kinds.vcf --window 300
	brute "$TINY" p.fa kinds.vcf --window 300 > want
	"$CROCUTA" score -q -m "$TINY" -f p.fa -O t --window 300 --no-reuse kinds.vcf > plain
	vcf near plain want 1e-5
}

@test "kernels of each instruction set agree" {
	for isa in avx512 avx2 portable; do
		"$CROCUTA" score -q -m "$TINY" -f p.fa -O t --isa $isa real.vcf > $isa 2> err ||
			grep -q "isa" err || { cat err; return 1; }
		[ ! -s $isa ] || vcf near $isa portable 1e-4 || [ $isa != portable ]
	done
	for isa in avx512 avx2; do
		[ ! -s $isa ] || vcf near $isa portable 1e-4
	done
}

# ---- statuses

@test "every kind of ALT has its status" {
	bcftools query -f '%ID\t%EXPECT\n' kinds.vcf |
		awk -F'\t' '{ n = split($2, a, ","); for (i = 1; i <= n; i++)
			print $1 "\t" (a[i] == "." ? "NOALT" : a[i]) }' > want
	for placement in grid fixed; do
		score --window 1024 --readout 256 --placement $placement -O t kinds.vcf > got.tsv
		body got.tsv | tail -n +2 | cut -f 3,10 > got
		diff got want
		score --window 1024 --readout 256 --placement $placement kinds.vcf > got.vcf
		table got.vcf | tail -n +2 | cut -f 3,10 | diff - want
		# numbers are there if and only if it is OK, and never "nan" or "inf"
		every '($10 ~ /^OK/) == ($6 != ".") && $6 !~ /[naif]/' \
			<(table got.vcf | tail -n +2)
	done
}

@test "ALT equal to REF is 0 in every number" {
	score -O t kinds.vcf | grep '^chr20_piece.equal\|	equal' > got
	[ "$(wc -l < got)" = 2 ]
	every '$6 == 0 && $7 == 0 && $8 == 0 && $9 == 0 && $10 == "OK"' got
}

@test "the table at the end counts every ALT, with an example" {
	"$CROCUTA" score -m "$QUICK" -f p.fa -o out/x.vcf kinds.vcf 2> err
	cat err
	for status in OK STAR SYMBOLIC BREAKEND REFBLOCK NONACGT TOOLONG NOCONTIG OUTOFRANGE \
		REFMISMATCH; do
		count=$(table out/x.vcf | cut -f 10 | sed 's/&.*//' | grep -cx $status)
		grep -E "$status[^A-Z].*\b$count\b" err
	done
	grep -F 'chr20_piece:6301:AGC:*' err
}

@test "--strict: complete, and status 3 for what is unexpected" {
	status=0
	score --strict -O t kinds.vcf > got || status=$?
	[ $status = 3 ]
	score -O t kinds.vcf | cmp - got
	# all that is left unscored is expected
	bcftools view --no-version -i \
		'ID="star" || ID="del" || ID="gvcf" || ID="breakend_1" || ID="noalt" || ID="snv"' \
		kinds.vcf > fine.vcf
	score --strict -O t fine.vcf | body | cut -f 10 | tr '\n' ' ' > got
	[ "$(cat got)" = "STATUS OK STAR SYMBOLIC REFBLOCK BREAKEND NOALT " ]
}

@test "--check-ref: warn, error, exclude" {
	score --check-ref w kinds.vcf | cmp - <(score kinds.vcf)
	fails 3 "6701" score --check-ref e -o out/x.vcf kinds.vcf
	"$CROCUTA" score --no-version -m "$QUICK" -f p.fa --check-ref x kinds.vcf > got 2> err
	grep -E "\b4\b" err
	body got | lacks ref_mismatch
	# a record leaves with its mismatch, whatever its other ALTs are
	score kinds.vcf | body | grep -v ref_mismatch | cmp - <(body got)
}

@test "thresholds: --max-indel, --max-n" {
	score -O t --max-indel 400 kinds.vcf | grep _400 | cut -f 10 | every '$1 == "OK"'
	score -O t --max-indel 399 kinds.vcf | grep _400 | cut -f 10 | every '$1 == "TOOLONG"'
	score -O t --max-indel 6 kinds.vcf | grep '	insertion	' | cut -f 10 | every '$1 == "TOOLONG"'
	score -O t --max-indel 7 kinds.vcf | grep '	insertion	' | cut -f 10 | every '$1 == "OK"'
	score -O t --max-n 1 kinds.vcf | lacks MASKED
	score -O t --max-n 0 --placement fixed kinds.vcf > got
	grep '	away_from_n	' got | cut -f 10 | every '$1 == "OK"'
	[ "$(grep -c MASKED got)" = 4 ]
}

# ---- VCF in, VCF out

@test "all kinds of output hold the same numbers" {
	cat kinds.vcf > all.vcf
	bcftools view --no-version -H "$PANEL" | cut -f 1-10 |
		sed -n '1,50s/AC=[^\t]*/EXPECT=./p' >> all.vcf
	score -o x.tsv all.vcf
	table x.tsv > want
	[ "$(wc -l < want)" -gt 150 ]
	for suffix in vcf vcf.gz bcf; do
		score -o x.$suffix all.vcf
		table x.$suffix | cmp want -
	done
	score -O u all.vcf > x.ubcf
	table x.ubcf | cmp want -
	for type in z1 z9 b0 b9 u v; do
		score -O $type all.vcf > x
		bcftools view --no-version x | cmp - <(bcftools view --no-version x.vcf)
	done
	# each is what its name says
	bgzip -t x.vcf.gz
	[ "$(bgzip -dc x.bcf | head -c 3)" = BCF ]
	[ "$(bgzip -dc x.vcf.gz | md5sum)" = "$(md5sum < x.vcf)" ]
}

@test "input: file, stream, bgzip, gzip, BCF, pipe" {
	score kinds.vcf > want
	score < kinds.vcf | cmp want -
	score - < kinds.vcf | cmp want -
	cat kinds.vcf | score | cmp want -
	bgzip -c kinds.vcf > k.vcf.gz
	score k.vcf.gz | cmp want -
	score < k.vcf.gz | cmp want -
	gzip -c kinds.vcf > plain.vcf.gz
	score plain.vcf.gz | cmp want -
	bcftools view --no-version -O b kinds.vcf > k.bcf
	score k.bcf | cmp want -
	score < k.bcf | cmp want -
	bcftools view --no-version -O u kinds.vcf | score | cmp want -
	sed 's/$/\r/' kinds.vcf | score | cmp want -
}

@test "output is VCF for bcftools: view, norm, and VCF to BCF to VCF" {
	for input in kinds.vcf real.vcf; do
		score -o x.vcf $input
		bcftools view --no-version x.vcf 2> err | cmp - x.vcf
		[ ! -s err ]
		bcftools view --no-version -O b x.vcf | bcftools view --no-version | cmp - x.vcf
		bcftools view --no-version -O z x.vcf | bcftools view --no-version | cmp - x.vcf
		# split afterwards = split before
		bcftools norm --no-version -m- $input > split.vcf 2> /dev/null
		bcftools norm --no-version -m- x.vcf 2> /dev/null > after.vcf
		score split.vcf > before.vcf
		table before.vcf > want
		table after.vcf | cmp want -
		cmp before.vcf after.vcf
	done
	score -O z -W -o x.vcf.gz "$PANEL"
	[ "$(bcftools view -H -r chr20_piece:5000-9000 x.vcf.gz | wc -l)" = \
		"$(bcftools view -H -r chr20_piece:5000-9000 "$PANEL" | wc -l)" ]
	bcftools view -H -i 'CROCUTA_LLR<-1' x.vcf.gz | every '$8 ~ /CROCUTA_LLR=-[1-9]/'
}

@test "records, samples, FORMAT and header pass untouched" {
	for input in kinds.vcf "$BATS_FILE_TMPDIR/real.vcf"; do
		score -o x.vcf "$input"
		tags=$(bcftools view -h x.vcf | sed -n 's/^##INFO=<ID=\(CROCUTA_[A-Z_]*\),.*/INFO\/\1/p')
		[ "$(echo "$tags" | wc -l)" = 5 ]
		bcftools annotate --no-version -x "$(echo "$tags" | paste -sd,)" x.vcf > stripped.vcf
		bcftools view -H stripped.vcf | cmp - <(bcftools view -H "$input")
		# header: what was there is there, in its order
		grep '^#' "$input" > want
		grep '^#' x.vcf | grep -v '^##crocuta\|ID=CROCUTA_' | cmp - want
	done
	# and the text of a record begins and ends as it did
	body x.vcf | cut -f 1-7,9- | cmp - <(body real.vcf | cut -f 1-7,9-)
}

@test "header: tags as documented, model, reference; nothing that changes under --no-version" {
	score -o x.vcf real.vcf
	for tag in LLR LLR_FWD LLR_REV DIST; do
		grep "^##INFO=<ID=CROCUTA_$tag,Number=A,Type=Float,Description=\"" x.vcf
	done
	grep '^##INFO=<ID=CROCUTA_STATUS,Number=A,Type=String,Description="' x.vcf
	[ "$(grep -c '^##crocutaModel=<ID=quick,' x.vcf)" = 1 ]
	[ "$(grep -c '^##crocutaReference=<ID=' x.vcf)" = 1 ]
	digest=$(sha256sum < "$QUICK/model.safetensors" | cut -d ' ' -f 1)
	grep '^##crocutaModel=' x.vcf | grep -F "\"$digest\""
	samtools faidx -o /dev/null "$PIECES" chr20_tiny:1-2
	fai=$(cut -f 1,2 "$PIECES.fai" | md5sum | cut -d ' ' -f 1)
	grep '^##crocutaReference=' x.vcf | grep -F "\"$fai\""
	grep '^##crocutaReference=' x.vcf | grep -F 'File="chr20_pieces.fa.gz"'
	grep -i crocuta x.vcf | lacks '^##crocutaVersion\|^##crocutaCommand\|Date=\|Version='
	lacks "$ROOT" x.vcf
	"$CROCUTA" score -q -m "$QUICK" -f "$PIECES" real.vcf > y.vcf
	grep '^##crocutaVersion=[0-9.]*+htslib-' y.vcf
	grep '^##crocutaCommand=score .*; Date=2026-01-01T00:00:00Z' y.vcf
	grep '^##INFO=<ID=CROCUTA_LLR,.*Source="crocuta",Version="' y.vcf
	lacks "$ROOT/test-data" <(grep -v '^##crocutaCommand' y.vcf)
	body y.vcf | cmp - <(body x.vcf)
	# what changes the numbers is in the header
	score --reduce mean -o z.vcf real.vcf
	differ <(grep 'ID=CROCUTA_LLR,' x.vcf) <(grep 'ID=CROCUTA_LLR,' z.vcf)
	for option in "--reduce mean" "--window 500" "--readout 100" "--placement fixed" "--step 100" \
		"--strands forward" "--classes acgt" "--no-reuse" "--max-indel 100" "--max-n 0.5" \
		"--softmask-n" "--n-as-pad" "--check-ref x"; do
		# shellcheck disable=SC2086
		score $option -o z.vcf real.vcf
		differ <(grep '^##crocutaModel' x.vcf) <(grep '^##crocutaModel' z.vcf) ||
			{ echo "$option"; return 1; }
	done
}

@test "one strand alone: its tag, and LLR is it" {
	score -o x.vcf real.vcf
	score --strands forward -o f.vcf real.vcf
	score --strands reverse -o r.vcf real.vcf
	lacks 'CROCUTA_LLR_REV=' f.vcf
	lacks 'CROCUTA_LLR_FWD=' r.vcf
	table x.vcf | cut -f 1-5,7 | tail -n +2 | cmp - <(table f.vcf | cut -f 1-5,6 | tail -n +2)
	table x.vcf | cut -f 1-5,8 | tail -n +2 | cmp - <(table r.vcf | cut -f 1-5,6 | tail -n +2)
	table f.vcf | tail -n +2 | every '$6 == $7 && $8 == "."'
	table r.vcf | tail -n +2 | every '$6 == $8 && $7 == "."'
}

@test "a tag that is there: refused, or replaced; two models in one file" {
	"$CROCUTA" score -q --no-version -m "$TINY" -f p.fa -o tiny.vcf kinds.vcf
	fails 10 "CROCUTA_" score -o out/x.vcf tiny.vcf
	fails 10 "CROCUTA_" score -o out/x.bcf tiny.vcf
	score -o want.vcf kinds.vcf
	score --overwrite-tags -o got.vcf tiny.vcf
	body got.vcf | cmp - <(body want.vcf)
	[ "$(grep -c 'ID=CROCUTA_LLR,' got.vcf)" = 1 ]
	score --tag-prefix SECOND -o both.vcf tiny.vcf
	table both.vcf | cmp - <(table tiny.vcf)
	table both.vcf SECOND | cmp - <(table want.vcf)
	grep '^##crocutaModel=<ID=tiny-1k,' both.vcf
	grep '^##crocutaModel=<ID=quick,' both.vcf
	fails 2 "tag-prefix" score --tag-prefix "A:B" -o out/x.vcf kinds.vcf
	fails 2 "tag-prefix" score --tag-prefix 1A -o out/x.vcf kinds.vcf
	fails 2 "tag-prefix" score --tag-prefix "" -o out/x.vcf kinds.vcf
}

@test "regions and targets choose as bcftools does" {
	score -o all.vcf "$PANEL"
	same() { # OPTIONS: of both programs
		score "$@" "$PANEL" | body > got
		bcftools view -H "$@" "$PANEL" | cut -f 1-5 > want
		[ -s want ]
		tail -n +2 got | cut -f 1-5 | cmp - want
		# and the scores are those of the whole run
		tail -n +2 got | lacks -vxFf <(body all.vcf)
	}
	same -r chr20_piece:20001-30000
	same -r chr20_piece:20001-30000,chr20_piece:50000-
	score -r chr20_piece:20,001-30,000 "$PANEL" |
		cmp - <(score -r chr20_piece:20001-30000 "$PANEL")
	same -t chr20_piece:20001-30000
	same -t ^chr20_piece:20001-80000
	printf 'chr20_piece\t20000\t21000\nchr20_piece\t40000\t42000\n' > r.bed
	same -R r.bed
	same -T r.bed
	printf 'chr20_piece\t20001\t21000\n' > r.txt
	same -R r.txt
	same -T ^r.txt
	bcftools query -f '%POS %REF\n' -i 'TYPE="indel"' "$PANEL" |
		awk 'length($2) > 3 { print "chr20_piece:" $1 + 2 "-" $1 + 2; exit }' > region
	for overlap in 0 1 2; do
		bcftools view -H -r "$(cat region)" --regions-overlap $overlap "$PANEL" | cut -f 1-5 > want
		score -r "$(cat region)" --regions-overlap $overlap "$PANEL" | body | tail -n +2 |
			cut -f 1-5 | cmp - want
	done
	# nothing in the region: an empty file with its header
	score -r chr20_piece:1-100 "$PANEL" > got
	[ "$(body got | wc -l)" = 1 ]
	grep -q 'ID=CROCUTA_LLR,' got
}

# ---- the same answer whatever the way

@test "spellings: the same bytes" {
	for options in "" "--placement fixed" "--placement fixed --readout all" "--readout all" \
		"--no-reuse"; do
		# shellcheck disable=SC2086
		score -O t $options kinds.vcf | vcf groups
	done
}

@test "spellings: an indel that shifts across windows, and to the contig's ends" {
	{
		echo '>poly'
		printf 'ACGTTGCA%.0s' {1..300}
		printf 'A%.0s' {1..3000}
		printf 'CCGTTGCA%.0s' {1..300}
		echo
		echo '>at'
		printf 'AT%.0s' {1..1500}
		echo
	} > r.fa
	printf '##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n' > r.vcf
	for i in 2400 2401 3000 4000 5399; do
		printf 'poly\t%d\tdel.%d\tAA\tA\t.\t.\t.\n' $i $i
		printf 'poly\t%d\tins.%d\tA\tAA\t.\t.\t.\n' $i $i
		printf 'poly\t%d\tins3.%d\tA\tAAAA\t.\t.\t.\n' $i $i
	done >> r.vcf
	printf 'poly\t%d\tdel3.%d\t%s\t%s\t.\t.\t.\n' 2400 1 AAAA A 3500 2 AAAAAAAA AAAAA >> r.vcf
	for i in 1 501 2001 2997; do
		printf 'at\t%d\tat.%d\tATA\tA\t.\t.\t.\n' $i $i
		printf 'at\t%d\tatins.%d\tA\tATA\t.\t.\t.\n' $i $i
	done >> r.vcf
	for options in "" "--placement fixed" "--placement fixed --readout all" "--no-reuse"; do
		# shellcheck disable=SC2086
		"$CROCUTA" score -q -m "$QUICK" -f r.fa -O t $options r.vcf > got
		vcf groups < got
		# shellcheck disable=SC2086
		[ "$options" = --no-reuse ] || { brute "$QUICK" r.fa r.vcf $options > want
			vcf near got want 1e-4; }
	done
	[ "$(grep -c 'OK' got)" -ge 15 ]
}

@test "strands: the reverse complement exchanges them, exactly" {
	reverse_complement p.fa r.fa
	for input in kinds.vcf real.vcf; do
		vcf reverse p.fa $input r.vcf
		vcf reverse r.fa r.vcf f.vcf
		for options in "" "--placement fixed" "--placement fixed --readout all" "--readout all"; do
			# shellcheck disable=SC2086
			"$CROCUTA" score -q -m "$QUICK" -f p.fa -O t $options f.vcf > forward
			# shellcheck disable=SC2086
			"$CROCUTA" score -q -m "$QUICK" -f r.fa -O t $options r.vcf > backward
			table - < forward | cut -f 1,3,6- > want
			vcf exchange < backward | cut -f 1,3,6- | diff want -
			[ "$(wc -l < want)" -gt 60 ]
		done
	done
}

@test "bytes depend on no thread, no batch" {
	cat kinds.vcf > all.vcf
	for options in "" "--placement fixed" "--readout all --placement fixed" "--no-reuse --window 300"; do
		# shellcheck disable=SC2086
		score $options -@ 1 all.vcf > want
		for how in "-@ 2" "-@ 7" "--batch-size 1" "--batch-size 64" "-@ 2 --batch-size 5"; do
			# shellcheck disable=SC2086
			score $options $how all.vcf | cmp want -
		done
	done
	score -@ 1 "$PANEL" > want
	score -@ 7 "$PANEL" | cmp want -
	score --batch-size 1 "$PANEL" | cmp want -
	score -O b -@ 7 "$PANEL" | bcftools view --no-version | cmp want -
}

@test "bytes depend on no order of the records" {
	score real.vcf | body | tail -n +2 | sort > want
	for seed in 1 2; do
		{
			grep '^#' real.vcf
			body real.vcf | tail -n +2 | shuf --random-source=<(yes $seed)
		} > shuffled.vcf
		score shuffled.vcf > got
		body got | tail -n +2 | sort | cmp want -
		body got | cut -f 1-5 | cmp - <(body shuffled.vcf | cut -f 1-5)
	done
	# nor on what else is in the file
	{
		grep '^#' real.vcf
		body real.vcf | sed -n 57p
	} > one.vcf
	score one.vcf | body | tail -n 1 | grep -qxFf - want
}

@test "lower case is upper case, in FASTA and in VCF" {
	score -O t real.vcf > want
	awk '/^>/ { print; next } { print tolower($0) }' p.fa > lower.fa
	"$CROCUTA" score -q --no-version -m "$QUICK" -f lower.fa -O t real.vcf | body | cmp <(body want) -
	awk -F'\t' -v OFS='\t' '/^#/ { print; next } { $4 = tolower($4); $5 = tolower($5); print }' \
		real.vcf > lower.vcf
	score -O t lower.vcf | body | tail -n +2 | cut -f 6- | cmp - <(body want | tail -n +2 | cut -f 6-)
	# unless lower case is to be N
	"$CROCUTA" score -q -m "$QUICK" -f lower.fa --softmask-n -O t real.vcf |
		body | tail -n +2 | every '$10 == "NONFINITE"'
}

@test "IUPAC codes and unknown bases around a variant are N" {
	sed '/^>/!s/GATTA/GANTA/g; /^>/!s/CAG/CNG/g' p.fa > n.fa
	sed '/^>/!s/GATTA/GAYTA/g; /^>/!s/CAG/CRG/g' p.fa > y.fa
	differ n.fa y.fa
	for fasta in n.fa y.fa; do
		"$CROCUTA" score -q --no-version -m "$TINY" -f $fasta --window 300 --max-ref-mismatch 1 \
			-O t real.vcf | body > $fasta.tsv
	done
	cmp n.fa.tsv y.fa.tsv
	brute "$TINY" n.fa real.vcf --window 300 > want
	vcf near n.fa.tsv want 1e-4
}

@test "--ism: every SNV of a region, as VCF, as table and as matrix" {
	# across an edge of the grid, two contigs' ends, N
	for region in chr20_piece:5100-5199 chr20_piece:1-40 chr20_piece:99980-100000 \
		chr20_first:990-1010 chr20_tiny:1-300; do
		vcf snvs p.fa $region > want.vcf
		score -O t want.vcf | body > want
		for options in "" "-@ 7" "--batch-size 1"; do
			# shellcheck disable=SC2086
			score --ism $region -O t $options | body > got
			cmp want got
		done
		score --ism $region > got.vcf
		bcftools view --no-version got.vcf | cmp - got.vcf
		[ "$(body got.vcf | wc -l)" -gt 1 ]
		table got.vcf | cmp - <(table want)
		score --ism $region -o got.npy
		vcf npy got.npy want "$(echo "${region##*:}" | cut -d - -f 1)"
	done
	like_brute "$TINY" 1e-4 want.vcf
	"$CROCUTA" score -q -m "$TINY" -f p.fa -O t --ism chr20_tiny > got.tsv
	vcf near got.tsv want 1e-4
	for options in "--placement fixed" "--readout all" "--reduce mean" "--strands forward"; do
		vcf snvs p.fa chr20_piece:700-740 > want.vcf
		# shellcheck disable=SC2086
		score -O t $options want.vcf | body > want
		# shellcheck disable=SC2086
		score -O t $options --ism chr20_piece:700-740 | body | cmp want -
	done
	# two regions in their order
	score -O t --ism chr20_tiny:5-6,chr20_piece:100-101 | body > got
	[ "$(wc -l < got)" = 13 ]
	score --ism chr20_piece:5100-5199 -O t | body > whole
	cmp <(score --ism chr20_piece:5150-5150 -O t | body | tail -n +2) <(grep -w 5150 whole)
}

# ---- shards

# shards N SUFFIX OPTIONS...: run them, merge, compare with the whole
shards() {
	local n=$1 suffix=$2 k parts=()
	shift 2
	for k in $(seq "$n"); do
		score --shard "$k/$n" -o part$k."$suffix" "$@"
		parts+=(part"$k.$suffix")
	done
	score -o whole."$suffix" "$@"
	"$CROCUTA" concat -q --no-version -o merged."$suffix" "${parts[@]}"
	cmp whole."$suffix" merged."$suffix"
}

@test "shards put together are the whole, byte for byte" {
	for suffix in vcf vcf.gz bcf tsv; do
		shards 3 $suffix real.vcf
		# each has a share
		every '$1 > 15' <(for k in 1 2 3; do table part$k.$suffix | wc -l; done)
	done
	shards 3 vcf kinds.vcf
	shards 7 vcf --placement fixed "$PANEL"
	shards 2 tsv --ism chr20_piece:5100-5160,chr20_tiny:1-30
	shards 3 vcf --ism chr20_piece:5100-5160
	# more shards than records: some are empty, and valid
	{ grep '^#' real.vcf; body real.vcf | sed -n '2,4p'; } > three.vcf
	shards 5 vcf three.vcf
	shards 5 bcf three.vcf
	shards 5 tsv three.vcf
}

@test "shards: rows belong to one of them, in order, and each says which it is" {
	score -O t real.vcf | body | tail -n +2 > want
	for k in 1 2 3 4; do
		score -O t --shard $k/4 real.vcf > part
		body part | tail -n +2
		grep -qx "##crocutaShard=$k/4" part
	done | cmp want -
	score --shard 2/4 real.vcf | grep -qx '##crocutaShard=2/4'
	score real.vcf | lacks crocutaShard
}

# ---- contig names

@test "chr or not: found out, said, and written down" {
	sed 's/chr20/20/' "$BATS_FILE_TMPDIR/real.vcf" > bare.vcf
	sed 's/chr20/20/' p.fa > bare.fa
	score -O t real.vcf | body | tail -n +2 | cut -f 2- > want
	"$CROCUTA" score --no-version -m "$QUICK" -f p.fa bare.vcf > add.vcf 2> err
	table add.vcf | tail -n +2 | cut -f 2- | cmp want -
	[ "$(grep -c 'chr20_piece' err)" -ge 1 ]
	grep -q '^##crocutaReference=.*ContigMap="add-chr"' add.vcf
	body add.vcf | tail -n +2 | every '$1 == "20_piece"'
	"$CROCUTA" score -q --no-version -m "$QUICK" -f bare.fa real.vcf > strip.vcf
	table strip.vcf | tail -n +2 | cut -f 2- | cmp want -
	grep -q '^##crocutaReference=.*ContigMap="strip-chr"' strip.vcf
	score real.vcf | grep -q '^##crocutaReference=.*ContigMap="none"'
	# lengths that contradict: no guess
	sed 's/length=100000/length=100001/' bare.vcf > long.vcf
	fails 3 "20_piece" score -o out/x.vcf long.vcf
}

@test "--rename-chrs: other names, and mixed ones" {
	sed 's/chr20_piece/NC_000020.10/' "$BATS_FILE_TMPDIR/real.vcf" > nc.vcf
	printf 'NC_000020.10 chr20_piece\n' > names
	score -O t real.vcf | body | tail -n +2 | cut -f 2- > want
	score --rename-chrs names nc.vcf > got.vcf
	table got.vcf | tail -n +2 | cut -f 2- | cmp want -
	grep -q '^##crocutaReference=.*ContigMap="file"' got.vcf
	body got.vcf | tail -n +2 | every '$1 == "NC_000020.10"'
	fails 3 "NC_000020.10" score -o out/x.vcf nc.vcf
	printf 'NC_000020.10\n' > bad
	fails 3 "bad:1" score --rename-chrs bad -o out/x.vcf nc.vcf
	printf 'NC_000020.10 nowhere\n' > bad
	fails 3 "nowhere" score --rename-chrs bad -o out/x.vcf nc.vcf
	fails 5 "absent" score --rename-chrs absent -o out/x.vcf nc.vcf
}

# ---- odd files

@test "no records, no samples, many samples" {
	grep '^#' real.vcf > none.vcf
	score -o x.vcf none.vcf
	grep -q 'ID=CROCUTA_LLR,' x.vcf
	[ "$(body x.vcf | wc -l)" = 1 ]
	score -o x.bcf none.vcf
	[ "$(bcftools view -H x.bcf | wc -l)" = 0 ]
	score -O t none.vcf | body | cut -f 1-3 | cmp - <(printf '#CHROM\tPOS\tID\n')
	bcftools view --no-version -G real.vcf > bare.vcf
	score -o bare.out.vcf bare.vcf
	score -o x.vcf real.vcf
	table bare.out.vcf | cmp - <(table x.vcf)
	body bare.out.vcf | every 'NF == 8'
	awk -F'\t' -v OFS='\t' '/^##/ { print; next } n++ < 21 {
		for (i = 10; i < 10 + 2504; i++) $i = n == 1 ? "S" i : "0|" i % 2 ":" i; print }' \
		<(sed 's/\tGT\t/\tGT:DP\t/' real.vcf |
		sed 's/^##FORMAT.*/&\n##FORMAT=<ID=DP,Number=1,Type=Integer,Description="Depth">/') > wide.vcf
	score -o x.vcf wide.vcf
	body x.vcf | cut -f 9- | cmp - <(body wide.vcf | cut -f 9-)
	[ "$(bcftools query -l x.vcf | wc -l)" = 2504 ]
	score -O b wide.vcf | bcftools view --no-version | cmp - x.vcf
}

@test "ten thousand contigs" {
	python3 - <<-'PY'
	import random
	random.seed(4)
	with open("many.fa", "w") as fasta, open("many.vcf", "w") as vcf:
	    vcf.write("##fileformat=VCFv4.2\n")
	    bases = ["".join(random.choice("ACGT") for _ in range(80)) for _ in range(10000)]
	    for i in range(10000):
	        fasta.write(f">scaffold_{i}\n{bases[i]}\n")
	        vcf.write(f"##contig=<ID=scaffold_{i}>\n")
	    vcf.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
	    for i in range(0, 10000, 5):
	        vcf.write(f"scaffold_{i}\t40\t.\t{bases[i][39]}\t{bases[i][39]}GT\t.\t.\t.\n")
	PY
	"$CROCUTA" score -q -m "$QUICK" -f many.fa -o x.bcf many.vcf
	[ "$(bcftools view -H x.bcf | wc -l)" = 2000 ]
	[ "$(bcftools view -h x.bcf | grep -c '^##contig')" = 10000 ]
	table x.bcf | tail -n +2 | every '$10 == "OK&EDGE"'
	head -n 10040 many.vcf > few.vcf
	"$CROCUTA" score -q -m "$QUICK" -f many.fa -O t few.vcf > got
	brute "$QUICK" many.fa few.vcf > want
	vcf near got want 1e-4
}

@test "a header without contig lines gets those that are met" {
	grep -v '^##contig' real.vcf > bare.vcf
	score bare.vcf > x.vcf
	grep -q '^##contig=<ID=chr20_piece,length=100000>$' x.vcf
	table x.vcf | cmp - <(table <(score real.vcf))
	bcftools view --no-version x.vcf 2> err | cmp - x.vcf
	[ ! -s err ]
	score -O b bare.vcf | bcftools view --no-version | cmp - x.vcf
	# also when the first record of it comes late
	sed '/^##contig/d' kinds.vcf | score > k.vcf
	table k.vcf | cmp - <(table <(score kinds.vcf))
	# for a contig that the FASTA lacks no line is made up
	bcftools view k.vcf > /dev/null 2> err
	[ "$(grep -c 'not defined in the header' err)" = 1 ]
	grep -q chr21_piece err
}

@test "duplicated and unsorted records: each is scored where it stands" {
	{ cat real.vcf; body real.vcf | sed -n 2,6p; } > twice.vcf
	score -O t twice.vcf | body > got
	tail -n 5 got | cmp - <(sed -n 2,6p got)
	[ "$(wc -l < got)" = $(($(body real.vcf | wc -l) + 5)) ]
}

@test "inputs' folders get no file, also when they are read-only" {
	mkdir in
	cp "$BATS_FILE_TMPDIR/p.fa" "$BATS_FILE_TMPDIR/real.vcf" in
	"$CROCUTA" score -q -m "$QUICK" -f in/p.fa -o x.vcf in/real.vcf
	[ "$(ls -A in | paste -sd ' ')" = "p.fa real.vcf" ]
	chmod 555 in
	chmod 777 .
	# where a plain user may read the model here
	if setpriv --reuid 12346 --clear-groups test -r "$QUICK/config.json" -a -w . 2> /dev/null; then
		setpriv --reuid 12346 --clear-groups "$CROCUTA" score -q -m "$QUICK" -f in/p.fa -o y.vcf \
			in/real.vcf
		cmp <(body x.vcf) <(body y.vcf)
	fi
	chmod 755 in
}

@test "output = input is refused, by links too, and nothing is harmed" {
	cp kinds.vcf k.vcf
	fails 2 "k.vcf" score -o k.vcf k.vcf
	ln -s k.vcf link.vcf
	fails 2 "link.vcf" score -o link.vcf k.vcf
	ln k.vcf hard.vcf
	fails 2 "hard.vcf" score -o hard.vcf k.vcf
	cp p.fa own.fa
	fails 2 "own.fa" "$CROCUTA" score -q -m "$QUICK" -f own.fa -O v -o own.fa k.vcf
	cp "$PANEL" g.vcf.gz
	cp "$PANEL.csi" g.vcf.gz.csi
	fails 2 "g.vcf.gz" score -O z -W -o g.vcf.gz g.vcf.gz
	cmp kinds.vcf k.vcf
	cmp p.fa own.fa
	cmp "$PANEL" g.vcf.gz
	cmp "$PANEL.csi" g.vcf.gz.csi
}

@test "--write-index: csi and tbi, newer than the file, read by bcftools" {
	for how in -W --write-index=csi --write-index=tbi; do
		suffix=csi
		[ $how = --write-index=tbi ] && suffix=tbi
		score $how -o x.vcf.gz "$PANEL"
		[ -s x.vcf.gz.$suffix ]
		[ ! x.vcf.gz -nt x.vcf.gz.$suffix ]
		[ "$(bcftools index -n x.vcf.gz)" = 998 ]
		rm x.vcf.gz*
	done
	score -W -o x.bcf "$PANEL"
	[ "$(bcftools view -H -r chr20_piece:20001-30000 x.bcf | wc -l)" = \
		"$(bcftools view -H -r chr20_piece:20001-30000 "$PANEL" | wc -l)" ]
	score -O t "$PANEL" | bgzip > x.tsv.gz
	tabix -s 1 -b 2 -e 2 x.tsv.gz
	[ "$(tabix x.tsv.gz chr20_piece:20001-30000 | wc -l)" -gt 50 ]
}

@test "--dry-run: counts, and nothing is written" {
	score --dry-run -o out/x.vcf "$PANEL" > plan
	grep -w 998 plan
	[ -z "$(find out -mindepth 1)" ]
	score --dry-run --json -o out/x.vcf "$PANEL" | python3 -c 'import json, sys; json.load(sys.stdin)'
}

@test "the shipped model is the default, and is named" {
	CROCUTA_MODEL_PATH=$ROOT/models crocuta score --no-version -f p.fa -O t real.vcf > got 2> err
	grep -q tiny-1k err
	"$CROCUTA" score -q --no-version -m "$TINY" -f p.fa -O t real.vcf | cmp - got
}
