# common.bash - shared by the tests of the command line.
#
# CROCUTA names the program (default: build/release/crocuta of this tree). Tests run in a directory of
# their own; nothing is written into the tree.

ROOT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
CROCUTA=${CROCUTA:-$ROOT/build/release/crocuta}
case $CROCUTA in /*) ;; *) CROCUTA=$PWD/$CROCUTA ;; esac
export CROCUTA
MODEL=$ROOT/test-data/golden/hyenadna-d128-n2-m1026
READS=$ROOT/test-data/reads
PIECE=$ROOT/test-data/seq/human_chr22_piece.fa.gz
unset CROCUTA_MODEL_PATH HF_HOME HF_HUB_CACHE OMP_NUM_THREADS SLURM_CPUS_PER_TASK
export SOURCE_DATE_EPOCH=1767225600 LC_ALL=C
# A program that fails in a pipe fails the test. So no `| grep -q` or `| head` behind what prints
# more than a pipe holds: they close it early.
set -o pipefail

npy() { python3 "$ROOT/tests/cli/npy.py" "$@"; }
crocuta() { "$CROCUTA" "$@"; }

# embed with the test model, no messages but errors
embed() { "$CROCUTA" embed -q -m "$MODEL" "$@"; }

# make_fasta FILE [SEED]: three contigs of 5003, 700 and 1 bases in lines of 60, with lower case and N
make_fasta() {
	python3 - "$1" "${2:-1}" <<'PY'
import random, sys
random.seed(int(sys.argv[2]))
with open(sys.argv[1], "w") as out:
    for name, length in (("chrA", 5003), ("chrB", 700), ("chrC", 1)):
        bases = "".join(random.choice("ACGTacgtACGTACGTN") for _ in range(length))
        out.write(f">{name} made for a test\n")
        for i in range(0, length, 60):
            out.write(bases[i:i + 60] + "\n")
PY
}

# reverse_complement IN OUT
reverse_complement() {
	python3 - "$1" "$2" <<'PY'
import sys
records = {}
for line in open(sys.argv[1]):
    if line[0] == ">":
        name = line[1:].split()[0]
        records[name] = ""
    else:
        records[name] += line.strip()
table = str.maketrans("ACGTacgt", "TGCAtgca")
with open(sys.argv[2], "w") as out:
    for name, bases in records.items():
        out.write(f">{name}\n{bases.translate(table)[::-1]}\n")
PY
}

# fails STATUS TEXT COMMAND...: the status is exact, stderr holds one error line and it has TEXT, and
# nothing is left in the directory `out`, hidden files included.
fails() {
	local expected=$1 text=$2 status=0 errors left
	shift 2
	mkdir -p out
	"$@" > stdout.txt 2> stderr.txt < /dev/null || status=$?
	errors=$(grep -c '^\[E::' stderr.txt) || true
	left=$(find out -mindepth 1 2> /dev/null)
	if [ "$status" != "$expected" ] || [ "$errors" != 1 ] || [ -n "$left" ] ||
		! grep '^\[E::' stderr.txt | grep -qF -- "$text"; then
		echo "command: $*"
		echo "status $status (expected $expected), $errors error lines, left: [$left]"
		echo "wanted: $text"
		cat stderr.txt
		return 1
	fi
}

# `! cmp` alone would not fail a test
differ() { ! cmp -s "$1" "$2"; }
lacks() { ! grep -q "$@"; } # grep's arguments

# every CONDITION [ARGUMENTS]: awk; true if there are lines and all of them meet the condition
every() {
	local condition=$1
	shift
	awk "!($condition) { print \"line \" NR \": \" \$0; bad = 1; exit } END { exit bad || !NR }" "$@"
}

# the part of a text output that is not provenance
body() { grep -v '^##' "$@"; }

# ---- runs that are stopped: $child is in the background, its messages go to `err`

# has_begun TRIES: wait until it writes into `out`, looking every 50 ms
has_begun() {
	for _ in $(seq "$1"); do
		[ -n "$(find out -name '.*.part')" ] && return
		sleep 0.05
	done
	cat err
	false
}

stops_with() { # SIGNAL STATUS SECONDS
	local begin status=0
	begin=$(date +%s)
	kill -s "$1" $child
	wait $child || status=$?
	cat err
	[ $status = "$2" ]
	[ $(($(date +%s) - begin)) -le "$3" ]
	[ -z "$(find out -mindepth 1)" ]
}

# ---- disks that are full

# limited BLOCKS COMMAND...: no file larger than that
limited() (
	ulimit -f "$1"
	shift
	"$@"
)

can_mount() {
	unshare -rm sh -c 'mount -t tmpfs -o size=64k tmpfs out' 2> /dev/null ||
		skip "cannot mount a file system here"
}

# mounted SIZE OPTIONS COMMAND...: `out` is a tiny file system in a mount namespace of our own; status 99
# when something stays there
mounted() {
	# shellcheck disable=SC2016
	unshare -rm sh -c 'mount -t tmpfs -o "size=$0" tmpfs out && mount -o "remount,$1" out || exit 98
		shift
		"$@"
		status=$?
		[ -z "$(find out -mindepth 1)" ] || exit 99
		exit $status' "$@"
}

# First line of a test of numbers alone, whose code others run too, or of memory: not under sanitizers
slow() {
	case $CROCUTA in *address*) skip "says nothing under sanitizers, or takes minutes" ;; esac
}
