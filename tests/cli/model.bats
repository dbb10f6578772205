#!/usr/bin/env bats
# crocuta model list, show, verify, convert.

bats_require_minimum_version 1.5.0
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
}

@test "show: text and JSON say the same" {
	"$CROCUTA" model show "$MODEL" > t
	grep -qx 'family	hyenadna' t
	grep -qx 'layers	2' t
	grep -qx 'width	128' t
	grep -qx 'max_length	1026' t
	grep -qx 'usable_length	1024' t
	grep -qx 'token	A	7' t
	grep -qx "sha256	$(sha256sum < "$MODEL/model.safetensors" | cut -d' ' -f1)" t
	"$CROCUTA" model show --json -m "$MODEL" | python3 -c '
import json, sys
m = json.load(sys.stdin)
assert (m["layers"], m["width"], m["vocabulary"]["N"], m["causal"]) == (2, 128, 11, True), m'
}

@test "show: filter shift and where it comes from" {
	"$CROCUTA" model show "$MODEL" | grep -qx 'filter_shift_source	default'
	"$CROCUTA" model show "$MODEL-shift0" | grep -qx 'filter_shift_source	config'
	"$CROCUTA" model show --filter-shift 0.01 "$MODEL" > t
	grep -qx 'filter_shift	0.01' t
	grep -qx 'filter_shift_source	option' t
}

@test "show --certificate says whether near/far holds" {
	"$CROCUTA" model show --certificate "$MODEL" | grep -q '^nearfar_certified	'
	"$CROCUTA" model show --certificate --json "$MODEL" | python3 -m json.tool > t
	grep -q '"nearfar_certified": ' t
}

@test "what is odd about a model's files is told" {
	python3 - "$MODEL" <<-'PY'
	import json, os, sys
	for name, fields in ("odd", ["flavour"]), ("many", [f"extra{i}" for i in range(30)]):
	    os.mkdir(name)
	    os.symlink(sys.argv[1] + "/model.safetensors", name + "/model.safetensors")
	    config = json.load(open(sys.argv[1] + "/config.json"))
	    config["d_inner"] = 999
	    config.update({field: 1 for field in fields})
	    json.dump(config, open(name + "/config.json", "w"))
	PY
	printf '>s\nACGT\n' > s.fa
	"$CROCUTA" embed -m ./odd -O tsv s.fa 2> err > t
	[ "$(grep -c '^\[W::embed\] model: ' err)" = 2 ]
	grep -q 'd_inner 999' err
	grep -q 'unknown field "flavour" ignored' err
	"$CROCUTA" embed -q -m ./odd -O tsv s.fa 2> err > t
	[ ! -s err ]
	"$CROCUTA" model show -q odd > t
	[ "$(grep -c '^note	' t)" = 2 ]
	"$CROCUTA" model show --json odd 2> err | python3 -c '
import json, sys
notes = json.load(sys.stdin)["notes"]
assert len(notes) == 2 and any("999" in n for n in notes), notes'
	grep -q '^\[W::model\] model: ' err
	"$CROCUTA" model show --json "$MODEL" 2> err | python3 -c '
import json, sys
assert json.load(sys.stdin)["notes"] == []'
	[ ! -s err ]
	# five, then how many; the list itself has room for 24 lines
	"$CROCUTA" model show many 2> err > t
	[ "$(wc -l < err)" = 6 ]
	grep -q '24 notes in all' err
	[ "$(grep -c '^note	' t)" = 24 ]
	grep -qx 'note	and 8 notes more' t
}

@test "models of the program: of its source tree or its prefix, nowhere else" {
	mkdir -p tree/build/release home/bin home/share/crocuta/models models share
	cp "$CROCUTA" tree/build/release/crocuta
	cp "$CROCUTA" home/bin/crocuta
	mkdir tree/models
	ln -s "$MODEL" tree/models/mine
	ln -s "$MODEL" models/stranger # as /home/models is to /home/user/bin
	ln -s "$MODEL" home/share/crocuta/models/shared
	tree/build/release/crocuta model list > t
	grep -q "^mine	hyenadna	.*	$PWD/tree/models/mine\$" t
	tree/build/release/crocuta model show mine > t
	grep -qx "path	$PWD/tree/models/mine" t
	home/bin/crocuta model list > t
	grep -q "	$PWD/home/share/crocuta/models/shared\$" t
	lacks stranger t
	run --separate-stderr home/bin/crocuta model show stranger
	[ "$status" = 4 ]
	home/bin/crocuta model show shared > t
	grep -qx "path	$PWD/home/share/crocuta/models/shared" t
}

@test "list walks the model path" {
	mkdir zoo
	ln -s "$MODEL" zoo/first
	CROCUTA_MODEL_PATH=$PWD/zoo "$CROCUTA" model list > t
	grep -q '^first	hyenadna	2	128	1026	' t
	CROCUTA_MODEL_PATH=$PWD/zoo "$CROCUTA" model list --json | python3 -c '
import json, sys
assert any(m["name"] == "first" and m["layers"] == 2 for m in json.load(sys.stdin))'
	printf '>s\nACGT\n' > s.fa
	CROCUTA_MODEL_PATH=$PWD/zoo "$CROCUTA" embed -q -m first s.fa | body > a
	embed s.fa | body | cmp a -
}

@test "list: a broken model is named and does not end the list" {
	mkdir -p zoo/broken
	echo '{' > zoo/broken/config.json
	echo > zoo/broken/model.safetensors
	ln -s "$MODEL" zoo/good
	CROCUTA_MODEL_PATH=$PWD/zoo "$CROCUTA" model list > t 2> err
	grep -q '^broken	' t
	grep -q '^good	hyenadna' t
	grep -q '^\[W::model\]' err
}

@test "convert: same results, other dtypes near, digest differs" {
	printf '>s\nACGTTGCANNACGT\n' > s.fa
	embed --bin 1 -o a.npy s.fa
	"$CROCUTA" model convert -q -o f32 "$MODEL"
	"$CROCUTA" embed -q -m f32 --bin 1 -o b.npy s.fa
	npy compare a.npy b.npy 1e-5
	for t in F16 bf16; do
		"$CROCUTA" model convert -q --dtype $t -o $t "$MODEL"
		"$CROCUTA" model show $t | grep -qix "dtype	$t"
		"$CROCUTA" embed -q -m $t --bin 1 -o c.npy s.fa
		differ a.npy c.npy
		npy finite c.npy
	done
}

@test "convert refuses an existing directory unless --force" {
	"$CROCUTA" model convert -q -o copy "$MODEL"
	run --separate-stderr "$CROCUTA" model convert -q -o copy "$MODEL"
	[ "$status" = 10 ]
	"$CROCUTA" model convert -q --force --dtype F16 -o copy "$MODEL"
	"$CROCUTA" model show copy | grep -qx 'dtype	F16'
}

@test "verify: PASS, FAIL with status 8, and no known answers" {
	model=$ROOT/models/tiny-1k
	[ -f "$model/selftest.json" ] || skip "no model with known answers in this tree"
	run --separate-stderr "$CROCUTA" model verify "$model"
	[ "$status" = 0 ]
	[[ $output == PASS* ]]
	cp -r "$model" bad
	chmod -R u+w bad
	python3 - <<-'PY'
	import json
	answers = json.load(open("bad/selftest.json"))
	answers["records"][0]["hidden_first8"][3] += 0.5
	json.dump(answers, open("bad/selftest.json", "w"))
	PY
	run --separate-stderr "$CROCUTA" model verify bad
	[ "$status" = 8 ]
	[[ $output == FAIL* ]]
	rm bad/selftest.json
	run --separate-stderr "$CROCUTA" model verify bad
	[ "$status" = 4 ] && [ -z "$output" ]
}
