#!/usr/bin/env bats
# tools/accuracy: the tables of docs/accuracy.md, from made-up data in the published sets' files.

load common

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	python3 - <<'PY'
import gzip, os, random
random.seed(8)

def bases(length, rich):
    """Of the second class, the middle has more C and G."""
    middle = random.choices("ACGT", (1, 2, 2, 1) if rich else (1, 1, 1, 1), k=length // 2)
    rest = random.choices("ACGT", k=length - length // 2)
    return "".join(rest[: length // 4] + middle + rest[length // 4:])

for folder, length in (("core_all", 70), ("core_tata", 70), ("300_tata", 300)):
    folder = "data/gue_prom_" + folder
    os.makedirs(folder)
    for part, count in (("train", 300), ("dev", 200), ("test", 200)):
        with gzip.open(f"{folder}/{part}.csv.gz", "wt") as out:
            out.write("sequence,label\n")
            for i in range(count):
                rich = i // 10 % 2 # every tenth row: both classes
                out.write(f"{bases(length, rich)},{rich}\n")
os.makedirs("data/ienhancer")
for name, rich in (("non", 0), ("enhancer", 1)):
    for part, count in (("cv", 400), ("ind", 100)):
        with gzip.open(f"data/ienhancer/{name}.{part}.txt.gz", "wt") as out:
            for i in range(count):
                out.write(f">CHR1_{i}_{i + 200}\n{bases(200, rich)}\n")
PY
}

setup() {
	cd "$BATS_FILE_TMPDIR"
	data=$BATS_FILE_TMPDIR/data
}

accuracy() {
	"$ROOT/tools/accuracy" -m "$ROOT/models/tiny-1k" --work "$BATS_TEST_TMPDIR/work" "$@" 2> err
}

# table N of a page: its rows without head, cells separated by tabs
table() {
	awk -v wanted="$1" '!/^\|/ { inside = 0; next } !inside { inside = 1; n++; next }
		n == wanted && !/^\| ---/' "$2" |
		sed 's/^| //; s/ |$//; s/ | /\t/g'
}

fails_with() { # TEXT COMMAND...: status 1, one line of error
	local status=0 text=$1
	shift
	"$@" > stdout.txt || status=$?
	[ $status = 1 ]
	[ ! -s stdout.txt ]
	grep -qF -- "$text" err
}

@test "a smoke run makes all tables of all sets, and puts them between the marks" {
	slow
	cp "$ROOT/docs/accuracy.md" page.md
	accuracy --quick -o page.md "$data"
	grep -q 'smoke run' page.md
	for n in 1 2 3; do table $n page.md > table.$n; done
	[ "$(cut -f 1 table.1 | paste -sd ' ')" = "prom_core_all prom_core_tata prom_300_tata ienhancer" ]
	[ "$(cut -f 3 table.1 | head -n 1)" = "30 / 20 / 20" ]
	awk -F'\t' 'NF != 9 || $8 != "-" { exit 1 }' table.1
	[ "$(cut -f 1 table.3 | sort | uniq -c | awk '{ print $1 }' | sort -u)" = 5 ]
	# all else is as before; a second run changes nothing
	outside() { sed '/accuracy:begin/,/accuracy:end/{//!d}' "$1"; }
	[ "$(outside page.md)" = "$(outside "$ROOT/docs/accuracy.md")" ]
	accuracy --quick --sets ienhancer -o page.md "$data"
	table 1 page.md | cmp - <(sed -n 4p table.1)
	[ "$(outside page.md)" = "$(outside "$ROOT/docs/accuracy.md")" ]
}

@test "the figures are those of crocuta fit, what is shown is best on the validation part" {
	slow
	accuracy --quick --sets prom_core_tata --tuned absent "$data" > tables.md
	grep -q 'no absent/prom_core_tata: left out' err
	thinned=$BATS_TEST_TMPDIR/work/quick/data/gue_prom_core_tata
	for n in 1 2 3; do table $n tables.md > table.$n; done
	[ "$(zcat "$thinned/dev.csv.gz")" = "$(zcat "$data/gue_prom_core_tata/dev.csv.gz" |
		awk 'NR == 1 || NR % 10 == 2')" ]
	"$CROCUTA" fit -q -m "$ROOT/models/tiny-1k" -o plain --force --valid "$thinned/dev.csv.gz" \
		--test "$thinned/test.csv.gz" "$thinned/train.csv.gz" > fit.txt
	head_figures=$(awk -F'\t' '$1 == "metrics" && $2 == "head" && $3 == "test" {
		printf "%.3f / %.3f", $5, $4 }' fit.txt)
	[ "$(cut -f 6 table.1)" = "$head_figures" ]
	[ "$(cut -f 3 table.1)" = "30 / 20 / 20" ]
	# the form of the best model's row has the highest AUROC of the third table
	top=$(sort -t "$(printf '\t')" -k3,3gr table.3 | head -n 1 | cut -f 3)
	form=$(awk -F'\t' '$2 == "tiny-1k" { form = $3 } END { print form }' table.2)
	[ "$(awk -F'\t' -v form="$form" '$2 == form { print $3 }' table.3)" = "$top" ]
	# vectors come from the cache: 4 forms of 3 parts, no more for k-mers and the hidden layer
	[ "$(find "$BATS_TEST_TMPDIR/work/quick/cache" -name '*.npy' | wc -l)" = 12 ]
}

@test "fine-tuned directories are measured by crocuta on the test part" {
	slow
	mkdir tuned
	cp -r "$ROOT/models/tiny-1k" tuned/ienhancer
	accuracy --quick --sets ienhancer "$data" > /dev/null
	# the classes sorted, so the background is the second; then as above
	e=$BATS_TEST_TMPDIR/work/quick/data/ienhancer
	for classes in enhancer,other other,enhancer; do
		"$CROCUTA" fit -q -m "$ROOT/models/tiny-1k" -o head --force --kmer 0 --classes $classes \
			--test other="$e/non.ind.txt.gz" --test enhancer="$e/enhancer.ind.txt.gz" \
			other="$e/non.cv.txt.gz" enhancer="$e/enhancer.cv.txt.gz" > fit.txt
		cp head/head.* tuned/ienhancer
		accuracy --quick --sets ienhancer --tuned tuned "$data" > tables.md
		# it is the plain head: as accurate, and with classes mixed up it would not be
		table 1 tables.md | sed 's,[0-9.]* / ,,g' |
			awk -F'\t' '{ exit !($8 > 0.6 && $8 == $6) }'
	done
}

@test "what is missing is said before any work" {
	fails_with 'absent/gue_prom_core_all/train.csv.gz: no such file' accuracy absent
	echo text > bare.md
	fails_with 'bare.md: no place for the tables' accuracy -o bare.md "$data"
	fails_with 'absent.md: No such file' accuracy -o absent.md "$data"
	fails_with 'have the same name' accuracy -m "$ROOT/models/tiny-1k" "$data"
	CROCUTA=$PWD/absent fails_with 'CROCUTA names the program' accuracy --quick "$data"
	status=0
	accuracy --sets promoters "$data" > stdout.txt || status=$?
	[ $status = 2 ]
	[ ! -e "$BATS_TEST_TMPDIR/work/cache" ]
}
