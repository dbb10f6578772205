#!/usr/bin/env bats
# Shards that do not belong together, and inputs that are not whole.

load common
load score_common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	thin 40 "$PANEL" real.vcf
	bcftools view --no-version -G "$KINDS" > kinds.vcf
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/*.vcf .
	mkdir out
}

# with warnings
loud() { "$CROCUTA" score --no-version -m "$QUICK" -f "$PIECES" "$@"; }

@test "shards of different inputs are not joined" {
	grep -v STAR kinds.vcf > other.vcf
	for k in 1 2 3; do
		score --shard $k/3 -o s$k.vcf kinds.vcf
		score --shard $k/3 -o r$k.vcf -t chr20_piece kinds.vcf
		score --shard $k/3 -o i$k.vcf --ism chr20_piece:$((k == 3 ? 102 : 101))-140
	done
	score --shard 3/3 -o o3.vcf other.vcf
	fails 10 "different inputs" "$CROCUTA" concat -o out/x.vcf s1.vcf s2.vcf o3.vcf
	fails 10 "different inputs" "$CROCUTA" concat -o out/x.vcf s1.vcf r2.vcf s3.vcf
	fails 10 "different inputs" "$CROCUTA" concat -o out/x.vcf i1.vcf i2.vcf i3.vcf
	"$CROCUTA" concat -q --no-version -o all.vcf s1.vcf s2.vcf s3.vcf
	score kinds.vcf | cmp - all.vcf
}

@test "a shard that lost its last records is noticed, as VCF and as a table" {
	for k in 1 2; do
		score --shard $k/2 -o s$k.vcf kinds.vcf
		score --shard $k/2 -O t -o s$k.tsv kinds.vcf
	done
	head -n -2 s2.vcf > cut.vcf
	head -n -1 s1.tsv > cut.tsv
	fails 3 "its header promises" "$CROCUTA" concat -o out/x.vcf s1.vcf cut.vcf
	fails 3 "its header promises" "$CROCUTA" concat -o out/x.tsv cut.tsv s2.tsv
	# records left out on purpose are no loss
	for k in 1 2; do score --check-ref x --shard $k/2 -o x$k.vcf kinds.vcf 2> /dev/null; done
	"$CROCUTA" concat -q -o x.vcf x1.vcf x2.vcf
}

@test "no record on any contig is an error of every shard" {
	sed 's/^chr20_[a-z]*\t/nowhere\t/' kinds.vcf > nowhere.vcf
	fails 3 "none of" score -o out/x.vcf nowhere.vcf
	fails 3 "none of" score --shard 1/2 -o out/x.vcf nowhere.vcf
	fails 3 "none of" score --shard 2/2 -o out/x.vcf nowhere.vcf
}

@test "an index older than its file, and a file that was cut, are said" {
	bcftools view --no-version -O z -o old.vcf.gz real.vcf
	bcftools index old.vcf.gz
	touch -d '2001-01-01' old.vcf.gz.csi
	loud -r chr20_piece:1-3000 -o x.vcf old.vcf.gz 2> err
	grep -q '^\[W::score\].*older than the file' err
	touch old.vcf.gz.csi
	loud -r chr20_piece:1-3000 -o x.vcf old.vcf.gz 2> err
	lacks older err
	printf 'chr20_piece\t500\t.\tA\tC' >> kinds.vcf
	loud --allow-truncated -o x.vcf kinds.vcf 2> err
	grep -q '^\[W::score\].*was cut' err
}
