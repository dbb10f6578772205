#!/usr/bin/env bats
# Usage, help, versions, numbers, messages.
bats_require_minimum_version 1.5.0

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
}

@test "no arguments: usage on stderr, status 2" {
	run --separate-stderr "$CROCUTA"
	[ "$status" = 2 ] && [ -z "$output" ]
	[[ $stderr == Usage:* ]]
	run --separate-stderr "$CROCUTA" model
	[ "$status" = 2 ] && [ -z "$output" ]
	[[ $stderr == *"Usage: crocuta model"* ]]
}

@test "--help: on stdout, status 0, for every command" {
	for words in "" embed model "model list" "model show" "model verify" "model convert"; do
		for help in --help -h; do
			# shellcheck disable=SC2086
			run --separate-stderr "$CROCUTA" $words $help
			[ "$status" = 0 ] && [ -z "$stderr" ]
			[[ $output == "Usage: crocuta"* ]]
		done
	done
	"$CROCUTA" embed --help > t
	grep -q '^Resources' t
	lacks '.\{101\}' t
}

@test "--version tells versions, also in an empty environment" {
	run env -i "$CROCUTA" --version
	[ "$status" = 0 ]
	[[ ${lines[0]} == crocuta\ [0-9]* ]]
	[[ $output == *htslib* ]]
	[[ $output == *MIT* ]]
	run "$CROCUTA" --version-only
	[[ $output =~ ^[0-9.]+\+htslib-[0-9.]+$ ]]
}

@test "option tables and manual pages agree" {
	run "$ROOT/tools/check-man" "$CROCUTA"
	echo "$output"
	[ "$status" = 0 ]
}

@test "long options: with =, apart, and cut short" {
	printf '>s\nACGT\n' > s.fa
	embed --bin=1 -O tsv s.fa | body > a
	embed --bin 1 --output-type tsv s.fa | body | cmp a -
	embed --bi 1 --output-t tsv -- s.fa | body | cmp a -
	embed s.fa --bin 1 -Otsv | body | cmp a -
	embed -f s.fa --bin 1 | body | cmp a -
}

@test "numbers take suffixes" {
	make_fasta g.fa
	embed --bin 1k -o a.npy g.fa
	embed --bin 1000 -o b.npy g.fa
	cmp a.npy b.npy
	embed --bin 1Ki -o a.npy g.fa
	embed --bin 1.024k -o b.npy g.fa
	cmp a.npy b.npy
	embed --max-mem 0.5Gi -o a.npy g.fa
}

@test "-q prints errors only, -v 0 nothing, the default what it cost" {
	printf '>s\nACGT\n' > s.fa
	"$CROCUTA" embed -m "$MODEL" s.fa 2> err > out
	grep -q '^\[M::embed\] command: ' err
	grep -q '^\[M::embed\] wall ' err
	lacks -v '^\[[MW]::embed\] ' err
	"$CROCUTA" embed -q -m "$MODEL" s.fa 2> err > out
	[ ! -s err ]
	run --separate-stderr "$CROCUTA" embed -v 0 -m "$MODEL" absent.fa
	[ "$status" = 5 ] && [ -z "$stderr" ]
}

@test "progress: whole lines, as often as asked" {
	"$CROCUTA" embed -m "$MODEL" --progress 0 -o x.npy -r chr22_piece:1-20000 "$PIECE" 2> err
	lacks 'bases/s.* left' err
	"$CROCUTA" embed -m "$MODEL" --progress 1 --isa portable -@ 1 --overlap 1000 --bin 1 -o y.npy \
		"$PIECE" 2> err &
	child=$!
	for _ in $(seq 200); do
		grep -q 'bases/s.* left' err && break
		sleep 0.1
	done
	kill $child
	wait $child || true
	grep -q '^\[M::embed\] .* bases of 200,000 .*bases/s.* left, at chr22_piece$' err
}

@test "--dry-run prints the plan and writes nothing" {
	make_fasta g.fa
	run --separate-stderr "$CROCUTA" embed --dry-run -m "$MODEL" -o x.npy g.fa
	[ "$status" = 0 ]
	[ -z "$(find . -name '*x.*')" ]
	grep -qx 'rows	47' <<< "$output"
	grep -qx 'columns	128' <<< "$output"
	grep -qx 'windows	9' <<< "$output"
	embed -o x.npy g.fa
	[ "$(grep '^output_bytes' <<< "$output" | cut -f2)" = "$(stat -c %s x.npy)" ]
	"$CROCUTA" embed --dry-run --json -m "$MODEL" -o y.npy --strands concat g.fa |
		python3 -c 'import json, sys; p = json.load(sys.stdin); assert p["columns"] == 256, p'
	"$CROCUTA" embed --dry-run -m "$MODEL" --stream -o y.npy g.fa | grep -q '^stream_context	1'
	cat g.fa | "$CROCUTA" embed --dry-run -m "$MODEL" -o y.npy | grep -qx 'rows	unknown'
}
