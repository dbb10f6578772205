#!/usr/bin/env bats
# Runs that are stopped: signals, killed processes, readers that go away.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir out
}

# A run of some minutes: 200,000 bases in windows that overlap almost wholly.
long() {
	exec "$CROCUTA" embed -m "$MODEL" -@ 1 --isa portable --window 1024 --overlap 1000 --bin 1 "$@" \
		"$PIECE"
}

# start OPTIONS...: the long run in the background, until it has begun to write
start() {
	long "$@" 2> err &
	child=$!
	has_begun 200
}

@test "SIGTERM: 143 within seconds, nothing left, a word about it" {
	start -o out/x.npy
	stops_with TERM 143 10
	lacks '^\[E::' err
	grep -q '^\[W::embed\] stopped by a signal' err
}

@test "SIGINT, SIGHUP and SIGUSR1 do the same" {
	# a shell starts background jobs with SIGINT ignored, and such a program leaves it so
	python3 - "$CROCUTA" "$MODEL" "$PIECE" <<-'PY'
	import os, signal, subprocess, sys, time
	crocuta, model, piece = sys.argv[1:]
	for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
	    run = subprocess.Popen([crocuta, "embed", "-q", "-m", model, "-@", "1", "--isa", "portable",
	                            "--overlap", "1000", "--bin", "1", "-o", "out/x.npy", piece],
	                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
	    while not os.listdir("out"):
	        time.sleep(0.05)
	    run.send_signal(number)
	    assert run.wait(10) == -number, (number, run.returncode)
	    assert not os.listdir("out"), os.listdir("out")
	PY
}

@test "a second signal ends it at once and still removes the part files" {
	start -o out/x.npy
	kill -TERM $child
	stops_with TERM 143 2
}

@test "SIGKILL: nothing under the output's names" {
	start -o out/x.npy
	kill -KILL $child
	wait $child || true
	[ -z "$(find out -mindepth 1 -not -name '.*.part')" ]
}

@test "stopped while a stream runs, and while a bigWig is written" {
	start --track logprob -o out/x.bw
	stops_with TERM 143 10
	"$CROCUTA" embed -q -m "$MODEL" -@ 1 --isa portable --stream --strands both --bin 1 -o out/x.npy \
		"$PIECE" 2> err &
	child=$!
	sleep 0.3
	kill -TERM $child || skip "too fast"
	wait $child && skip "too fast"
	[ -z "$(find out -mindepth 1)" ]
}

@test "a reader that goes away: 141, no message" {
	status=$(long -O tsv 2> err | head -n 30 > rows; echo "${PIPESTATUS[0]}")
	[ "$status" = 141 ]
	lacks '^\[E::' err
	[ "$(wc -l < rows)" = 30 ]
	status=$("$CROCUTA" embed --help | true; echo "${PIPESTATUS[0]}")
	[ "$status" = 141 ] || [ "$status" = 0 ]
}

@test "SIGPIPE ignored by the parent is the default again" {
	python3 - "$CROCUTA" "$MODEL" "$PIECE" <<-'PY'
	import signal, subprocess, sys
	crocuta, model, piece = sys.argv[1:]
	signal.signal(signal.SIGPIPE, signal.SIG_IGN)
	run = subprocess.Popen([crocuta, "embed", "-q", "-m", model, "--bin", "1", piece],
	                       stdout=subprocess.PIPE, restore_signals=False)
	run.stdout.read(1000)
	run.stdout.close()
	assert run.wait(60) == -signal.SIGPIPE, run.returncode
	PY
}

@test "two runs of one output do not disturb each other" {
	make_fasta g.fa
	for i in 1 2 3 4; do embed --no-version -@ 1 -o out/x.npy g.fa & done
	wait
	embed --no-version -@ 1 -o y.npy g.fa
	cmp out/x.npy y.npy
	[ -z "$(find out -name '.*')" ]
}
