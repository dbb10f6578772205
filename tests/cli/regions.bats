#!/usr/bin/env bats
# Regions and what is recorded about a run.

bats_require_minimum_version 1.5.0
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	make_fasta g.fa
}

rows() { zcat "$1.rows.bed.gz" | tail -n +2; }

@test "-r: 1-based inclusive, one base, open end, commas, order kept" {
	embed --bin 0 -r 'chrB:1-10,chrA:5,chrA:5,000-,{chrC}:1-1,chrA:1,001-1,002' -o x.npy g.fa
	rows x > got
	printf 'chr%s\t%s\t%s\t.\t.\t%s\n' B 0 10 0 A 4 5 1 A 4999 5003 2 C 0 1 3 A 1000 1002 4 |
		diff - got
}

@test "-R: BED is 0-based with names and strands, other files are 1-based" {
	printf 'track name=x\n# remark\nchrB\t0\t10\tone\t0\t-\nchrA\t4\t5\n' > r.bed
	embed --bin 0 -R r.bed -o bed.npy g.fa
	rows bed > got
	printf 'chrB\t0\t10\tone\t-\t0\nchrA\t4\t5\t.\t.\t1\n' | diff - got
	bgzip -k r.bed
	embed --bin 0 -R r.bed.gz -o gz.npy g.fa
	cmp bed.npy gz.npy
	printf 'chrB\t1\t10\nchrA\t5\n' > r.txt
	embed --bin 0 -R r.txt -o txt.npy g.fa
	cmp bed.npy txt.npy
	embed --bin 0 -r chrB:1-10,chrA:5 -o r.npy g.fa
	cmp bed.npy r.npy
}

@test "bins of a region count from its start" {
	embed --bin 100 -r chrA:51-300 -o x.npy g.fa
	rows x | cut -f2,3 > got
	printf '50\t150\n150\t250\n250\t300\n' | diff - got
}

@test "a region sees its contig to the left" {
	embed --bin 1 -r chrB -o all.npy g.fa
	embed --bin 1 -r chrB:301-400 -o part.npy g.fa
	npy near all.npy 300 400 part.npy 1e-4
	samtools faidx g.fa chrB:301-400 > alone.fa
	embed --bin 1 -o alone.npy alone.fa
	differ part.npy alone.npy
	# and on the reverse strand, to the right
	embed --bin 1 --strands reverse -r chrB -o all.npy g.fa
	embed --bin 1 --strands reverse -r chrB:301-400 -o part.npy g.fa
	npy near all.npy 300 400 part.npy 1e-4
}

@test "--clip cuts regions at the contig's end and says so" {
	"$CROCUTA" embed -m "$MODEL" --clip --bin 0 -r chrB:600-1000 -o x.npy g.fa 2> err
	[ "$(rows x | cut -f2,3)" = "599	700" ]
	grep -q '^\[W::embed\] 1 regions were cut' err
}

@test "regions wholly past the end are dropped under --clip: no rows, and a warning" {
	"$CROCUTA" embed -m "$MODEL" --clip -r chrB:800-900 -o x.npy g.fa 2> err
	[ "$(npy shape x.npy)" = "0 128 <f4" ]
	grep -q '^\[W::embed\] there are no regions' err
}

@test "meta.json: what was run, with which model, on what" {
	embed --strands both --bin 64 -o x.npy g.fa
	python3 - "$MODEL" <<-'PY'
	import hashlib, json, sys
	m = json.load(open("x.meta.json"))
	digest = hashlib.sha256(open(sys.argv[1] + "/model.safetensors", "rb").read()).hexdigest()
	contigs = hashlib.md5(b"chrA\t5003\nchrB\t700\nchrC\t1\n").hexdigest()
	assert m["model"]["sha256"] == digest
	assert m["model"]["name"] == "hyenadna-d128-n2-m1026"
	assert m["input"] == {"name": "g.fa", "contigs": 3, "contigs_md5": contigs}
	assert (m["strands"], m["bin"], m["pool"], m["layer"]) == ("both", 64, "mean", 2)
	assert (m["window"], m["overlap"], m["stream"]) == (1024, 256, False)
	assert (m["rows"], m["columns"], m["dtype"]) == (79 + 11 + 1, 128, "<f4")
	assert m["date"] == "2026-01-01T00:00:00Z"
	assert m["command"].startswith("crocuta embed -q -m ") and "--bin 64" in m["command"]
	assert m["version"].split("+htslib-")[0]
	PY
}

@test "meta.json: numbers as they were given" {
	embed --filter-shift 0.05 --skip-n 0.7 -o x.npy g.fa
	grep -q '"filter_shift": 0.05,' x.meta.json
	grep -q '"skip_n": 0.7,' x.meta.json
}

@test "names as long as the file system takes them" {
	name=$(printf '%0243d' 0) # with .rows.bed.gz 255 bytes
	embed -o "$name.npy" g.fa
	[ "$(npy shape "$name.npy")" = "47 128 <f4" ]
	[ -s "$name.rows.bed.gz" ] && [ -s "$name.meta.json" ]
	[ -z "$(find . -name '.*part')" ]
}

@test "text outputs carry the same facts, --no-version leaves the volatile ones out" {
	embed -r chrC -O tsv g.fa > t
	grep -q '^##crocuta.version=' t
	grep -q "^##crocuta.model.sha256=$(sha256sum < "$MODEL/model.safetensors" | cut -d' ' -f1)\$" t
	grep -q '^##crocuta.date=2026-01-01T00:00:00Z$' t
	embed --no-version -r chrC -O tsv g.fa > t
	lacks -e version= -e command= -e date= t
	grep -q '^##crocuta.window=1024$' t
}

@test "a wrong SOURCE_DATE_EPOCH is no date" {
	SOURCE_DATE_EPOCH=soon embed -r chrC -O tsv g.fa > t
	grep -q '^##crocuta.date=20[0-9-]*T' t
}

@test "an existing output is replaced, its files together" {
	echo old > x.npy
	echo old > x.meta.json
	embed -o x.npy g.fa
	[ "$(npy shape x.npy)" = "47 128 <f4" ]
	grep -q embed-1 x.meta.json
	[ -z "$(find . -name '.*part')" ]
}

@test "FIFOs and /dev/stdout are written straight" {
	mkfifo pipe
	cat pipe > got &
	embed -r chrB -O tsv -o pipe g.fa
	wait
	embed -r chrB -O tsv g.fa | body > want
	body got | cmp want -
	embed -r chrB -O tsv -o /dev/stdout g.fa | body | cmp want -
}

@test "the FASTA's directory may be read-only, and gets no index" {
	mkdir ro && cp g.fa ro
	embed -o x.npy ro/g.fa
	[ "$(ls ro)" = g.fa ]
}
