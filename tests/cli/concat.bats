#!/usr/bin/env bats
# Outputs put together: parts that belong together give the whole, others are refused.

load common
load score_common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	bgzip -dc "$PIECES" > p.fa
	thin 10 "$PANEL" real.vcf
	for k in 1 2 3; do
		score --shard $k/3 -o s$k.vcf real.vcf
		score --shard $k/3 -o s$k.bcf real.vcf
		score --shard $k/3 -o s$k.tsv real.vcf
	done
	score -o whole.vcf real.vcf
	score -o whole.tsv real.vcf
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in "$BATS_FILE_TMPDIR"/*; do ln -s "$file" .; done
	mkdir out
}

@test "kinds mixed, any output" {
	concat s1.vcf s2.bcf s3.vcf | cmp - whole.vcf
	concat -o x.vcf s1.bcf s2.bcf s3.bcf
	cmp x.vcf whole.vcf
	bgzip -c s2.vcf > z2.vcf.gz
	concat -O v s1.bcf z2.vcf.gz s3.vcf | cmp - whole.vcf
	for suffix in vcf.gz bcf; do
		concat -W -o x.$suffix s1.vcf s2.bcf s3.vcf
		bcftools view --no-version x.$suffix | cmp - whole.vcf
		[ "$(bcftools view -H -r chr20_piece:20001-30000 x.$suffix | wc -l)" -gt 5 ]
	done
	concat s1.tsv s2.tsv s3.tsv | cmp - whole.tsv
	bgzip -c s1.tsv > z1.tsv.gz
	concat z1.tsv.gz s2.tsv s3.tsv | cmp - whole.tsv
}

@test "one line tells of the merge, unless --no-version" {
	"$CROCUTA" concat -q -o x.vcf s1.vcf s2.vcf s3.vcf
	[ "$(grep -c '^##crocutaCommand=concat .*; Date=2026-01-01T00:00:00Z' x.vcf)" = 1 ]
	grep -v '^##crocutaCommand=concat' x.vcf | cmp - whole.vcf
	lacks crocutaShard x.vcf
	lacks "$BATS_FILE_TMPDIR" x.vcf
	bcftools view --no-version x.vcf | cmp - x.vcf
}

@test "shards: all of them, once, in order, of one run" {
	fails 10 "2/3 is missing" concat -o out/x.vcf s1.vcf s3.vcf
	fails 10 "3/3 is missing" concat -o out/x.vcf s1.vcf s2.vcf
	fails 10 "1/3 is missing" concat -o out/x.bcf s2.vcf s3.vcf
	fails 10 "twice" concat -o out/x.vcf s1.vcf s2.vcf s2.bcf s3.vcf
	fails 10 "in order" concat -o out/x.vcf s1.vcf s3.vcf s2.vcf
	fails 10 "missing" concat -o out/x.tsv s1.tsv s3.tsv
	fails 10 "in order" concat -o out/x.tsv s2.tsv s1.tsv s3.tsv
	fails 10 "s2.vcf" concat -o out/x.vcf whole.vcf s2.vcf
	score --shard 1/2 -o half.vcf real.vcf
	fails 10 "half.vcf" concat -o out/x.vcf half.vcf s2.vcf s3.vcf
}

@test "parts of a whole by contig or region need no shards" {
	cp "$PANEL" g.vcf.gz
	cp "$PANEL.csi" g.vcf.gz.csi
	score -r chr20_piece:1-50000 --regions-overlap 0 -o a.bcf g.vcf.gz
	score -r chr20_piece:50001- --regions-overlap 0 -o b.bcf g.vcf.gz
	score -o all.vcf g.vcf.gz
	concat -O v a.bcf b.bcf | cmp - all.vcf
	concat -o back.vcf b.bcf a.bcf
	body back.vcf | sort | cmp - <(body all.vcf | sort)
	fails 3 "sorted" concat -W -o out/x.bcf b.bcf a.bcf
	concat -o one.vcf all.vcf
	cmp one.vcf all.vcf
}

@test "another model, reference, option, sample or tag: refused, and named" {
	other() { # TEXT OPTIONS: the second half made another way
		local text=$1
		shift
		score -o a.vcf real.vcf
		"$CROCUTA" score -q --no-version -f p.fa "$@" -o b.vcf real.vcf
		fails 10 "$text" concat -o out/x.vcf a.vcf b.vcf
		fails 10 "$text" concat -o out/x.bcf b.vcf a.vcf
	}
	other crocutaModel -m "$TINY"
	cp -r "$QUICK" same && chmod -R u+w same
	other crocutaModel -m ./same --filter-shift 0.06
	for option in "--window 500" "--readout 100" "--placement fixed" "--step 100" "--reduce mean" \
		"--strands forward" "--classes acgt" "--no-reuse" "--max-indel 10" "--softmask-n"; do
		# shellcheck disable=SC2086
		other "" -m "$QUICK" $option
	done
	bgzip -dc "$PIECES" | awk '/^>chr20_tiny/ { exit } { print }' > fewer.fa
	score -o a.vcf real.vcf
	"$CROCUTA" score -q --no-version -m "$QUICK" -f fewer.fa -o b.vcf real.vcf
	fails 10 "crocutaReference" concat -o out/x.vcf a.vcf b.vcf
	bcftools view --no-version -s HG00096 real.vcf > one.vcf
	score -o b.vcf one.vcf
	fails 10 "" concat -o out/x.vcf a.vcf b.vcf
	score --tag-prefix OTHER -o b.vcf real.vcf
	fails 10 "" concat -o out/x.vcf a.vcf b.vcf
	sed 's/,Number=A,Type=Float,Description="Allele/,Number=1,Type=Float,Description="Allele/' a.vcf > b.vcf
	differ a.vcf b.vcf
	status=0
	concat -o out/x.vcf a.vcf b.vcf 2> err || status=$?
	[ $status = 3 ] || [ $status = 10 ]
	[ -z "$(find out -mindepth 1)" ]
	score -O t -o a.tsv real.vcf
	score -O t --reduce mean -o b.tsv real.vcf
	fails 10 "" concat -o out/x.tsv a.tsv b.tsv
}

@test "what crocuta did not write, damaged parts, kinds that do not mix" {
	fails 3 "real.vcf" concat -o out/x.vcf s1.vcf real.vcf
	fails 3 "p.fa" concat -o out/x.vcf p.fa
	head -c -20 s2.vcf > cut.vcf
	fails 3 "cut.vcf" concat -o out/x.vcf s1.vcf cut.vcf s3.vcf
	head -c -28 s2.bcf > cut.bcf
	fails 3 "cut.bcf" concat -o out/x.bcf s1.bcf cut.bcf s3.bcf
	python3 -c 'd = bytearray(open("s2.bcf", "rb").read())
d[len(d) * 2 // 3] ^= 4; open("flip.bcf", "wb").write(d)'
	fails 3 "flip.bcf" concat -o out/x.bcf s1.bcf flip.bcf s3.bcf
	head -c -1 s2.tsv > cut.tsv
	fails 3 "cut.tsv" concat -o out/x.tsv s1.tsv cut.tsv s3.tsv
	: > empty.vcf
	fails 3 "empty.vcf" concat -o out/x.vcf s1.vcf empty.vcf
	fails 2 "one kind" concat -o out/x.vcf s1.vcf s2.tsv s3.vcf
	fails 5 "absent.vcf" concat -o out/x.vcf s1.vcf absent.vcf
	fails 2 "" concat -o out/x.vcf
	fails 2 "standard input" concat -o out/x.vcf s1.vcf - s3.vcf
	fails 2 "" concat -o out/x.tsv s1.vcf s2.vcf s3.vcf
	fails 2 "tabix" concat -W -o out/x.tsv s1.tsv s2.tsv s3.tsv
}

@test "outputs: onto an input, full disk, existing" {
	cp "$BATS_FILE_TMPDIR/s1.vcf" own.vcf
	fails 2 "own.vcf" concat -o own.vcf own.vcf s2.vcf s3.vcf
	cmp own.vcf s1.vcf
	full() { "$@" > /dev/full; }
	for type in v z b u; do
		fails 5 "No space left" full concat -O $type s1.vcf s2.vcf s3.vcf
	done
	fails 5 "No space left" full concat s1.tsv s2.tsv s3.tsv
	echo old > x.vcf
	fails 10 "x.vcf" concat --no-clobber -o x.vcf s1.vcf s2.vcf s3.vcf
	[ "$(cat x.vcf)" = old ]
}

@test "embed: npy with its sidecars, tables, bedGraph" {
	make_fasta g.fa
	samtools faidx g.fa
	for kind in npy tsv; do
		embed --no-version --bin 50 -r chrA -o a.$kind g.fa
		embed --no-version --bin 50 -r chrB,chrC -o b.$kind g.fa
		embed --no-version --bin 50 -r chrA,chrB,chrC -o want.$kind g.fa
		concat -o got.$kind a.$kind b.$kind
		if [ $kind = npy ]; then
			cmp want.npy got.npy
			bgzip -dc got.rows.bed.gz | cmp - <(bgzip -dc want.rows.bed.gz)
			python3 -c 'import json, sys
got, want = (json.load(open(f)) for f in ("got.meta.json", "want.meta.json"))
sys.exit(got["rows"] != want["rows"])'
		else
			body got.$kind | cmp - <(body want.$kind)
		fi
	done
	for c in A B; do embed --no-version --track logprob -r chr$c -o $c.bedgraph g.fa; done
	embed --no-version --track logprob -r chrA,chrB -o want.bedgraph g.fa
	concat -o got.bedgraph A.bedgraph B.bedgraph
	cmp <(grep -v '^#' got.bedgraph) <(grep -v '^#' want.bedgraph)
	for from in 1 301; do
		embed --no-version --track logprob -r chrA:$from-$((from + 299)) -o $from.bedgraph g.fa
	done
	concat -o x.bedgraph 1.bedgraph 301.bedgraph
	fails 3 "order" concat -o out/x.bedgraph 301.bedgraph 1.bedgraph
	embed --no-version --bin 60 -r chrB -o other.npy g.fa
	fails 10 "" concat -o out/x.npy a.npy other.npy
	embed --no-version --bin 50 -r chrB -m "$TINY" -o other.npy g.fa 2> /dev/null ||
		"$CROCUTA" embed -q -m "$TINY" --no-version --bin 50 -r chrB -o other.npy g.fa
	fails 10 "" concat -o out/x.npy a.npy other.npy
	fails 2 "standard output" concat a.npy b.npy
	rm b.rows.bed.gz
	fails 5 "b.rows.bed.gz" concat -o out/x.npy a.npy b.npy
	embed --no-version --track logprob -o x.bw g.fa
	fails 2 "bigWig" concat -o out/x.bw x.bw
}
