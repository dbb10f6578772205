#!/usr/bin/env bats
# The modules and the workflow for Nextflow. Nextflow itself cannot be fetched by a test: see
# workflows/nextflow/README.md for what stands in for it here.

load ../cli/common

NEXTFLOW=$ROOT/workflows/nextflow
HERE=$ROOT/tests/workflows
VARIANTS=$ROOT/test-data/variants
REGION=chr20_piece:60001-64000

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	mkdir bin data plain
	ln -s "$CROCUTA" bin/crocuta
	cp "$VARIANTS"/chr20_pieces.fa.gz* data
	bcftools view --no-version "$VARIANTS/1000g.vcf.gz" | awk '/^#/ || n++ % 8 == 0' | bgzip > data/panel.vcf.gz
	bcftools index data/panel.vcf.gz
	cat > test.config <<-'CONFIG'
		process {
		    withLabel: 'process_medium' {
		        cpus = 2
		        memory = 2.GB
		    }
		}
	CONFIG
	export CROCUTA_MODEL_PATH=$ROOT/models
	"$CROCUTA" score -q --no-version -W -f data/chr20_pieces.fa.gz -o plain/score.vcf.gz data/panel.vcf.gz
	"$CROCUTA" embed -q --no-version -r $REGION -o plain/embed.npy data/chr20_pieces.fa.gz
	"$CROCUTA" classify -q --no-version --scan --step 512 -r $REGION -o plain/classify.bed.gz data/chr20_pieces.fa.gz
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	ln -s "$BATS_FILE_TMPDIR"/{bin,data,plain,test.config} .
	export PATH=$BATS_FILE_TMPDIR/bin:$PATH CROCUTA_MODEL_PATH=$ROOT/models
}

nextflow() { python3 "$HERE/nextflow_run.py" "$@"; }

# main.nf on the test's data
pipeline() {
	nextflow -c test.config "$NEXTFLOW/main.nf" --fasta data/chr20_pieces.fa.gz --vcf data/panel.vcf.gz \
		--region $REGION --score_args=--no-version --embed_args=--no-version \
		--classify_args '--scan --step 512 --no-version' --concat_args=--no-version "$@"
}

same_npy() { # GOT WANT: with the sidecars
	cmp "$1.npy" "$2.npy"
	cmp "$1.rows.bed.gz" "$2.rows.bed.gz"
	cmp "$1.meta.json" "$2.meta.json"
}

# tasks PATTERN: how many of the log's tasks fit
tasks() { grep -cE "$1" log || true; }

check() { python3 "$HERE/nextflow_check.py" "$CROCUTA" "$@"; }

needs_yaml() { python3 -c 'import yaml' 2> /dev/null || skip "needs PyYAML"; }

@test "every file parses and agrees with the others and with the program" {
	needs_yaml
	check "$ROOT"
}

@test "that check notices" {
	needs_yaml
	mkdir trees
	local trees=0 texts=()
	breaks() { # TEXT FILE SED: a tree with this change, of which it has to say TEXT
		local tree=trees/$((++trees))
		texts[trees]=$1
		mkdir -p $tree/workflows $tree/include
		cp -r "$NEXTFLOW" $tree/workflows
		cp -r "$ROOT/include/crocuta" $tree/include
		sed -i "$3" $tree/workflows/nextflow/$2
		differ $tree/workflows/nextflow/$2 "$NEXTFLOW/$2" || { echo "nothing changed: $*"; false; }
	}
	local m=modules/crocuta
	breaks "has no option --regoins-file" $m/embed/main.nf 's/--regions-file/--regoins-file/'
	breaks "has no option -j" $m/score/main.nf 's/ -@ / -j /'
	breaks "has no option --maximal-time" nextflow.config 's/--max-time/--maximal-time/'
	breaks "input head is not used" $m/classify/main.nf '/def head_option/d; /{head_option}/d'
	breaks "head_option is not declared" $m/classify/main.nf '/def head_option/d'
	breaks "head_option is not used" $m/classify/main.nf '/{head_option}/d'
	breaks "script does not write" $m/concat/main.nf 's/--output ${prefix}/--output all/'
	breaks "stub does not write" $m/embed/main.nf '/touch ${prefix}.stats.json/d'
	breaks "cannot be a def" $m/score/main.nf 's/^    suffix = /    def suffix = /'
	breaks "cannot be a def" $m/score/main.nf 's/^    prefix = /    def prefix = /'
	breaks "no stub" $m/score/main.nf '/^    stub:/,$c}'
	breaks "braces do not match" $m/score/main.nf '$d'
	breaks "what is" $m/score/main.nf '0,/"""/s/"""//'
	breaks "a \$ of Groovy takes braces" $m/score/main.nf 's/-@ ${task.cpus}/-@ $task.cpus/'
	breaks "in main.nf ['meta', 'sequences'" $m/embed/main.nf '/tuple val(meta), path(sequences)/s/path(regions), //'
	breaks "sed -n" $m/score/meta.yml 's/1s/2s/'
	breaks "name crocuta_scores" $m/score/meta.yml 's/^name: .*/name: crocuta_scores/'
	breaks "not a file" $m/classify/meta.yml '/- shard:/,/type/s/string/file/'
	breaks "dependencies" $m/concat/environment.yml 's/crocuta=.*/crocuta=9.9.9/'
	breaks "container" $m/concat/main.nf 's/crocuta:[0-9.]*/crocuta:9.9.9/'
	breaks "takes 5 values" $m/score/tests/main.nf.test "0,/'1.10'/s//'1\/10', 1/"
	breaks "takes 3" $m/score/tests/main.nf.test '/input\[2\]/d'
	breaks "fits nothing" nextflow.config "s/withName: 'MULTIQC'/withName: 'MULTIQCS'/"
	breaks "params.shard has no default" main.nf 's/params.shards/params.shard/'
	breaks "does not explain shards" README.md 's/`shards`/`SHARDS`/'
	breaks "no parameter shard" README.md 's/--shards 16/--shard 16/'
	local status=0
	check trees/* > said || status=$?
	[ $status = 1 ]
	for ((tree = 1; tree <= trees; tree++)); do
		grep "/trees/$tree/" said | grep -qF -- "${texts[tree]}" || {
			echo "tree $tree: wanted '${texts[tree]}', said:"
			grep "/trees/$tree/" said
			return 1
		}
	done
}

@test "scatter and gather: the bytes of one run, whatever the order in which shards finish" {
	local multiqc=false
	! command -v multiqc > /dev/null || multiqc=true
	pipeline --shards 3 --multiqc $multiqc > log
	[ "$(tasks 'CROCUTA_(SCORE|EMBED|CLASSIFY)')" = 9 ]
	[ "$(tasks 'CROCUTA_CONCAT')" = 3 ]
	[ "$(tasks $'\t1\t0\t')" = "$(wc -l < log)" ]
	cmp results/panel.score.vcf.gz plain/score.vcf.gz
	cmp results/panel.score.vcf.gz.csi plain/score.vcf.gz.csi
	same_npy results/chr20_pieces.embed plain/embed
	cmp results/chr20_pieces.classify.bed.gz plain/classify.bed.gz
	[ "$(cd results/stats && ls | wc -l)" = 9 ]
	grep -qx "    crocuta: $("$CROCUTA" --version | sed -n '1s/crocuta //p')" results/versions.yml
	[ -d crocuta-state ]
	[ -z "$(ls -A crocuta-state)" ]
	# a task has its inputs as links, and nothing else; the runner compares inputs before and after
	local task
	task=$(awk -F'\t' '/CROCUTA_SCORE/ { print $5; exit }' log)
	[ "$(find "$task" -type l -printf '%f\n' | sort | tr '\n' ' ')" = \
		"chr20_pieces.fa.gz chr20_pieces.fa.gz.fai chr20_pieces.fa.gz.gzi panel.vcf.gz panel.vcf.gz.csi " ]
	grep -qx '#!/usr/bin/env bash -C -e -u -o pipefail' "$task/.command.sh"
	grep -q -- '--device cpu' "$task/.command.sh"
	lacks -- '--state-dir' "$task/.command.sh"
	if [ $multiqc = true ]; then
		grep -q 'panel.score' results/multiqc/multiqc_data/multiqc_crocuta_runs_plot.txt
		grep -q '<td.*3 of 3' results/multiqc/multiqc_report.html
	fi
	pipeline -order backward -work-dir backward --shards 7 --steps score,embed --outdir other --multiqc false > log
	[ "$(tasks 'CROCUTA_(SCORE|EMBED)')" = 14 ]
	cmp other/panel.score.vcf.gz plain/score.vcf.gz
	same_npy other/chr20_pieces.embed plain/embed
}

@test "stubs write every output" {
	pipeline -stub-run --shards 2 > log
	[ "$(tasks $'\t1\t0\t')" = 11 ]
	[ -e results/panel.score.vcf.gz ]
	[ -e results/chr20_pieces.embed.npy ]
	gzip -t results/*.gz
	nextflow -profile test -stub-run -work-dir test "$NEXTFLOW/main.nf" --outdir of-test > log
	[ "$(tasks $'\t1\t0\t')" = 14 ]
}

@test "modules by themselves: models and heads as files, regions, other formats, no shard" {
	printf 'chr20_piece\t62000\t64000\tone\t0\t-\nchr20_piece\t70000\t72000\ttwo\t0\t+\n' > regions.bed
	cat > t.nf <<-NF
		include { CROCUTA_SCORE    } from '$NEXTFLOW/modules/crocuta/score/main'
		include { CROCUTA_EMBED    } from '$NEXTFLOW/modules/crocuta/embed/main'
		include { CROCUTA_CLASSIFY } from '$NEXTFLOW/modules/crocuta/classify/main'

		workflow {
		    def fasta = file("$PWD/data/chr20_pieces.fa.gz")
		    def model = file("$ROOT/models/tiny-1k")
		    def promoter = file("$ROOT/models/promoter")
		    def bed = file("$PWD/regions.bed")
		    CROCUTA_SCORE([[id: 'ism'], [], [], [], ''], [[id: 'ref'], fasta, []], [[id: 'model'], model])
		    CROCUTA_EMBED(channel.of([[id: 'vectors'], fasta, [], bed, '']), [[id: 'model'], model])
		    CROCUTA_CLASSIFY([[id: 'classes'], fasta, [], bed, ''], [[id: 'head'], promoter, promoter])
		}
	NF
	cat > t.config <<-'CONFIG'
		process {
		    publishDir = [path: 'out', mode: 'copy']
		    cpus = 1
		    withName: 'CROCUTA_SCORE' {
		        ext.args = '--no-version --ism chr20_piece:60000-60005'
		        ext.prefix = 'chosen'
		        ext.suffix = 'vcf'
		    }
		    withName: 'CROCUTA_EMBED' {
		        ext.device = 'auto'
		        ext.args = { "--no-version --bin ${task.attempt - 1}" }
		        ext.suffix = 'tsv'
		    }
		    withName: 'CROCUTA_CLASSIFY' {
		        ext.args = '--no-version'
		        ext.suffix = 'tsv'
		    }
		}
	CONFIG
	nextflow -c t.config t.nf > log
	[ "$(tasks $'\t0\t')" = 3 ]
	grep -lq -- '--device auto' work/*/.command.sh
	"$CROCUTA" score -q --no-version --ism chr20_piece:60000-60005 -f data/chr20_pieces.fa.gz | cmp - out/chosen.vcf
	"$CROCUTA" embed -q --no-version --bin 0 -R regions.bed -O tsv data/chr20_pieces.fa.gz | cmp - out/vectors.tsv
	"$CROCUTA" classify -q --no-version -R regions.bed -O tsv data/chr20_pieces.fa.gz | cmp - out/classes.tsv
	[ "$(ls out | tr '\n' ' ')" = \
		"chosen.stats.json chosen.vcf classes.stats.json classes.tsv vectors.stats.json vectors.tsv " ]
}

@test "an attempt that --max-time or SIGTERM stopped is continued by the next, in another directory" {
	slow
	local many='--journal-interval 0.1 --overlap 900 --no-version' begin limit
	begin=$(date +%s%N)
	# shellcheck disable=SC2086
	"$CROCUTA" embed -q -@ 1 $many -o whole.npy data/chr20_pieces.fa.gz
	# seconds, less than half of what it takes here
	limit=$(awk -v ns=$(($(date +%s%N) - begin)) 'BEGIN { printf "%.2f", 0.45 * ns / 1e9 }')
	sed 's/cpus = 2/cpus = 1/' test.config > one.config
	long() {
		nextflow -c one.config "$@" --fasta data/chr20_pieces.fa.gz --steps embed --shards 1 --multiqc false \
			--embed_args "$many" --concat_args=--no-version "$NEXTFLOW/main.nf"
	}
	stopped() { # STATUS: at least one attempt ended with it, the last with 0, and it had gone on
		[ "$(tasks "EMBED.*"$'\t'"$1"$'\t')" -ge 1 ]
		[ "$(tasks $'EMBED.*\t0\t')" = 1 ]
		[ "$(awk -F'\t' '/EMBED/ { print $5 }' log | sort -u | wc -l)" = "$(tasks EMBED)" ]
		grep -q '"resumed": true' results/stats/*.json
		same_npy results/chr20_pieces.embed whole
		[ -z "$(ls -A crocuta-state)" ]
		rm -rf results work
	}
	long --crocuta_max_time ${limit}s > log
	stopped 75
	# a scheduler that gives no longer
	mkdir kill
	printf '#!/bin/sh\nexec timeout --preserve-status -s TERM %s %s "$@"\n' "$limit" "$CROCUTA" > kill/crocuta
	chmod +x kill/crocuta
	PATH=$PWD/kill:$PATH long > log
	stopped 143
	# no more attempts than allowed
	! long --crocuta_max_time ${limit}s --crocuta_attempts 0 --crocuta_state_dir "$PWD/other" > log 2> err
	[ "$(tasks $'EMBED.*\t75\t')" = 1 ]
	[ "$(wc -l < log)" = 1 ]
	[ -n "$(ls -A other)" ]
}

@test "what is wrong stays wrong: no second attempt" {
	printf 'not a VCF\n' > bad.vcf
	! nextflow -c test.config "$NEXTFLOW/main.nf" --fasta data/chr20_pieces.fa.gz --vcf bad.vcf --steps score \
		--shards 1 --multiqc false > log 2> err
	[ "$(tasks $'CROCUTA_SCORE.*\t1\t3\t')" = 1 ]
	[ "$(wc -l < log)" = 1 ]
	! nextflow "$NEXTFLOW/main.nf" > log 2> err
	grep -q -- '--fasta is needed' err
	! pipeline --shard 2 > log 2> err
	grep -q 'no parameter shard' err
	! pipeline --crocuta_state_dir here > log 2> err
	grep -q 'an absolute path' err
}

@test "the profile gpu asks for a GPU, and does not run without" {
	nextflow -c test.config -profile gpu "$NEXTFLOW/main.nf" --fasta data/chr20_pieces.fa.gz --steps embed \
		--region $REGION --shards 1 --multiqc false > log 2> err || [ "$(tasks $'EMBED.*\t1\t7\t')" = 1 ]
	grep -q -- '--device cuda' work/001/.command.sh
}

@test "Groovy reads the files, and makes the same scripts of them" {
	command -v groovy > /dev/null || skip "groovy is not installed"
	[ -n "${JAVA_HOME:-}" ] || JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
	export JAVA_HOME
	groovy --version > /dev/null 2>&1 || skip "groovy does not run here"
	pipeline -stub-run --shards 2 > log
	mv work tasks
	rm -r results
	pipeline --shards 1 --steps score --multiqc false > log
	for task in work/*; do mv "$task" "tasks/real-${task##*/}"; done
	mapfile -t files < <(find "$NEXTFLOW" -name '*.nf' -o -name '*.config' -o -name '*.nf.test')
	[ ${#files[@]} -ge 17 ]
	groovy "$HERE/nextflow_groovy.groovy" tasks "${files[@]}" > said || { cat said; false; }
	grep -q "^${#files[@]} files read, $(ls tasks | wc -l) scripts rendered, 0 failed" said
}
