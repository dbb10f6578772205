#!/usr/bin/env bats
# Class probabilities: against heads in plain Python, every way of asking for the same sequences
# against every other, windows and calls, and what is refused.

bats_require_minimum_version 1.5.0
load common

TINY=$ROOT/models/tiny-1k
TOOLS=${CROCUTA%/*}/tests/tools

head_py() { python3 "$ROOT/tests/cli/head.py" "$@"; }
make_head() { head_py make "$1" "$TINY" 128 "${@:2}"; } # DIR KEY=VALUE ...

# messages are errors only, and no lines that name version and date
classify() { "$CROCUTA" classify -q --no-version -m "$TINY" "$@"; }
vectors() { "$CROCUTA" embed -q --no-version -m "$TINY" "$@"; }

# g.fa, vectors of its bins, and the heads that most tests use: h (two classes), w (three, for windows)
setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_fasta g.fa
	vectors --bin 64 -o bins.npy g.fa
	make_head h center=bins.npy background=other
	make_head w center=bins.npy classes=other,a,b background=other window=64 step=16 \
		scan_strands=both scale=20
	awk 'BEGIN { srand(7); for (i = 0; i < 12; i++) { s = ""
		for (j = 0; j < 120; j++) s = s substr("ACGTacgtN", int(rand() * 9) + 1, 1)
		print ">s" i "\n" s } }' > s.fa
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in g.fa s.fa bins.npy h w; do ln -s "$BATS_FILE_TMPDIR/$file" $file; done
	mkdir out
}

to() { # PATH COMMAND...: standard output goes to PATH
	local path=$1
	shift
	"$@" > "$path"
}
from() { # FILE COMMAND...
	local path=$1
	shift
	"$@" < "$path"
}
rows() { grep -v '^#' "$@"; }

# ---- probabilities

@test "pools, strands, layers and special tokens: what embed and plain Python give" {
	for form in 'mean forward none last' 'last forward none last' 'max forward none last' \
		'mean reverse none last' 'last reverse none last' 'max both none last' \
		'mean concat none last' 'mean forward none 0' 'max concat none 1' \
		'mean forward sep last' 'mean forward cls-sep last' 'last forward cls-sep last' \
		'mean both model last' 'last forward model last' 'max reverse model 1'; do
		# shellcheck disable=SC2086
		set -- $form
		make_head x pool=$1 strands=$2 special_tokens=$3 layer=${4/last/2}
		vectors --per-record --pool $1 --strands $2 --special-tokens $3 --layer $4 -o x.npy s.fa
		classify --head x s.fa > x.tsv
		[ "$(rows x.tsv | wc -l)" = 12 ]
		head_py answer x x.npy x.tsv
	done
}

@test "parts: runs of a sequence, joined in order, also where the last is shorter" {
	for form in '4 mean forward 30' '5 max concat 24' '7 last both 18' '8 mean reverse 15'; do
		# shellcheck disable=SC2086
		set -- $form
		make_head x parts=$1 pool=$2 strands=$3
		vectors --bin $4 --pool $2 --strands $3 -o x.npy s.fa
		classify --head x s.fa > x.tsv
		head_py answer x x.npy x.tsv
	done
}

@test "the first base's vector, and the sum" {
	make_head x pool=first
	vectors --bin 1 -r "$(seq -f 's%.0f:1' -s , 0 11)" -o x.npy s.fa
	classify --head x s.fa > x.tsv
	head_py answer x x.npy x.tsv
	make_head x pool=sum scale=0.1
	vectors --per-record -o mean.npy s.fa
	python3 - <<-'PY'
	import struct
	data = open("mean.npy", "rb").read()
	values = struct.unpack("<%df" % (12 * 128), data[-12 * 128 * 4:])
	open("x.npy", "wb").write(data[:-12 * 128 * 4] + struct.pack("<%df" % len(values),
	                                                             *(120 * v for v in values)))
	PY
	classify --head x s.fa > x.tsv
	head_py answer x x.npy x.tsv
}

@test "a hidden layer, sigmoids, many classes, a sequence that is tiled" {
	vectors --per-record -o s.npy s.fa
	make_head x hidden=70
	classify --head x s.fa > x.tsv
	head_py answer x s.npy x.tsv
	make_head x output=sigmoid classes=a,b,c
	classify --head x s.fa > x.tsv
	head_py answer x s.npy x.tsv
	make_head x output=sigmoid classes=only
	classify --head x s.fa > x.tsv
	head_py answer x s.npy x.tsv
	make_head x classes="$(seq -f 'c%.0f' -s , 300)" hidden=3
	classify --head x s.fa > x.tsv
	head_py answer x s.npy x.tsv
	vectors --per-record -o g.npy g.fa
	classify --head h g.fa > x.tsv
	head_py answer h g.npy x.tsv
	# smaller windows: less context
	vectors --per-record --window 256 -o g.npy g.fa
	classify --head h --length 256 g.fa > y.tsv
	head_py answer h g.npy y.tsv
	differ x.tsv y.tsv
	grep -qx '##crocuta.length=256' y.tsv
}

@test "a model's own score.weight: last of x [SEP], names of the config; other pools when asked" {
	"$TOOLS/random_model" m --width 16 --inner 32 --max-length 1026 --score 3
	sed -i '0,/{/s//{ "id2label": {"0": "no", "1": "may_be", "2": "yes"},/' m/config.json
	own() { "$CROCUTA" classify -q -m m "$@" s.fa; }
	[ "$(own | body | head -n 1 | cut -f8-)" = "p_no	p_may_be	p_yes" ]
	own > own.tsv
	grep -qx '##crocuta.head.source=score.weight' own.tsv
	grep -qx '##crocuta.head.special_tokens=model-sep' own.tsv
	for t in none cls-sep model; do
		for p in mean last max; do
			"$CROCUTA" embed -q -m m --per-record --special-tokens $t --pool $p -o x.npy s.fa
			own --pool $p --special-tokens $t > x.tsv
			head_py answer m x.npy x.tsv
			# [SEP] counts: it is no position of those
			differ <(rows own.tsv) <(rows x.tsv)
		done
	done
	# the mean of x [SEP] is made of the bases' mean and the last position: so are the logits
	own --pool last | rows | cut -f9,10 > last
	own --pool mean --special-tokens none | rows | cut -f9,10 > mean
	own --pool mean | rows | cut -f9,10 | paste last mean - |
		every '(log($5 / $6) - (log($1 / $2) + 120 * log($3 / $4)) / 121) ^ 2 < 1e-9'
	sed -i '0,/{/s//{ "problem_type": "multi_label_classification",/' m/config.json
	own --pool mean --special-tokens none > x.tsv
	"$CROCUTA" embed -q -m m --per-record -o x.npy s.fa
	head_py answer m x.npy x.tsv
}

@test "a head beside the model needs no --head, and wins over score.weight" {
	"$TOOLS/random_model" m --width 16 --inner 32 --max-length 1026 --score 3
	head_py make m "$PWD/m" 16 classes=x,y
	"$CROCUTA" classify -q --no-version -m m s.fa > x.tsv
	grep -qx '##crocuta.head.source=head.safetensors' x.tsv
	"$CROCUTA" embed -q -m m --per-record -o x.npy s.fa
	head_py answer m x.npy x.tsv
	"$CROCUTA" model show m > show
	grep -qx 'head	head.safetensors' show
	grep -qx 'class	1	y' show
}

# ---- the same sequences asked for in other ways

@test "records, regions, a file of regions and -f give the same rows" {
	classify --head h s.fa | rows > records
	classify --head h -r "$(seq -f 's%.0f' -s , 0 11)" s.fa | rows | cmp records -
	awk '{ printf "s%d\t0\t120\n", NR - 1 }' records > r.bed
	classify --head h -R r.bed s.fa | rows | cmp records -
	bgzip -k r.bed
	classify --head h -R r.bed.gz -f s.fa | rows | cmp records -
	awk '{ printf "s%d\t1\t120\n", NR - 1 }' records > r.txt
	classify --head h -R r.txt s.fa | rows | cmp records -
	# out of a longer contig: a region does not see what is beside it
	{ echo '>long'; grep -v '>' s.fa; } > long.fa
	awk '{ printf "long\t%d\t%d\n", 120 * (NR - 1), 120 * NR }' records > l.bed
	classify --head h -R l.bed long.fa | rows | cut -f4- | cmp - <(cut -f4- records)
}

@test "strands of a BED: '-' is the reverse complement; none is read forward, and said" {
	reverse_complement s.fa rc.fa
	make_head x parts=3 pool=last
	awk -v OFS='\t' 'BEGIN { for (i = 0; i < 12; i++)
		print "s" i, 0, 120, "n" i, 7, i % 2 ? "-" : "+" }' > r.bed
	classify --head x -R r.bed s.fa > x.bed
	rows x.bed | cut -f1-4,6 | cmp - <(cut -f1-4,6 r.bed)
	classify --head x s.fa | rows | cut -f5,7- > forward
	classify --head x rc.fa | rows | cut -f5,7- > backward
	awk 'NR == FNR { f[NR] = $0; next } { print FNR % 2 ? f[FNR] : $0 }' forward backward |
		cmp - <(rows x.bed | cut -f5,7-)
	cut -f1-4 r.bed > bare.bed
	"$CROCUTA" classify --no-version -m "$TINY" --head x -R bare.bed s.fa 2> err | rows |
		cut -f5,7- | cmp - forward
	[ "$(grep -c '^\[W::classify\] 12 regions have no strand' err)" = 1 ]
}

@test "FASTQ, SAM, BAM, CRAM and pipes of the same reads" {
	samtools fastq -n "$READS/unaligned.bam" > r.fq 2> /dev/null
	samtools fasta -n "$READS/unaligned.bam" > r.fa 2> /dev/null
	samtools view -h "$READS/unaligned.bam" > r.sam
	gzip -c r.fq > r.fq.gz
	classify --head h "$READS/unaligned.bam" | rows > want
	[ "$(wc -l < want)" = 200 ]
	for file in r.fq r.fa r.sam r.fq.gz; do classify --head h $file | rows | cmp want -; done
	cat r.fq | classify --head h | rows | cmp want -
	samtools view -u "$READS/unaligned.bam" | classify --head h - | rows | cmp want -
	classify --head h "$READS/aligned.bam" | rows > bam
	classify --head h --reference "$READS/ref17.fa" "$READS/aligned.cram" | rows | cmp bam -
}

@test "case, U and line length do not matter; IUPAC codes are N and counted; --softmask-n" {
	classify --head h s.fa | rows > want
	tr acgtT ACGTU < s.fa | sed 's/^>S/>s/' | fold -w 17 > u.fa
	classify --head h u.fa | rows | cmp want -
	sed '/^>/!s/N/R/' s.fa > iupac.fa
	"$CROCUTA" classify --no-version -m "$TINY" --head h iupac.fa 2> err | rows | cmp want -
	grep -q '12 IUPAC codes were read as N' err
	classify --head h --softmask-n s.fa | rows > soft
	differ want soft
	sed '/^>/!s/[acgt]/N/g' s.fa > n.fa
	classify --head h n.fa | rows | cmp soft -
	classify --head h --n-as-pad n.fa | rows > pad
	differ soft pad
}

@test "bytes do not depend on threads and batch size" {
	make_head x parts=3 strands=concat
	classify --head x -@ 1 g.fa -r chrA,chrB > one
	for how in '-@ 2' '-@ 7' '--batch-size 1' '--batch-size 5'; do
		# shellcheck disable=SC2086
		classify --head x $how -r chrA,chrB g.fa | cmp one -
		classify --head w --scan $how -r chrA:1-1000,chrB g.fa > w.$((++n))
		cmp w.1 w.$n
	done
	[ "$(rows w.1 | wc -l)" -gt 150 ]
}

# ---- windows

@test "windows: what classifying each of them gives, both strands, the last at the contig's end" {
	classify --head w --scan --max-n 1 g.fa > scan.bed
	rows scan.bed | cut -f2,3,6 | awk '$3 == "+"' | awk '{ print $1, $2 }' | head -n 310 > places
	# chrA has 5,003 bases: every 16 up to the last whole window, then one more
	awk 'BEGIN { for (i = 0; i + 64 <= 5003; i += 16) print i, i + 64; print 4939, 5003 }' |
		cmp - <(head -n 310 places)
	[ "$(rows scan.bed | wc -l)" = $((2 * (310 + 41 + 1))) ]
	rows scan.bed | tail -n 2 | cut -f1-3,6 | diff - <(printf 'chrC\t0\t1\t%s\n' + -)
	rows scan.bed | awk -v OFS='\t' '{ $4 = "."; print $1, $2, $3, $4, 0, $6 }' > w.bed
	classify --head w -R w.bed g.fa | rows | cmp - <(rows scan.bed)
	grep -qx '##crocuta.scan_strands=both' scan.bed
	for strand in forward:+ reverse:-; do
		classify --head w --max-n 1 --scan-strands ${strand%:*} g.fa | rows |
			cmp - <(rows scan.bed | awk -v s=${strand#*:} '$6 == s')
	done
}

@test "windows: --window and --step, defaults of the head, half a window" {
	starts() { rows "$@" | awk '$6 == "+"' | cut -f2 | head -n 3 | tr '\n' ' '; }
	[ "$(classify --head w --scan -r chrB g.fa | starts)" = "0 16 32 " ]
	[ "$(classify --head w --step 20 -r chrB g.fa | starts)" = "0 20 40 " ]
	[ "$(classify --head w --window 100 -r chrB g.fa | rows | head -n 1 | cut -f3)" = 100 ]
	# the head's step is longer than the window asked for
	[ "$(classify --head w --window 10 -r chrB --max-n 1 g.fa | starts)" = "0 5 10 " ]
	[ "$(classify --head h --window 100 -r chrB --max-n 1 g.fa | starts)" = "0 50 100 " ]
	fails 2 "give --window" classify --head h --scan -o out/x.bed g.fa
	fails 2 "give --window" classify --head h --step 5 -o out/x.bed g.fa
}

@test "windows over regions: merged where they overlap, none shared, short ones whole" {
	printf 'chrA\t1000\t1100\nchrA\t100\t164\nchrA\t1050\t1200\nchrB\t650\t700\n' > r.bed
	classify --head w --scan --max-n 1 --scan-strands forward -R r.bed g.fa | rows > got
	cut -f1-3 got > places
	{
		printf 'chrA\t100\t164\n'
		for i in 0 16 32 48 64 80 96 112 128; do printf 'chrA\t%d\t%d\n' $((1000 + i)) $((1064 + i)); done
		printf 'chrA\t1136\t1200\nchrB\t650\t700\n'
	} | diff - places
	# of parts' needs: a region too short for them is left out
	make_head x parts=8 window=64 step=32
	printf 'chrA\t100\t164\nchrA\t300\t356\nchrA\t400\t457\n' > r.bed
	classify --head x --scan --max-n 1 -R r.bed g.fa | rows | cut -f2,3 |
		diff - <(printf '100\t164\n400\t457\n')
}

@test "windows of a long contig, of which a piece is read at a time" {
	python3 - <<-'PY'
	import random
	random.seed(5)
	bases = ["N"] * 2200000
	for place in (2**20, 2**21 - 600): # a piece ends there, or a little before
	    bases[place - 300:place + 500] = random.choices("ACGT", k=800)
	text = "".join(bases)
	open("l.fa", "w").write(">x\nACGT\n>l\n" + "\n".join(text[i:i + 80] for i in range(0, len(text), 80)))
	PY
	bgzip -k l.fa
	classify --head w --scan --max-n 0 l.fa > scan.bed
	[ "$(rows scan.bed | wc -l)" -gt 180 ]
	rows scan.bed | awk -v OFS='\t' '{ print $1, $2, $3, ".", 0, $6 }' > w.bed
	classify --head w -R w.bed l.fa | rows | cmp - <(rows scan.bed)
	classify --head w --scan --max-n 0 l.fa.gz | rows | cmp - <(rows scan.bed)
}

@test "windows with too many N are left out and counted, masked ones too" {
	{ echo '>n'; head -c 100 /dev/zero | tr '\0' A; head -c 10 /dev/zero | tr '\0' N
		head -c 90 /dev/zero | tr '\0' c; echo; } > n.fa
	at() { classify --head w --window 20 --step 10 --scan-strands forward "$@" n.fa | rows | cut -f2 | tr '\n' ' '; }
	[ "$(at --max-n 1)" = "$(seq -s ' ' 0 10 180) " ]
	[ "$(at --max-n 0.5)" = "$(seq -s ' ' 0 10 180) " ]
	[ "$(at --max-n 0.49)" = "$(seq -s ' ' 0 10 80) $(seq -s ' ' 110 10 180) " ]
	[ "$(at --softmask-n)" = "$(seq -s ' ' 0 10 80) " ]
	"$CROCUTA" classify -m "$TINY" --head w --window 20 --step 10 n.fa 2> err > /dev/null
	grep -q '^\[M::classify\] 4 windows left out: more N than --max-n' err
	grep -q '^\[M::classify\] 34 windows, 680 bases, 34 rows' err
}

# ---- calls

@test "--merge: what an independent merge of the windows gives" {
	classify --head w --scan g.fa > windows.bed
	for how in ':' '--min-prob 0.8:0.8' '--only b:0 b' '--min-prob 0.6 --only a,other:0.6 a,other' \
		'--only other:0 other' '--min-prob 1:1'; do
		# shellcheck disable=SC2086
		classify --head w --merge ${how%:*} g.fa | body > got
		# shellcheck disable=SC2086
		head_py merge other windows.bed ${how#*:} > want
		diff want got
	done
	[ "$(classify --head w --merge g.fa | rows | wc -l)" -gt 60 ]
	# no background: every window is a call; names, gaps between windows
	make_head x classes=a,b,c window=64 step=64 scale=20 center=bins.npy
	classify --head x --scan --max-n 0.09 g.fa > windows.bed
	head_py merge '' windows.bed > want
	classify --head x --merge --max-n 0.09 g.fa | body | diff want -
	rows want | every '$4 == $7'
	awk 'NR > 1 && $1 == c && $2 == e { touch++ } { c = $1; e = $3 } END { exit touch < 5 }' <(rows want)
}

@test "--merge: closing lines count windows and calls" {
	"$CROCUTA" classify -m "$TINY" --head w --merge --max-n 1 -r chrB -o x.bed g.fa 2> err
	grep -q '^\[M::classify\] 82 windows of 64 bases every 16; 3 classes of head "w"' err
	grep -q "^\[M::classify\] 82 windows, 5,248 bases, $(rows x.bed | wc -l) rows" err
	[ "$(sed -n 's/^\[M::classify\] b  *\([0-9]*\) rows/\1/p' err)" = "$(rows x.bed | awk '$7 == "b"' | wc -l)" ]
}

@test "-W: csi and tbi, of calls, windows and sorted regions" {
	for index in csi tbi; do
		classify --head w --merge --write-index=$index -o calls.bed.gz g.fa
		[ -s calls.bed.gz.$index ]
		bgzip -t calls.bed.gz
		zcat calls.bed.gz | rows | sort -c -s -k1,1 -k2,2n
		tabix calls.bed.gz chrB > got
		zcat calls.bed.gz | rows | awk '$1 == "chrB"' | cmp - got
		tabix calls.bed.gz chrA:2001-2001 > got
		zcat calls.bed.gz | awk '$1 == "chrA" && $2 <= 2000 && $3 > 2000' | cmp - got
		rm calls.bed.gz*
	done
	classify --head w --scan -W -o windows.bed.gz g.fa
	[ "$(tabix windows.bed.gz chrA:1-1 | wc -l)" = 2 ]
	printf 'chrB\t5\t90\nchrB\t5\t20\nchrA\t7\t80\n' > r.bed
	classify --head w -R r.bed -W -o regions.tsv.gz g.fa
	[ "$(tabix regions.tsv.gz chrB:85-95 | wc -l)" = 1 ]
}

@test "-W: regions that are not in order are refused before anything is computed" {
	printf 'chrA\t50\t90\nchrA\t5\t20\n' > back.bed
	printf 'chrA\t5\t90\nchrB\t5\t20\nchrA\t95\t120\n' > torn.bed
	fails 3 'chrA:6 comes after' classify --head h -R back.bed -W -o out/x.bed.gz g.fa
	fails 3 'chrA:96 comes after' classify --head h -R torn.bed -W -o out/x.bed.gz g.fa
	fails 3 'chrA:6 comes after' classify --head h -R back.bed -W --dry-run -o out/x.bed.gz g.fa
	classify --head h -R back.bed -o x.bed.gz g.fa
}

# ---- rows and files

@test "--min-prob, --only and --top" {
	make_head x classes=a,b,c scale=20 center=bins.npy
	awk 'BEGIN { for (i = 0; i < 60; i++) printf "chrA\t%d\t%d\n", 80 * i, 80 * i + 80 }' > r.bed
	classify --head x -R r.bed g.fa > all.bed
	classify --head x -R r.bed --min-prob 0.5 g.fa | rows > got
	rows all.bed | awk '{ p = $8 > $9 ? $8 : $9; p = p > $10 ? p : $10 } p >= 0.5' | cmp - got
	[ "$(wc -l < got)" -gt 5 ] && [ "$(wc -l < got)" -lt 60 ]
	classify --head x -R r.bed --only c,a g.fa | rows | cmp - <(rows all.bed | awk '$7 != "b"')
	"$CROCUTA" classify -m "$TINY" --head x -R r.bed --only c g.fa 2> err | rows > got
	grep -q "^\[M::classify\] $((60 - $(wc -l < got))) rows left out by --min-prob or --only" err
	grep -q "^\[M::classify\] 60 sequences, 4,800 bases, $(wc -l < got) rows" err
	classify --head x -R r.bed --top 2 g.fa > top.bed
	[ "$(grep '^#chrom' top.bed | cut -f7-)" = "pred	top1	p_top1	top2	p_top2" ]
	python3 - <<-'PY'
	read = lambda path: [l.rstrip("\n").split("\t") for l in open(path) if l[0] != "#"]
	for full, top in zip(read("all.bed"), read("top.bed"), strict=True):
	    order = sorted(range(3), key=lambda c: -float(full[7 + c]))
	    want = [x for c in order[:2] for x in ("abc"[c], full[7 + c])]
	    assert top == full[:7] + want, (full, top)
	PY
	classify --head x -R r.bed --top 1000 g.fa | rows | awk '{ exit NF != 13 }'
}

@test "score: 1000 p of the predicted class; names of regions, strand" {
	printf 'chrA\t10\t90\tx y\t3\t-\nchrA\t10\t90\n' > r.bed
	classify --head h -R r.bed g.fa | rows > got
	cut -f4,6 got | diff - <(printf 'x y\t-\n.\t.\n')
	awk -F'\t' '{ p = $8 > $9 ? $8 : $9; exit !($5 == int(1000 * p + 0.5) && $7 == ($8 > $9 ? "other" : "promoter")) }' got
}

@test "bed and tsv hold the same; by suffix, -O, or what is read" {
	classify --head h -o x.bed g.fa
	classify --head h -o x.tsv g.fa
	classify --head h -o x.txt.gz g.fa
	classify --head h -O bed -o plain g.fa
	bgzip -t x.txt.gz
	for file in x.tsv plain <(zcat x.txt.gz); do cmp x.bed $file; done
	for how in ':tsv' '-r chrB:bed' '-O bed:bed'; do
		# shellcheck disable=SC2086
		classify --head h ${how%:*} --dry-run g.fa | grep -qx "output_type	${how#*:}"
	done
	fails 2 "does not fit the suffix" classify --head h -O bed -o out/x.tsv g.fa
	fails 2 "-O" classify --head h -O vcf -o out/x g.fa
	# a command line, a version and a date, unless --no-version
	"$CROCUTA" classify -q -m "$TINY" --head h g.fa > told.tsv
	grep -q '^##crocuta.command=crocuta classify -q' told.tsv
	grep -qx '##crocuta.date=2026-01-01T00:00:00Z' told.tsv
	grep -qx "##crocuta.head.sha256=$(sha256sum < h/head.safetensors | cut -d' ' -f1)" told.tsv
	grep -qx '##crocuta.head.classes=other,promoter' told.tsv
	grep -v -e '^##crocuta.command=' -e '^##crocuta.date=' -e '^##crocuta.version=' told.tsv | cmp - x.tsv
}

@test "--dry-run says what would be done, in words and JSON, and writes nothing" {
	classify --head w --merge --dry-run -o out/x.bed g.fa > plan
	for line in 'head	w' 'classes	3' 'contigs	3' 'window	64' 'step	16' 'items	704' 'output_type	bed'; do
		grep -qx "$line" plan
	done
	[ -z "$(ls -A out)" ]
	classify --head h --dry-run --json s.fa |
		python3 -c 'import json, sys
p = json.load(sys.stdin)
assert (p["records"], p["items"], p["bases"], p["output_type"]) == (12, 12, 1440, "tsv"), p'
	classify --head h --dry-run --json - < s.fa |
		python3 -c 'import json, sys; assert json.load(sys.stdin)["items"] is None'
	fails 2 "belongs to --dry-run" classify --head h --json -o out/x.bed g.fa
}

@test "shards put together are the whole: records, regions, windows; and none may be missing" {
	awk 'BEGIN { for (i = 0; i < 40; i++) printf "chrA\t%d\t%d\t.\t0\t%s\n", 97 * i, 97 * i + 5 * i + 3, i % 2 ? "-" : "+" }' > r.bed
	for how in 's.fa' '-R r.bed g.fa' '--scan g.fa' '--scan --min-prob 0.5 --only a,b -R r.bed g.fa'; do
		# shellcheck disable=SC2086
		classify --head w $how > whole.bed
		for k in 1 2 3 4; do
			# shellcheck disable=SC2086
			classify --head w --shard $k/4 -o $k.bed $how
		done
		"$CROCUTA" concat -q --no-version -o joined.bed 1.bed 2.bed 3.bed 4.bed
		cmp whole.bed joined.bed
		[ "$(rows 2.bed | wc -l)" -gt 0 ]
		fails 10 "3/4 is missing" "$CROCUTA" concat -o out/x.bed 1.bed 2.bed 4.bed
	done
	# more shards than records
	for k in $(seq 15); do classify --head w --shard $k/15 -o $k.tsv s.fa; done
	"$CROCUTA" concat -q --no-version -o joined.tsv $(seq -f '%.0f.tsv' 15)
	classify --head w s.fa | cmp - joined.tsv
}

@test "--no-clobber, inputs as outputs, an older output" {
	echo old > x.bed
	fails 10 "x.bed" classify --head h --no-clobber -o x.bed g.fa
	[ "$(cat x.bed)" = old ]
	classify --head h -o x.bed g.fa
	[ "$(rows x.bed | wc -l)" = 3 ]
	cp -rL h own
	fails 2 "" classify --head own -o own/head.safetensors g.fa
	fails 2 "" classify --head own -o own/head.json g.fa
	cmp own/head.safetensors h/head.safetensors
	cp s.fa c.fa
	fails 2 "" classify --head h -o c.fa c.fa
	cmp c.fa s.fa
}

@test "a full disk, a reader that goes away" {
	[ -w /dev/full ] || skip "no /dev/full"
	fails 5 "" to /dev/full classify --head h g.fa
	fails 5 "" to /dev/full classify --head w --scan g.fa
	status=$(classify --head w --scan --step 1 g.fa 2> err | head -n 30 > rows; echo "${PIPESTATUS[0]}")
	[ "$status" = 141 ]
	lacks '^\[E::' err
}

@test "SIGTERM: 143 within seconds, nothing left" {
	exec_long() {
		exec "$CROCUTA" classify -m "$TINY" --head w --window 1024 --step 1 -@ 1 --isa portable \
			-W -o out/x.bed.gz "$@" "$PIECE"
	}
	for how in --scan --merge; do
		exec_long $how 2> err &
		child=$!
		has_begun 200
		stops_with TERM 143 10
		lacks '^\[E::' err
		grep -q '^\[W::classify\] stopped by a signal' err
	done
}

# ---- what is refused

@test "heads: of another model, another width, none, damaged, NaN" {
	fails 4 "fitted on" "$CROCUTA" classify -q -m "$MODEL" --head h -o out/x.bed g.fa
	head_py make wide "$TINY" 256
	fails 4 "wide" classify --head wide -o out/x.bed g.fa
	fails 4 "no classifier head" classify -o out/x.bed g.fa
	fails 4 "" classify --head absent -o out/x.bed g.fa
	fails 4 'no model "absent"' "$CROCUTA" classify -q -m absent -o out/x.bed g.fa
	make_head nan nan=yes
	fails 4 "NaN" classify --head nan -o out/x.bed g.fa
	fails 8 "nothing is written" classify --head nan --allow-nan-weights -o out/x.bed g.fa
	make_head nan nan=yes output=sigmoid classes=a,b,c
	fails 8 "nothing is written" classify --head nan --allow-nan-weights -o out/x.bed g.fa
	cp -rL h cut && truncate -s -4 cut/head.safetensors
	fails 4 "" classify --head cut -o out/x.bed g.fa
	fails 2 "cannot be chosen" classify --head h --pool mean -o out/x.bed g.fa
	fails 2 "cannot be chosen" classify --head h --special-tokens sep -o out/x.bed g.fa
}

@test "sequences: too short for the parts, too long for special tokens, bad letters, none, cut" {
	make_head x parts=12
	printf '>long\n%0200d\n>short\nACGT\n' 0 | tr 0 A > short.fa
	fails 3 '"short" has 4 bases where the head, which cuts a sequence into 12 parts, needs 133' \
		classify --head x -o out/x.bed short.fa
	make_head x special_tokens=cls-sep
	fails 3 '"chrA" has 5003 bases' classify --head x -o out/x.bed g.fa
	printf '>s\nACGTACGT\nACXT\n' > letter.fa
	fails 3 '"s"' classify --head h -o out/x.bed letter.fa
	fails 3 'letter.fa' classify --head h -r s -o out/x.bed letter.fa
	fails 3 '"s"' from letter.fa classify --head h -o out/x.bed -
	: > empty.fa
	fails 3 "empty.fa" classify --head h -o out/x.bed empty.fa
	fails 3 "empty.fa" classify --head h --window 64 -o out/x.bed empty.fa
	fails 3 "input" from empty.fa classify --head h -o out/x.bed -
	fails 5 "absent.fa" classify --head h -o out/x.bed absent.fa
	bgzip -c g.fa | head -c -28 > cut.fa.gz
	fails 3 "end marker" classify --head h -o out/x.bed cut.fa.gz
	fails 3 "end marker" classify --head h -r chrB -o out/x.bed cut.fa.gz
	classify --head h --allow-truncated cut.fa.gz | rows | cmp - <(classify --head h g.fa | rows)
	head -c 1000 <(bgzip -c g.fa) > half.fa.gz
	fails 3 "half.fa.gz" classify --head h -o out/x.bed half.fa.gz
	head -c 2000 "$READS/unaligned.bam" > cut.bam
	fails 3 "cut.bam" classify --head h -o out/x.bed cut.bam
}

@test "regions: off the contig, --clip, unknown, no file" {
	fails 3 "chrB" classify --head h -r chrB:600-701 -o out/x.bed g.fa
	"$CROCUTA" classify -m "$TINY" --head h --clip -r chrB:600-900,chrB:800-900 g.fa 2> err | rows |
		cut -f1-3 | diff - <(printf 'chrB\t599\t700\n')
	grep -q '^\[W::classify\] 2 regions were cut at, or dropped beyond' err
	"$CROCUTA" classify -m "$TINY" --head h --clip -r chrB:800-900 g.fa 2> err > x.bed
	[ "$(rows x.bed | wc -l)" = 0 ]
	grep -q '^\[W::classify\] there are no regions' err
	fails 3 "chrX" classify --head h -r chrX -o out/x.bed g.fa
	fails 5 "absent.bed" classify --head h -R absent.bed -o out/x.bed g.fa
	printf 'chrA\t5\n' > bad.bed
	fails 3 "bad.bed:1" classify --head h -R bad.bed -o out/x.bed g.fa
}

@test "options that do not go together, and values out of range" {
	fails 2 "exclude each other" classify --head h -r chrA -R g.fa -o out/x.bed g.fa
	fails 2 "not a stream" from g.fa classify --head w --scan -o out/x.bed -
	fails 2 "not a stream" from g.fa classify --head h -r chrA -o out/x.bed
	fails 2 "shards" classify --head w --merge --shard 1/2 -o out/x.bed g.fa
	fails 2 "exclude each other" classify --head w --merge --top 1 -o out/x.bed g.fa
	fails 2 "not a stream" from g.fa classify --head h --shard 1/2 -o out/x.bed -
	fails 2 "end the output's name in .gz" classify --head w --scan -W -o out/x.bed g.fa
	fails 2 "end the output's name in .gz" classify --head w --scan -W g.fa
	fails 2 "for rows on contigs" classify --head h -W -o out/x.bed.gz g.fa
	fails 2 "no such class" classify --head h --only promotor -o out/x.bed g.fa
	fails 2 "no such class" classify --head h --only other,,promoter -o out/x.bed g.fa
	fails 2 "--only is empty" classify --head h --only '' -o out/x.bed g.fa
	fails 2 "--step 65 leaves bases out" classify --head w --step 65 -o out/x.bed g.fa
	fails 2 "--window 2000" classify --head w --window 2000 -o out/x.bed g.fa
	fails 2 '"1.5"' classify --head h --min-prob 1.5 -o out/x.bed g.fa
	fails 2 '"nan"' classify --head w --max-n nan -o out/x.bed g.fa
	fails 2 '"0"' classify --head h --top 0 -o out/x.bed g.fa
	fails 2 '3/2' classify --head h --shard 3/2 -o out/x.bed g.fa
	fails 2 "at most 1026" classify --head h --length 5000 -o out/x.bed g.fa
	fails 2 "belong to" classify --head h --fai-idx g.fai -o out/x.bed g.fa
	fails 2 "given twice" classify --head h -f g.fa -o out/x.bed g.fa
	fails 6 "the limit is" classify --head h --max-mem 1M -o out/x.bed g.fa
	fails 6 "the limit is" classify --head h --max-mem 1M --dry-run g.fa
}

@test "--help fits, and says what there is" {
	run --separate-stderr "$CROCUTA" classify --help
	[ "$status" = 0 ] && [ -z "$stderr" ]
	[[ $output == "Usage: crocuta classify"* ]]
	"$CROCUTA" classify --help > t
	lacks '.\{101\}' t
	lacks ' $' t
}

@test "sequences much longer or shorter than those of the fit are warned of" {
	make_head x window=100
	"$CROCUTA" classify -m "$TINY" --head x g.fa 2> err > /dev/null
	grep -q '^\[W::classify\] the longest sequence has 5003 bases, and the head was fitted on 100' err
	"$CROCUTA" classify -m "$TINY" --head x -r chrB:1-24,chrC g.fa 2> err > /dev/null
	grep -q '^\[W::classify\] the longest sequence has 24 bases, and the head was fitted on 100' err
	for how in '-r chrB:1-400' '-r chrB:1-25' '--scan -r chrC'; do
		# shellcheck disable=SC2086
		"$CROCUTA" classify -m "$TINY" --head x $how g.fa 2> err > /dev/null
		lacks '^\[W::' err
	done
}

@test "without -m and --head it is the model of the tree that has one; with --head the default model" {
	"$CROCUTA" classify --head h g.fa 2> err | rows | cmp - <(classify --head h g.fa | rows)
	grep -q '^\[M::classify\] model: tiny-1k (which the head was fitted on' err
	[ -f "$ROOT/models/promoter/head.json" ] || skip "no shipped head in this tree"
	"$CROCUTA" classify -r chrB g.fa 2> err > x.bed
	grep -q '^\[M::classify\] model: promoter (the default' err
	grep -qx '##crocuta.head.source=head.safetensors' x.bed
	[ "$(rows x.bed | wc -l)" = 1 ]
}
