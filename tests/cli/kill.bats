#!/usr/bin/env bats
# Runs that are killed -9 at random instants and go on with --resume: the bytes of an undisturbed run each
# time, nothing left behind, and little done twice.

load common

KILLS=${KILLS:-50}
case $CROCUTA in *address*) KILLS=6 ;; esac

setup() {
	cd "$BATS_TEST_TMPDIR"
	export CROCUTA_MODEL_PATH=$ROOT/models
	mkdir whole out
}

now() { date +%s%3N; } # ms

# run_killed AFTER COMMAND...: kill -9 it so many ms after its start; true if that found it at work
run_killed() {
	local after=$1 child
	shift
	"$@" > stdout.txt 2> err < /dev/null &
	child=$!
	sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
	kill -9 $child 2> /dev/null || true
	wait $child 2> /dev/null && return 1
	return 0
}

# same_bytes: all files of `out` are those of `whole`, names too
same_bytes() {
	diff <(cd whole && ls -A) <(cd out && ls -A) && for file in whole/*; do
		cmp "$file" "out/${file#whole/}" || return 1
	done
}

# survives NAME COMMAND...: the command writes out/NAME (and files beside it)
survives() {
	local name=$1 begin took instant killed=0 resumed=0 units
	shift
	begin=$(now)
	"$@" -o "whole/$name"
	took=$(($(now) - begin))
	for i in $(seq $KILLS); do
		rm -rf out && mkdir out
		instant=$((RANDOM * (took + 50) / 32768))
		echo "kill $i at $instant of $took ms"
		run_killed $instant "$@" --resume --journal-interval 0.02 -o "out/$name" && killed=$((killed + 1))
		# every third run is killed a second time
		[ $((i % 3)) -ne 0 ] ||
			run_killed $((instant / 2)) "$@" --resume --journal-interval 0.02 -o "out/$name" || true
		units=$(grep -c '^U ' "out/$name.crocuta-run/journal" 2> /dev/null) || true
		[ "${units:-0}" -eq 0 ] || resumed=$((resumed + 1))
		"$@" --resume -o "out/$name"
		same_bytes
	done
	echo "$killed of $KILLS runs were killed at work, $resumed went on from saved work"
	[ $killed -ge $((KILLS / 3)) ]
	[ $resumed -ge $((KILLS / 6)) ]
}

@test "embed: killed at $KILLS random instants" {
	survives chr22.npy "$CROCUTA" embed -q -m tiny-1k --no-version --strands both --bin 64 \
		-r chr22_piece:1-40000 "$PIECE"
}

@test "score: killed at $KILLS random instants" {
	bcftools view -r chr20_piece:1-10000 -Oz -o in.vcf.gz "$ROOT/test-data/variants/1000g.vcf.gz"
	survives scored.vcf.gz "$CROCUTA" score -q -m tiny-1k --no-version -W \
		-f "$ROOT/test-data/variants/chr20_pieces.fa.gz" in.vcf.gz
}

@test "classify: killed at $KILLS random instants" {
	python3 "$ROOT/tests/cli/head.py" make head "$ROOT/models/tiny-1k" 128 scan_strands=both window=1024
	survives calls.bed.gz "$CROCUTA" classify -q --no-version -W -m tiny-1k --head head --scan --step 512 \
		-r chr20_piece:1-30000 "$ROOT/test-data/variants/chr20_pieces.fa.gz"
}

# The saved part is at most an interval and a batch behind; by default an interval is 10 s.
@test "no more is done twice than since the last save" {
	slow
	local age killed units
	"$CROCUTA" options-dump embed | awk -F'\t' '$1 == "journal-interval" && $4 <= 25 { found = 1 } END { exit !found }'
	# more than 3 s of work, whatever the machine
	for i in $(seq 200); do gzip -dc "$PIECE" | sed "s/^>.*/>piece$i/"; done > long.fa
	run_killed 3000 "$CROCUTA" embed -q -m tiny-1k --no-version --journal-interval 1 -o out/long.npy long.fa
	killed=$(now)
	age=$((killed - $(stat -c %Y out/long.npy.crocuta-run/journal) * 1000))
	echo "last save $age ms before the end"
	[ $age -le 3000 ]
	units=$(awk '/^U / { units = $2 } END { print units }' out/long.npy.crocuta-run/journal)
	run_killed 1000 "$CROCUTA" embed -v 2 -m tiny-1k --no-version --resume --max-time 1 --stats stats.json \
		-o out/long.npy long.fa || true
	cat err
	grep -q "going on behind $units rows" err
}
