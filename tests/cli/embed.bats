#!/usr/bin/env bats
# Vectors: against golden values, and every way of cutting the work against every other.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	make_fasta g.fa
}

@test "rows of --bin 1 are the golden hidden vectors" {
	for k in 0 1 2 3; do
		embed --bin 1 -r "r$k" -o "r$k.npy" "$MODEL/input.fa"
		npy compare "r$k.npy" "$MODEL/hidden_$k.npy" 1e-4
	done
}

@test "layer 0 is the token table, and layers differ" {
	printf '>s\nACGTACGT\n' > s.fa
	embed --bin 1 --layer 0 -o l0.npy s.fa
	embed --bin 1 --layer 1 -o l1.npy s.fa
	embed --bin 1 --layer 2 -o l2.npy s.fa
	embed --bin 1 --layer last -o last.npy s.fa
	[ "$(npy rows l0.npy 0 4)" = "$(npy rows l0.npy 4 8)" ]
	differ l0.npy l1.npy
	differ l1.npy l2.npy
	cmp l2.npy last.npy
}

@test "bytes do not depend on threads" {
	for t in 1 2 7; do
		embed --no-version --strands concat -@ $t -o t$t.npy g.fa
	done
	for suffix in npy rows.bed.gz meta.json; do
		cmp t1.$suffix t2.$suffix
		cmp t1.$suffix t7.$suffix
	done
}

@test "bytes do not depend on the batch size" {
	embed --no-version --bin 1 --strands both -o auto.npy g.fa
	for b in 1 3 16; do
		embed --no-version --bin 1 --strands both --batch-size $b -o b$b.npy g.fa
		cmp auto.npy b$b.npy
		cmp auto.meta.json b$b.meta.json
	done
}

@test "a pipe gives the rows of the file" {
	embed --no-version -o file.npy g.fa
	embed --no-version -o pipe.npy - < g.fa
	cat g.fa | embed --no-version -o nothing.npy
	cmp file.npy pipe.npy
	cmp file.npy nothing.npy
	cmp file.rows.bed.gz pipe.rows.bed.gz
}

@test "bgzip and gzip give the rows of the plain file" {
	embed --no-version -o plain.npy g.fa
	bgzip -c g.fa > bg.fa.gz
	embed --no-version -o bg.npy bg.fa.gz
	gzip -c g.fa | embed --no-version -o gz.npy -
	samtools faidx bg.fa.gz
	embed --no-version -o indexed.npy bg.fa.gz
	mkdir elsewhere && mv bg.fa.gz.fai bg.fa.gz.gzi elsewhere
	embed --no-version --fai-idx elsewhere/bg.fa.gz.fai --gzi-idx elsewhere/bg.fa.gz.gzi \
		-o given.npy bg.fa.gz
	for f in bg gz indexed given; do cmp plain.npy $f.npy; done
}

@test "line length, case and U do not matter" {
	embed --no-version --bin 1 -o lines.npy g.fa
	awk '/^>/ { print; next } { print toupper($0) }' g.fa | tr T U |
		awk '/^>/ { if (s) print s; s = ""; print; next } { s = s $0 } END { print s }' > long.fa
	embed --no-version --bin 1 -o long.npy long.fa
	cmp lines.npy long.npy
	awk '/^>/ { print; next } { print substr($0, 1, 7); print substr($0, 8) }' g.fa > ragged.fa
	embed --no-version --bin 1 -o ragged.npy ragged.fa
	cmp lines.npy ragged.npy
	embed --bin 1 --softmask-n -o soft.npy g.fa
	differ lines.npy soft.npy
}

@test "bins are means of bases" {
	embed -r chrA --bin 1 -o base.npy g.fa
	embed -r chrA --bin 77 -o bin.npy g.fa
	npy mean base.npy 77 bin.npy 1e-6
	embed -r chrA --bin 0 -o whole.npy g.fa
	npy mean base.npy 5003 whole.npy 1e-6
	[ "$(npy shape bin.npy)" = "65 128 <f4" ]
	[ "$(zcat bin.rows.bed.gz | tail -n 1)" = "chrA	4928	5003	.	.	64" ]
}

@test "last and max pooling take rows of the bin" {
	embed -r chrB --bin 1 -o base.npy g.fa
	embed -r chrB --bin 100 --pool last -o last.npy g.fa
	embed -r chrB --bin 100 --pool max -o max.npy g.fa
	[ "$(npy rows last.npy 0 1)" = "$(npy rows base.npy 99 100)" ]
	[ "$(npy rows last.npy 6 7)" = "$(npy rows base.npy 699 700)" ]
	npy rows base.npy 0 100 | awk 'NR == 1 { m = $1 } $1 > m { m = $1 } END { print m }' > want
	npy rows max.npy 0 1 | cut -d' ' -f1 > got
	cmp want got
}

@test "a default bin is 128 bases and starts at the contig's start" {
	embed -o d.npy g.fa
	[ "$(npy shape d.npy)" = "47 128 <f4" ]
	zcat d.rows.bed.gz | sed -n '1,3p;41,43p' > rows
	diff rows - <<-'END'
	#chrom	start	end	name	strand	row
	chrA	0	128	.	.	0
	chrA	128	256	.	.	1
	chrA	4992	5003	.	.	39
	chrB	0	128	.	.	40
	chrB	128	256	.	.	41
	END
}

@test "a base is reported from the window with the most left context" {
	embed -r chrA --bin 1 -o tiles.npy g.fa
	# windows of 1024 overlap by 256: the second one is bases 769-1792, its own from 1025 on
	embed -r chrA:769-1792 --bin 1 -o second.npy g.fa
	[ "$(npy rows tiles.npy 1024 1792)" = "$(npy rows second.npy 256 1024)" ]
	embed -r chrA:1-1024 --bin 1 -o first.npy g.fa
	npy slice tiles.npy 0 1024 first.npy
	# the last window ends at the contig's end
	embed -r chrA:3980-5003 --bin 1 -o last.npy g.fa
	[ "$(npy rows tiles.npy 4900 5003)" = "$(npy rows last.npy 921 1024)" ]
}

@test "a smaller window is a smaller context" {
	embed -r chrB --bin 1 --window 700 -o one.npy g.fa
	embed -r chrB --bin 1 -o two.npy g.fa
	npy compare one.npy two.npy 1e-4
	embed -r chrB --bin 1 --window 200 --overlap 0 -o three.npy g.fa
	npy compare one.npy three.npy 1e-4 && false
	[ "$(npy rows two.npy 0 1 | cut -c1-6)" = "$(npy rows three.npy 0 1 | cut -c1-6)" ]
}

@test "the reverse strand is the reverse complement, mirrored back" {
	reverse_complement g.fa rc.fa
	for contig in chrA chrB chrC; do
		embed -r $contig --bin 1 --strands reverse -o rev.npy g.fa
		embed -r $contig --bin 1 -o rc.npy rc.fa
		npy mirrored rev.npy rc.npy
	done
}

@test "concat holds both strands, both is their mean" {
	for s in forward reverse both concat; do embed --bin 50 --strands $s -o $s.npy g.fa; done
	npy columns concat.npy 0 128 forward.npy 0
	npy columns concat.npy 128 256 reverse.npy 0
	npy average forward.npy reverse.npy both.npy 1e-6
	cmp forward.rows.bed.gz concat.rows.bed.gz
}

@test "pooling of the last base follows the reading direction" {
	embed -r chrB --bin 1 --strands reverse -o base.npy g.fa
	embed -r chrB --bin 100 --strands reverse --pool last -o last.npy g.fa
	[ "$(npy rows last.npy 1 2)" = "$(npy rows base.npy 100 101)" ]
}

@test "a stream equals one window where one window suffices" {
	embed -r chrB --bin 1 -o window.npy g.fa
	embed -r chrB --bin 1 --stream -o stream.npy g.fa
	npy compare window.npy stream.npy 1e-4
}

@test "streams: strands, bins and threads" {
	embed --stream --no-version --strands concat --bin 50 -@ 1 -o c.npy g.fa
	embed --stream --no-version --strands concat --bin 50 -@ 2 -o c2.npy g.fa
	cmp c.npy c2.npy
	embed --stream --strands forward --bin 50 -o f.npy g.fa
	embed --stream --strands reverse --bin 50 -o r.npy g.fa
	npy columns c.npy 0 128 f.npy 0
	npy columns c.npy 128 256 r.npy 0
	cat g.fa | embed --stream --no-version --strands concat --bin 50 -o p.npy
	cmp c.npy p.npy
}

@test "kernel sets and convolution forms agree within rounding" {
	embed --bin 1 -o best.npy g.fa
	for isa in portable avx2; do
		embed --bin 1 --isa $isa -o $isa.npy g.fa || skip "no $isa here"
		npy compare best.npy $isa.npy 1e-4
	done
	embed --bin 1 --conv fft -o fft.npy g.fa
	npy compare best.npy fft.npy 1e-4
}

@test "half precision" {
	embed -o f4.npy g.fa
	embed --half -o f2.npy g.fa
	[ "$(npy shape f2.npy)" = "47 128 <f2" ]
	npy compare f4.npy f2.npy 0.01
}

@test "runs of N have finite rows; --skip-n leaves them out" {
	{ echo '>n'; head -c 256 /dev/zero | tr '\0' N; echo; echo 'ACGTACGTACGT'; } > n.fa
	embed -o n.npy n.fa
	npy finite n.npy
	[ "$(npy shape n.npy)" = "3 128 <f4" ]
	embed --skip-n 1 -o skip.npy n.fa
	[ "$(npy shape skip.npy)" = "1 128 <f4" ]
	[ "$(zcat skip.rows.bed.gz | tail -n 1)" = "n	256	268	.	.	0" ]
	embed --bin 1 --n-as-pad -o pad.npy n.fa
	embed --bin 1 -o plain.npy n.fa
	differ pad.npy plain.npy
}

@test "tsv says what npy says" {
	embed -r chrB -o a.npy g.fa
	embed -r chrB -O tsv g.fa > a.tsv
	embed -r chrB -o b.tsv.gz g.fa
	bgzip -t b.tsv.gz
	body a.tsv > a.body
	zcat b.tsv.gz | body > b.body
	cmp a.body b.body
	[ "$(head -n 1 a.body | cut -f1-6)" = "#chrom	start	end	name	strand	e0" ]
	[ "$(wc -l < a.body)" = 7 ]
	npy rows a.npy 0 1 | tr ' ' '\n' > want
	sed -n 2p a.body | cut -f6- | tr '\t' '\n' > got
	[ "$(wc -l < got)" = 128 ]
	paste want got | every 'NF == 2 && ($1 - $2) ^ 2 <= 1e-10'
}

@test "the sidecar is a bgzip BED that tabix indexes" {
	embed -o x.npy g.fa
	tabix -p bed x.rows.bed.gz
	[ "$(tabix x.rows.bed.gz chrB:130-140 | cut -f6)" = 41 ]
}

@test "the model of the tree is the default and is named" {
	[ -f "$ROOT/models/tiny-1k/model.safetensors" ] || skip "no shipped model in this tree"
	"$CROCUTA" embed -o d.npy g.fa 2> err
	grep -q '^\[M::embed\] model: tiny-1k' err
}
