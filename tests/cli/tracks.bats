#!/usr/bin/env bats
# Tracks: log-likelihood and entropy of each base, as bedGraph, bigWig and tsv.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	make_fasta g.fa
}

@test "log-likelihoods sum to the golden ones" {
	for k in 1 2 3; do
		embed --track logprob -r r$k -O tsv "$MODEL/input.fa" | body |
			awk -v k=$k 'NR > 1 { s += $6 } END { printf "r%d %.6f\n", k, s }' >> got
	done
	awk '$2 > 1 { print $1, $3 }' "$MODEL/nll.tsv" > want
	[ "$(wc -l < got)" = 3 ]
	paste -d' ' got want | every '$1 == $3 && $4 < 0 && ($2 / $4 - 1) ^ 2 <= 1e-12'
}

@test "the first base of a contig has no value, the others have one" {
	embed --track logprob -O tsv -r chrB,chrC g.fa | body > t
	[ "$(wc -l < t)" = 700 ]
	[ "$(sed -n 2p t | cut -f1-3)" = "chrB	1	2" ]
	embed --track logprob -O tsv --strands reverse -r chrB g.fa | body > r
	[ "$(tail -n 1 r | cut -f1-3)" = "chrB	698	699" ]
	embed --track logprob -O tsv --strands both -r chrB g.fa | body > b
	[ "$(wc -l < b)" = 701 ]
}

@test "both strands: the mean of the two" {
	for s in forward reverse both; do
		embed --track logprob -O tsv --strands $s -r chrB g.fa | body | tail -n +2 |
			awk '$2 > 0 && $2 < 699 { print $2, $6 }' > $s
	done
	[ "$(wc -l < both)" = 698 ]
	paste -d' ' forward reverse both |
		every '$1 == $3 && $3 == $5 && NF == 6 && (($2 + $4) / 2 - $6) ^ 2 <= 1e-8'
}

@test "the reverse strand scores the reverse complement" {
	reverse_complement g.fa rc.fa
	embed --track logprob -O tsv --strands reverse -r chrA g.fa | body | tail -n +2 | cut -f6 > a
	[ "$(wc -l < a)" = 5002 ]
	embed --track logprob -O tsv -r chrA rc.fa | body | tail -n +2 | cut -f6 | tac | cmp a -
}

@test "bedGraph, tsv and bigWig agree" {
	embed --track logprob -o t.bedgraph g.fa
	embed --track logprob -o t.bw g.fa
	embed --track logprob -O tsv g.fa | body | tail -n +2 | cut -f1-3,6 > t.tsv
	python3 "$ROOT/tests/cli/bigwig.py" t.bw > t.bw.txt
	body t.bedgraph | python3 "$ROOT/tests/cli/bigwig.py" --expand - > t.bg.txt
	python3 "$ROOT/tests/cli/bigwig.py" --expand t.tsv > t.tsv.txt
	[ "$(wc -l < t.bg.txt)" = 5701 ] # but for the first bases of the three contigs
	cmp t.bg.txt t.tsv.txt
	cut -f1,2 t.bw.txt > a
	cut -f1,2 t.bg.txt | cmp a -
	paste t.bw.txt t.bg.txt | every 'NF == 6 && ($3 - $6) ^ 2 <= 1e-10 * $3 ^ 2'
	python3 -c 'import json; assert json.load(open("t.bw.meta.json"))["track"] == "logprob"'
}

@test "classes renormalise; N has no value over acgt" {
	embed --track logprob -O tsv -r chrB g.fa | body | tail -n +2 | cut -f2,6 > all
	embed --track logprob --classes acgt -O tsv -r chrB g.fa | body | tail -n +2 | cut -f2,6 > acgt
	embed --track logprob --classes acgtn -O tsv -r chrB g.fa | body | tail -n +2 | cut -f2,6 > acgtn
	[ "$(wc -l < acgtn)" = 699 ]
	n=$(samtools faidx g.fa chrB:2-700 | tail -n +2 | tr -cd Nn | wc -c)
	[ "$(wc -l < acgt)" = $((699 - n)) ]
	# fewer classes: no probability is smaller
	join -t'	' <(sort all) <(sort acgt) | every 'NF == 3 && $3 >= $2 - 1e-4'
	join -t'	' <(sort all) <(sort acgt) > joined
	[ "$(wc -l < joined)" = "$(wc -l < acgt)" ]
}

@test "entropy lies between 0 and the logarithm of the classes" {
	embed --track entropy --classes acgt g.fa | body > e
	every '$4 > 0 && $4 <= 1.3863' e
	[ "$(tail -n 1 e | cut -f1,3)" = "chrB	700" ]
}

@test "bins are means over the bases that have a value" {
	embed --track logprob -O tsv -r chrB g.fa | body | tail -n +2 |
		awk '$2 < 50 { s += $6; n++ } END { printf "%.3f\n", s / n }' > want
	embed --track logprob --bin 50 -O tsv -r chrB g.fa | body | sed -n 2p | cut -f6 |
		awk '{ printf "%.3f\n", $1 }' > got
	[ -s want ]
	cmp want got
}

@test "threads, batches, pipes and streams of tracks" {
	embed --no-version --track logprob --strands both -@ 1 -o a.bw g.fa
	embed --no-version --track logprob --strands both -@ 7 --batch-size 5 -o b.bw g.fa
	cmp a.bw b.bw
	embed --no-version --track logprob g.fa | body > file
	embed --no-version --track logprob - < g.fa | body | cmp file -
	embed --track logprob --stream -r chrB -O tsv g.fa | body > stream
	embed --track logprob -r chrB -O tsv g.fa | body > window
	[ "$(wc -l < stream)" = 700 ]
	paste stream window | tail -n +2 | every 'NF == 12 && $2 == $8 && ($6 - $12) ^ 2 <= 1e-6'
	embed --track logprob --stream --strands both g.fa | body > s1
	cat g.fa | embed --track logprob --stream --strands both -@ 2 | body | cmp s1 -
	[ -s s1 ]
}

@test "regions of a track are sorted; overlaps are refused" {
	embed --track logprob -r chrB:100-200,chrA:50-60,chrA:10-20 g.fa | body | cut -f1,2 > t
	[ "$(head -n 1 t)" = "chrA	9" ]
	sort -k1,1 -k2,2n t | cmp t -
	fails 3 "overlap" embed --track logprob -r chrA:1-20,chrA:20-30 -o out/t.bw g.fa
}
