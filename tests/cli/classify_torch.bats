#!/usr/bin/env bats
# The shipped classifier against PyTorch, and on the sequence of the demo.

bats_require_minimum_version 1.5.0
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	known=$ROOT/test-data/classify
	promoter=$ROOT/models/promoter
}

# rows NAME p_other p_promoter of a table
probabilities() { grep -v '^#' "$1" | cut -f 1,8,9; }

@test "probabilities are PyTorch's, within 1e-4" {
	crocuta classify -q -m "$promoter" -o got.tsv "$known/windows.fa"
	probabilities got.tsv > got
	grep -v '^#' "$known/windows.tsv" | cut -f 1,3,4 > expected
	paste got expected | awk '
		function off(a, b) { return a > b ? a - b : b - a }
		$1 != $4 || off($2, $5) > 1e-4 || off($3, $6) > 1e-4 { print; bad = 1 }
		END { exit bad || NR != 24 }'
}

@test "the shipped classifier is what classify takes without -m" {
	CROCUTA_MODEL_PATH=$ROOT/models crocuta classify --no-version -o default.tsv "$known/windows.fa" 2> err
	grep -q 'model: promoter (the default' err
	crocuta classify -q --no-version -m "$promoter" -o named.tsv "$known/windows.fa"
	cmp default.tsv named.tsv
}

@test "it tells windows with a gene's start from others" {
	crocuta classify -q -m "$promoter" "$known/windows.fa" > got.tsv
	grep -v '^#' got.tsv | awk '
		{ n[$1 ~ /^promoter/]++; sum[$1 ~ /^promoter/] += $9 }
		END { exit !(sum[1] / n[1] > 4 * sum[0] / n[0]) }'
}

@test "it finds the promoter of NOP56 in the demo's sequence, on its strand" {
	slow
	pieces=$ROOT/test-data/variants/chr20_pieces.fa.gz
	# RefSeq starts at 2,633,177 and 2,633,422 of chromosome 20: 63,177 and 63,422 of the piece
	crocuta classify -q -m "$promoter" --scan --step 512 --merge --min-prob 0.5 \
		-r chr20_piece:58,001-68,000 "$pieces" > calls.bed
	grep -v '^#' calls.bed | awk '$6 == "+" && $7 == "promoter" && $2 <= 63176 && $3 > 63421 { hit = 1 } END { exit !hit }'
}
