#!/usr/bin/env bats
# Journals: what is taken from one and what is not, that the bytes are those of an undisturbed run, and who
# may use it. tests/cli/kill.bats kills at random; here runs end at chosen places.

bats_require_minimum_version 1.5.0
load common
load score_common

EVO1=$ROOT/test-data/golden/evo1-d128-n6
HEADS=${BATS_FILE_TMPDIR:-}

head_py() { python3 "$ROOT/tests/cli/head.py" "$@"; }
classify() { "$CROCUTA" classify -q --no-version -m "$TINY" "$@"; }
# small windows: every save waits for the disk, so that a test has few rows
vectors() { embed --no-version "$@"; }
narrow() { vectors --window 128 --overlap 32 "$@"; }
evo() { "$CROCUTA" embed -q -m "$EVO1" --device cpu --no-version "$@"; }

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	make_fasta whole.fa
	samtools faidx whole.fa chrA:1-1500 chrB:1-200 chrC | sed 's/^\(>[^:]*\):.*/\1/' > g.fa
	printf 'chrA\t0\t1500\tall\nchrB\t0\t200\nchrC\t0\t1\n' > g.bed
	printf 'chrA\t100\t300\tpart\nchrB\t0\t30\nchrC\t0\t1\n' > part.bed
	bgzip -dc "$PIECES" > p.fa
	bcftools view --no-version -G "$KINDS" > kinds.vcf
	thin 40 "$PANEL" real.vcf
	head_py make h "$TINY" 128 background=other
	head_py make w "$TINY" 128 classes=other,a,b background=other window=16 step=1 scan_strands=both scale=20
	# records enough for three batches, so that the first is computed when the last one is read
	awk 'BEGIN { srand(7); for (i = 0; i < 2600; i++) { s = ""
		for (j = 0; j < 5 + i % 12; j++) s = s substr("ACGTacgtN", int(rand() * 9) + 1, 1)
		print ">s" i "\n" s } print ">last\nACGTACGTA" }' > s.fa
	awk '/^>/ { print "@" substr($0, 2); next } { print; print "+"; gsub(/./, "I"); print }' s.fa > s.fq
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in g.fa g.bed part.bed p.fa kinds.vcf real.vcf s.fa s.fq; do cp "$BATS_FILE_TMPDIR/$file" .; done
	mkdir whole out
}

# ---- runs that fail when all is computed and saved

# ends_late COMMAND...: another date for the FASTA while regions or variants are read from the FIFO `late`; when
# all is done the run finds its input changed, and ends with 3
ends_late() { # FASTA FILE COMMAND...; FILE goes through the FIFO
	local fasta=$1 file=$2 status=0 writer
	shift 2
	touch -d 2001-01-01 "$fasta"
	rm -rf late
	mkdir late
	mkfifo "late/$file"
	{ exec 4> "late/$file"; touch "$fasta"; cat "$file" >&4; } &
	writer=$!
	"$@" > stdout.txt 2> err < /dev/null || status=$?
	kill $writer 2> /dev/null || true
	wait $writer || true
	if [ $status != 3 ] || ! grep -q 'was changed during the run' err; then
		echo "status $status of: $*"
		cat err
		return 1
	fi
}

# late_embed NAME COMMAND...: a whole journal in `full`
late_embed() {
	local name=$1 bed=${BED:-g.bed}
	shift
	rm -rf full out
	mkdir out
	ends_late g.fa "$bed" "$@" --journal-interval 0 --resume -R "late/$bed" -o "out/$name" g.fa
	mv "out/$name.crocuta-run" full
	[ -z "$(find out -mindepth 1)" ]
}

lines() { wc -l < "$1/journal"; }
units() { awk '/^U / { n = $2 } END { print n + 0 }' "$1/journal"; } # that its lines speak of

# cut_journal LINES NAME: out/NAME.crocuta-run as a kill behind so many lines would have left it
cut_journal() {
	rm -rf out
	mkdir -p out/"$2".crocuta-run
	cp full/data out/"$2".crocuta-run
	head -n "$1" full/journal > out/"$2".crocuta-run/journal
}

# same_bytes: all files of `out` are those of `whole`, names too
same_bytes() {
	local file
	diff <(cd whole && ls -A) <(cd out && ls -A) && for file in whole/*; do
		cmp "$file" "out/${file#whole/}" || return 1
	done
}

stat_of() { sed -n 's/^  "'"$2"'": \(.*[^,]\),*$/\1/p' "$1"; } # of --stats, a line a key

# goes_on NAME COMMAND...: the journal in `full`, cut at some places (CUTS: lines), gives the bytes of `whole`
goes_on() {
	local name=$1 count all want
	shift
	all=$(lines full)
	[ "$all" -gt 3 ]
	for count in ${CUTS:-3 $((all / 2))}; do
		[ "$count" -le "$all" ]
		cut_journal "$count" "$name"
		want=$(units out/"$name".crocuta-run)
		"$@" --resume --stats stats.json -o "out/$name" || { echo "$count of $all lines"; return 1; }
		same_bytes || { echo "$count of $all lines"; return 1; }
		[ "$(stat_of stats.json resumed_units)" = "$want" ]
	done
	[ "$want" -gt 0 ]
}

undisturbed() { # NAME COMMAND...
	local name=$1
	shift
	rm -rf whole
	mkdir whole
	"$@" -o "whole/$name"
}

# embed_goes_on NAME OPTIONS...: by EMBED (narrow) over BED (g.bed)
embed_goes_on() {
	local name=$1
	shift
	echo "== $name $*"
	undisturbed "$name" "${EMBED:-narrow}" "$@" -R "${BED:-g.bed}" g.fa
	late_embed "$name" "${EMBED:-narrow}" "$@"
	goes_on "$name" "${EMBED:-narrow}" "$@" -R "${BED:-g.bed}" g.fa
}

# ---- what goes on

@test "embed: vectors of any bin, strand, pool and layer, as npy and table" {
	CUTS="1 2 3 29" embed_goes_on x.npy --bin 64
	embed_goes_on x.npy --half --bin 16 --strands both
	BED=part.bed embed_goes_on x.tsv.gz --bin 1
	EMBED=vectors embed_goes_on x.tsv --strands concat --bin 37 --pool max --layer 1
	EMBED=vectors embed_goes_on x.npy --strands reverse --bin 20 --window 200 --overlap 100
	EMBED=vectors embed_goes_on x.npy --bin 30 --strands both --pool last --window 64 --overlap 60
	embed_goes_on x.npy --bin 16 --skip-n 0.2 --softmask-n
	embed_goes_on x.npy --bin 16 --strands both --shard 2/3
	CUTS="3 4 5" embed_goes_on x.tsv --bin 0 --strands both
}

@test "embed: tracks, bedGraph and bigWig byte by byte" {
	BED=part.bed embed_goes_on x.bedgraph --track logprob
	embed_goes_on x.bedgraph --track entropy --strands both --bin 16
	embed_goes_on x.tsv --track logprob --strands reverse --bin 20
	embed_goes_on x.bedgraph --track logprob --bin 10 --shard 1/2
	BED=part.bed embed_goes_on x.bw --track logprob
	EMBED=vectors embed_goes_on x.bw --track entropy --strands both --bin 8
}

@test "embed --stream: saved contig by contig" {
	printf 'chrA\t100\t500\tone\nchrA\t450\t600\nchrB\t0\t200\nchrC\t0\t1\nchrA\t10\t300\n' > g.bed
	EMBED=vectors embed_goes_on x.tsv --stream --bin 16
	EMBED=vectors CUTS="4 7" embed_goes_on x.npy --stream --strands both --bin 4
}

@test "embed: a hybrid" {
	EMBED=evo
	printf 'chrA\t0\t600\nchrB\t0\t200\nchrA\t900\t1100\n' > g.bed
	CUTS="3 20" embed_goes_on x.npy --bin 16
	CUTS="30" embed_goes_on x.bedgraph --track logprob --strands both --bin 8
}

@test "embed: -r, -R and whole contigs are the same work; threads, batch, type and path may change" {
	late_embed x narrow -O npy --bin 16
	undisturbed x.npy narrow --bin 16 g.fa
	again() { # OPTIONS: on a journal of 50 lines
		cut_journal 50 x.npy
		narrow --bin 16 --resume --stats stats.json -o out/x.npy "$@"
		same_bytes
		[ "$(stat_of stats.json resumed_units)" = 48 ]
	}
	again g.fa
	again -r chrA,chrB,chrC g.fa
	again -@ 1 g.fa
	again -@ 7 --batch-size 1 g.fa
	again --journal-interval 100 --max-mem 2G --progress 1 g.fa
	again --shard 1/1 g.fa
	mkdir elsewhere
	cp g.fa elsewhere
	again elsewhere/g.fa
	samtools faidx g.fa
	again g.fa
	undisturbed x narrow --bin 16 -O tsv g.fa
	cut_journal 50 x
	narrow --bin 16 -O tsv --resume -o out/x g.fa
	same_bytes
	undisturbed x narrow --bin 16 -O npy --half g.fa
	cut_journal 50 x
	narrow --bin 16 -O npy --half --resume -o out/x g.fa
	same_bytes
}

# fails_at_the_last NAME FILE COMMAND...: it reads FILE on standard input or under its name, which is an argument;
# the last record is damaged, and mended for the second run
fails_at_the_last() {
	local name=$1 file=$2 status=0
	shift 2
	echo "== $name $*"
	undisturbed "$name" "$@" < "$file"
	rm -rf full out
	mkdir out
	cp "$file" good
	sed '$s/.$/*/' good > "$file"
	"$@" --journal-interval 0.01 --resume -o "out/$name" < "$file" 2> err || status=$?
	cat err
	cp good "$file"
	[ $status = 3 ]
	mv "out/$name.crocuta-run" full
	CUTS="3 $(lines full)" goes_on_stdin "$name" "$file" "$@"
	[ "$(stat_of stats.json resumed_units)" -ge 1000 ]
}

goes_on_stdin() { # NAME FILE COMMAND...
	local name=$1 file=$2 count
	shift 2
	for count in $CUTS; do
		cut_journal "$count" "$name"
		"$@" --resume --stats stats.json -o "out/$name" < "$file"
		same_bytes
	done
}

@test "embed: records of files and of standard input" {
	fails_at_the_last x.npy s.fa vectors --per-record -
	fails_at_the_last x.tsv s.fa vectors --per-record --strands concat --special-tokens cls-sep s.fa
	fails_at_the_last x.npy s.fa vectors --bin 4 -
	fails_at_the_last x.bedgraph s.fa vectors --track logprob --bin 8 -
	# the last quality is no longer as long as its read
	rm out/*
	sed -i '$s/.$//' s.fq
	fails 3 "" vectors --journal-interval 0.01 --resume -o r.npy s.fq
	cp "$BATS_FILE_TMPDIR/s.fq" .
	undisturbed r.npy vectors s.fq
	mv r.npy.crocuta-run out
	vectors --resume --stats stats.json -o out/r.npy s.fq
	same_bytes
	[ "$(stat_of stats.json resumed_units)" -ge 1000 ]
}

@test "embed and classify: reads of a BAM, stopped and gone on with until they are done" {
	slow
	head_py make h "$TINY" 128
	for how in 'vectors --strands both' 'vectors --shard 2/3' 'classify --head h' 'classify --head h --shard 3/3'; do
		# shellcheck disable=SC2086
		undisturbed x.tsv $how "$READS/unaligned.bam"
		rm -rf out
		mkdir out
		for i in $(seq 60); do
			status=0
			# shellcheck disable=SC2086
			$how --resume --journal-interval 0.01 --max-time 0.$((i + 2)) -o out/x.tsv "$READS/unaligned.bam" \
				2> err || status=$?
			[ $status = 0 ] || [ $status = 75 ]
			[ $status != 0 ] || break
		done
		same_bytes
	done
}

# score_goes_on NAME VCF OPTIONS...
score_goes_on() {
	local name=$1 vcf=$2
	shift 2
	echo "== $name $vcf $*"
	late() { "$CROCUTA" score -q --no-version -m "$QUICK" -f p.fa "$@"; }
	undisturbed "$name" late "$@" "$vcf"
	rm -rf full out
	mkdir out
	ends_late p.fa "$vcf" late "$@" --journal-interval "${INTERVAL:-0}" --resume -o "out/$name" "late/$vcf"
	mv "out/$name.crocuta-run" full
	goes_on "$name" late "$@" "$vcf"
}

@test "score: any output, strands, shortcuts or not, records of every kind" {
	CUTS="1 3 86" score_goes_on x.vcf.gz kinds.vcf -W
	score_goes_on x.bcf kinds.vcf --no-reuse
	score_goes_on x.bcf real.vcf -W --reduce mean
	score_goes_on x.tsv real.vcf --strands forward
	score_goes_on x.vcf kinds.vcf --check-ref x --reduce window-mean
	score_goes_on x.tsv.gz real.vcf --placement fixed --readout 100
	score_goes_on x.vcf real.vcf -t chr20_piece:1-50000 --step 100
}

@test "score: more records than a batch holds" {
	slow
	python3 - <<-'PY'
	import random
	random.seed(3)
	bases = "".join(l.strip() for l in open("p.fa").read().split(">")[1].split("\n")[1:]).upper()
	with open("many.vcf", "w") as out:
	    out.write("##fileformat=VCFv4.2\n##contig=<ID=chr20_piece>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
	    for i in range(4500):
	        at = 1000 + 5 * i
	        alts = random.sample([b for b in "ACGT" if b != bases[at - 1]], random.choice([1, 1, 2]))
	        out.write(f"chr20_piece\t{at}\t.\t{bases[at - 1]}\t{','.join(alts)}\t.\t.\t.\n")
	PY
	INTERVAL=0.002 score_goes_on x.tsv many.vcf --window 64 --readout 4 --strands forward
}

@test "score --shard and --ism: stopped and gone on with" {
	slow
	# REF that differ are too many at the very end, and then not
	awk -v OFS='\t' '/^#/ { print; next } { print } n++ % 2 == 0 && n < 80 {
		$4 = substr("CA", 1 + ($4 ~ /^C/), 1); $5 = "G"; print }' real.vcf > wrong.vcf
	for k in 1 2; do
		undisturbed x.vcf score --max-ref-mismatch 1 --shard $k/2 wrong.vcf
		rm -rf full out
		mkdir out
		status=0
		score --max-ref-mismatch 0 --shard $k/2 --journal-interval 0 --resume -o out/x.vcf wrong.vcf 2> err ||
			status=$?
		cat err
		[ $status = 3 ]
		mv out/x.vcf.crocuta-run full
		goes_on x.vcf score --max-ref-mismatch 1 --shard $k/2 wrong.vcf
	done
	for kind in npy tsv; do
		undisturbed x.$kind score --ism chr20_piece:2001-2150
		rm -rf out
		mkdir out
		stops=0
		for i in $(seq 60); do
			status=0
			score --ism chr20_piece:2001-2150 --resume --journal-interval 0.01 --max-time 0.$((i + 1)) \
				-o out/x.$kind 2> err || status=$?
			[ $status = 0 ] && break
			[ $status = 75 ]
			stops=$((stops + 1))
		done
		echo "$stops stops"
		same_bytes
	done
}

# classify_goes_on NAME OPTIONS...: the last base of g.fa is damaged, and mended
classify_goes_on() {
	local name=$1 status=0
	shift
	echo "== $name $*"
	undisturbed "$name" classify "$@" g.fa
	rm -rf full out
	mkdir out
	cp g.fa good
	sed '$s/.$/*/' good > g.fa
	classify "$@" --journal-interval 0.005 --resume -o "out/$name" g.fa 2> err || status=$?
	cp good g.fa
	cat err
	[ $status = 3 ]
	mv "out/$name.crocuta-run" full
	[ "$(units full)" -ge 1000 ]
	CUTS=${CUTS:-$(($(lines full) / 2 + 2))} goes_on "$name" classify "$@" g.fa
}

@test "classify: windows, calls, regions, an index, rows left out" {
	classify_goes_on x.bed.gz --head "$HEADS/w" --scan -W
	classify_goes_on x.bed --head "$HEADS/w" --scan --merge
	classify_goes_on x.tsv --head "$HEADS/w" --scan --only a,b --min-prob 0.5 --max-n 0.2 --top 2
	awk 'BEGIN { for (i = 0; i < 2800; i++) printf "chrA\t%d\t%d\tn%d\t0\t%s\n", i / 2, i / 2 + 12 + i % 9, i,
		i % 2 ? "-" : "+"; print "chrC\t0\t1" }' > r.bed
	classify_goes_on x.bed.gz --head "$HEADS/h" -R r.bed -W
	fails_at_the_last x.tsv s.fa classify --head "$HEADS/h" -
}

@test "nothing to do: no regions, no records, no rows" {
	sed '/^[^#]/d' real.vcf > none.vcf
	samtools view -b -H "$READS/unaligned.bam" > none.bam
	for run in 'vectors -o out/x.npy none.bam' 'score -o out/x.vcf none.vcf' \
		"classify --head $HEADS/h -o out/x.tsv none.bam" 'vectors --shard 3/3 --bin 0 -o out/x.npy -r chrC g.fa'; do
		rm -rf whole
		for how in '--no-journal' '--resume --journal-interval 0' '--state-dir state'; do
			rm -rf out
			mkdir out
			# shellcheck disable=SC2086
			$run $how
			[ -d whole ] || cp -r out whole
			same_bytes
		done
	done
	[ -z "$(ls -A state)" ]
}

@test "gone on with again and again, each time a little" {
	undisturbed x.npy narrow --bin 16 -R g.bed g.fa
	late_embed x.npy narrow --bin 16
	cut_journal 3 x.npy
	for at in 2 10 11 40 90; do
		ends_late g.fa g.bed narrow --bin 16 --journal-interval 0 --resume -R late/g.bed -o out/x.npy g.fa
		# lines of processes are in between
		awk -v most=$at '/^U / && ++n > most { exit } { print }' out/x.npy.crocuta-run/journal > j
		cp j out/x.npy.crocuta-run/journal
	done
	[ "$(grep -c '^P ' j)" = 6 ]
	narrow --bin 16 --resume --stats stats.json -R g.bed -o out/x.npy g.fa
	[ "$(stat_of stats.json resumed_units)" = 90 ]
	same_bytes
}

@test "with version, command and date: those of the run that began" {
	late_embed x.tsv "$CROCUTA" embed -q -m "$MODEL"
	export SOURCE_DATE_EPOCH=1000000000
	cut_journal 20 x.tsv
	"$CROCUTA" embed -q -m "$MODEL" --resume -R g.bed -o out/x.tsv g.fa
	grep -qx '##crocuta.date=2026-01-01T00:00:00Z' out/x.tsv
	grep '^##crocuta.command=' out/x.tsv | grep -q -- '-R late/g.bed'
	cut_journal 20 x.tsv
	# a journal that is not gone on with does not count
	"$CROCUTA" embed -q -m "$MODEL" -R g.bed -o out/x.tsv g.fa
	grep -qx '##crocuta.date=2001-09-09T01:46:40Z' out/x.tsv
	grep '^##crocuta.command=' out/x.tsv | grep -q -- '-R g.bed'
}

# ---- runs that are stopped

# A run of some seconds. Not a function: what is in the background has to be the program itself.
SLOWLY=("$CROCUTA" embed -m "$MODEL" --no-version -@ 1 --isa portable --overlap 900 --bin 16)

# saving: wait until out/x.npy's journal holds some work
saving() {
	for _ in $(seq 400); do
		[ -e out/x.npy.crocuta-run/journal ] && [ "$(units out/x.npy.crocuta-run)" -ge 3 ] && return
		sleep 0.05
	done
	cat err
	false
}

@test "signals: the journal is saved, and said; the output is as it was" {
	for signal in TERM:143 USR1:138 HUP:129; do
		rm -rf out
		mkdir out
		echo old > out/x.npy
		"${SLOWLY[@]}" --journal-interval 0.01 --max-time 1000 -o out/x.npy "$PIECE" 2> err &
		child=$!
		saving
		kill -s ${signal%:*} $child
		status=0
		wait $child || status=$?
		cat err
		[ $status = ${signal#*:} ]
		[ "$(cat out/x.npy)" = old ]
		diff <(ls -A out) <(printf 'x.npy\nx.npy.crocuta-run\n')
		grep -q '^\[M::embed\] [0-9]* finished rows are kept in out/x.npy.crocuta-run; --resume goes on' err
		units=$(sed -n 's/^\[M::embed\] \([0-9]*\) finished rows.*/\1/p' err)
		[ "$units" = "$(units out/x.npy.crocuta-run)" ]
	done
	status=0
	"${SLOWLY[@]}" --max-time 0.5 --resume -o out/x.npy "$PIECE" 2> err || status=$?
	[ $status = 75 ]
	grep -q "^\[M::embed\] going on behind $units rows of an earlier run, in out/x.npy.crocuta-run" err
	grep -q '^\[E::embed\] stopped after --max-time' err
	[ "$(cat out/x.npy)" = old ]
}

@test "--max-time again and again, and the bytes are the same" {
	slow
	undisturbed x.npy "${SLOWLY[@]}" -r chr22_piece:1-15000 "$PIECE"
	rm -rf out
	mkdir out
	stops=0
	for _ in $(seq 200); do
		status=0
		"${SLOWLY[@]}" -r chr22_piece:1-15000 --resume --max-time 0.4 -o out/x.npy "$PIECE" 2> err || status=$?
		[ $status != 0 ] || break
		[ $status = 75 ]
		stops=$((stops + 1))
	done
	echo "$stops stops"
	[ $stops -ge 1 ]
	same_bytes
}

@test "a run at work has its journal for itself" {
	"${SLOWLY[@]}" --journal-interval 0.01 --max-time 1000 -o out/x.npy "$PIECE" 2> err &
	child=$!
	saving
	kill -STOP $child
	status=0
	"${SLOWLY[@]}" -q --resume -o out/x.npy "$PIECE" 2> other || status=$?
	[ $status = 10 ]
	grep -q '^\[E::embed\] out/x.npy.crocuta-run is in use by another run' other
	# another run of the same output does its work, and leaves the journal alone
	"${SLOWLY[@]}" -r chr22_piece:1-1000 --journal-interval 0 --max-time 1000 -o out/x.npy "$PIECE" 2> other
	grep -q '^\[W::embed\].*another run keeps its work there' other
	[ -e out/x.npy.crocuta-run/journal ]
	kill $child
	kill -CONT $child
	wait $child || true
	status=0
	"${SLOWLY[@]}" --resume --max-time 0.3 -o out/x.npy "$PIECE" 2> other || status=$?
	[ $status = 75 ]
	grep -q 'going on behind' other
}

@test "no save before the interval unless it was asked for" {
	for how in '' --resume '--state-dir state'; do
		rm -rf out
		mkdir out
		status=0
		# shellcheck disable=SC2086
		"${SLOWLY[@]}" $how -o out/x.npy "$PIECE" 2> err &
		child=$!
		has_begun 200
		sleep 1
		kill $child
		wait $child || status=$?
		[ $status = 143 ]
		if [ -z "$how" ]; then
			[ -z "$(find out -mindepth 1)" ]
			lacks 'are kept in' err
		elif grep -q 'finished rows are kept in' err; then # it had come so far
			[ "$(cat out/x.npy.crocuta-run/journal state/*/journal 2> /dev/null | grep -c '^U ')" = 1 ]
		fi
	done
	# rows that come faster than a disk takes them twice; and disks that are nearly full
	[ "$(df --output=avail -k . | tail -n 1)" -ge 1000000 ] || return 0
	late() { narrow --journal-interval 0 -R late/part.bed -o out/y.tsv "$@" g.fa; }
	ends_late g.fa part.bed late --bin 15
	[ ! -e out/y.tsv.crocuta-run ]
	for how in '--bin 16' '--bin 0' '--track logprob' '--bin 1 --max-time 100' '--bin 1 --resume'; do
		# shellcheck disable=SC2086
		ends_late g.fa part.bed late $how
		[ -s out/y.tsv.crocuta-run/journal ]
		rm -r out/y.tsv.crocuta-run
	done
}

# ---- what is refused

# unlike TEXT COMMAND...: status 10 with the text; journal and old output are as they were
unlike() {
	local text=$1 status=0
	shift
	rm -rf before
	cp -r out before
	"$@" --resume 2> err < /dev/null || status=$?
	if [ $status != 10 ] || ! grep '^\[E::' err | grep -qF -- "$text" || ! diff -r before out; then
		echo "status $status of: $*"
		cat err
		return 1
	fi
}

@test "embed: another model, option, region or shard is refused by name, and nothing is touched" {
	late_embed x.npy vectors --bin 16
	cut_journal 40 x.npy
	echo old > out/x.npy
	other() { unlike "$1" vectors -o out/x.npy -R g.bed "${@:2}" g.fa; }
	other "bin was 16 and is 32" --bin 32
	other "layer was 2 and is 1" --bin 16 --layer 1
	other 'pool was "mean" and is "max"' --bin 16 --pool max
	other 'strands was "forward" and is "both"' --bin 16 --strands both
	other "stream was false and is true" --bin 16 --stream
	other "window was 1024 and is 512" --bin 16 --window 512
	other "overlap was 256 and is 100" --bin 16 --overlap 100
	other "softmask_n was false and is true" --bin 16 --softmask-n
	other "n_as_pad was false and is true" --bin 16 --n-as-pad
	other "skip_n was 0.0 and is 0.1" --bin 16 --skip-n 0.1
	other 'isa was' --bin 16 --isa portable
	other "model.filter_shift was 0.05 and is 0.06" --bin 16 --filter-shift 0.06
	other 'shard was "none" and is "1/2"' --bin 16 --shard 1/2
	unlike "model." "$CROCUTA" embed -q --no-version -m "$TINY" -o out/x.npy --bin 16 -R g.bed g.fa
	head -n 2 g.bed > two.bed
	unlike "regions was" vectors -o out/x.npy --bin 16 -R two.bed g.fa
	unlike "regions was" vectors -o out/x.npy --bin 16 -r chrB,chrA,chrC g.fa
	cp g.fa h.fa
	unlike 'input.name was "g.fa" and is "h.fa"' vectors -o out/x.npy --bin 16 h.fa
	sed 's/^>chrB/>chrX/' g.fa > h.fa && mv h.fa g.fa
	unlike "input.contigs_md5 was" vectors -o out/x.npy --bin 16 g.fa
}

@test "score and classify: another model, head or option is refused by name" {
	CUTS=9 score_goes_on x.vcf real.vcf
	cut_journal 20 x.vcf
	echo old > out/x.vcf
	other() { unlike "$1" score -o out/x.vcf "${@:2}" -f p.fa real.vcf; }
	score() { "$CROCUTA" score -q --no-version -m "$QUICK" "$@"; }
	other 'model.reduce was "sum" and is "mean"' --reduce mean
	other "model.window was 1024 and is 512" --window 512
	other "model.readout was 256 and is 100" --readout 100
	other "model.placement was" --placement fixed
	other "model.step was" --step 100
	other "model.strands was" --strands forward
	other "model.classes was" --classes acgt
	other "model.reuse was" --no-reuse
	other "max_indel was 256 and is 10" --max-indel 10
	other "max_n was" --max-n 0.5
	other "model.softmask was" --softmask-n
	other "isa was" --isa portable
	other 'shard was "none" and is "1/2"' --shard 1/2
	other "targets was" -t chr20_piece:1-100000
	unlike "model." "$CROCUTA" score -q --no-version -m "$TINY" -o out/x.vcf -f p.fa real.vcf
	unlike "records was" score -o out/x.vcf -f p.fa --ism chr20_piece:1-10
	CUTS=3 classify_goes_on x.bed --head "$HEADS/w" --scan
	cut_journal 3 x.bed
	echo old > out/x.bed
	unlike "head." classify --head "$HEADS/h" --scan --window 16 --step 1 --scan-strands both -o out/x.bed g.fa
	unlike "step was 1 and is 16" classify --head "$HEADS/w" --scan --step 16 -o out/x.bed g.fa
	unlike "window was 16 and is 17" classify --head "$HEADS/w" --scan --window 17 -o out/x.bed g.fa
	unlike "scan_strands was" classify --head "$HEADS/w" --scan --scan-strands forward -o out/x.bed g.fa
	unlike "max_n was" classify --head "$HEADS/w" --scan --max-n 0 -o out/x.bed g.fa
	unlike "items was" classify --head "$HEADS/w" --scan -r chrA,chrB:2- -o out/x.bed g.fa
	unlike 'shard was' classify --head "$HEADS/w" --scan --shard 1/2 -o out/x.bed g.fa
}

@test "a base that is another one: refused where saved work has read it, else the new input's bytes" {
	slow
	cp g.fa first.fa
	for how in "--bin 16" "--track logprob --strands both --bin 20"; do
		cp first.fa g.fa
		# shellcheck disable=SC2086
		late_embed x.tsv narrow $how
		refused='' right=''
		for at in 1 500 620 760 900 1500; do
			python3 - $at <<-'PY'
			import sys
			at = int(sys.argv[1]) - 1
			text = bytearray(open("first.fa", "rb").read())
			place = text.index(b"\n") + 1 + at + at // 60
			text[place] = b"C"[0] if text[place] | 32 != b"c"[0] else b"G"[0]
			open("g.fa", "wb").write(text)
			PY
			# about 600 of 1,500 bases are done
			cut_journal $((2 + ($(lines full) - 2) * 600 / 1701)) x.tsv
			status=0
			# shellcheck disable=SC2086
			narrow $how --resume -R g.bed -o out/x.tsv g.fa 2> err || status=$?
			if [ $status = 0 ]; then
				# shellcheck disable=SC2086
				undisturbed x.tsv narrow $how -R g.bed g.fa
				same_bytes
				right="$right $at"
			else
				[ $status = 10 ]
				grep -q '^\[E::embed\] "chrA": these are not the bases that the earlier run has read' err
				[ ! -e out/x.tsv ]
				refused="$refused $at"
			fi
		done
		echo "$how: refused at$refused, right at$right"
		case $refused in " 1 500"*) ;; *) false ;; esac
		case $right in *" 900 1500") ;; *) false ;; esac
		# what was saved is still good for the right input
		cut_journal 20 x.tsv
		# shellcheck disable=SC2086
		! narrow $how --resume -R g.bed -o out/x.tsv <(cat g.fa) 2> /dev/null
		sed 's/^\(A*\)[ACGTacgt]/\1N/' first.fa > g.fa
		# shellcheck disable=SC2086
		! narrow $how --resume -R g.bed -o out/x.tsv g.fa 2> /dev/null
		cp first.fa g.fa
		# shellcheck disable=SC2086
		undisturbed x.tsv narrow $how -R g.bed g.fa
		# shellcheck disable=SC2086
		narrow $how --resume --stats stats.json -R g.bed -o out/x.tsv g.fa
		[ "$(stat_of stats.json resumed_units)" = 18 ]
		same_bytes
	done
}

@test "records taken out, put in, exchanged or changed: refused, or the new input's bytes" {
	slow
	cp real.vcf first.vcf
	CUTS=9 score_goes_on x.vcf real.vcf
	score() { "$CROCUTA" score -q --no-version -m "$QUICK" -f p.fa "$@"; }
	head=$(grep -c '^#' first.vcf) count=$(grep -vc '^#' first.vcf) outcome=''
	try() { # WHAT, real.vcf is made
		local status=0
		cut_journal $(($(lines full) / 2)) x.vcf
		head -c $(($(units out/x.vcf.crocuta-run) * 56)) full/data > data
		score --resume -o out/x.vcf real.vcf 2> err || status=$?
		if [ $status = 0 ]; then
			undisturbed x.vcf score real.vcf
			same_bytes
			outcome="$outcome $1=right"
		else
			[ $status = 10 ]
			grep -q 'the input is not the one that out/x.vcf.crocuta-run was made from' err
			[ ! -e out/x.vcf ]
			# no work on another input was added
			cmp data out/x.vcf.crocuta-run/data
			outcome="$outcome $1=refused"
			# and the right one goes on
			cp first.vcf real.vcf
			undisturbed x.vcf score real.vcf
			score --resume -o out/x.vcf real.vcf
			same_bytes
		fi
	}
	for at in 1 5 $((count - 1)); do sed "$((head + at))d" first.vcf > real.vcf; try "without_$at"; done
	head -n $((head + 10)) first.vcf > real.vcf; try short
	# shorter, and its last record is another one
	head -n $((head + count - 1)) first.vcf | awk -v OFS='\t' -v at=$((head + 30)) 'NR == at { $5 = $5 "CC" } { print }' > real.vcf
	try shorter
	{ head -n $head first.vcf; tail -n +$((head + 1)) first.vcf | tac; } > real.vcf; try backwards
	awk -v at=$((head + 3)) 'NR == at { print } { print }' first.vcf > real.vcf; try twice
	awk -v OFS='\t' -v at=$((head + 3)) 'NR == at { $5 = "CAT" } { print }' first.vcf > real.vcf; try changed
	awk -v OFS='\t' -v at=$((head + 3)) 'NR == at { $8 = "NOTE=1" } { print }' first.vcf > real.vcf; try info
	{ cat first.vcf; tail -n 2 first.vcf; } > real.vcf; try longer
	echo "$outcome"
	[ "$outcome" = "${outcome/without_1=right/}" ]
	case "$outcome " in *" info=right "*) ;; *) false ;; esac
	case "$outcome " in *" longer=right "*) ;; *) false ;; esac
	case "$outcome " in *" short=refused "*) ;; *) false ;; esac
	case "$outcome " in *" changed=refused "*) ;; *) false ;; esac
	case "$outcome " in *" twice=refused "*) ;; *) false ;; esac
}

@test "reads that are fewer, others or in another order" {
	slow
	fails_at_the_last x.tsv s.fa vectors --per-record -
	all=$(lines full)
	for change in '1d' '2s/.*/ACGT/' '1s/s0/other/' '/^>s500$/,+1d' '/^>s9[0-9][0-9]$/,$d' '1,2!G' '1s/>.*/&\n&x/'; do
		sed "$change" s.fa | sed '/^$/d' > other.fa
		cut_journal "$all" x.tsv
		status=0
		vectors --per-record --resume -o out/x.tsv - < other.fa 2> err || status=$?
		echo "$change: $status $(cat err)"
		if [ $status = 0 ]; then
			undisturbed x.tsv vectors --per-record - < other.fa
			same_bytes
		else
			[ ! -e out/x.tsv ]
			[ $status = 10 ] || [ $status = 3 ] # 1d: no longer FASTA
		fi
		[ $status != 0 ] || [ "$change" = '1,2!G' ]
	done
}

@test "options that exclude each other" {
	fails 2 "--no-journal goes neither" vectors --no-journal --resume -o out/x.npy g.fa
	fails 2 "--no-journal goes neither" score --no-journal --state-dir s -o out/x.vcf real.vcf
	fails 2 "--resume needs an output file, or --state-dir" vectors --resume g.fa
	fails 2 "--resume needs an output file, or --state-dir" score --resume real.vcf
	fails 2 "--resume needs an output file, or --state-dir" vectors -O tsv --resume -o /dev/null g.fa
	fails 2 "" vectors --state-dir '' -o out/x.npy g.fa
	for wrong in -1 x '' nan 1e9; do fails 2 "journal-interval" vectors --journal-interval "$wrong" -o out/x.npy g.fa; done
	mkfifo pipe
	cat pipe > /dev/null &
	fails 2 "--resume needs" vectors -O tsv --resume -o pipe g.fa
	kill $! 2> /dev/null || true
}

# ---- damaged journals

@test "a journal that is torn, edited, empty or none: what is good of it counts" {
	slow
	undisturbed x.npy narrow --bin 16 -R g.bed g.fa
	late_embed x.npy narrow --bin 16
	all=$(lines full)
	good() { # UNITS: out's journal is good up to there
		narrow --bin 16 --resume --stats stats.json -R g.bed -o out/x.npy g.fa
		same_bytes
		[ "$(stat_of stats.json resumed_units)" = "$1" ]
	}
	at() { cut_journal "$all" x.npy; cd out/x.npy.crocuta-run; }
	at; truncate -s -7 journal; cd ../..; good $((all - 3))
	at; truncate -s -7 data; cd ../..; good $((all - 3))
	at; sed -i '50s/U 48 /U 49 /' journal; cd ../..; good 47
	at; sed -i '50d' journal; cd ../..; good 47
	at; printf 'x' | dd of=data bs=1 seek=$((520 * 60 + 9)) conv=notrunc status=none; cd ../..; good 60
	at; rm data; cd ../..; good 0
	at; : > journal; cd ../..; good 0
	at; rm journal; cd ../..; good 0
	at; sed -i '1s/"bin":16/"bin":17/' journal; cd ../..; good 0
	at; echo hello > journal; cd ../..; good 0
	at; cat ../../full/journal >> journal; cd ../..; good $((all - 2))
	at; head -c 100000 /dev/urandom >> data; cd ../..; good $((all - 2))
}

@test "where the journal cannot be: a plain run goes on and says so, one that needs it ends with 5" {
	touch out/x.npy.crocuta-run
	fails 5 "crocuta-run" vectors --bin 16 --resume -o out/x.npy g.fa ||
		[ "$(ls -A out)" = x.npy.crocuta-run ]
	[ ! -e out/x.npy ]
	"$CROCUTA" embed -m "$MODEL" --bin 16 --journal-interval 0 --max-time 1000 -o out/x.npy g.fa 2> err
	[ "$(grep -c '^\[W::embed\].*out/x.npy.crocuta-run.*Not a directory' err)" = 1 ]
	[ -s out/x.npy ] && [ ! -s out/x.npy.crocuta-run ]
	touch file
	fails 5 "file" vectors --state-dir file/below -o out/y.npy g.fa || [ ! -e out/y.npy ]
	fails 5 "file" vectors --state-dir file -o out/y.npy g.fa || [ ! -e out/y.npy ]
}

# ---- old journals

@test "a plain run says that it will replace a journal, and does" {
	late_embed x.npy narrow --bin 16
	undisturbed x.npy narrow --bin 32 -R g.bed g.fa
	for how in '--bin 32' '--bin 32 --journal-interval 0'; do # --max-time: also where the disk is nearly full
		cut_journal 50 x.npy
		# shellcheck disable=SC2086
		"$CROCUTA" embed -m "$MODEL" --window 128 --overlap 32 --no-version --max-time 1000 \
			$how -R g.bed -o out/x.npy g.fa 2> err
		grep -q '^\[W::embed\] out/x.npy.crocuta-run holds the work of an earlier run, which this one replaces' err
		same_bytes
	done
	# it does so when it saves, not before: one that fails early leaves it
	cut_journal 50 x.npy
	sed '$s/.$/*/' g.fa > bad.fa
	fails 3 "" narrow --bin 16 -o out/x.npy bad.fa || diff full/data out/x.npy.crocuta-run/data
	[ "$(lines out/x.npy.crocuta-run)" = 50 ]
}

@test "an old journal is gone after success, also of a run that keeps none" {
	late_embed x.npy narrow --bin 16
	for how in '--bin 1' '--bin 16 --no-journal'; do
		cut_journal 50 x.npy
		# shellcheck disable=SC2086
		undisturbed x.npy vectors $how g.fa
		# shellcheck disable=SC2086
		vectors $how -o out/x.npy g.fa
		same_bytes
	done
}

# ---- --state-dir

@test "--state-dir: another place, the same command; other options begin anew" {
	late_embed x.npy narrow --bin 16 # for the bytes only
	undisturbed x.npy narrow --bin 16 -R g.bed g.fa
	late() { narrow --bin 16 --journal-interval 0 --state-dir "$PWD/state/of/runs" -R late/g.bed -o out/x.npy g.fa; }
	rm -rf out
	mkdir out
	ends_late g.fa g.bed late
	[ -z "$(find out -mindepth 1)" ]
	[ "$(ls state/of/runs | wc -l)" = 1 ]
	ls state/of/runs | grep -q '^embed-x.npy-[0-9a-f]\{16\}$'
	state=$PWD/state/of/runs
	mkdir -p there/out
	cp g.fa g.bed there
	# other options: a folder of their own, which goes away again
	(cd there && narrow --bin 32 --state-dir "$state" --stats stats.json -R g.bed -o out/x.npy g.fa)
	[ "$(stat_of there/stats.json resumed_units)" = 0 ]
	[ "$(ls state/of/runs | wc -l)" = 1 ]
	# so has another name of the output
	(cd there && narrow --bin 16 --state-dir "$state" --stats stats.json -R g.bed -o out/y.npy g.fa)
	[ "$(stat_of there/stats.json resumed_units)" = 0 ]
	rm -rf there/out
	mkdir there/out
	# and an input of another size, though its contigs are the same
	mkdir there/other
	sed '1s/$/ described at length/' g.fa > there/other/g.fa
	(cd there/other && mkdir out && narrow --bin 16 --state-dir "$state" --stats stats.json -R ../g.bed -o out/x.npy g.fa)
	[ "$(stat_of there/other/stats.json resumed_units)" = 0 ]
	cmp there/other/out/x.npy whole/x.npy
	[ "$(ls state/of/runs | wc -l)" = 1 ]
	rm -rf there/out
	mkdir there/out
	# the same ones go on; the variable says the same, an option is stronger
	(cd there && CROCUTA_STATE_DIR=/nowhere narrow --bin 16 --state-dir "$state" --max-time 0.0001 -R g.bed \
		-o out/x.npy g.fa 2> /dev/null) || [ $? = 75 ]
	(cd there && CROCUTA_STATE_DIR=$state narrow --bin 16 --stats stats.json -@ 1 -R g.bed -o out/x.npy g.fa)
	[ "$(stat_of there/stats.json resumed_units)" -gt 90 ]
	[ "$(stat_of there/stats.json resumed)" = true ]
	rm -rf out
	mv there/out .
	same_bytes
	[ -d state/of/runs ] && [ -z "$(ls -A state/of/runs)" ]
}

@test "--state-dir: standard output too, and --no-journal over the variable" {
	narrow --bin 16 -R g.bed g.fa > want
	late() { narrow --bin 16 --journal-interval 0 --state-dir state -R late/g.bed g.fa; }
	ends_late g.fa g.bed late
	narrow --bin 16 --state-dir state --stats stats.json -R g.bed g.fa | cmp - want
	[ "$(stat_of stats.json resumed_units)" -gt 90 ]
	[ -z "$(ls -A state)" ]
	ends_late g.fa g.bed late
	CROCUTA_STATE_DIR=state narrow --bin 16 --no-journal --stats stats.json -R g.bed g.fa | cmp - want
	[ "$(stat_of stats.json resumed_units)" = 0 ]
	[ "$(ls state | wc -l)" = 1 ]
	# score and classify know it, with names of their own
	CROCUTA_STATE_DIR=state score --max-time 0.0001 -o out/x.vcf real.vcf 2> /dev/null || [ $? = 75 ]
	score -o out/x.vcf --state-dir state real.vcf
	[ "$(ls state | wc -l)" = 1 ]
}

@test "paths of any bytes" {
	odd=$(printf 'out/a\xff"b c.tsv')
	input=$(printf 'g\xfe.fa')
	cp g.fa "$input"
	narrow --bin 16 --journal-interval 0 --resume -o "$odd" "$input"
	narrow --bin 16 --journal-interval 0 --state-dir "$(printf 'st\xff')" -o "$odd" "$input"
	narrow --bin 16 "$input" | grep -v input.name | cmp - <(grep -v input.name "$odd")
	[ "$(find out | wc -l)" = 2 ]
}

# ---- full disks

@test "full disk: status 5, the work stays, and goes on when there is room" {
	can_mount
	undisturbed x.tsv vectors --bin 16 -R g.bed g.fa
	# the output is larger than the disk, the journal is not; then there is room
	# shellcheck disable=SC2016
	unshare -rm bash -c '
		mount -t tmpfs -o size=128k tmpfs out
		"$CROCUTA" embed -m "$0" --no-version --bin 16 --resume --journal-interval 0 --no-space-check -R g.bed -o out/x.tsv g.fa 2> err
		[ $? = 5 ] || exit 1
		ls -A out > left
		mount -o remount,size=4M out || exit 2
		"$CROCUTA" embed -m "$0" --no-version --bin 16 --resume --stats stats.json -R g.bed -o out/x.tsv g.fa 2> err2 || exit 3
		cp out/* kept
		ls -A out > left2' "$MODEL" && status=0 || status=$?
	cat err err2 left || true
	[ $status = 0 ] || [ $status = 3 ]
	[ "$(grep -c '^\[E::' err)" = 1 ]
	grep -q 'No space left' err
	cmp kept whole/x.tsv
	[ "$(cat left2)" = x.tsv ]
	[ "$(cat left)" = x.tsv.crocuta-run ]
	[ "$(stat_of stats.json resumed_units)" -gt 0 ]
}

@test "unasked a journal does not take the place that the output needs" {
	can_mount
	export MODEL
	export -f ends_late narrow vectors embed
	# shellcheck disable=SC2016
	unshare -rm bash -ec '
		mount -t tmpfs -o size=100M tmpfs out
		late() { narrow --bin 16 --journal-interval 0 -R late/part.bed -o out/x.tsv "$@" g.fa; }
		ends_late g.fa part.bed late
		[ -z "$(ls -A out)" ]
		ends_late g.fa part.bed late --max-time 100
		[ "$(ls -A out)" = x.tsv.crocuta-run ]'
}

@test "full disk: a journal that has no room is given up, the run is not" {
	can_mount
	undisturbed x.tsv vectors --bin 16 -R g.bed g.fa
	# shellcheck disable=SC2016
	unshare -rm bash -c '
		mkdir state
		mount -t tmpfs -o size=32k tmpfs state
		"$CROCUTA" embed -m "$0" --no-version --bin 16 --journal-interval 0 --state-dir state -R g.bed -o out/x.tsv g.fa 2> err ||
			exit 1
		ls -A state > left' "$MODEL"
	same_bytes
	[ "$(grep -c '^\[W::embed\] no journal was kept from some point on:.*No space left' err)" = 1 ]
	[ ! -s left ]
}
