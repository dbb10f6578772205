#!/usr/bin/env bats
# The Snakemake workflow and its wrappers, run by Snakemake on real sequence and variants.

load ../cli/common

WORKFLOW=$ROOT/workflows/snakemake
SNAKEMAKE=${SNAKEMAKE:-/usr/bin/snakemake}

setup() {
	[ -x "$SNAKEMAKE" ] || skip "there is no $SNAKEMAKE"
	slow
	cd "$BATS_TEST_TMPDIR" || return
	# Snakemake keeps copies of sources in the cache; with a home of our own nobody's profile is read
	export HOME=$BATS_TEST_TMPDIR XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache
	export PATH=${CROCUTA%/*}:$PATH CROCUTA_MODEL_PATH=$ROOT/models
	ln -s "$ROOT/test-data" .
	PIECES=test-data/variants/chr20_pieces.fa.gz
	PANEL=test-data/variants/1000g.vcf.gz
}

teardown() { [ -z "${group-}" ] || kill -9 -- "-$group" 2> /dev/null || true; }

# what Snakemake says is shown when the test fails
workflow() { "$SNAKEMAKE" -s "$WORKFLOW/Snakefile" --nocolor "$@" 2>&1; }

# config.yaml: one thread a shard, lines of standard input
config() {
	printf 'threads: 1\nretries: 0\n' > config.yaml
	cat >> config.yaml
}

# whole VERB FILE OPTIONS: without shards, in the directory `whole`
whole() {
	local verb=$1 file=$2
	shift 2
	mkdir -p whole
	"$CROCUTA" "$verb" -q --device cpu --no-version -o "whole/$file" "$@"
}

has() { grep -qF -- "$@"; }

# neither shards nor journals
nothing_left() { [ -d state ] && [ -z "$(find state -mindepth 1)" ] && [ ! -e results/shards ]; }

# json FILE EXPRESSION of the file's content x
json() { /usr/bin/python3 -c 'import json, sys; x = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }

@test "the example configuration is valid, and the workflow is clean for --lint" {
	cp "$WORKFLOW/config.yaml" .
	workflow -n > plan
	grep -qE '^total +26( |$)' plan
	workflow --lint
}

@test "shards of variants, vectors, a track and classes: the bytes of whole runs" {
	config <<- 'YAML'
	shards: {score: 3, vectors: 2, tracks: 2, classify: 2}
	score:
	  panel:
	    calls: test-data/variants/1000g.vcf.gz
	    ref: test-data/variants/chr20_pieces.fa.gz
	    targets: chr20_piece:1-20000
	vectors:
	  chr22.piece:
	    fasta: test-data/seq/human_chr22_piece.fa.gz
	    regions: chr22_piece:1-20,000,chr22_piece:30,001-51,234
	    extra: --bin 50 --strands concat
	tracks:
	  chr22:
	    fasta: test-data/seq/human_chr22_piece.fa.gz
	    regions_file: regions.bed
	    track: entropy
	classify:
	  promoters:
	    fasta: test-data/variants/chr20_pieces.fa.gz
	    regions: chr20_piece:61,001-65,000
	    extra: --step 512
	YAML
	printf 'chr22_piece\t100\t9000\nchr22_piece\t20000\t33333\n' > regions.bed
	workflow -c 2
	whole score panel.vcf.gz -W -m tiny-1k -t chr20_piece:1-20000 -f "$PIECES" "$PANEL"
	whole embed chr22.piece.npy -m tiny-1k --bin 50 --strands concat \
		-r chr22_piece:1-20,000,chr22_piece:30,001-51,234 test-data/seq/human_chr22_piece.fa.gz
	whole embed chr22.bedgraph.gz -m tiny-1k --track entropy -R regions.bed \
		test-data/seq/human_chr22_piece.fa.gz
	whole classify promoters.bed.gz --scan --step 512 -r chr20_piece:61,001-65,000 "$PIECES"
	for file in score/panel.vcf.gz score/panel.vcf.gz.csi tracks/chr22.bedgraph.gz \
		vectors/chr22.piece.npy vectors/chr22.piece.rows.bed.gz vectors/chr22.piece.meta.json \
		classify/promoters.bed.gz; do
		cmp "results/$file" "whole/${file#*/}"
	done
	# shards and journals are gone; logs, benchmarks and statistics are there
	nothing_left
	[ "$(find results/stats -name '*.json' | wc -l)" = 9 ]
	[ "$(find logs -name '*-of-*.log' -size +0 | wc -l)" = 9 ]
	[ "$(find benchmarks -name '*-of-*.tsv' -size +0 | wc -l)" = 9 ]
	json results/stats/score/panel/2-of-3.json 'x["shard"], x["status"], x["resumed"]' > said
	has "('2/3', 0, False)" said
	json results/multiqc/crocuta_runs_mqc.json \
		'[(name, row["shards"], row.get("alleles")) for name, row in sorted(x["data"].items())]' > said
	alleles=$(bcftools view -H whole/panel.vcf.gz | wc -l)
	has "('classify.promoters', '2 of 2', None), ('score.panel', '3 of 3', $alleles)," said
	has "('tracks.chr22', '2 of 2', None), ('vectors.chr22.piece', '2 of 2', None)" said
	workflow -c 2 -n > plan
	has "Nothing to be done" plan
	if command -v multiqc > /dev/null; then
		multiqc -q -o report results
		has "score.panel" report/multiqc_data/multiqc_crocuta_runs_plot.txt
	fi
}

# Windows that take one processor some seconds a shard, so that there is a middle to be killed in
slow_classes() {
	config <<- 'YAML'
	shards: {classify: 4}
	classify:
	  slow:
	    fasta: test-data/variants/chr20_pieces.fa.gz
	    regions: chr20_piece:61,001-64,000
	    extra: --step 32 --journal-interval 0.1
	YAML
	slow=$BATS_FILE_TMPDIR/slow.bed.gz
	[ -e "$slow" ] || "$CROCUTA" classify -q --no-version --scan --step 32 --device cpu \
		-r chr20_piece:61,001-64,000 -o "$slow" "$PIECES"
}

# in a session of its own, which also is a process group: `group`
in_background() {
	setsid "$SNAKEMAKE" -s "$WORKFLOW/Snakefile" -c 2 --nocolor > log 2>&1 3>&- &
	group=$!
}

# wait_for WHAT COMMAND...: at most 120 s
wait_for() {
	local what=$1
	shift
	for _ in $(seq 1200); do
		"$@" && return
		sleep 0.1
	done
	echo "never: $what"
	cat log
	return 1
}

# The plan and a shard are finished, and another shard, still running, has finished units in its journal
in_the_middle() {
	[ "$(grep -c 'Finished job' log)" -ge 2 ] && begun
}
begun() { grep -qs '^U' state/*/journal && pgrep -g "$group" -x crocuta > /dev/null; }
all_dead() { ! pgrep -g "$group" > /dev/null; }

@test "killed with all its children while some shards are done and some are not, and run again" {
	slow_classes
	in_background
	wait_for "a shard is done and another one has begun" in_the_middle
	kill -9 -- "-$group"
	wait "$group" || true
	wait_for "all processes are dead" all_dead
	[ ! -e results/classify/slow.bed.gz ]
	status=0
	workflow -c 2 --rerun-incomplete > log || status=$?
	[ $status = 1 ]
	has "locked" log
	workflow --unlock
	workflow -c 2 --rerun-incomplete > log
	cat log
	cmp results/classify/slow.bed.gz "$slow"
	[ "$(grep -c '^rule classify_shard' log)" -lt 4 ]
	[ "$(grep -l '"resumed": true' results/stats/classify/slow/*.json | wc -l)" -ge 1 ]
	nothing_left
}

@test "a job that is killed continues in its next try" {
	slow_classes
	sed -i 's/^retries: 0/retries: 2\ndate: 1700000000/' config.yaml
	in_background
	wait_for "a shard has begun" begun
	pkill -9 -g "$group" -x crocuta
	wait "$group"
	has "Trying to restart job" log
	[ "$(grep -l '"resumed": true' results/stats/classify/slow/*.json | wc -l)" -ge 1 ]
	bgzip -dc results/classify/slow.bed.gz > got
	body got | cmp - <(bgzip -dc "$slow" | body)
	has "##crocuta.date=2023-11-14T22:13:20Z" got
	nothing_left
}

@test "a wrong model, a wrong option, a wrong configuration: a failed job and no output" {
	refuses() { # TEXT RUN [MEM_MB]: text of a log; RUN is a line of the run
		config <<- YAML
		mem_mb: ${3:-500}
		shards: {score: 1}
		score:
		  panel:
		    calls: test-data/variants/1000g.vcf.gz
		    ref: test-data/variants/chr20_pieces.fa.gz
		    $2
		YAML
		rm -rf results logs
		local status=0
		workflow -c 2 > log || status=$?
		cat log
		[ $status = 1 ]
		cat logs/score/panel/*.log > said || cp log said
		has "$1" said
		[ -z "$(find results -type f 2> /dev/null)" ]
	}
	refuses "no model" "model: no-such-model"
	refuses "no-such-option" "extra: --no-such-option"
	refuses "no contig" "targets: chr21"
	refuses "the plan needs" "model: tiny-1k" 50
	refuses "'formt' was unexpected" "formt: bcf"
	# the plan finds it out before anything is submitted
	sed -i '/mem_mb/d; s/formt: bcf/model: no-such-model/' config.yaml
	status=0
	workflow -c 2 > log || status=$?
	[ $status = 1 ]
	[ -z "$(find results -type f)" ]
	[ ! -e logs/score ]
}

# as the repository of wrappers has them, with inputs under the names of their examples
wrapper_example() { # NAME TARGET...
	local name=$1
	shift
	mkdir -p master/bio
	ln -sfn "$WORKFLOW/wrappers" master/bio/crocuta
	"$SNAKEMAKE" -s "$WORKFLOW/wrappers/$name/test/Snakefile" --wrapper-prefix "file:$PWD/" \
		-c 2 --nocolor "$@" 2>&1
}

wrapper_inputs() {
	for suffix in '' .fai .gzi; do ln -s "$PIECES$suffix" genome.fa.gz$suffix; done
	bcftools view --no-version -O z -o calls.vcf.gz -t chr20_piece:1-8000 "$PANEL"
	bcftools index calls.vcf.gz
	printf 'chr20_piece\t1000\t5000\n' > regions.bed
	cp regions.bed targets.bed
}

@test "wrapper score" {
	wrapper_inputs
	mkdir want
	wrapper_example score scored/a.vcf.gz "other names/b.vcf.gz" ism/c.npy
	run_score() { "$CROCUTA" score -q --no-version -f genome.fa.gz "$@"; }
	run_score -W -o want/a.vcf.gz calls.vcf.gz
	cmp want/a.vcf.gz scored/a.vcf.gz
	cmp want/a.vcf.gz.csi scored/a.vcf.gz.csi
	run_score -W=tbi -r chr20_piece:1-6000 -T targets.bed --shard 1/2 --strands forward -o want/b.vcf.gz calls.vcf.gz
	cmp want/b.vcf.gz "other names/b.vcf.gz"
	cmp want/b.vcf.gz.tbi "indexes of b.tbi"
	json stats/b.json 'x["command"], x["shard"]' > said
	has "('score', '1/2')" said
	run_score --ism chr20_piece:2,001-2,020 -o want/c.npy
	cmp want/c.npy ism/c.npy
	cmp want/c.meta.json "ism of c.json"
}

@test "wrapper embed" {
	wrapper_inputs
	mkdir want
	wrapper_example embed vectors/a.npy "other names/b" tracks/c.bw
	run_embed() { "$CROCUTA" embed -q --no-version "$@" genome.fa.gz; }
	run_embed -r chr20_piece:1-5000 -o want/a.npy
	for suffix in npy rows.bed.gz meta.json; do cmp want/a.$suffix vectors/a.$suffix; done
	run_embed -R regions.bed --shard 2/3 --bin 10 --strands concat -o want/b.npy
	cmp want/b.npy "other names/b"
	cmp want/b.rows.bed.gz "rows of b.bed.gz"
	cmp want/b.meta.json "meta of b.json"
	json stats/b.json 'x["command"], x["shard"]' > said
	has "('embed', '2/3')" said
	run_embed -R regions.bed --track logprob -o want/c.bw
	cmp want/c.bw tracks/c.bw
	cmp want/c.bw.meta.json tracks/c.json
}

@test "wrapper classify" {
	wrapper_inputs
	mkdir want
	mkdir head
	cp "$ROOT"/models/promoter/head.* head
	wrapper_example classify classes/a.bed.gz "other names/b.tsv.gz"
	run_classify() { "$CROCUTA" classify -q --no-version --scan "$@" genome.fa.gz; }
	run_classify --merge -r chr20_piece:61,001-63,000 -W -o want/a.bed.gz
	cmp want/a.bed.gz classes/a.bed.gz
	cmp want/a.bed.gz.csi classes/a.bed.gz.csi
	run_classify --head head -R regions.bed --shard 1/2 --step 512 -W=tbi -o want/b.tsv.gz
	cmp want/b.tsv.gz "other names/b.tsv.gz"
	cmp want/b.tsv.gz.tbi "indexes of b.tbi"
	json stats/b.json 'x["command"], x["shard"]' > said
	has "('classify', '1/2')" said
}

@test "wrapper concat" {
	wrapper_inputs
	mkdir want
	for k in 1 2; do
		"$CROCUTA" score -q --no-version -f genome.fa.gz -T targets.bed --shard $k/2 -o $k-of-2.bcf calls.vcf.gz
		"$CROCUTA" embed -q --no-version -R regions.bed --shard $k/2 -o $k-of-2.npy genome.fa.gz
	done
	wrapper_example concat whole/a.vcf.gz "other names/b.npy"
	"$CROCUTA" score -q --no-version -f genome.fa.gz -T targets.bed -W -o want/a.vcf.gz calls.vcf.gz
	cmp want/a.vcf.gz whole/a.vcf.gz
	cmp want/a.vcf.gz.csi whole/a.vcf.gz.csi
	"$CROCUTA" embed -q --no-version -R regions.bed -o want/b.npy genome.fa.gz
	cmp want/b.npy "other names/b.npy"
	cmp want/b.rows.bed.gz "rows of b.bed.gz"
	cmp want/b.meta.json "meta of b.json"
	# a shard too few
	rm -rf whole
	cp 1-of-2.bcf 2-of-2.bcf
	status=0
	wrapper_example concat whole/a.vcf.gz > log || status=$?
	[ $status = 1 ]
	has twice logs/a.log
	[ -z "$(find whole -type f)" ]
}
