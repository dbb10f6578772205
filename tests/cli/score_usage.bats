#!/usr/bin/env bats
# Command lines of score and concat: mistakes, help, and what is refused before anything is computed.
bats_require_minimum_version 1.5.0

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir out
	make_fasta g.fa
	printf '##fileformat=VCFv4.2\n##contig=<ID=chrA,length=5003>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n' > v.vcf
}

score() { "$CROCUTA" score -q -m "$MODEL" -f g.fa "$@"; }
concat() { "$CROCUTA" concat "$@"; }

# on_terminal COMMAND...: with a terminal as standard output; its output in the file `typescript`
on_terminal() { script -qec "$(printf '%q ' "$@")" typescript > terminal.txt 2>&1 < /dev/null; }

@test "score and concat: no arguments on a terminal, and without inputs" {
	command -v script > /dev/null || skip "no script(1)"
	local status=0
	script -qec "$CROCUTA score" typescript > terminal.txt 2>&1 || status=$?
	[ "$status" = 2 ]
	grep -q 'Usage: crocuta score' terminal.txt
	run --separate-stderr "$CROCUTA" concat
	[ "$status" = 2 ] && [ -z "$output" ]
	[[ $stderr == Usage:* ]]
}

@test "--help of both, on stdout" {
	for command in score concat; do
		run --separate-stderr "$CROCUTA" $command --help
		[ "$status" = 0 ] && [ -z "$stderr" ]
		[[ $output == "Usage: crocuta $command"* ]]
		"$CROCUTA" $command --help > t
		lacks '.\{101\}' t
		lacks ' $' t
	done
	"$CROCUTA" score --help > t
	grep -q -- '-W, --write-index\[=csi|tbi\]' t
	grep -q -- '--shard K/N' t
}

@test "options of score: unknown, ambiguous, twice, stray, bad values" {
	fails 2 "unknown option --widnow; did you mean --window?" score --widnow 5 v.vcf
	fails 2 "option --re is ambiguous: " score --re x v.vcf
	fails 2 "-W/--write-index is given twice" score -W -Wtbi -o out/x.bcf v.vcf
	fails 2 'stray argument "w.vcf"' score v.vcf w.vcf
	fails 2 '--check-ref "s": give w, e or x' score --check-ref s v.vcf
	fails 2 '--regions-overlap "3": give' score --regions-overlap 3 v.vcf
	fails 2 '--placement "centre": give grid or fixed' score --placement centre v.vcf
	fails 2 '--strands "concat": give forward, reverse or both' score --strands concat v.vcf
	fails 2 '--reduce "max": give sum, mean or window-mean' score --reduce max v.vcf
	fails 2 '--classes "acgtn": give all or acgt' score --classes acgtn v.vcf
	fails 2 '--readout "0": give a whole number of at least 1 or "all"' score --readout 0 v.vcf
	fails 2 '--max-ref-mismatch "1.5": give a number from 0 to 1' score --max-ref-mismatch 1.5 v.vcf
	fails 2 '--max-n "nan": give a number' score --max-n nan v.vcf
	fails 2 '--max-indel "0": give' score --max-indel 0 v.vcf
	fails 2 '--write-index "crai": give csi or tbi' score --write-index=crai -o out/x.bcf v.vcf
	fails 2 '--write-index "bai": give csi or tbi' score -Wbai -o out/x.bcf v.vcf
	fails 2 '--tag-prefix "A:B"' score --tag-prefix A:B v.vcf
	fails 2 '--tag-prefix "1A"' score --tag-prefix 1A v.vcf
}

@test "--shard: part K of N" {
	for bad in 0/3 4/3 3 1/ /3 1/0 -1/3 1/x 1/3/5 "1 /3" 1/99999999999; do
		fails 2 "--shard \"$bad\": give K/N, part K of N, such as 1/8" score --shard "$bad" v.vcf
	done
	fails 2 "--shard reads the input twice and needs a file" score --shard 1/2 -
}

@test "what score reads: one input, a reference, regions that fit it" {
	fails 2 "-f FASTA is needed" "$CROCUTA" score -m "$MODEL" v.vcf
	fails 2 "--ism makes its own variants; leave the VCF out" score --ism chrA:1-10 v.vcf
	fails 2 "--ism names its region" score --ism chrA:1-10 -r chrA
	fails 2 "--ism" score --ism chrA:1-10 --rename-chrs g.fa
	fails 2 "exclude each other" score -r chrA -R g.bed v.vcf
	fails 2 "exclude each other" score -t chrA -T g.bed v.vcf
	fails 2 "not a stream" score -r chrA -
	fails 5 "absent.vcf" score absent.vcf
	fails 5 "absent.fa" "$CROCUTA" score -m "$MODEL" -f absent.fa v.vcf
	fails 5 "out is a directory" score out
}

@test "what score writes: types, suffixes, terminals, indexes" {
	fails 2 'unknown output type "vcf"' score -O vcf v.vcf
	fails 2 'unknown output type "z10"' score -O z10 v.vcf
	fails 2 'unknown output type "v1"' score -O v1 v.vcf
	fails 2 '-O v does not fit the suffix of "out/x.vcf.gz", which says z' score -Ov -o out/x.vcf.gz v.vcf
	fails 2 '-O z does not fit the suffix of "out/x.bcf", which says b' score -Oz -o out/x.bcf v.vcf
	fails 2 '-O t does not fit the suffix of "out/x.vcf", which says v' score -Ot -o out/x.vcf v.vcf
	fails 2 "npy" score -o out/x.npy v.vcf
	fails 2 "npy" score --ism chrA:1-10 -O npy
	fails 2 "--write-index" score -W -o out/x.vcf v.vcf
	fails 2 "--write-index" score -W -O t -o out/x.tsv v.vcf
	fails 2 "--write-index" score -W -Oz v.vcf
	fails 2 "--json belongs to --dry-run" score --json v.vcf
	fails 2 "--step belongs to --placement grid" score --placement fixed --step 5 v.vcf
	touch there.vcf
	fails 10 "there.vcf" score --no-clobber -o there.vcf v.vcf
	fails 2 "same file" score -o v.vcf v.vcf
	fails 2 "same file" score -o ./g.fa -O v v.vcf
}

@test "binary output is not written to a terminal" {
	command -v script > /dev/null || skip "no script(1)"
	for type in z z9 b u; do
		local status=0
		on_terminal "$CROCUTA" score -m "$MODEL" -f g.fa -O $type v.vcf || status=$?
		[ "$status" = 2 ]
		grep -q "\[E::score\] -O $type is binary and is not written to a terminal" terminal.txt
	done
}

@test "concat: what it takes" {
	fails 2 "no inputs" concat -o out/x.vcf
	fails 2 "standard input is none" concat -
	fails 5 "absent.vcf" concat absent.vcf
	fails 3 "no output of crocuta" concat g.fa
	fails 3 "names no crocuta model in its header" concat v.vcf
	: > empty.vcf
	fails 3 "empty" concat empty.vcf
	printf '##crocuta.format=embed-1\n#chrom\tstart\tend\tname\tstrand\te0\n' > t.tsv
	fails 3 "names no crocuta model" concat t.tsv
	fails 2 'unknown output type "x"' concat -O x v.vcf
	fails 2 '-O b does not fit the suffix of "out/x.vcf", which says v' concat -O b -o out/x.vcf v.vcf
	fails 2 "-W/--write-index" concat --write-index=x v.vcf
	fails 2 "unknown option --no-clober; did you mean --no-clobber?" concat --no-clober v.vcf
}

@test "concat: parts of embed give the whole, headers that differ are refused" {
	for kind in npy tsv bedgraph; do
		local track=
		[ $kind != bedgraph ] || track="--track logprob"
		# shellcheck disable=SC2086
		for part in 1-2560 2561-5003; do
			embed --no-version $track -r chrA:$part -o p$part.$kind g.fa
		done
		# shellcheck disable=SC2086
		embed --no-version $track -r chrA:1-2560,chrA:2561-5003 -o whole.$kind g.fa
		concat -q --no-version -o all.$kind p1-2560.$kind p2561-5003.$kind
		cmp whole.$kind all.$kind
		# shellcheck disable=SC2086
		embed --window 512 $track -r chrA:2561-5003 -o other.$kind g.fa
		fails 10 "window is 512, in p1-2560.$kind it is 1024" concat -o out/x.$kind p1-2560.$kind other.$kind
	done
	cmp whole.meta.json all.meta.json
	cmp whole.rows.bed.gz all.rows.bed.gz
	concat -q -o all.npy p1-2560.npy p2561-5003.npy
	python3 -c 'import json; m = json.load(open("all.meta.json")); assert m["concat"]["command"].startswith("crocuta concat"), m'
	fails 3 "overlaps or goes back" concat p2561-5003.bedgraph p1-2560.bedgraph
	fails 2 "only files of one kind" concat -o out/x.npy p1-2560.npy p1-2560.tsv
	fails 2 "not written to standard output" concat p1-2560.npy
	fails 2 "does not turn them into t" concat -O t -o out/x p1-2560.npy
	fails 2 "an index (-W)" concat -W -o out/x.tsv p1-2560.tsv
	fails 2 "same file" concat -o p1-2560.npy p1-2560.npy p2561-5003.npy
	cp p1-2560.rows.bed.gz z.rows.bed.gz
	cp p1-2560.meta.json z.meta.json
	ln p1-2560.npy z.npy
	fails 2 "same file" concat -o z.npy p1-2560.npy p2561-5003.npy
}

@test "concat: half-precision arrays, bgzip tables, reads" {
	embed --half --no-version -r chrA:1-2560 -o a.npy g.fa
	embed --half --no-version -r chrA:2561-5003 -o b.npy g.fa
	embed --half --no-version -r chrA:1-2560,chrA:2561-5003 -o whole.npy g.fa
	concat -q --no-version -o all.npy a.npy b.npy
	cmp whole.npy all.npy
	embed --no-version -o r.tsv.gz "$READS/unaligned.bam"
	cp r.tsv.gz s.tsv.gz
	concat -q --no-version -o both.tsv r.tsv.gz s.tsv.gz
	[ "$(body both.tsv | wc -l)" = $((2 * $(zcat r.tsv.gz | body | wc -l) - 1)) ]
	concat -q --no-version -o both.tsv.gz r.tsv.gz s.tsv.gz
	zcat both.tsv.gz | cmp - both.tsv
}

@test "concat: damaged parts" {
	embed -r chrA:1-2560 -o a.npy g.fa
	embed -r chrA:1-2560 -o a.tsv g.fa
	head -c -3 a.npy > cut.npy
	cp a.rows.bed.gz cut.rows.bed.gz
	cp a.meta.json cut.meta.json
	fails 3 "its size is not that of its shape" concat -o out/x.npy cut.npy
	cp a.npy cut.npy
	sed 's/"rows": .*/"rows": 7/' a.meta.json > cut.meta.json
	fails 3 "its shape is not that in its .meta.json" concat -o out/x.npy cut.npy
	cp a.meta.json cut.meta.json
	zcat a.rows.bed.gz | sed -n 1,5p | bgzip > cut.rows.bed.gz
	fails 3 "not as many rows as the array" concat -o out/x.npy cut.npy
	rm cut.rows.bed.gz
	fails 5 "cut.rows.bed.gz" concat -o out/x.npy cut.npy
	head -c -3 a.tsv > cut.tsv
	fails 3 "has no end; the file is cut short" concat -o out/x.tsv cut.tsv
	sed '$s/\t[^\t]*$//' a.tsv > short.tsv
	fails 3 "columns; the file is damaged" concat -o out/x.tsv short.tsv
	bgzip -c a.tsv > all.tsv.gz
	head -c 3000 all.tsv.gz > cut.tsv.gz
	fails 3 "cut.tsv.gz" concat -o out/x.tsv cut.tsv.gz
	embed --track logprob -o t.bw g.fa
	fails 2 "is a bigWig" concat -o out/x.bw t.bw
}
