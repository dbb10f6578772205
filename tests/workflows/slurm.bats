#!/usr/bin/env bats
# The scripts of workflows/slurm without Slurm: stand-ins for sbatch, srun, squeue and scontrol that do what
# the scripts rely on. tools/check-slurm runs them under the real one.

load ../cli/common

SLURM=$ROOT/workflows/slurm
VARIANTS=$ROOT/test-data/variants
PIECES=$VARIANTS/chr20_pieces.fa.gz
PANEL=$VARIANTS/1000g.vcf.gz

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	mkdir "$BATS_FILE_TMPDIR/bin"
	cd "$BATS_FILE_TMPDIR/bin"
	ln -s "$CROCUTA" crocuta

	# Runs a job at once, from a copy elsewhere as Slurm does, and again while it was requeued; tasks of an
	# array in turn. As in Slurm the number of an array's last task is that of the array, and a job whose
	# dependency failed is not run.
	cat > sbatch <<-'STUB'
	#!/usr/bin/env bash
	set -uo pipefail
	array= cpus= ntasks= output=/dev/stdout needs=
	printf '%s\n' "$*" >> "$FAKE/sbatch.log"
	while [ $# -gt 0 ]; do
		case $1 in
		--array=*) array=${1#*=} ;;
		--cpus-per-task=*) cpus=${1#*=} ;;
		--ntasks=*) ntasks=${1#*=} ;;
		--output=*) output=${1#*=} ;;
		--dependency=*) needs=${1##*:} ;;
		--*) ;;
		*) break ;;
		esac
		shift
	done
	cp "$1" "$FAKE/job" && shift
	job=$(($(cat "$FAKE/last" 2> /dev/null || echo 100) + 100))
	echo "$job" > "$FAKE/last"
	echo "$job"
	[ -z "$needs" ] || [ ! -e "$FAKE/failed.$needs" ] || exit 0
	export SLURM_SUBMIT_DIR=$PWD SLURM_JOB_ID=$job SLURM_NTASKS=${ntasks:-1}
	[ -z "$cpus" ] || export SLURM_CPUS_PER_TASK=$cpus
	run() { # NAME COMMAND...
		local name=$1 restarts=0 status
		shift
		export FAKE_JOB=$name
		while :; do
			unset SLURM_RESTART_COUNT
			[ $restarts = 0 ] || export SLURM_RESTART_COUNT=$restarts
			status=0
			bash "$FAKE/job" "$@" >> "$log" 2>&1 &
			echo $! > "$FAKE/shell"
			wait $! || status=$?
			rm -f "$FAKE/shell"
			rm "$FAKE/requeued.$name" 2> /dev/null || break
			restarts=$((restarts + 1))
		done
		echo "$name restarts $restarts status $status" >> "$FAKE/jobs.log"
		[ $status = 0 ] || touch "$FAKE/failed.$job"
	}
	if [ -z "$array" ]; then
		log=$output
		run "$job" "$@"
	else
		tasks=$(seq "${array%-*}" "${array#*-}")
		export SLURM_ARRAY_JOB_ID=$job
		SLURM_ARRAY_TASK_COUNT=$(echo "$tasks" | wc -l)
		export SLURM_ARRAY_TASK_COUNT
		for task in $tasks; do
			log=${output/\%a/$task}
			export SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$((job + task))
			[ "$task" != "${array#*-}" ] || SLURM_JOB_ID=$job
			run "${job}_$task" "$@"
		done
	fi
	STUB

	# Threads only as asked, one process a task; USR1 is handed on, TERM ends all. The highest status.
	cat > srun <<-'STUB'
	#!/usr/bin/env bash
	set -uo pipefail
	unset SLURM_CPUS_PER_TASK
	tasks=1
	while [ $# -gt 0 ]; do
		case $1 in
		--cpus-per-task=*) export SLURM_CPUS_PER_TASK=${1#*=} ;;
		--ntasks=*) tasks=${1#*=} ;;
		--*) ;;
		*) break ;;
		esac
		shift
	done
	pids=()
	for ((p = 0; p < tasks; p++)); do
		SLURM_STEP_ID=0 SLURM_PROCID=$p SLURM_NTASKS=$tasks "$@" &
		pids+=($!)
	done
	signals=0
	trap 'signals=$((signals + 1)); kill -USR1 "${pids[@]}"' USR1
	trap 'kill -KILL "${pids[@]}"; exit 137' TERM
	highest=0
	for pid in "${pids[@]}"; do
		seen=-1
		while [ "$seen" != "$signals" ]; do
			seen=$signals status=0
			wait "$pid" || status=$?
		done
		[ "$status" -le "$highest" ] || highest=$status
	done
	exit $highest
	STUB

	# Exact about names: that of an array is all its tasks
	cat > squeue <<-'STUB'
	#!/usr/bin/env bash
	[ "${2#--jobs=}" = "$FAKE_JOB" ] || { echo RUNNING; echo RUNNING; exit 0; }
	cat "$FAKE/state" 2> /dev/null || echo RUNNING
	STUB
	cat > scontrol <<-'STUB'
	#!/usr/bin/env bash
	[ "$1" = requeue ] && [ "$2" = "$FAKE_JOB" ] && touch "$FAKE/requeued.$2"
	STUB
	chmod +x sbatch srun squeue scontrol
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir fake
	export FAKE=$PWD/fake PATH=$BATS_FILE_TMPDIR/bin:$PATH CROCUTA_SLURM=$SLURM
	export CROCUTA_MODEL_PATH=$ROOT/models
	unset "${!SLURM_@}" "${!SBATCH_@}" SHARDS
}

# whole OUTPUT OPTIONS...: the run that the shards have to equal
whole() {
	local output=$1
	shift
	crocuta score -q --no-version -f "$PIECES" -o "$output" "$@" "$PANEL"
}
some=(-t chr20_piece:1-30000 --no-version)

# One thread and no shared windows: some seconds a shard.
slow=(-t chr20_piece:1-25000 --no-reuse --isa portable --no-version --journal-interval 1)

# In the background; returns when the first shard's journal has something in it.
start_slow() {
	"$SLURM/submit" -m 1G -n 2 -c 1 run "$PIECES" "$PANEL" "${slow[@]}" > submitted 2>&1 3>&- &
	submitted=$!
	for _ in $(seq 300); do
		[ -z "$(find run/state -name data -size +0 2> /dev/null)" ] || return 0
		sleep 0.1
	done
	cat submitted run/log/*
	return 1
}

whole_slow() { [ -e "$BATS_FILE_TMPDIR/slow.vcf.gz" ] || whole "$BATS_FILE_TMPDIR/slow.vcf.gz" "${slow[@]:0:5}"; }

crocuta_of_shard_1() { pgrep -P "$(pgrep -P "$(cat fake/shell)")"; } # batch shell, srun, crocuta

@test "the scripts are bash, and clean" {
	for script in submit step score-array.sbatch score-gpus.sbatch embed-sequence.sbatch gather.sbatch; do
		bash -n "$SLURM/$script"
	done
	command -v shellcheck > /dev/null || skip "no shellcheck"
	shellcheck "$SLURM"/{submit,step,*.sbatch} "$ROOT/tools/check-slurm"
}

@test "what docs/slurm.md shows of a script is that script" {
	python3 - "$ROOT/docs/slurm.md" "$SLURM" <<-'PY'
	import pathlib, re, sys
	page, scripts = pathlib.Path(sys.argv[1]).read_text(), pathlib.Path(sys.argv[2])
	shown = re.findall(r"^```bash\n(#!/usr/bin/env bash\n# (\S+) - .*?)^```$", page, re.M | re.S)
	assert {"step", "score-array.sbatch"} <= {name for _, name in shown}, shown
	for text, name in shown:
	    assert text == (scripts / name).read_text(), name
	for name in re.findall(r"\(\.\./workflows/slurm/([^)]+)\)", page):
	    assert (scripts / name).exists(), name
	PY
}

@test "twelve shards, gathered in the order of their numbers, are the bytes of one run" {
	whole whole.vcf.gz "${some[@]:0:2}"
	run "$SLURM/submit" -n 12 -c 2 run "$PIECES" "$PANEL" "${some[@]}"
	echo "$output"
	[ "$status" = 0 ]
	cmp whole.vcf.gz run/scored.vcf.gz
	[ -s run/scored.vcf.gz.csi ]
	grep -q -- '--array=1-12 --cpus-per-task=2 --mem=[0-9]*M ' fake/sbatch.log
	grep -q -- '--dependency=afterok:200 ' fake/sbatch.log
	# the threads of the job reach crocuta
	grep -q 'environment:.*SLURM_CPUS_PER_TASK=2' run/log/score.7.log
	[ "$(find run/stats -name '*.json' | wc -l)" = 12 ]
	python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); assert s["threads"] == 2 and s["shard"] == "7/12", s' run/stats/7.0.json
}

@test "the memory asked for is the plan's and a quarter more" {
	crocuta score --dry-run --json -m small-32k -@ 3 -f "$PIECES" "$PANEL" > plan.json 2> /dev/null
	printf '#!/bin/sh\ncase " $* " in *" --dry-run "*) exec "%s" "$@" ;; esac\n' "$CROCUTA" > fake/crocuta
	chmod +x fake/crocuta
	PATH=$FAKE:$PATH "$SLURM/submit" -n 1 -c 3 run "$PIECES" "$PANEL" -m small-32k
	wanted=$(python3 -c 'import json; print(json.load(open("plan.json"))["memory_bytes"] * 5 // 4 // 2**20 + 256)')
	grep -q -- "--mem=${wanted}M " fake/sbatch.log
}

@test "USR1 to the batch shell: the journal stays, the job is requeued, goes on, and has the same bytes" {
	start_slow
	kill -USR1 "$(cat fake/shell)"
	wait $submitted
	cat run/log/score.1.log fake/jobs.log
	grep -q 'restart 0: status 138: back into the queue' run/log/score.1.log
	grep -q 'going on behind' run/log/score.1.log
	grep -qx '200_1 restarts 1 status 0' fake/jobs.log
	grep -qx '200_2 restarts 0 status 0' fake/jobs.log
	grep -q '"status": 138' run/stats/1.0.json
	grep -q '"resumed": true' run/stats/1.1.json
	[ -z "$(ls -A run/state)" ]
	whole_slow
	cmp "$BATS_FILE_TMPDIR/slow.vcf.gz" run/scored.vcf.gz
}

@test "the job is requeued when the step has ended, by the step's status" {
	cat > fake/crocuta <<-'END'
	#!/bin/sh
	[ -z "$SLURM_RESTART_COUNT" ] || { echo again >> "$FAKE/order"; exit 0; }
	trap 'sleep 1; echo ended >> "$FAKE/order"; exit 75' USR1
	touch "$FAKE/started"
	while :; do sleep 0.1; done
	END
	chmod +x fake/crocuta
	PATH=$FAKE:$PATH sbatch --array=1-1 --output=log.%a "$SLURM/score-array.sbatch" ref.fa in.vcf > submitted 3>&- &
	submitted=$!
	for _ in $(seq 100); do [ ! -e fake/started ] || break; sleep 0.1; done
	kill -USR1 "$(cat fake/shell)"
	wait $submitted
	cat log.1
	diff fake/order <(printf 'ended\nagain\n')
	grep -q 'restart 0: status 75: back into the queue' log.1
}

@test "a process killed: the same" {
	start_slow
	kill -KILL "$(crocuta_of_shard_1)"
	wait $submitted
	cat run/log/score.1.log fake/jobs.log
	grep -q 'restart 0: status 137: back into the queue' run/log/score.1.log
	grep -q 'going on behind' run/log/score.1.log
	grep -qx '200_1 restarts 1 status 0' fake/jobs.log
	whole_slow
	cmp "$BATS_FILE_TMPDIR/slow.vcf.gz" run/scored.vcf.gz
}

# as `crocuta`: fake STATUS
fake() {
	printf '#!/bin/sh\nexit %s\n' "$1" > fake/crocuta
	chmod +x fake/crocuta
	rm -f fake/jobs.log
	PATH=$FAKE:$PATH sbatch --array=1-2 --output=log.%a "$SLURM/score-array.sbatch" ref.fa in.vcf
}

@test "stopped by --max-time: as often as it takes; killed: five times; other failures: not once" {
	# the last task has the number of its array, and is requeued alone all the same
	printf '#!/bin/sh\n[ "${SLURM_RESTART_COUNT:-0}" -ge 7 ] || exit 75\n' > fake/crocuta
	chmod +x fake/crocuta
	PATH=$FAKE:$PATH sbatch --array=1-2 --output=log.%a "$SLURM/score-array.sbatch" ref.fa in.vcf
	diff fake/jobs.log - <<-END
	200_1 restarts 7 status 0
	200_2 restarts 7 status 0
	END
	fake 137
	grep -qx '300_2 restarts 5 status 137' fake/jobs.log
	for status in 2 3 6 7 10; do
		fake $status
		grep -q "_1 restarts 0 status $status" fake/jobs.log
		grep -q "_2 restarts 0 status $status" fake/jobs.log
	done
}

@test "a cancelled job does not come back" {
	echo COMPLETING > fake/state
	fake 143
	grep -qx '200_1 restarts 0 status 143' fake/jobs.log
}

@test "a shard that failed is not gathered; the same command again does only what is missing" {
	whole whole.vcf.gz "${some[@]:0:2}"
	# shellcheck disable=SC2016
	printf '#!/bin/sh\ncase " $* " in *" --shard 2/3 "*) exit 3 ;; esac\nexec "%s" "$@"\n' "$CROCUTA" > fake/crocuta
	chmod +x fake/crocuta
	PATH=$FAKE:$PATH "$SLURM/submit" -n 3 -c 2 run "$PIECES" "$PANEL" "${some[@]}"
	[ ! -e run/scored.vcf.gz ]
	touch -d '2001-01-01' run/parts/1.bcf
	"$SLURM/submit" -n 3 -c 2 run "$PIECES" "$PANEL" "${some[@]}"
	cmp whole.vcf.gz run/scored.vcf.gz
	[ run/parts/1.bcf -ot run/parts/2.bcf ]
	[ -z "$(find run/parts/1.bcf -newermt 2001-01-02)" ]
}

@test "one task of an array submitted again is the same shard" {
	SHARDS=3 sbatch --array=2-2 --cpus-per-task=2 --output=log.%a "$SLURM/score-array.sbatch" "$PIECES" "$PANEL" "${some[@]}"
	whole - "${some[@]:0:2}" --shard 2/3 -O b | cmp - parts/2.bcf
}

@test "several processes of one job are a shard each" {
	sbatch --ntasks=3 --cpus-per-task=1 --output=log "$SLURM/score-gpus.sbatch" "$PIECES" "$PANEL" "${some[@]}"
	crocuta concat -q --no-version -o gathered.vcf.gz parts/{1,2,3}.bcf
	whole whole.vcf.gz "${some[@]:0:2}"
	cmp whole.vcf.gz gathered.vcf.gz
}

@test "check-slurm says what it needs" {
	mkdir empty
	for program in bash cat dirname realpath; do ln -s "$(command -v $program)" empty/; done
	status=0
	PATH=$PWD/empty "$(command -v bash)" "$ROOT/tools/check-slurm" 2> err || status=$?
	[ $status = 1 ]
	grep -q 'not here: munged slurmctld .*apt-get install' err
}
