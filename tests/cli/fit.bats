#!/usr/bin/env bats
# Heads from labelled sequences: kinds of input, parts, duplicates, cache, reports, refusals.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	make_labelled
}

fit() { "$CROCUTA" fit -q -m "$ROOT/models/tiny-1k" --no-version "$@"; }

# Sequences of 40 bases, the class `rich` with more C and G: all.csv, train.csv, valid.csv, test.csv; the
# same records by class and part, rich.train.fa and so on; the same as regions of genome.fa, all.bed and
# train.bed and so on, on contigs a (train), b (valid), c (test).
make_labelled() {
	python3 - <<'PY'
import random
random.seed(3)
table = str.maketrans("ACGT", "TGCA")
contigs = {"a": "", "b": "", "c": ""}
regions, rows = [], []
for part, contig, count in (("train", "a", 60), ("valid", "b", 16), ("test", "c", 16)):
    for i in range(count):
        name = "rich" if i % 2 else "other"
        letters = "ACGTCG" if i % 2 else "ACGTAT"
        bases = "".join(random.choice(letters) for _ in range(40))
        strand = "-" if i % 3 == 0 else "+"
        rows.append((part, name, bases))
        start = len(contigs[contig]) + 5
        contigs[contig] += "ACGTN" + (bases.translate(table)[::-1] if strand == "-" else bases)
        regions.append((part, f"{contig}\t{start}\t{start + 40}\t{name}\t0\t{strand}\n"))
with open("genome.fa", "w") as out:
    for name, bases in contigs.items():
        out.write(f">{name}\n{bases}\n")
for part in ("train", "valid", "test", "all"):
    chosen = [row for row in rows if part in ("all", row[0])]
    with open(part + ".csv", "w") as out:
        out.write("sequence,label\n" + "".join(f"{b},{n}\n" for _, n, b in chosen))
    with open(part + ".bed", "w") as out:
        out.write("".join(line for p, line in regions if part in ("all", p)))
    for name in ("rich", "other"):
        with open(f"{name}.{part}.fa", "w") as out:
            for i, (_, n, b) in enumerate(chosen):
                if n == name:
                    out.write(f">{i}\n{b}\n")
PY
}

tables() { fit --valid valid.csv --test test.csv "$@" train.csv; }

@test "records, tables and regions with the same sequences give the same head" {
	tables -o csv > csv.txt
	fit -o fa --valid rich=rich.valid.fa --valid other=other.valid.fa --test rich=rich.test.fa \
		--test other=other.test.fa rich=rich.train.fa other=other.train.fa > fa.txt
	fit -o bed -f genome.fa --valid-contigs b --test-contigs c all.bed > bed.txt
	fit -o beds -f genome.fa --valid valid.bed --test test.bed train.bed > beds.txt
	for other in fa bed beds; do
		cmp csv/head.safetensors $other/head.safetensors
		cmp csv.txt $other.txt
	done
	grep -qx 'class	other	30	8	8' csv.txt
	grep -qx 'examples	all	60	16	16' csv.txt
	grep -qx 'background	other' csv.txt
	awk -F'\t' '$1 == "metrics" && $2 == "head" && $3 == "test" { if ($5 > 0.8) good = 1 }
		END { exit !good }' csv.txt
	[ "$(grep -c '^metrics	4-mers' csv.txt)" = 2 ]
	[ "$(grep -c '^reliability' csv.txt)" = 10 ]
}

@test "columns in any order, quotes, tabs, gzip, case and the order of rows do not matter" {
	tables -o plain > plain.txt
	for part in train valid test; do
		awk -F, 'NR == 1 { print "name\tlabel\tsequence"; next }
			{ print "x y\t" $2 "\t" tolower($1) | "sort -r" }' $part.csv | gzip > $part.tsv.gz
	done
	fit -o tabs --valid valid.tsv.gz --test test.tsv.gz train.tsv.gz > tabs.txt
	cmp plain/head.safetensors tabs/head.safetensors
	cmp plain.txt tabs.txt
	awk -F, 'NR == 1 { print "\"label\",\"note\",SEQUENCE"; next }
		{ print "\"" $2 "\",\"a, \"\"b\"\"\",\"" $1 "\"\r" }' train.csv > quoted.csv
	fit -o quoted --valid valid.csv --test test.csv quoted.csv > quoted.txt
	cmp plain/head.safetensors quoted/head.safetensors
}

@test "bytes do not depend on threads and batch size" {
	tables -o one -@ 1 --parts 4 --strands concat --report one.json > one.txt
	tables -o two -@ 2 --parts 4 --strands concat --batch-size 3 --report two.json > two.txt
	cmp one.txt two.txt
	cmp one.json two.json
	cmp one/head.json two/head.json
	cmp one/head.safetensors two/head.safetensors
	tables -o h1 -@ 1 --head hidden --hidden 8 --kmer 0 --epochs 5 > one.txt
	tables -o h2 -@ 3 --head hidden --hidden 8 --kmer 0 --epochs 5 > two.txt
	cmp one.txt two.txt
	cmp h1/head.safetensors h2/head.safetensors
	lacks 4-mers one.txt
}

@test "a split by hash: tenths, the same for both strands, another for another seed" {
	reverse_complement rich.all.fa rich.back.fa
	reverse_complement other.all.fa other.back.fa
	fit -o s --kmer 0 --split 4 all.csv > s.txt
	fit -o both --kmer 0 --split 4 rich=rich.all.fa rich=rich.back.fa other=other.all.fa \
		other=other.back.fa > both.txt
	fit -o t --kmer 0 --split 5 all.csv > t.txt
	awk '$1 == "examples" { exit !($3 + $4 + $5 == 92 && $3 > 60 && $4 > 2 && $5 > 2) }' s.txt
	# both strands: twice as many in every part, and nothing is a duplicate
	awk '$1 == "examples" { print 2 * $3, 2 * $4, 2 * $5 }' s.txt > s.twice
	awk '$1 == "examples" { print $3, $4, $5 }' both.txt | cmp s.twice -
	grep -q '^dropped	0	' both.txt
	differ s/head.safetensors t/head.safetensors
}

@test "--test alone splits a tenth off, --valid alone says that it is measured on" {
	fit -o t --kmer 0 --test test.csv train.csv > t.txt
	awk '$1 == "examples" { exit !($3 + $4 == 60 && $4 > 1 && $4 < 20 && $5 == 16) }' t.txt
	# what the test part has too is in no other part, also not in that tenth
	cat train.csv <(tail -n +2 test.csv) > dirty.csv
	fit -o d --kmer 0 --test test.csv dirty.csv > d.txt
	grep -q '^dropped	16	' d.txt
	cmp t/head.safetensors d/head.safetensors
	[ "$(grep '^class	' t.txt)" = "$(grep '^class	' d.txt)" ]
	fit -o v --kmer 0 --valid valid.csv train.csv > v.txt
	grep -q '^note	there is no test part' v.txt
	lacks '^metrics	head	test' v.txt
	grep -q '^metrics	head	valid' v.txt
}

@test "duplicates of held-out sequences leave the training part, on either strand" {
	tables -o plain > /dev/null
	sed -n '2,4p' test.csv > extra
	reverse_complement <(awk -F, '{ print ">" NR "\n" $1 }' <(sed -n '2,3p' valid.csv)) back.fa
	awk 'NR % 2 == 0 { print tolower($0) ",rich" }' back.fa >> extra
	cat train.csv extra > dirty.csv
	"$CROCUTA" fit -m "$ROOT/models/tiny-1k" --no-version -o clean --valid valid.csv \
		--test test.csv dirty.csv > clean.txt 2> err
	grep -q '^dropped	5	' clean.txt
	grep -q '5 training sequences are in the validation or test part too' err
	cmp plain/head.safetensors clean/head.safetensors
	fit -o kept --keep-duplicates --valid valid.csv --test test.csv dirty.csv > kept.txt
	grep -q '^dropped	0	' kept.txt
	differ plain/head.safetensors kept/head.safetensors
}

@test "regions of two parts that overlap are refused, unless allowed" {
	printf 'c\t20\t60\tother\t0\t+\n' | cat train.bed - > over.bed
	fails 3 'training region c:21-60 overlaps test region c:6-45' \
		fit -o out/h -f genome.fa --valid valid.bed --test test.bed over.bed
	fit -o h --allow-overlap -f genome.fa --valid valid.bed --test test.bed over.bed > h.txt
	grep -q '^examples	all	61	' h.txt
	# regions that only touch are fine
	printf 'c\t0\t5\tother\n' | cat train.bed - > touch.bed
	fit -o i -f genome.fa --valid valid.bed --test test.bed touch.bed > i.txt
}

@test "regions without a strand are read forward, and that is said once" {
	awk -F'\t' '$6 == "+"' all.bed > forward.bed
	fit -o a -f genome.fa --valid-contigs b --test-contigs c forward.bed > a.txt
	cut -f 1-4 forward.bed > bare.bed
	"$CROCUTA" fit -m "$ROOT/models/tiny-1k" -o b -f genome.fa --valid-contigs b --test-contigs c \
		bare.bed > b.txt 2> err
	cmp a/head.safetensors b/head.safetensors
	[ "$(grep -c 'have no strand' err)" = 1 ]
	# both contigs of a list
	fit -o c --kmer 0 -f genome.fa --valid-contigs b,c bare.bed > c.txt
	grep -q '^examples	all	40	20	0' c.txt
}

@test "classes: sorted, numbers by value, or as listed; background" {
	for part in train valid test; do
		awk -F, 'NR == 1 { print; next } { print $1 "," ($2 == "rich" ? 10 : 9) }' \
			$part.csv > n.$part.csv
	done
	fit -o n --kmer 0 --valid n.valid.csv --test n.test.csv n.train.csv > n.txt
	[ "$(awk '$1 == "class" { printf "%s ", $2 }' n.txt)" = "9 10 " ]
	grep -qx 'background	-' n.txt
	tables --kmer 0 -o a --classes rich,other --background rich > a.txt
	[ "$(awk '$1 == "class" { printf "%s ", $2 }' a.txt)" = "rich other " ]
	grep -qx 'background	rich' a.txt
	tables --kmer 0 -o b --background none > b.txt
	grep -qx 'background	-' b.txt
	fails 2 'there is no such class' tables -o out/h --background promoter
	fails 3 'class "rich" is none of the known ones: other, poor' \
		tables -o out/h --classes other,poor
	fails 2 'rich is there twice' tables -o out/h --classes rich,rich
}

@test "a cache gives the same bytes, and a damaged one is computed anew" {
	tables -o plain > plain.txt
	tables -o first --cache cache > first.txt
	[ "$(find cache -name '*.npy' | wc -l)" = 3 ]
	(cd cache && sha256sum --quiet -c ./*.sha256)
	run_again() {
		"$CROCUTA" fit -m "$ROOT/models/tiny-1k" --no-version --cache cache --valid valid.csv \
			--test test.csv "$@" train.csv 2> err
	}
	run_again -o second > second.txt
	[ "$(grep -c 'from the cache' err)" = 3 ]
	for other in first second; do
		cmp plain.txt $other.txt
		cmp plain/head.safetensors $other/head.safetensors
	done
	# another form or other letters: other keys, also where the vectors are as wide
	for other in '--parts 2' '--layer 1' '--pool max' '--strands reverse' --n-as-pad --softmask-n; do
		rm -rf second
		# shellcheck disable=SC2086
		run_again -o second $other > second.txt
		lacks -e 'from the cache' -e 'is damaged' err
	done
	# a bit, the length, the digest
	for damage in bit cut digest; do
		rm -rf cache third
		tables -o third --cache cache > third.txt
		file=$(find cache -name '*.npy' | sort | head -n 1)
		case $damage in
		bit) printf 'x' | dd of="$file" bs=1 seek=200 conv=notrunc status=none ;;
		cut) truncate -s -4 "$file" ;;
		digest) rm "${file%.npy}.sha256" ;;
		esac
		run_again -o again.$damage > again.txt
		grep -q 'is damaged' err
		[ "$(grep -c 'from the cache' err)" = 2 ]
		cmp plain/head.safetensors again.$damage/head.safetensors
		(cd cache && sha256sum --quiet -c ./*.sha256)
	done
}

@test "--evaluate measures what fit measured" {
	tables -o h > h.txt
	fit --evaluate --head-dir h test.csv > e.txt
	[ "$(grep '^metrics	head	test' h.txt)" = "$(grep '^metrics' e.txt)" ]
	[ "$(grep '^reliability' h.txt)" = "$(grep '^reliability' e.txt)" ]
	grep -qx 'evaluated	h' e.txt
	# the head says form and order
	tables -o p --parts 3 --pool max --strands both --layer 1 --classes rich,other > p.txt
	fit --evaluate --head-dir p -f genome.fa test.bed > e.txt
	[ "$(grep '^metrics	head	test' p.txt)" = "$(grep '^metrics' e.txt)" ]
	tables -o b --kmer 0 --background rich > /dev/null
	fit --evaluate --head-dir b --report b.json test.csv > /dev/null
	grep -q '"background": "rich"' b.json
	# other names for the classes; a class without an example
	awk -F, 'NR == 1 || $2 == "rich" { sub("rich", "1"); print }' test.csv > ones.csv
	fails 3 'class "1" is none of the known ones: other, rich' fit --evaluate --head-dir h ones.csv
	fit --evaluate --head-dir h --classes 0,1 ones.csv > ones.txt
	grep -q '^metrics	head	test	[0-9.]*	-	' ones.txt
	fails 4 'backbone' "$CROCUTA" fit -q -m "$MODEL" --evaluate --head-dir h test.csv
	fails 4 '' fit --evaluate test.csv
	fails 2 'leave -o out' fit --evaluate --head-dir h -o out/x test.csv
	fails 2 'leave them out' fit --evaluate --head-dir h --parts 2 test.csv
	fails 2 '--head-dir belongs to --evaluate' tables -o out/x --head-dir h
}

@test "--report is JSON with what is printed; head.json holds it too" {
	tables -o h --report r.json --l2 0.001,0.01 > h.txt
	python3 - <<'PY'
import json
report, head = json.load(open("r.json")), json.load(open("h/head.json"))
lines = [line.rstrip("\n").split("\t") for line in open("h.txt")]
for words in lines:
    if words[0] == "class":
        counts = report["examples"][words[1]]
        assert [str(counts[p]) for p in ("train", "valid", "test")] == words[2:], words
    if words[0] == "metrics":
        of = report["metrics"] if words[1] == "head" else report["baseline"]["metrics"]
        names = ["accuracy", "auroc", "auprc", "mcc", "brier", "log_loss", "ece"]
        for name, value in zip(names, words[3:]):
            assert abs(of[words[2]][name] - float(value)) < 1e-4, words
table = [words for words in lines if words[0] == "reliability"]
for bin, words in zip(report["metrics"]["test"]["reliability"], table):
    assert str(bin["examples"]) == words[2]
assert sum(bin["examples"] for bin in report["metrics"]["test"]["reliability"]) == 16
training = head["training"]
assert training["files"] == {"train": ["train.csv"], "valid": ["valid.csv"], "test": ["test.csv"]}
assert training["l2"] == report["l2"] and training["l2"] in (0.001, 0.01)
assert training["metrics"]["test"]["auroc"] == report["metrics"]["test"]["auroc"]
assert "crocuta" not in training and head["window"] == 40
PY
	cp train.csv copy.csv
	fails 2 '' fit -o out/h --report copy.csv --valid valid.csv copy.csv
	cmp train.csv copy.csv
	rm -r out
	awk '/^>/ { at += length + 1; name = substr($0, 2); next }
		{ print name "\t" length "\t" at "\t" length "\t" length + 1; at += length + 1 }' \
		genome.fa > genome.fa.fai
	fails 2 '' fit -o out/h --report genome.fa.fai -f genome.fa --valid valid.bed train.bed
	cp -r "$ROOT/models/tiny-1k" m
	fails 2 '' "$CROCUTA" fit -q -m m -o out/h --report m/config.json --split 1 train.csv
	cmp m/config.json "$ROOT/models/tiny-1k/config.json"
}

@test "an output that exists is refused without --force" {
	tables -o h --kmer 0 > /dev/null
	cp -r h before
	fails 10 'exists; --force' tables -o h
	cmp h/head.json before/head.json
	tables -o h --kmer 0 --force --parts 2 > /dev/null
	differ h/head.json before/head.json
	mkdir other && touch other/file
	fails 10 'beside a head' tables -o other --force --kmer 0
	[ -e other/file ]
	# before the vectors, which may take hours: nothing is kept of them
	fails 5 'its directory cannot be written into' tables -o out/no/h --cache kept
	fails 10 'beside a head' tables -o other --force --cache kept
	fails 2 'a head holds at most' tables -o out/h --window 3000000000 --cache kept
	fails 2 'need at least 91' tables -o out/h --window 50 --parts 10 --cache kept
	[ ! -e kept ]
}

@test "what a head cannot be fitted to" {
	awk -F, 'NR == 1 || $2 == "rich"' train.csv > one.csv
	fails 3 'all training sequences are of one class, rich' fit -o out/h --valid valid.csv one.csv
	awk -F, 'NR == 1 || $2 == "rich"' test.csv > one.csv
	fails 3 'class other has no example in the test part' \
		fit -o out/h --valid valid.csv --test one.csv train.csv
	{ cat valid.csv && echo ACGT,poor; } > bad.csv
	fails 3 'bad.csv:18: class "poor" is none of the known ones' fit -o out/h --valid bad.csv train.csv
	printf 'sequence,class\nACGT,a\n' > bad.csv
	fails 3 'bad.csv:1: no column is named "label"' fit -o out/h --valid valid.csv bad.csv
	{ cat train.csv && echo ACGZ,rich; } > bad.csv
	fails 3 'bad.csv:62: base 4 of the sequence, byte 0x5a' fit -o out/h --valid valid.csv bad.csv
	{ cat train.csv && echo ACGT,rich,x; } > bad.csv
	fails 3 'bad.csv:62: 3 fields, the first line has 2' fit -o out/h --valid valid.csv bad.csv
	{ cat train.csv && echo 'ACGT,"rich'; } > bad.csv
	fails 3 'bad.csv:62: the quotes' fit -o out/h --valid valid.csv bad.csv
	{ cat train.csv && echo 'ACGT,ri"ch'; } > bad.csv
	fails 3 'bad.csv:62: "ri"ch" is no name of a class' fit -o out/h --valid valid.csv bad.csv
	{ cat train.csv && printf ACGT,rich; } > bad.csv
	fails 3 'bad.csv:62: the last line has no line end' fit -o out/h --valid valid.csv bad.csv
	gzip -c train.csv | head -c 500 > bad.csv.gz
	fails 3 'bad.csv.gz' fit -o out/h --valid valid.csv bad.csv.gz
	: > empty.csv
	fails 3 'empty' fit -o out/h --valid valid.csv empty.csv
	head -n 1 train.csv > empty.csv
	fails 3 'holds no sequence' fit -o out/h --valid valid.csv empty.csv
	{ cat train.csv && echo ACGT,rich; } > short.csv
	fails 3 'short.csv:62: 4 bases; 4 parts need at least 13' \
		fit -o out/h --parts 4 --valid valid.csv short.csv
	{ cat rich.train.fa && printf '>bad\nAC!GT\n'; } > bad.fa
	fails 3 'bad.fa' fit -o out/h --split 1 rich=bad.fa other=other.train.fa
	cut -f 1-3 train.bed > nameless.bed
	fails 3 'has no class' fit -o out/h -f genome.fa --valid valid.bed nameless.bed
	printf 'c\t100\t900000\trich\n' > off.bed
	fails 3 'off.bed:1' fit -o out/h -f genome.fa --valid valid.bed off.bed
}

@test "vectors that are no numbers end the run" {
	cp -r "$ROOT/models/tiny-1k" nan
	python3 - <<'PY'
import json, struct
data = bytearray(open("nan/model.safetensors", "rb").read())
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
name = next(n for n in header if n.endswith("ln_f.weight"))
at = 8 + size + header[name]["data_offsets"][0]
data[at:at + 4] = struct.pack("<f", float("nan")) # or two float16
open("nan/model.safetensors", "wb").write(data)
PY
	fails 8 'train.csv:' "$CROCUTA" fit -q -m ./nan --allow-nan-weights -o out/h --valid valid.csv \
		train.csv
}

@test "what the options ask for must make sense" {
	fails 2 'what should the head be measured on' fit -o out/h train.csv
	fails 2 '-o HEADDIR is needed' fit --split 1 train.csv
	fails 2 'no inputs' fit -o out/h --split 1
	fails 2 'split by contig' fit -o out/h -f genome.fa --split 1 all.bed
	fails 2 'a validation part is needed' fit -o out/h -f genome.fa --test test.bed train.bed
	fails 2 'BED inputs need -f' fit -o out/h --valid valid.bed train.bed
	fails 2 'belong to BED inputs' fit -o out/h --valid-contigs b train.csv
	fails 2 'do not go together' fit -o out/h --valid valid.csv rich=rich.train.fa
	fails 2 'give CLASS=FILE' fit -o out/h --split 1 rich.train.fa
	fails 2 'give CLASS=FILE' fit -o out/h --split 1 rich=
	fails 2 'leave --split' tables -o out/h --split 1
	fails 2 '--l2 "1,,2"' tables -o out/h --l2 1,,2
	fails 2 '--hidden belongs to' tables -o out/h --hidden 3
	fails 2 'is given twice' tables -o out/h --parts 2 --parts 3
	fails 3 'there is no contig "x"' \
		fit -o out/h -f genome.fa --valid-contigs b --test-contigs x all.bed
	fails 2 'contig b is in --valid-contigs and in --test-contigs' \
		fit -o out/h -f genome.fa --valid-contigs b --test-contigs c,b all.bed
	fails 3 'has no example in the training part' \
		fit -o out/h -f genome.fa --valid-contigs a,b --test-contigs c all.bed
	fails 2 '--layer 9' tables -o out/h --layer 9
	fails 5 'absent.csv' fit -o out/h --valid absent.csv train.csv
	python3 - <<'PY'
import random
with open("large.csv", "w") as out:
    out.write("sequence,label\n")
    for i in range(6000):
        out.write("".join(random.choices("ACGT", k=40)) + f",{i % 2}\n")
PY
	fails 6 'features need' \
		fit -o out/h --parts 6 --strands concat --split 1 --max-mem 32M large.csv
	fails 6 'the sequences alone' tables -o out/h --max-mem 1k
}

@test "SIGTERM: 143 within seconds, nothing left" {
	mkdir out
	python3 - <<'PY'
import random
random.seed(5)
with open("long.csv", "w") as out:
    out.write("sequence,label\n")
    for i in range(20000):
        out.write("".join(random.choices("ACGT", k=1000)) + f",{i % 2}\n")
PY
	"$CROCUTA" fit -m "$ROOT/models/tiny-1k" -@ 1 --isa portable --progress 1 --split 1 -o out/h \
		long.csv > text 2> err &
	child=$!
	for _ in $(seq 200); do
		grep -q bases/s err && break
		sleep 0.1
	done
	grep -q bases/s err
	stops_with TERM 143 10
	[ ! -s text ]
	grep -q '^\[W::fit\] stopped by a signal' err
}

@test "the background class comes first, so that AUROC and AUPRC are about the other" {
	for part in train valid test; do
		sed 's/,rich$/,enriched/' $part.csv > e.$part.csv
	done
	fit -o e --valid e.valid.csv --test e.test.csv e.train.csv > e.txt
	[ "$(grep '^class' e.txt | cut -f 2 | tr '\n' ' ')" = "other enriched " ]
	grep -qx 'positive	enriched' e.txt
	fit -o f --background enriched --valid e.valid.csv --test e.test.csv e.train.csv > f.txt
	[ "$(grep '^class' f.txt | cut -f 2 | tr '\n' ' ')" = "enriched other " ]
	fit -o g --classes enriched,other --valid e.valid.csv --test e.test.csv e.train.csv > g.txt
	[ "$(grep '^class' g.txt | cut -f 2 | tr '\n' ' ')" = "enriched other " ]
}

@test "few validation examples do not make a head certain" {
	fit -o h --valid valid.csv --test test.csv train.csv > h.txt
	awk -F'\t' '$1 == "temperature" && $2 > 0.06 { good = 1 } END { exit !good }' h.txt
	"$CROCUTA" classify -q --head h rich.all.fa | grep -v '^#' > rows
	every '$8 > 1e-6 && $9 > 1e-6' rows
}

@test "a head's name may be as long as a file's" {
	name=$(printf 'h%.0s' $(seq 240))
	tables -o "$name" > /dev/null
	[ -s "$name/head.json" ]
}

@test "a head is used as it was fitted: N, lower case, filter shift" {
	fit -o h --n-as-pad --valid valid.csv --test test.csv train.csv > h.txt
	fails 2 'was fitted with --n-as-pad: give it here too' crocuta classify -q --head h -o out/x rich.all.fa
	crocuta classify -q --head h --n-as-pad -o ok.tsv rich.all.fa
	fails 2 'fitted without --softmask-n' crocuta classify -q --head h --n-as-pad --softmask-n -o out/x rich.all.fa
	fails 4 'filter shift of 0.05' crocuta classify -q --head h --n-as-pad --filter-shift 0 -o out/x rich.all.fa
	fails 2 'was fitted with --n-as-pad' crocuta fit --evaluate --head-dir h test.csv
}

@test "sequences of two classes, repeats and a small validation part are told" {
	{ cat train.csv; sed -n '2,4p' train.csv; sed -n '5s/,.*/,other/p; 6s/,.*/,rich/p' train.csv; } > odd.csv
	"$CROCUTA" fit -m "$ROOT/models/tiny-1k" -o h --valid valid.csv --test test.csv odd.csv 2> err > /dev/null
	grep -q '^\[W::fit\] 2 sequences are there with one class and with another' err
	grep -q '3 sequences repeat another' err
	grep -q '^\[W::fit\] the validation part has 16 examples' err
}

@test "windows that classify could not use are refused" {
	fails 2 'reads at most 1024 bases' fit -o out/h --window 5000 --valid valid.csv train.csv
	fails 2 'no longer than the window' fit -o out/h --window 100 --step 200 --valid valid.csv train.csv
}
