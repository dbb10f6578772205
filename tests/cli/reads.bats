#!/usr/bin/env bats
# Records and reads: one vector each, from every format, whatever is in the batch beside them.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
}

@test "FASTA, FASTQ, SAM, BAM and pipes of the same reads give the same vectors" {
	samtools fastq -n "$READS/unaligned.bam" > r.fq 2> /dev/null
	samtools fasta -n "$READS/unaligned.bam" > r.fa 2> /dev/null
	samtools view -h "$READS/unaligned.bam" > r.sam
	gzip -c r.fq > r.fq.gz
	embed -O tsv "$READS/unaligned.bam" | body > want
	[ "$(wc -l < want)" = 201 ]
	embed --per-record r.fa | body | cmp want -
	embed r.fq | body | cmp want -
	embed r.fq.gz | body | cmp want -
	embed --per-read r.sam | body | cmp want -
	embed --per-read - < "$READS/unaligned.bam" | body | cmp want -
	samtools view -u "$READS/unaligned.bam" | embed --per-read - | body | cmp want -
	cat r.fq | embed | body | cmp want -
}

@test "aligned reads come as they were sequenced; BAM equals CRAM" {
	embed "$READS/aligned.bam" | body > bam.tsv
	embed --reference "$READS/ref17.fa" "$READS/aligned.cram" | body > cram.tsv
	cmp bam.tsv cram.tsv
	samtools fastq -n -F 0x900 "$READS/aligned.bam" > r.fq 2> /dev/null
	embed r.fq | body | cut -f2,3,6- | sort > fq.rows
	cut -f2,3,6- bam.tsv | sort | cmp fq.rows -
}

@test "a record's vector does not depend on the others, threads or batch" {
	embed --no-version -@ 1 -o one.npy "$READS/unaligned.bam"
	embed --no-version -@ 7 -o seven.npy "$READS/unaligned.bam"
	embed --no-version --batch-size 1 -o b1.npy "$READS/unaligned.bam"
	embed --no-version --batch-size 64 -o b64.npy "$READS/unaligned.bam"
	for f in seven b1 b64; do cmp one.npy $f.npy; cmp one.meta.json $f.meta.json; done
	samtools view -h "$READS/unaligned.bam" | awk '/^@/ || ++n == 37' | embed -o alone.npy -
	npy slice one.npy 36 37 alone.npy
}

@test "--per-record equals one region a contig where the contig fits" {
	make_fasta g.fa
	embed --per-record -o records.npy g.fa
	embed --bin 0 -r chrA,chrB,chrC -o regions.npy g.fa
	cmp records.npy regions.npy
	[ "$(zcat records.rows.bed.gz | sed -n 3p)" = "chrB	0	700	chrB	.	1" ]
}

@test "records longer than the window are tiled and pooled over all bases" {
	make_fasta g.fa
	embed -r chrA --bin 1 --strands concat -o base.npy g.fa
	samtools faidx g.fa chrA > a.fa
	embed --per-record --strands concat -o record.npy a.fa
	npy mean base.npy 5003 record.npy 1e-6
}

@test "special tokens are fed, and pooled only as the model's own" {
	printf '>s\nACGTACGTNACG\n' > s.fa
	for t in none sep cls-sep model; do
		for p in mean last max; do
			embed --per-record --special-tokens $t --pool $p -o $t-$p.npy s.fa
		done
	done
	cmp none-mean.npy sep-mean.npy # causal: what follows cannot matter
	differ none-mean.npy cls-sep-mean.npy
	differ cls-sep-mean.npy model-mean.npy
	cmp none-last.npy sep-last.npy
	differ cls-sep-last.npy model-last.npy
}

@test "reverse vectors of records" {
	printf '>s\nAACCGTTAGC\n' > s.fa
	printf '>s\nGCTAACGGTT\n' > rc.fa
	for p in mean last max; do
		embed --per-record --strands reverse --pool $p -o a.npy s.fa
		embed --per-record --pool $p -o b.npy rc.fa
		npy compare a.npy b.npy 1e-6
	done
}

@test "a track of records is one number each" {
	embed --per-record --track logprob "$MODEL/input.fa" | body | tail -n +2 | cut -f1,6 > got
	# the golden sums over the bases that have a value; r0 is a single base and has none
	awk '$2 > 1 { printf "%s\t%.4f\n", $1, $3 / ($2 - 1) }' "$MODEL/nll.tsv" > want
	paste got want | every 'NF == 4 && $1 == $3 && ($2 - $4) ^ 2 <= 1e-6'
	[ "$(wc -l < got)" = 3 ]
}

@test "skipped alignments are counted, equal names are fine" {
	samtools view -h "$READS/unaligned.bam" | awk -F'\t' -v OFS='\t' \
		'/^@/ { print; next } ++n == 1 { print; print; $2 += 256; print; $2 -= 256;
		$10 = "*"; $11 = "*"; print }' > s.sam
	"$CROCUTA" embed -m "$MODEL" s.sam 2> err | body > rows
	[ "$(wc -l < rows)" = 3 ]
	grep -q '^\[W::embed\] 1 secondary' err
	grep -q '^\[W::embed\] 1 reads without bases' err
}
