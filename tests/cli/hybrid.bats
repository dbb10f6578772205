#!/usr/bin/env bats
# Evo-1 and Evo-2 through the commands: the published code's log-likelihoods, scores against tracks of both
# alleles, classes against a head in plain Python, ranks, plans, and what is refused.

bats_require_minimum_version 1.5.0
load common

EVO1=$ROOT/test-data/golden/evo1-d128-n6
EVO2=$ROOT/test-data/golden/evo2-d128-n8
TOOLS=${CROCUTA%/*}/tests/tools

setup() { cd "$BATS_TEST_TMPDIR"; mkdir out; }

# OUT FASTA OPTIONS...: log-probability of every base, as a bedGraph
track() {
	local out=$1 fasta=$2
	shift 2
	"$CROCUTA" embed -q --device cpu --track logprob --window 4000 -O bedgraph -o "$out" "$@" "$fasta"
}

# contig, scored bases, their sum
sums() { awk '!/^#/ { s[$1] += $4 * ($3 - $2); n[$1] += $3 - $2 } END { for (c in s) print c, n[c], s[c] }' "$1"; }

# TRACK NLL.TSV: sums agree to 1e-5 a base; a record of one base has nothing to score
same_sums() {
	sums "$1" | sort > got
	awk '$2 > 1' "$2" | sort > want
	join got want | awk '{ d = $3 - $5; if (d < 0) d = -d
		if ($2 != $4 - 1 || d > 2e-5 * $4 + 0.05) { print; bad = 1 } } END { exit bad || NR < 2 }'
}

@test "log-probabilities of a track add up to the published code's log-likelihoods" {
	track t.bedgraph "$EVO2/input.fa" -m "$EVO2"
	same_sums t.bedgraph "$EVO2/nll.tsv"
	track t.bedgraph "$EVO1/input.fa" -m "$EVO1"
	same_sums t.bedgraph "$EVO1/nll.tsv"
	# lower case is the same base
	tr acgt ACGT < "$EVO2/input.fa" | sed '/^>/!y/ACGTN/acgtn/' > lower.fa
	track l.bedgraph lower.fa -m "$EVO2"
	same_sums l.bedgraph "$EVO2/nll.tsv"
}

@test "a sequence shared by ranks gives the same table" {
	for ranks in 2 5; do
		"$CROCUTA" embed -q --no-version -m "$EVO2" --device cpu --bin 16 --window 2000 -O npy -o one.npy \
			"$EVO2/input.fa"
		"$CROCUTA" embed -q --no-version -m "$EVO2" --device cpu:$ranks --parallel sequence --bin 16 \
			--window 2000 -O npy -o many.npy "$EVO2/input.fa"
		python3 - one.npy many.npy <<'PY'
import struct, sys
def values(path):
    data = open(path, "rb").read()
    n = struct.unpack("<H", data[8:10])[0]
    body = data[10 + n:]
    return struct.unpack("<%df" % (len(body) // 4), body)
a, b = values(sys.argv[1]), values(sys.argv[2])
worst = max(abs(x - y) for x, y in zip(a, b))
assert len(a) == len(b) > 1000 and worst <= 1e-4, (len(a), len(b), worst)
PY
	done
}

# r1 with another base at 1-based position $1
allele() { # POSITION BASE
	awk -v p="$1" -v b="$2" '/^>/ { on = $1 == ">r1"; if (on) print ">r1"; next } on { s = s $0 }
		END { print substr(s, 1, p - 1) b substr(s, p + 1) }' "$EVO2/input.fa"
}

@test "a score is the difference of both alleles' mean log-probabilities" {
	allele 1 A > r1.fa # its first base is A; 151 is the middle of the window
	base=$(sed 1d r1.fa | cut -c 151)
	other=$(echo "$base" | tr ACGT CATG)
	allele 151 "$other" > alt.fa
	samtools faidx r1.fa
	printf '##fileformat=VCFv4.2\n##contig=<ID=r1,length=300>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n' > v.vcf
	printf 'r1\t151\t.\t%s\t%s\t.\t.\t.\n' "$base" "$other" >> v.vcf
	"$CROCUTA" score -q -m "$EVO2" --device cpu -f r1.fa --window 300 --placement fixed --readout all \
		--reduce window-mean --strands forward -O t -o s.tsv v.vcf
	track ref.bedgraph r1.fa -m "$EVO2"
	track alt.bedgraph alt.fa -m "$EVO2"
	n=$(sed 1d r1.fa | tr -cd N | wc -c) # what holds an N is not counted
	want=$(paste <(sums ref.bedgraph) <(sums alt.bedgraph) | awk -v n="$n" '{ printf "%.6f", ($6 - $3) / ($2 - n) }')
	got=$(grep -v '^#' s.tsv | awk -F'\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^-?[0-9.]+(e-?[0-9]+)?$/ && i > 5) { print $i; exit } }')
	echo "score $got, tracks $want"
	awk -v a="$got" -v b="$want" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d < 2e-5 && b != 0) }'
}

@test "classes are a head's on these vectors, on one rank and on three" {
	python3 "$ROOT/tests/cli/head.py" make h "$EVO2" 128 classes=x,y
	for device in "cpu" "cpu:3 --parallel sequence"; do
		# shellcheck disable=SC2086 # options
		"$CROCUTA" classify -q --no-version -m "$EVO2" --head h --device $device -O tsv -o x.tsv "$EVO2/input.fa"
		"$CROCUTA" embed -q --no-version -m "$EVO2" --device cpu --per-record -O npy -o x.npy "$EVO2/input.fa"
		python3 "$ROOT/tests/cli/head.py" answer h x.npy x.tsv
	done
}

@test "a plan reads no weights, and says what a rank takes" {
	mkdir damaged
	cp "$EVO2/config.json" damaged/
	python3 - "$EVO2/model.safetensors" damaged/model.safetensors <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
open(sys.argv[2], "wb").write(data[:8 + n] + b"\xff" * (len(data) - 8 - n))  # not a number, all of them
PY
	fails 4 NaN "$CROCUTA" embed -q -m damaged --device cpu -O npy -o out/x.npy "$EVO2/input.fa"
	"$CROCUTA" embed -q -m damaged --device cpu:4 --parallel sequence --window 2000 --dry-run "$EVO2/input.fa" > plan
	grep -qx 'ranks	4' plan
	four=$(awk '$1 == "rank_bytes" { print $2 }' plan)
	"$CROCUTA" embed -q -m damaged --device cpu --window 2000 --dry-run "$EVO2/input.fa" > plan
	one=$(awk '$1 == "rank_bytes" { print $2 }' plan)
	[ "$four" -gt 0 ] && [ "$one" -gt "$four" ]
}

@test "what these models cannot do is said in one line" {
	fails 2 stream "$CROCUTA" embed -q -m "$EVO2" --device cpu --stream -o out/x.npy "$EVO2/input.fa"
	fails 2 "--parallel sequence" "$CROCUTA" embed -q -m "$EVO2" --device cpu:3 -o out/x.npy "$EVO2/input.fa"
	fails 2 "number behind the colon" "$CROCUTA" embed -q -m "$EVO2" --device cpu:x --parallel sequence \
		-o out/x.npy "$EVO2/input.fa"
	fails 2 published "$CROCUTA" model convert -m "$EVO2" -o out/m
	fails 2 bf16 "$CROCUTA" embed -q -m "$EVO2" --device cpu --dtype bf16 -o out/x.npy "$EVO2/input.fa"
	fails 2 "filter-shift" "$CROCUTA" embed -q -m "$EVO2" --filter-shift 0 --device cpu -o out/x.npy "$EVO2/input.fa"
}

@test "processes of a launcher: an environment that contradicts itself, and the CPU" {
	fails 2 CROCUTA_SIZE env CROCUTA_RANK=1 "$CROCUTA" embed -q -m "$EVO2" --parallel sequence --device cpu \
		-o out/x.npy "$EVO2/input.fa"
	fails 2 "processes were launched" env CROCUTA_RANK=0 CROCUTA_SIZE=2 CROCUTA_MASTER=127.0.0.1:29999 \
		"$CROCUTA" embed -q -m "$EVO2" --parallel sequence --device cpu -o out/x.npy "$EVO2/input.fa"
	# without --parallel sequence nobody looks, and that is said
	CROCUTA_RANK=1 "$CROCUTA" embed -q -m "$EVO2" --device cpu --window 2000 -O npy -o x.npy "$EVO2/input.fa"
	CROCUTA_RANK=1 CROCUTA_SIZE=2 "$CROCUTA" embed -m "$EVO2" --device cpu --window 2000 -O npy -o y.npy \
		"$EVO2/input.fa" 2> messages
	grep -q 'works alone' messages
}

@test "a made-up bfloat16 model of other sizes, in three ways" {
	"$TOOLS/random_stack" m --width 96 --heads 3 --inner 80 --groups 6 --layers 'L*SM*' --max-length 6000
	"$TOOLS/random_model" d --width 64 --layers 2 --max-length 2050 # another family beside it
	awk 'BEGIN { srand(3); print ">c"; for (i = 0; i < 90; i++) { s = ""
		for (j = 0; j < 60; j++) s = s substr("ACGT", int(rand() * 4) + 1, 1); print s } }' > c.fa
	"$CROCUTA" embed -q --no-version -m m --device cpu --track entropy -O bedgraph -o a.bedgraph c.fa
	"$CROCUTA" embed -q --no-version -m m --device cpu -@ 1 --track entropy -O bedgraph -o b.bedgraph c.fa
	cmp a.bedgraph b.bedgraph
	"$CROCUTA" bench -q -m m --device cpu --length 3000 --repeat 1 | grep -q '^share_of_peak'
	"$CROCUTA" model show m | grep -q 'stripedhyena2'
}
