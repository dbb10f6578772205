#!/usr/bin/env bats
# --stats of real runs, in a report of MultiQC.

load ../cli/common

CONVERT=$ROOT/workflows/multiqc/stats_to_multiqc.py
VARIANTS=$ROOT/test-data/variants

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	mkdir stats
	export CROCUTA_MODEL_PATH=$ROOT/models
	local fasta=$VARIANTS/chr20_pieces.fa.gz
	bcftools view --no-version -G "$VARIANTS/kinds.vcf" > kinds.vcf
	for k in 1 2 3; do
		"$CROCUTA" score -q --shard $k/3 --stats stats/kinds.${k}of3.stats.json -f "$fasta" -o s.vcf kinds.vcf
	done
	"$CROCUTA" embed -q --stats stats/vectors.stats.json -r chr20_piece:1-20000 -o e.npy "$fasta"
	"$CROCUTA" classify -q --scan -r chr20_piece:62001-64500 --stats stats/calls.stats.json -o c.bed "$fasta"
	"$CROCUTA" embed -q --stats stats/failed.stats.json -r nowhere -o n.npy "$fasta" 2> /dev/null || true
	grep -c -v '^#' c.bed > rows
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	ln -s "$BATS_FILE_TMPDIR"/{stats,kinds.vcf,rows} .
}

convert() { python3 "$CONVERT" "$@"; }

# value FILE PYTHON: an expression over d, the JSON
value() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }

@test "a row a run: shards added up, what is not known left out" {
	convert --output-dir mqc stats/*.json
	[ "$(ls mqc | tr '\n' ' ')" = "crocuta_runs_mqc.json crocuta_score_alleles_mqc.json crocuta_sequence_classes_mqc.json " ]
	local runs=mqc/crocuta_runs_mqc.json
	[ "$(value $runs 'sorted(d["data"])')" = "['calls', 'failed', 'kinds', 'vectors']" ]
	[ "$(value $runs 'd["data"]["kinds"]["shards"]')" = "3 of 3" ]
	[ "$(value $runs 'd["data"]["kinds"]["records"]')" = "$(grep -c -v '^#' kinds.vcf)" ]
	[ "$(value $runs 'd["data"]["kinds"]["alleles"]')" = "$(bcftools norm -m - kinds.vcf 2> /dev/null | grep -c -v '^#')" ]
	[ "$(value $runs 'd["data"]["vectors"]["rows"]')" = 157 ]
	[ "$(value $runs 'd["data"]["vectors"]["bases"]')" = 20000 ]
	[ "$(value $runs 'd["data"]["calls"]["rows"]')" = "$(cat rows)" ]
	[ "$(value $runs 'd["data"]["failed"]["status"]')" != 0 ]
	[ "$(value $runs '[r["status"] for n, r in sorted(d["data"].items()) if n != "failed"]')" = "[0, 0, 0]" ]
	[ "$(value $runs '"device" in d["data"]["failed"] or "records" in d["data"]["vectors"]')" = False ]
	[ "$(value $runs 'all(r["wall"] > 0 and r["cpu"] > 0 and r["memory"] > 1 for n, r in d["data"].items() if n != "failed")')" = True ]
	# every cell has a heading
	[ "$(value $runs '{c for r in d["data"].values() for c in r} - set(d["headers"])')" = "set()" ]
	[ "$(value mqc/crocuta_score_alleles_mqc.json 'sum(d["data"]["kinds"].values())')" = \
		"$(value $runs 'd["data"]["kinds"]["alleles"]')" ]
	[ "$(value mqc/crocuta_score_alleles_mqc.json 'list(d["data"])')" = "['kinds']" ]
	[ "$(value mqc/crocuta_sequence_classes_mqc.json 'sum(d["data"]["calls"].values())')" = "$(cat rows)" ]
	# the order of the arguments does not matter
	convert --output-dir again $(printf '%s\n' stats/*.json | sort -r)
	diff -r mqc again
}

@test "a row a shard" {
	convert --each-shard stats/kinds.*.json
	[ "$(value crocuta_runs_mqc.json 'sorted(d["data"])')" = "['kinds.1of3', 'kinds.2of3', 'kinds.3of3']" ]
	[ "$(value crocuta_runs_mqc.json 'd["data"]["kinds.2of3"]["shards"]')" = 2/3 ]
	convert stats/kinds.[12]of3.stats.json
	[ "$(value crocuta_runs_mqc.json 'd["data"]["kinds"]["shards"]')" = "2 of 3" ]
}

@test "MultiQC shows the tables" {
	command -v multiqc > /dev/null || skip "multiqc is not installed"
	convert --output-dir mqc stats/*.json
	multiqc --no-ansi --outdir report mqc > log 2>&1 || { cat log; false; }
	local table=report/multiqc_data/multiqc_crocuta_runs_plot.txt
	[ "$(cut -f 1 $table | tr '\n' ' ')" = "Sample calls failed kinds vectors " ]
	column() { # NAME RUN
		awk -F'\t' -v name="$1" -v run="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) n = i }
			$1 == run { print $n }' $table
	}
	[ "$(column rows vectors)" = 157 ]
	[ "$(column shards kinds)" = "3 of 3" ]
	grep -q '^Sample.*OK' report/multiqc_data/multiqc_crocuta_score_alleles_plot.txt
	grep -q '^calls' report/multiqc_data/multiqc_crocuta_sequence_classes_plot.txt
	# in the page: one section with three parts, and numbers as people read them
	for part in crocuta_runs crocuta_score_alleles crocuta_sequence_classes; do grep -q "id=\"$part\"" report/multiqc_report.html; done
	sed -n '/<table id="crocuta_runs_plot"/,/<\/table>/p' report/multiqc_report.html |
		sed 's/<tr>/\n/g; s/<span class="mqc_thousandSep"><\/span>/,/g; s/<[^>]*>/ /g' > page
	grep -qE '^ *vectors .*embed .*tiny-1k .* 20,000 .* 157 ' page
	grep -qE '^ *kinds .*score .* 3 of 3 ' page
	lacks -i 'error\|warning' log
}

@test "what is no such file, or not clear, is refused" {
	refused() { # STATUS TEXT FILE...
		local status=0
		convert --output-dir out "${@:3}" 2> err || status=$?
		[ $status = "$1" ]
		grep -qF -- "$2" err
		[ ! -e out ]
	}
	echo '{"format": "another-1"}' > other.json
	refused 3 "other.json: its format is not crocuta-stats-1" other.json
	echo '{"format": ' > cut.json
	refused 3 cut.json cut.json
	refused 3 absent.json absent.json
	mkdir a b
	cp stats/vectors.stats.json a
	cp stats/vectors.stats.json b
	refused 2 "another file is called the same" a/vectors.stats.json b/vectors.stats.json
	sed 's/"model_sha256": "./"model_sha256": "-/' stats/kinds.2of3.stats.json > a/kinds.2of3.stats.json
	refused 2 "differ in model_sha256" stats/kinds.1of3.stats.json a/kinds.2of3.stats.json
	sed 's,"2/3","2/4",' stats/kinds.2of3.stats.json > b/kinds.2of4.stats.json
	refused 2 "shards of different numbers" stats/kinds.1of3.stats.json b/kinds.2of4.stats.json
}
