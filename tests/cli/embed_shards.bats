#!/usr/bin/env bats
# crocuta embed --shard: parts put together are the bytes of the whole, however many there are; parts that do not
# belong together are refused; the work is shared evenly.

load common
load score_common

EVO1=$ROOT/test-data/golden/evo1-d128-n6

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	make_fasta g.fa
	samtools fastq -n "$READS/unaligned.bam" > r.fq 2> /dev/null
	awk 'BEGIN { srand(5); for (i = 0; i < 20; i++) { s = ""
		for (j = 0; j < 1 + 37 * i % 400; j++) s = s substr("ACGTacgtN", int(rand() * 9) + 1, 1)
		print ">s" i "\n" s } }' > s.fa
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in g.fa r.fq s.fa; do cp "$BATS_FILE_TMPDIR/$file" .; done
	mkdir out
}

quick() { "$CROCUTA" embed -q --no-version -m "$QUICK" "$@"; }

# files SUFFIX: what an output of that kind consists of
files() {
	case $1 in
	npy) echo npy rows.bed.gz meta.json ;;
	*) echo "$1" ;;
	esac
}

# same SUFFIX: joined.SUFFIX and the files beside it are those of whole.SUFFIX
same() {
	local file
	for file in $(files "$1"); do cmp "whole.$file" "joined.$file" || return 1; done
}

# joins SUFFIX "N..." COMMAND...: shards of every count, put together, are the command's whole
joins() {
	local suffix=$1 counts=$2 n k
	shift 2
	echo "== $suffix, $counts shards: $*"
	"$@" -o "whole.$suffix"
	for n in $counts; do
		for k in $(seq "$n"); do "$@" --shard "$k/$n" -o "p$k.$suffix"; done
		# shellcheck disable=SC2046
		concat -o "joined.$suffix" $(seq -f "p%.0f.$suffix" "$n")
		same "$suffix" || { echo "of $n shards"; return 1; }
		rm joined.*
	done
}

# ---- the bytes of the whole

@test "contigs in 1 to 50 shards: npy and tables" {
	joins npy "1 2 3 7 50" quick --bin 128 g.fa # 47 rows
	joins tsv "1 2 3 7" quick --bin 100 g.fa
	[ "$(grep -c '^##crocutaShard' p1.tsv)" = 2 ]
	lacks crocutaShard whole.tsv
}

@test "bins, strands, windows: at a border both shards compute the window that they share" {
	joins npy "2 5" quick --bin 1 -r chrA:1-700,chrB g.fa
	joins npy "3" quick --bin 16 --strands both --half g.fa
	joins npy "2 3" quick --bin 37 --strands concat --pool max g.fa
	joins tsv "3" quick --bin 64 --strands reverse --pool last --layer 1 g.fa
	joins npy "3 4" quick --bin 50 --window 100 --overlap 99 --strands both -r chrA:200-900 g.fa
	joins npy "3" quick --bin 1000 --window 100 --overlap 0 g.fa
	joins tsv.gz "2 3" quick --bin 16 --skip-n 0.15 --softmask-n g.fa
	joins npy "3" quick --bin 16 --skip-n 0.15 g.fa
	joins npy "2" embed --no-version --bin 32 --strands both g.fa
}

@test "regions: many, in any order, of a file, overlapping, one row each" {
	printf 'chrB\t5\t600\tlate\t0\t-\nchrA\t100\t1200\tfirst\nchrA\t0\t3000\nchrC\t0\t1\nchrA\t2990\t3000\tx\t1\t+\n' > r.bed
	joins npy "1 2 3 9" quick --bin 64 -R r.bed g.fa
	joins tsv "2 3" quick --bin 0 -R r.bed g.fa
	joins npy "2 6" quick --bin 0 --strands both -R r.bed g.fa
	joins npy "2 5" quick --bin 32 -r chrB,chrA:4000-,chrC g.fa
	# regions are cut where the contig ends
	printf 'chrA\t4000\t9000\nchrB\t600\t900\nchrB\t900\t950\n' > far.bed
	joins tsv "3" quick --bin 16 --clip -R far.bed g.fa
}

@test "tracks: bedGraph lines are joined across borders, first bases stay without a value" {
	for n in 1 2 3 7; do
		joins bedgraph $n quick --track logprob -r chrA:1-900,chrB:600-,chrC g.fa
	done
	joins bedgraph "3" quick --track entropy --strands both --bin 20 g.fa
	joins tsv "3" quick --track logprob --strands reverse --bin 1 -r chrB g.fa
	joins bedgraph.gz "2" quick --track entropy --classes acgt --bin 8 g.fa
	# one value over all borders is one interval: of a model that gives the same everywhere
	cp -r "$QUICK" flat
	python3 - <<-'PY'
	data = bytearray(open("flat/model.safetensors", "rb").read())
	start = 8 + int.from_bytes(data[:8], "little")
	data[start:] = bytes(len(data) - start)
	open("flat/model.safetensors", "wb").write(data)
	PY
	joins bedgraph "2 5 9" "$CROCUTA" embed -q --no-version -m flat --track entropy --bin 10 g.fa
	[ "$(body whole.bedgraph | wc -l)" = 2 ] # nothing is before the only base of chrC
	joins bedgraph "5" "$CROCUTA" embed -q --no-version -m flat --track logprob --strands both -r chrA:2-900,chrA:950-1400,chrB g.fa
}

@test "--stream: whole contigs" {
	joins npy "1 2 3 5" quick --stream --bin 64 g.fa
	joins tsv "2" quick --stream --strands both --bin 100 -r chrB,chrC,chrA:100-900 g.fa
}

@test "records: FASTQ, BAM, CRAM, FASTA; special tokens; a hybrid" {
	joins npy "1 2 3 7 50" quick --per-record s.fa
	joins tsv "3" quick r.fq
	joins npy "4" quick "$READS/unaligned.bam"
	joins tsv "2" quick --reference "$READS/ref17.fa" "$READS/aligned.cram"
	joins npy "3" quick --per-record --special-tokens cls-sep --strands concat --half s.fa
	gzip -k s.fa
	joins tsv "3" quick --per-record --track logprob s.fa.gz
	joins npy "2" "$CROCUTA" embed -q --no-version -m "$EVO1" --device cpu --bin 16 -r chrA:1-300,chrB:1-200 g.fa
}

@test "threads, batch and the index do not matter" {
	samtools faidx g.fa
	quick --bin 64 --shard 2/3 -@ 1 -o a.npy g.fa
	quick --bin 64 --shard 2/3 -@ 7 --batch-size 1 -o b.npy g.fa
	bgzip -k g.fa
	rm g.fa.fai
	cmp a.npy b.npy
	quick --bin 64 --shard 2/3 --batch-size 3 -o b.npy g.fa
	cmp a.npy b.npy
	cmp a.meta.json b.meta.json
	quick --bin 64 --shard 2/3 -o b.npy g.fa.gz
	cmp a.npy b.npy
	cmp a.rows.bed.gz b.rows.bed.gz
}

@test "with version and command: one line says that they were put together" {
	for k in 1 2; do "$CROCUTA" embed -q -m "$QUICK" --bin 64 --shard $k/2 -o p$k.tsv g.fa; done
	"$CROCUTA" concat -q -o joined.tsv p1.tsv p2.tsv
	[ "$(grep -c '^##crocuta.concat.command=' joined.tsv)" = 1 ]
	grep -q '^##crocuta.command=.*--shard 1/2' joined.tsv
	lacks '^##crocutaShard' joined.tsv
	quick --bin 64 g.fa | grep -v '^##' | cmp - <(grep -v '^##' joined.tsv)
	for k in 1 2; do "$CROCUTA" embed -q -m "$QUICK" --bin 64 --shard $k/2 -o p$k.npy g.fa; done
	python3 -c 'import json
m = json.load(open("p2.meta.json"))
assert m["shard"] == "2/2" and "First=" in m["shard_input"], m'
	"$CROCUTA" concat -q -o joined.npy p1.npy p2.npy
	python3 -c 'import json
m = json.load(open("joined.meta.json"))
assert "shard" not in m and "shard_input" not in m and "concat" in m, m'
}

# ---- the shares

# numbers KEY...: of --stats of all shards, a line each
numbers() {
	python3 -c 'import json, sys
for k in range(1, int(sys.argv[1]) + 1):
    print(*(json.load(open(f"{k}.json"))[key] for key in sys.argv[2:]))' "$@"
}

@test "bases and rows of all shards are the whole's, and none has more than a row off its share" {
	local longest
	longest=$(awk 'NR % 4 == 2 && length() > n { n = length() } END { print n }' r.fq)
	# bases of the longest row
	for how in '--bin 16 g.fa|16' '--bin 128 --strands both g.fa|128' '--bin 1 -r chrA:1-1000,chrB g.fa|1' \
		'--per-record s.fa|400' "r.fq|$longest"; do
		for n in 3 11; do
			for k in $(seq $n); do
				# shellcheck disable=SC2086
				quick ${how%|*} --shard $k/$n --stats $k.json -O npy -o x.npy
			done
			# shellcheck disable=SC2086
			quick ${how%|*} --stats whole.json -O npy -o x.npy
			numbers $n bases rows > shares
			echo "$how in $n: $(tr '\n' ';' < shares)"
			python3 - "${how#*|}" <<-'PY'
			import json, sys
			whole, most = json.load(open("whole.json")), int(sys.argv[1])
			shares = [[int(x) for x in line.split()] for line in open("shares")]
			assert sum(s[0] for s in shares) == whole["bases"], (shares, whole["bases"])
			assert sum(s[1] for s in shares) == whole["rows"], (shares, whole["rows"])
			for bases, rows in shares:
			    assert abs(bases - whole["bases"] / len(shares)) <= most, (bases, most)
			PY
		done
	done
}

@test "--dry-run and --stats are of the shard" {
	quick --bin 64 --shard 2/3 --stats s.json -o x.npy g.fa
	quick --bin 64 --shard 2/3 --dry-run --json -o x.npy g.fa > plan.json
	python3 - <<-'PY'
	import json
	stats, plan = json.load(open("s.json")), json.load(open("plan.json"))
	assert stats["shard"] == "2/3"
	assert stats["rows"] == plan["rows"] > 20, (stats["rows"], plan["rows"])
	assert stats["bases"] == plan["bases"] and stats["windows"] == plan["windows"], (stats, plan)
	PY
	python3 "$ROOT/tests/cli/npy.py" shape x.npy 2> /dev/null || true
	[ "$(bgzip -dc x.rows.bed.gz | grep -vc '^#')" = "$(sed -n 's/^  "rows": \([0-9]*\),*$/\1/p' s.json)" ]
}

# ---- what is refused

@test "concat: all shards, once, in order, of one run; npy, tables, bedGraph" {
	local k
	for kind in npy tsv bedgraph; do
		case $kind in bedgraph) how='--track logprob --bin 10' ;; *) how='--bin 64' ;; esac
		# shellcheck disable=SC2086
		for k in 1 2 3; do quick $how --shard $k/3 -o s$k.$kind g.fa; done
		# shellcheck disable=SC2086
		for k in 1 2; do quick $how --shard $k/2 -o h$k.$kind g.fa; done
		# shellcheck disable=SC2086
		quick $how -o whole.$kind g.fa
		x() { fails 10 "$1" concat -o out/x.$kind "${@:2}"; }
		x "2/3 is missing" s1.$kind s3.$kind
		x "3/3 is missing" s1.$kind s2.$kind
		x "1/3 is missing" s2.$kind s3.$kind
		x "twice" s1.$kind s2.$kind s2.$kind s3.$kind
		x "in order" s1.$kind s3.$kind s2.$kind
		x "is shard 1/2" h1.$kind s2.$kind s3.$kind
		x "is no shard" whole.$kind s2.$kind s3.$kind
		x "" s1.$kind s2.$kind s3.$kind whole.$kind
		# of other regions, another input or other options
		# shellcheck disable=SC2086
		quick $how -r chrA,chrB:2-,chrC --shard 2/3 -o o.$kind g.fa
		x "different inputs" s1.$kind o.$kind s3.$kind
		# shellcheck disable=SC2086
		quick $how --strands both --shard 2/3 -o o.$kind g.fa
		x "strands" s1.$kind o.$kind s3.$kind
		sed 's/^>chrB/>chrX/' g.fa > other.fa
		cp other.fa g.fa.saved && mkdir -p other && mv g.fa.saved other/g.fa
		# shellcheck disable=SC2086
		quick $how --shard 2/3 -o o.$kind other/g.fa
		x "contigs" s1.$kind o.$kind s3.$kind
		# and the right ones
		concat -o joined.$kind s1.$kind s2.$kind s3.$kind
		same $kind
		rm joined.*
	done
}

@test "concat: records; a table that lost lines, an array that lost rows or its sidecar" {
	for k in 1 2 3; do
		quick --per-record --shard $k/3 -o s$k.tsv s.fa
		quick --per-record --shard $k/3 -o s$k.npy s.fa
	done
	sed 's/^>s3$/>other/' s.fa > o.fa
	mkdir other
	mv o.fa other/s.fa
	quick --per-record --shard 2/3 -o o.tsv other/s.fa
	quick --per-record --shard 2/3 -o o.npy other/s.fa
	fails 10 "different inputs" concat -o out/x.tsv s1.tsv o.tsv s3.tsv
	fails 10 "different inputs" concat -o out/x.npy s1.npy o.npy s3.npy
	head -n -1 s2.tsv > cut.tsv
	fails 3 "its header promises" concat -o out/x.tsv s1.tsv cut.tsv s3.tsv
	for file in npy rows.bed.gz meta.json; do cp s2.$file cut.$file; done
	head -c -64 s2.npy > cut.npy
	fails 3 "its size" concat -o out/x.npy s1.npy cut.npy s3.npy
	cp s2.npy cut.npy
	bgzip -dc s2.rows.bed.gz | head -n -1 | bgzip -c > cut.rows.bed.gz
	fails 3 "rows" concat -o out/x.npy s1.npy cut.npy s3.npy
	cp s2.rows.bed.gz cut.rows.bed.gz
	sed -i 's/"shard": "2\/3"/"shard": "two of three"/' cut.meta.json
	fails 3 "cut.meta.json" concat -o out/x.npy s1.npy cut.npy s3.npy
	cp s2.meta.json cut.meta.json
	sed -i 's/First=/Frist=/' cut.meta.json
	fails 3 "cut.meta.json" concat -o out/x.npy s1.npy cut.npy s3.npy
	rm cut.meta.json
	fails 5 "cut.meta.json" concat -o out/x.npy s1.npy cut.npy s3.npy
}

@test "what has no shards: bigWig, pipes, numbers that are no part" {
	fails 2 "not in shards" quick --track logprob --shard 1/2 -o out/x.bw g.fa
	fails 2 "not a stream" quick --shard 1/2 -o out/x.tsv -
	mkfifo pipe
	cat s.fa > pipe 2> /dev/null &
	fails 2 "not a stream" quick --per-record --shard 1/2 -o out/x.tsv pipe
	kill $! 2> /dev/null || true
	for wrong in 0/2 3/2 1/0 1 1/ /2 -1/2 1/2/3 a/b 1.5/2 1/99999999999 ''; do
		fails 2 "shard" quick --shard "$wrong" -o out/x.tsv g.fa
	done
	# a shard of which there is nothing
	quick --shard 999999/1000000 -o x.tsv g.fa
	every '/^#/' x.tsv
	quick --shard 1000000/1000000 -o x.tsv g.fa
	[ "$(body x.tsv | tail -n +2 | cut -f1-3)" = 'chrC	0	1' ]
}
