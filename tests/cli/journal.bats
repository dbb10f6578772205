#!/usr/bin/env bats
# Journals: what a run that was stopped leaves, who may go on with it, shards of embed, --stats.
# tests/cli/kill.bats kills runs at random; here each is stopped once, in the middle.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export CROCUTA_MODEL_PATH=$ROOT/models
	mkdir out
	setup_programs
	gzip -dc "$PIECE" | awk 'NR == 1 { print ">c22"; next } NR < 502' > p.fa # 30,000 bases
}

# Programs, not functions: what is killed must be crocuta itself.
setup_programs() {
	cat > E <<-'SH'
		#!/bin/sh
		exec "$CROCUTA" embed -q -m tiny-1k --no-version --bin 64 "$@"
	SH
	cat > S <<-'SH'
		#!/bin/sh
		exec "$CROCUTA" score -q -m tiny-1k --no-version -f "$ROOT/test-data/variants/chr20_pieces.fa.gz" "$@"
	SH
	chmod +x E S
	export ROOT
	PATH=$PWD:$PATH
}

# begun JOURNAL LINES COMMAND...: the command in the background as $child, until so many saves are there
begun() {
	local journal=$1 lines=$2 saves
	shift 2
	"$@" --journal-interval 0 > stdout.txt 2> err < /dev/null &
	child=$!
	for _ in $(seq 400); do
		saves=$(cat $journal 2> /dev/null | grep -c '^U ') || true
		[ "$saves" -lt "$lines" ] || return 0
		kill -0 $child 2> /dev/null || break
		sleep 0.02
	done
	cat err
	false
}

# halved JOURNAL COMMAND...: killed after some saves
halved() {
	local journal=$1
	shift
	begun "$journal" 5 "$@"
	kill -9 $child
	wait $child 2> /dev/null || true
}

# What is saved: whole lines; a torn end may be cut off, and lines say which processes were here.
state_of() { grep -a '^U .* #[0-9a-f]\{16\}$' out/*.crocuta-run/journal | md5sum; }

# refused TEXT COMMAND...: status 10, and neither journal nor output is touched
refused() {
	local text=$1 before status=0
	shift
	before=$(state_of)
	"$@" 2> err || status=$?
	cat err
	[ $status = 10 ]
	grep '^\[E::' err | grep -qF -- "$text"
	[ "$(state_of)" = "$before" ]
}

# ---- stopping

@test "signals and --max-time save and leave: 143, 138, 129, 75; --resume goes on" {
	local status
	E -o whole.npy p.fa
	for signal in TERM USR1 HUP; do
		begun out/x.npy.crocuta-run/journal 3 "$CROCUTA" embed -v 2 -m tiny-1k --no-version --bin 64 -o out/x.npy p.fa
		status=0
		kill -s $signal $child
		wait $child || status=$?
		cat err
		[ $status = $((128 + $(kill -l $signal))) ]
		grep -q 'finished rows are kept in out/x.npy.crocuta-run; --resume goes on' err
		[ "$(ls -A out)" = x.npy.crocuta-run ]
		E --resume -o out/x.npy p.fa
		cmp whole.npy out/x.npy
		[ ! -e out/x.npy.crocuta-run ]
		rm out/*
	done
	for i in $(seq 20); do sed "s/^>.*/>c$i/" p.fa; done > long.fa
	E -o whole.npy long.fa
	status=0
	E --max-time 0.3 --journal-interval 0 -o out/x.npy long.fa 2> err || status=$?
	cat err
	[ $status = 75 ]
	grep -qx '\[E::embed\] stopped after --max-time.*' err
	E --resume -o out/x.npy long.fa
	cmp whole.npy out/x.npy
}

@test "--max-time: what is a time" {
	for time in 5 0.5 90s 15m 2h 1d 01:30 1:02:03 2-00 1-12:30:00; do
		E --dry-run --max-time $time -o out/x.npy p.fa
	done
	for time in 0 -1 1x 1:60 1:2:3:4 - 1- :5 '' 1h30m; do
		fails 2 "" E --max-time "$time" -o out/x.npy p.fa
	done
}

@test "formats, threads and batches: the same bytes after a resume" {
	for what in 'npy --half --bin 16' 'tsv.gz --strands concat --bin 500' 'bedgraph --track logprob' \
		'bw --track entropy --strands both'; do
		# shellcheck disable=SC2086
		set -- $what
		local type=$1
		shift
		rm -rf out/* whole.*
		"$CROCUTA" embed -q -m tiny-1k --no-version -o whole.$type "$@" p.fa
		halved out/whole.$type.crocuta-run/journal "$CROCUTA" embed -q -m tiny-1k --no-version -@ 2 --resume -o out/whole.$type "$@" p.fa
		"$CROCUTA" embed -q -m tiny-1k --no-version -@ 1 --batch-size 3 --resume -o out/whole.$type "$@" p.fa
		for file in whole.*; do cmp $file out/$file; done
		[ "$(ls -A out | wc -l)" = "$(ls whole.* | wc -l)" ]
	done
}

@test "score: BCF, a table, --ism, --no-reuse, one strand, shards: the same bytes after a resume" {
	slow
	local vcf=$ROOT/test-data/variants/1000g.vcf.gz
	for what in "bcf -W -r chr20_piece:1-9000 $vcf" "tsv --strands reverse -r chr20_piece:1-9000 $vcf" \
		"vcf --no-reuse -r chr20_piece:1-9000 $vcf" "vcf.gz --shard 2/3 $vcf" "npy --ism chr20_piece:500-1500"; do
		# shellcheck disable=SC2086
		set -- $what
		local type=$1
		shift
		rm -rf out/* whole.*
		S -o whole.$type "$@"
		halved out/whole.$type.crocuta-run/journal S --resume -o out/whole.$type "$@"
		S -@ 1 --resume -o out/whole.$type "$@"
		for file in whole.*; do cmp $file out/$file; done
	done
}

@test "reads from a pipe, and whole contigs with --stream" {
	samtools fasta "$READS/unaligned.bam" 2> /dev/null > reads.fa
	for _ in 1 2 3; do cat reads.fa; done > in.fa
	"$CROCUTA" embed -q -m tiny-1k --no-version --per-read -o whole.npy - < in.fa
	"$CROCUTA" embed -q -m tiny-1k --no-version --per-read --resume --journal-interval 0 --max-time 0.2 \
		-o out/whole.npy - < in.fa || [ $? = 75 ]
	"$CROCUTA" embed -q -m tiny-1k --no-version --per-read --resume -o out/whole.npy - < in.fa
	cmp whole.npy out/whole.npy
	for i in $(seq 8); do sed "s/^>.*/>c$i/" p.fa; done > many.fa
	E --stream --strands both -o whole.npy many.fa
	begun out/s.npy.crocuta-run/journal 2 E --stream --strands both --resume -o out/s.npy many.fa
	kill -9 $child
	wait $child 2> /dev/null || true
	E --stream --strands both --resume -o out/s.npy many.fa
	cmp whole.npy out/s.npy
}

# ---- who may go on

@test "another model, option, shard or input is refused, and the journal stays as it was" {
	halved out/x.npy.crocuta-run/journal E -o out/x.npy p.fa
	refused 'model.' "$CROCUTA" embed -q -m "$MODEL" --no-version --bin 64 --resume -o out/x.npy p.fa
	refused 'window was 1024 and is 512' E --window 512 --resume -o out/x.npy p.fa
	refused 'strands was' E --strands reverse --resume -o out/x.npy p.fa
	refused 'regions was' E -r c22:1-20000 --resume -o out/x.npy p.fa
	refused 'shard was "none" and is "1/2"' E --shard 1/2 --resume -o out/x.npy p.fa
	refused 'bin was 64 and is 32' "$CROCUTA" embed -q -m tiny-1k --no-version --bin 32 --resume -o out/x.npy p.fa
	[ "$(ls -A out | grep -v part)" = x.npy.crocuta-run ]
}

@test "an input that was changed under its name is refused" {
	E -o whole.npy p.fa
	halved out/x.npy.crocuta-run/journal E -o out/x.npy p.fa
	cp -r out kept
	# base 101 becomes another one
	awk 'NR == 3 { c = substr($0, 41, 1); $0 = substr($0, 1, 40) (c == "A" ? "C" : "A") substr($0, 42) } 1' p.fa > q.fa
	cp p.fa right.fa
	cp q.fa p.fa
	refused 'not the bases that the earlier run has read' E --resume -o out/x.npy p.fa
	head -n 5 right.fa > p.fa
	refused 'holds the work of another run' E --resume -o out/x.npy p.fa
	cp right.fa p.fa
	E --resume -o out/x.npy p.fa
	cmp whole.npy out/x.npy
}

@test "score: records that were left out, added or changed are refused, and the right ones go on" {
	bcftools view -r chr20_piece:1-9000 -o in.vcf "$ROOT/test-data/variants/1000g.vcf.gz"
	cp in.vcf right.vcf
	S -o whole.vcf in.vcf
	halved out/x.vcf.crocuta-run/journal S -o out/x.vcf in.vcf
	local first
	first=$(grep -vn -m 1 '^#' right.vcf | cut -d : -f 1)
	awk -v first="$first" 'NR != first + 1' right.vcf > in.vcf
	refused 'the input is not the one' S --resume -o out/x.vcf in.vcf
	# of the same size: another ALT
	awk -v first="$first" -v OFS='\t' -F '\t' 'NR == first { $5 = $4 == "A" || $5 == "A" ? "G" : "A" } 1' right.vcf > in.vcf
	[ "$(stat -c %s in.vcf)" = "$(stat -c %s right.vcf)" ]
	refused 'the input is not the one' S --max-ref-mismatch 1 --resume -o out/x.vcf in.vcf
	cp right.vcf in.vcf
	S --resume -o out/x.vcf in.vcf
	cmp whole.vcf out/x.vcf
}

@test "a journal that is torn or edited: what can be believed is used, and the bytes are right" {
	E -o whole.npy p.fa
	halved out/x.npy.crocuta-run/journal E -o out/x.npy p.fa
	rm -f out/.x*
	cp -r out kept
	for harm in 'truncate -s -9 out/x.npy.crocuta-run/journal' 'truncate -s -100 out/x.npy.crocuta-run/data' \
		'truncate -s 20 out/x.npy.crocuta-run/journal' 'truncate -s 0 out/x.npy.crocuta-run/data' \
		'sed -i 4s/U/V/ out/x.npy.crocuta-run/journal' 'rm out/x.npy.crocuta-run/data' \
		'dd if=/dev/zero of=out/x.npy.crocuta-run/data bs=1 seek=700 count=4 conv=notrunc status=none'; do
		rm -rf out && cp -r kept out
		$harm
		echo "after: $harm"
		E --resume -o out/x.npy p.fa
		cmp whole.npy out/x.npy
		[ "$(ls -A out | wc -l)" = 3 ]
	done
}

@test "two runs at a time: the second is refused" {
	begun out/x.npy.crocuta-run/journal 2 E --resume -o out/x.npy p.fa
	kill -STOP $child
	fails_here=0
	E --resume -o out/x.npy p.fa 2> err || fails_here=$?
	kill -CONT $child
	kill -9 $child
	wait $child 2> /dev/null || true
	[ $fails_here = 10 ]
	grep -q 'in use by another run' err
}

@test "what --resume cannot do is said" {
	fails 2 "--resume needs an output file" E --resume -O tsv p.fa
	fails 2 "--no-journal goes neither with --resume" E --resume --no-journal -o out/x.npy p.fa
	E --resume -o x.npy p.fa # nothing to go on from
	E -o whole.npy p.fa
	cmp whole.npy x.npy
}

@test "a run without --resume replaces the journal of another, and removes it in the end" {
	E -o whole.npy p.fa
	halved out/x.npy.crocuta-run/journal E -o out/x.npy p.fa
	rm -f out/.x*
	"$CROCUTA" embed -v 3 -m tiny-1k --no-version --bin 64 -o out/x.npy p.fa 2> err
	grep -q '^\[W::embed\] out/x.npy.crocuta-run holds the work of an earlier run' err
	cmp whole.npy out/x.npy
	[ ! -e out/x.npy.crocuta-run ]
}

@test "a run that replaces a journal leaves it alone until its own first save" {
	halved out/x.npy.crocuta-run/journal E -o out/x.npy p.fa
	rm -f out/.x*
	local before
	before=$(state_of)
	for _ in $(seq 40); do cat p.fa; done | awk '/^>/ { print ">c" ++n; next } 1' > long.fa
	# more vectors than are held back in memory, and killed before a save
	"$CROCUTA" embed -q -m tiny-1k --no-version --bin 16 --journal-interval 1000 -o out/x.npy long.fa &
	child=$!
	for _ in $(seq 400); do
		[ -z "$(find out/x.npy.crocuta-run -name 'data.*' -size +1M)" ] || break
		sleep 0.05
	done
	kill -9 $child
	wait $child 2> /dev/null || true
	[ -n "$(find out/x.npy.crocuta-run -name 'data.*' -size +1M)" ]
	[ "$(state_of)" = "$before" ]
}

# ---- state directory

@test "--state-dir: another directory and the same command go on; other options begin anew" {
	mkdir a b
	E -o whole.npy p.fa
	begun 'state/*/journal' 4 E --state-dir state -o a/x.npy p.fa
	kill -9 $child
	wait $child 2> /dev/null || true
	[ "$(ls state | wc -l)" = 1 ]
	CROCUTA_STATE_DIR=state "$CROCUTA" embed -v 2 -m tiny-1k --no-version --bin 64 -o b/x.npy p.fa 2> err
	grep -q 'going on behind [0-9]* rows' err
	cmp whole.npy b/x.npy
	[ -z "$(ls -A state)" ]
	begun 'state/*/journal' 4 E --state-dir state -o a/x.npy p.fa
	kill -9 $child
	wait $child 2> /dev/null || true
	E --state-dir state --strands reverse -o b/x.npy p.fa
	[ "$(ls state | wc -l)" = 1 ] # that of the first is still there
	# standard output too
	E -O tsv p.fa > whole.tsv
	begun 'state/embed-stdout-*/journal' 4 E --state-dir state -O tsv p.fa
	kill -9 $child
	wait $child 2> /dev/null || true
	E --state-dir state -O tsv p.fa > again.tsv
	cmp whole.tsv again.tsv
	# another file of the same name
	mkdir c && head -n 300 p.fa > c/p.fa
	begun 'state/*/journal' 4 E --state-dir state -o a/x.npy p.fa
	kill -9 $child
	wait $child 2> /dev/null || true
	E --state-dir state -o b/x.npy c/p.fa
	: > file
	fails 5 "state directory cannot be made" E --state-dir file/x -o out/x.npy p.fa
}

# ---- shards of embed

@test "embed: any number of shards put together is the whole" {
	local parts
	cp p.fa two.fa
	sed 's/^>.*/>d/; 300,$d' p.fa >> two.fa
	for what in 'npy --bin 128 --strands both' 'npy --bin 1 -r c22:1-3000,d:500-900' 'tsv --bin 0' \
		'bedgraph --track logprob -r c22:1-9000' 'npy --stream --bin 77'; do
		# shellcheck disable=SC2086
		set -- $what
		local type=$1
		shift
		"$CROCUTA" embed -q -m tiny-1k --no-version "$@" -o whole.$type two.fa
		for n in 1 2 5; do
			parts=
			for k in $(seq $n); do
				"$CROCUTA" embed -q -m tiny-1k --no-version "$@" --shard $k/$n -o part$k.$type two.fa
				parts="$parts part$k.$type"
			done
			# shellcheck disable=SC2086
			"$CROCUTA" concat -q --no-version -o all.$type $parts
			for file in whole*; do cmp $file all${file#whole}; done
		done
		rm whole* all*
	done
	fails 10 "shard 2/5 is missing" "$CROCUTA" concat -o out/x.npy part1.npy part3.npy part4.npy part5.npy
	fails 2 "not in shards" "$CROCUTA" embed --track logprob --shard 1/2 -o out/x.bw two.fa
	fails 2 "has to be a file" "$CROCUTA" embed --shard 1/2 -O tsv -
}

@test "embed: shards of reads, and more shards than rows" {
	reads() { "$CROCUTA" embed -q -m tiny-1k --no-version --per-read "$@" "$READS/unaligned.bam"; }
	reads -o whole.npy
	local parts=
	for k in $(seq 7); do
		reads --shard $k/7 -o part$k.npy
		parts="$parts part$k.npy"
	done
	# shellcheck disable=SC2086
	"$CROCUTA" concat -q --no-version -o all.npy $parts
	cmp whole.npy all.npy
	parts=
	for k in $(seq 9); do
		E -r c22:1-200 --shard $k/9 -o part$k.npy p.fa
		parts="$parts part$k.npy"
	done
	E -r c22:1-200 -o whole.npy p.fa
	# shellcheck disable=SC2086
	"$CROCUTA" concat -q --no-version -o all.npy $parts
	cmp whole.npy all.npy
}

# ---- stats

value() { python3 -c 'import json, sys; v = json.load(open(sys.argv[1]))
for k in sys.argv[2:]: v = v[k]
print(v)' "$@"; }

@test "--stats: numbers of a run, of one that fails and of one that is stopped" {
	local status=0
	printf '>n\n' > n.fa
	awk 'BEGIN { for (i = 0; i < 40; i++) print (i % 4 ? "ACGTACGTAC" : "NNNNNNNNNN") }' >> n.fa
	E --stats s.json -o x.npy n.fa
	[ "$(value s.json format)" = crocuta-stats-1 ]
	[ "$(value s.json status)" = 0 ]
	[ "$(value s.json bases)" = 400 ]
	[ "$(value s.json n_bases)" = 100 ]
	[ "$(value s.json n_share)" = 0.25 ]
	[ "$(value s.json rows)" = 7 ]
	[ "$(value s.json resumed)" = False ]
	S --stats s.json -r chr20_piece:1-3000 -o x.vcf "$ROOT/test-data/variants/1000g.vcf.gz"
	[ "$(value s.json records)" = "$(grep -vc '^#' x.vcf)" ]
	python3 - <<'PY'
import json
s = json.load(open("s.json"))
assert sum(s["alleles_by_status"].values()) == s["alleles"] > 0, s
assert s["seconds"]["wall"] > 0 and s["peak_memory_bytes"] > 1e6, s
PY
	printf '>x\nAC!T\n' > bad.fa
	E --stats s.json -o y.npy bad.fa || status=$?
	[ $status = 3 ]
	[ "$(value s.json status)" = 3 ]
	[ "$(value s.json rows)" = None ]
	value s.json error | grep -q 'not a nucleotide code'
	begun out/x.npy.crocuta-run/journal 2 E --stats s.json -o out/x.npy p.fa
	kill $child
	wait $child || true
	[ "$(value s.json status)" = 143 ]
}

@test "--stats replaces nothing but stats, and says before the work that it cannot be written" {
	cp p.fa in.fa
	fails 10 "not of --stats" E --stats in.fa -o out/x.npy in.fa
	cmp p.fa in.fa
	fails 2 "same file" E --stats out/x.npy -o out/x.npy p.fa
	fails 5 "cannot be written" E --stats none/s.json -o out/x.npy p.fa
	local status=0
	E --stats ./out/x.meta.json -o out/x.npy p.fa || status=$?
	[ $status = 10 ]
	[ "$(value out/x.meta.json format)" = embed-1 ]
}
