#!/usr/bin/env bats
# --stats: JSON that says what a run did, in numbers that others count too, whatever its end. --max-time: what it
# takes for a time.

load common
load score_common

HEADS=${BATS_FILE_TMPDIR:-}

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	make_fasta g.fa
	bgzip -dc "$PIECES" > p.fa
	bcftools view --no-version -G "$KINDS" > kinds.vcf
	python3 "$ROOT/tests/cli/head.py" make w "$TINY" 128 classes=other,a,b background=other window=64 step=16 \
		scan_strands=both scale=20
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in g.fa p.fa kinds.vcf; do cp "$BATS_FILE_TMPDIR/$file" .; done
	mkdir out
}

quick() { "$CROCUTA" embed -q --no-version -m "$QUICK" "$@"; }
score() { "$CROCUTA" score -q --no-version -m "$QUICK" -f p.fa "$@"; }
classify() { "$CROCUTA" classify -q --no-version -m "$TINY" --head "$HEADS/w" "$@"; }

# holds FILE EXPRESSION...: strict JSON whose keys occur once; s is the object, and all expressions are true
holds() {
	python3 - "$@" <<-'PY'
	import json, sys
	def once(pairs):
	    assert len({k for k, v in pairs}) == len(pairs), pairs
	    return dict(pairs)
	def no(word):
	    raise ValueError(word + " is no JSON")
	s = json.load(open(sys.argv[1], encoding="utf-8"), object_pairs_hook=once, parse_constant=no)
	for text in sys.argv[2:]:
	    assert eval("(" + text + ")", {"s": s}), (text, s)
	PY
}

# Keys that every verb has, in whatever run.
COMMON="s['format'] == 'crocuta-stats-1' and {'command', 'version', 'status', 'input', 'output', 'model',
	'model_sha256', 'resumed', 'resumed_units', 'device', 'isa', 'dtype', 'threads', 'seconds', 'peak_memory_bytes',
	'device_memory_bytes', 'bases', 'n_bases', 'n_share', 'windows', 'tokens'} <= set(s) and
	{'wall', 'cpu', 'prepare', 'run', 'model', 'filters', 'tile_passes', 'mixing', 'rows'} == set(s['seconds'])"
DONE="s['status'] == 0 and 'error' not in s and s['resumed'] is False and s['resumed_units'] == 0 and
	s['device'] == 'cpu' and s['dtype'] == 'f32' and s['threads'] > 0 and s['peak_memory_bytes'] > 1e6 and
	s['seconds']['wall'] > 0 and s['seconds']['cpu'] > 0"
# Of a run that did not finish nothing is said that may not be so.
UNDONE="all(s[k] is None for k in s if k in ('bases', 'n_bases', 'n_share', 'windows', 'tokens', 'rows', 'skipped_rows',
	'output_bytes', 'records_out', 'alleles', 'changes', 'items'))"

# {"word": lines with it, ...} of standard input
counts() { sort | uniq -c | awk '{ words = words (NR > 1 ? ", " : "") "\"" $2 "\": " $1 } END { print "{" words "}" }'; }
count_n() { grep -v '^>' "$1" | tr -cd Nn | wc -c; }
sha() { sha256sum < "$1" | cut -d' ' -f1; }

# ---- runs that are done

@test "embed: what the output and the FASTA hold" {
	quick --bin 16 --stats s.json -o x.npy g.fa
	rows=$(bgzip -dc x.rows.bed.gz | grep -vc '^#')
	holds s.json "$COMMON" "$DONE" "s['command'] == 'embed' and s['input'] == 'g.fa' and s['output'] == 'x.npy'" \
		"s['model'] == 'quick' and s['model_sha256'] == '$(sha "$QUICK/model.safetensors")'" \
		"s['rows'] == $rows and s['columns'] == 16 and s['contigs'] == 3 and s['bases'] == 5704" \
		"s['n_bases'] == $(count_n g.fa) and abs(s['n_share'] - s['n_bases'] / 5704) < 1e-6" \
		"s['output_bytes'] == $(stat -c %s x.npy) and s['skipped_rows'] == 0 and 'shard' not in s" \
		"s['tokens'] > 5704 and s['windows'] > 5" \
		"0 <= s['seconds']['model'] <= s['seconds']['run'] <= s['seconds']['wall']" \
		"s['seconds']['run'] + s['seconds']['prepare'] <= s['seconds']['wall'] + 0.01"
	[ -z "$(find . -name '.*' -not -name .)" ]
	# rows left out, both strands, regions, reads, standard output
	quick --bin 4 --skip-n 0.5 --strands both -r chrB -O tsv --stats s.json g.fa > x.tsv
	rows=$(body x.tsv | grep -vc '^#')
	n=$(awk '/^>/ { on = $1 == ">chrB"; next } on' g.fa | tr -cd Nn | wc -c)
	holds s.json "$DONE" "s['rows'] == $rows and s['rows'] + s['skipped_rows'] == 175 and s['n_bases'] == $n" \
		"s['bases'] == 700 and s['output'] == '-' and s['skipped_rows'] > 0"
	quick --stats s.json -o x.tsv "$READS/unaligned.bam"
	holds s.json "$DONE" "s['records'] == s['rows'] == $(samtools view -c "$READS/unaligned.bam")" \
		"s['bases'] == $(samtools fasta "$READS/unaligned.bam" 2> /dev/null | grep -v '^>' | tr -d '\n' | wc -c)"
	quick --stats s.json --shard 2/3 --bin 16 -o x.npy g.fa
	holds s.json "s['shard'] == '2/3' and s['rows'] == $(bgzip -dc x.rows.bed.gz | grep -vc '^#')"
	# pipes and open files
	quick --bin 16 --stats /dev/stdout -o x.npy g.fa | cat > s.json
	holds s.json "$COMMON" "$DONE"
	rm s.json
	quick --bin 16 --stats /proc/self/fd/9 -o x.npy g.fa 9> s.json
	holds s.json "$COMMON" "$DONE"
	mkfifo pipe
	cat pipe > s.json &
	quick --bin 16 --stats pipe -o x.npy g.fa
	wait
	holds s.json "$COMMON" "$DONE"
}

@test "score: ALTs by status sum to all of them, and to what the table says" {
	for how in '' '--check-ref x' '--shard 1/2' '--strands forward --no-reuse'; do
		# shellcheck disable=SC2086
		score $how --stats s.json -o x.vcf kinds.vcf
		bcftools query -f '%ALT\t%INFO/CROCUTA_STATUS\n' x.vcf | awk -F'\t' '{ n = split($2, s, ","); split($1, a, ",")
			for (i = 1; i <= n; i++) { sub(/&.*/, "", s[i]); print $1 == "." ? "NOALT" : s[i] } }' |
			counts > want
		holds s.json "$COMMON" "$DONE" "s['command'] == 'score' and s['bases'] is None" \
			"sum(s['alleles_by_status'].values()) == s['alleles'] or s['left_out'] > 0" \
			"{k: v for k, v in s['alleles_by_status'].items() if k != 'NOALT'} ==
				{k: v for k, v in $(cat want).items() if k != 'NOALT'}" \
			"s['records_out'] == $(grep -vc '^#' x.vcf) and s['records'] == s['records_out'] + s['left_out']" \
			"s['edge'] == $(bcftools query -f '%INFO/CROCUTA_STATUS\n' x.vcf | grep -o 'OK&EDGE' | wc -l)" \
			"s['changes'] > 20 and s['tokens'] > 1000"
	done
	score --ism chr20_piece:2001-2010 --stats s.json -o x.npy
	holds s.json "$COMMON" "$DONE" "s['alleles'] == 30 == sum(s['alleles_by_status'].values())"
}

@test "classify: rows by class sum to the rows of the table" {
	for how in '--scan' '--scan --merge' '--scan --min-prob 0.6 --only a,b --max-n 0.05' '-r chrA:1-100,chrB'; do
		# shellcheck disable=SC2086
		classify $how --stats s.json -o x.bed g.fa
		body x.bed | grep -v '^#' | cut -f7 | counts > want
		holds s.json "$COMMON" "$DONE" "s['command'] == 'classify' and set(s['rows_by_class']) == {'other', 'a', 'b'}" \
			"{k: v for k, v in s['rows_by_class'].items() if v} == $(cat want)" \
			"sum(s['rows_by_class'].values()) == s['rows'] == $(body x.bed | grep -vc '^#')"
	done
	classify --scan --min-prob 0.6 --max-n 0.05 --stats s.json -o x.bed g.fa
	# 310, 41 and 1 windows on two strands
	holds s.json "s['rows'] + s['filtered'] == s['items'] and s['items'] + s['masked'] == 704" "s['masked'] > 0" \
		"s['n_bases'] is not None and s['bases'] > 5704"
}

@test "of a resumed run the counts are the undisturbed run's" {
	quick --bin 16 --stats want.json -r chrA:1-2000,chrB -o x.npy g.fa
	printf 'chrA\t0\t2000\nchrB\t0\t700\n' > r.bed
	mkfifo late.bed
	touch -d 2001-01-01 g.fa
	{ exec 4> late.bed; touch g.fa; cat r.bed >&4; } &
	status=0
	quick --bin 16 --stats failed.json --resume --journal-interval 0 -R late.bed -o x.npy g.fa 2> err || status=$?
	[ $status = 3 ]
	holds failed.json "$COMMON" "$UNDONE" "s['status'] == 3 and 'was changed during the run' in s['error']"
	sed -i '60,$d' x.npy.crocuta-run/journal
	quick --bin 16 --stats s.json --resume -R r.bed -o x.npy g.fa
	holds s.json "$COMMON" "s['resumed'] is True and s['resumed_units'] == 57"
	python3 - <<-'PY'
	import json
	a, b = json.load(open("want.json")), json.load(open("s.json"))
	for key in a:
	    if key not in ("seconds", "peak_memory_bytes", "resumed", "resumed_units"):
	        assert a[key] == b[key], (key, a[key], b[key])
	PY
}

# ---- runs that fail or are stopped

# failed STATUS COMMAND...: that status, in the JSON too; its error is the line on stderr
failed() {
	local want=$1 status=0
	shift
	rm -f s.json
	"$@" --stats s.json 2> err > /dev/null < /dev/null || status=$?
	sed -n 's/^\[E::[a-z]*\] //p' err > line
	if [ $status != "$want" ] || [ "$(wc -l < line)" != 1 ]; then
		echo "status $status of $*"
		cat err
		return 1
	fi
	holds s.json "$COMMON" "$UNDONE" "s['status'] == $want and s['error'] == open('line').read()[:-1]"
}

@test "input, model, options, refusals, disks: status and error, and no numbers of what was not done" {
	sed '$s/.$/*/' g.fa > bad.fa
	failed 3 quick -o x.npy bad.fa
	failed 3 score -o x.vcf g.fa
	failed 3 classify --scan -o x.bed bad.fa
	failed 5 quick -o x.npy absent.fa
	failed 4 "$CROCUTA" embed -q -m absent -o x.npy g.fa
	holds s.json "s['model'] is None and s['model_sha256'] is None and s['device'] is None and s['threads'] is None"
	failed 4 "$CROCUTA" score -q -m absent -f p.fa -o x.vcf kinds.vcf
	failed 4 "$CROCUTA" classify -q -m "$TINY" -o x.bed g.fa # which has no head
	failed 2 quick --track logprob -o x.npy g.fa
	failed 2 score --shard 1/2 -o x.vcf -
	failed 2 classify --merge --scan --shard 1/2 -o x.bed g.fa
	failed 6 quick --max-mem 1000 -o x.npy g.fa
	echo old > x.npy
	failed 10 quick --no-clobber -o x.npy g.fa
	[ "$(cat x.npy)" = old ]
	rm x.npy
	mkdir x.npy.crocuta-run
	head -c 100 /dev/zero > x.npy.crocuta-run/journal
	failed 3 quick --resume -o x.npy bad.fa
	full() { "$@" > /dev/full; }
	status=0
	full quick --stats s.json g.fa 2> err || status=$?
	[ $status = 5 ]
	holds s.json "$COMMON" "s['status'] == 5 and 'No space left' in s['error']"
	# a strict run judges its own numbers: it is done
	status=0
	score --strict --stats s.json -o x.vcf kinds.vcf 2> err || status=$?
	[ $status = 3 ]
	holds s.json "$COMMON" "s['status'] == 3"
}

@test "stopped: by a signal, and by --max-time" {
	long=("$CROCUTA" embed -q -m "$MODEL" -@ 1 --isa portable --overlap 1000 --bin 1)
	for signal in TERM:143 USR1:138; do
		rm -f s.json
		"${long[@]}" --stats s.json -o out/x.npy "$PIECE" 2> err &
		child=$!
		has_begun 200
		kill -s ${signal%:*} $child
		status=0
		wait $child || status=$?
		[ $status = ${signal#*:} ]
		holds s.json "$COMMON" "$UNDONE" "s['status'] == $status"
		[ -z "$(find out -mindepth 1)" ]
	done
	failed 75 "${long[@]}" --max-time 0.5 -o out/x.npy "$PIECE"
	holds s.json "0.5 <= s['seconds']['wall'] < 20"
	failed 75 score --max-time 0.0001 -o out/x.vcf kinds.vcf
	failed 75 classify --scan --max-time 0.0001 -o out/x.bed g.fa
}

# ---- the file

@test "where it cannot be written: 5, before the work" {
	for path in absent/s.json out; do fails 5 "stats" quick --stats "$path" -o out/x.npy g.fa; done
	fails 2 "stats" quick --stats '' -o out/x.npy g.fa
	fails 5 "stats" score --stats absent/s.json -o out/x.vcf kinds.vcf
	fails 5 "stats" classify --stats absent/s.json -o out/x.bed g.fa
	# a device is not tried before
	status=0
	quick --bin 16 --stats /dev/full -o x.npy g.fa 2> err || status=$?
	[ $status = 5 ]
	[ "$(grep -c '^\[E::embed\] --stats /dev/full: cannot be written' err)" = 1 ]
	if [ "$(id -u)" != 0 ]; then
		mkdir locked
		chmod 500 locked
		fails 5 "stats" quick --stats locked/s.json -o out/x.npy g.fa
	fi
}

@test "it replaces nothing but an older one: neither output, nor sidecar, nor input" {
	fails 2 "same file" quick --bin 16 --stats out/x.npy -o out/x.npy g.fa
	mkdir done
	quick --bin 16 -o y.npy g.fa
	for file in npy meta.json rows.bed.gz; do
		status=0
		quick --bin 16 --stats ./done/x.$file -o done/x.npy g.fa 2> err || status=$?
		[ $status = 10 ]
		grep -q "^\[E::embed\] --stats ./done/x.$file: " err
		cmp done/x.$file y.$file
	done
	cp g.fa in.fa
	ln -s in.fa link
	for path in in.fa ./in.fa link; do
		fails 10 "stats" quick --bin 16 --stats "$path" -o out/z.npy in.fa
		cmp in.fa g.fa
	done
	status=0
	score -W --stats ./x.vcf.gz.csi -o x.vcf.gz kinds.vcf 2> err || status=$?
	[ $status = 10 ]
	bcftools index -s x.vcf.gz > /dev/null
	# a link to an older one stays a link
	quick --bin 16 --stats s.json -o y.npy g.fa
	ln -s s.json symbolic
	quick --bin 32 --stats symbolic -o y.npy g.fa
	[ -L symbolic ]
	holds s.json "s['rows'] == $(bgzip -dc y.rows.bed.gz | grep -vc '^#')"
	# an older one goes, also when the run fails
	quick --bin 16 --stats s.json -o y.npy g.fa
	failed 5 quick -o y.npy absent.fa
	quick --bin 16 --stats s.json -o y.npy g.fa
	status=0
	quick --bin 16 --stats s.json -o y.npy absent.fa 2> err || status=$?
	[ $status = 5 ]
	holds s.json "s['status'] == 5"
	rm s.json
	quick --dry-run --stats s.json -o y.npy g.fa > plan
	[ ! -e s.json ]
	fails 2 "standard output" quick --bin 16 --stats - -o out/z.npy g.fa
	[ ! -e ./- ]
}

@test "names of any bytes" {
	odd=$(printf 'a"b\\c\n\td\xff\xc3\xa9.fa')
	cp g.fa "$odd"
	quick --bin 16 --stats s.json -o "$odd.npy" "$odd"
	holds s.json "$COMMON" "$DONE" "s['input'].startswith('a\"b\\\\c\n\td') and s['input'].endswith('.fa')"
	failed 5 quick -o x.npy "absent$odd"
}

# ---- --max-time

@test "times: seconds, units, clocks as Slurm writes them" {
	for time in 1000 100.5 90s 2m 2h 1d 1.5h 1:30 90:00 10:00:00 0:30:00 1-0 1-12 0-01:00 2-00:00:00; do
		quick --bin 16 --max-time "$time" -o x.tsv -r chrC g.fa
	done
	for time in '' 0 0s -1 +5 ' 5' x 5q 10ms 1e3 0x10 nan inf . 1.2.3 1: :30 1::2 1:60 1:00:60 1:2:3:4 0:00 0-0 1-2-3 1-:2 -1:30 \
		1:-30 1.5:00 1,5 99999999999999999999:00; do
		fails 2 "max-time" quick --max-time "$time" -o out/x.tsv g.fa
		[ -z "$time" ] || grep -q 'HH:MM:SS' stderr.txt
	done
}

@test "a second is a second, however it is written" {
	slow
	long=("$CROCUTA" embed -q -m "$MODEL" -@ 1 --isa portable --overlap 1000 --bin 1 --no-journal)
	for time in 1s 0:01 0-00:00:01 0.017m 0.00028h 0.0000116d; do
		failed 75 "${long[@]}" --max-time $time -o out/x.npy "$PIECE"
		holds s.json "1 <= s['seconds']['wall'] < 9"
		[ -z "$(find out -mindepth 1)" ]
	done
	# two of them are not one
	failed 75 "${long[@]}" --max-time 0:00:02 -o out/x.npy "$PIECE"
	holds s.json "2 <= s['seconds']['wall'] < 10"
}
