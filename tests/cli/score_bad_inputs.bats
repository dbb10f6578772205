#!/usr/bin/env bats
# Bad inputs of `crocuta score`: each gives the documented status and one error line, and leaves no
# file behind. `fails` (common.bash) checks all three; outputs are aimed at the directory `out`.

load common
load score_common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	bgzip -dc "$PIECES" > p.fa
	bcftools view --no-version "$PANEL" > all.vcf
	# as many blocks as a cut needs
	python3 - all.vcf > big.vcf <<-'PY'
	import sys
	lines = open(sys.argv[1]).read().splitlines()
	header = [l for l in lines if l[0] == "#"]
	records = [l for l in lines if l[0] != "#"]
	print("\n".join(header))
	for record in records:
	    for i in range(4):
	        fields = record.split("\t")
	        fields[2] = f"copy{i}"
	        print("\t".join(fields))
	PY
	bgzip -c big.vcf > big.vcf.gz
	bcftools view --no-version -O b big.vcf > big.bcf
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in p.fa all.vcf big.vcf big.vcf.gz big.bcf; do
		ln -s "$BATS_FILE_TMPDIR/$file" $file
	done
	mkdir out
}

to() { # PATH COMMAND...: standard output goes to PATH
	local path=$1
	shift
	"$@" > "$path"
}
from() { # FILE COMMAND...
	local path=$1
	shift
	"$@" < "$path"
}
piped() { # FILE COMMAND...: standard input is a pipe
	local path=$1
	shift
	# shellcheck disable=SC2002 # a pipe is the point
	cat "$path" | "$@"
}
hostile() { python3 "$ROOT/tests/cli/hostile.py" "$1" "$QUICK" "$1"; }

# records TEXT: a VCF of these lines (\t and \n are understood) on the first piece
records() {
	printf '##fileformat=VCFv4.2\n##contig=<ID=chr20_piece,length=100000>\n'
	printf '##contig=<ID=chr20_tiny,length=300>\n'
	printf '#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n%b' "$1"
}

# cut FILE WHERE OUT: at the end of a block ("boundary"), inside one ("inside"), without the end
# marker ("marker")
cut_bgzf() {
	python3 - "$@" <<-'PY'
	import sys
	data, where = open(sys.argv[1], "rb").read(), sys.argv[2]
	ends, at = [], 0
	while at < len(data):
	    at += int.from_bytes(data[at + 16:at + 18], "little") + 1
	    ends.append(at)
	assert len(ends) > 3, ends
	size = {"boundary": ends[1], "inside": (ends[1] + ends[2]) // 2, "marker": ends[-2]}[where]
	open(sys.argv[3], "wb").write(data[:size])
	PY
}

# ---- the file as a whole

@test "BGZF cut at a block's end, inside one, without its end marker; from a pipe too" {
	for kind in vcf.gz bcf; do
		for where in boundary inside marker; do
			cut_bgzf big.$kind $where cut.$kind
			fails 3 "cut.$kind" score -o out/x.vcf cut.$kind
			fails 3 "" from cut.$kind score -o out/x.vcf
			fails 3 "" piped cut.$kind score -o out/x.vcf -
			fails 3 "" piped cut.$kind score -O b -o out/x.bcf -
		done
	done
	cut_bgzf big.vcf.gz marker cut.vcf.gz
	fails 3 "end marker" score -o out/x.vcf cut.vcf.gz
	score --allow-truncated -O t cut.vcf.gz | cmp - <(score -O t big.vcf)
	# what can be read of a cut block is whole lines
	cut_bgzf big.vcf.gz inside cut.vcf.gz
	score --allow-truncated -O t cut.vcf.gz > got
	lines=$(wc -l < got)
	[ "$lines" -gt 500 ]
	score -O t big.vcf | awk -v most="$lines" 'NR <= most' | cmp - got
}

@test "a flipped bit anywhere in BGZF" {
	for kind in vcf.gz bcf; do
		size=$(stat -Lc %s big.$kind)
		for part in 20 35 50 65 80 95; do
			python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read())
d[len(d) * int(sys.argv[2]) // 100] ^= 4; open(sys.argv[3], "wb").write(d)' big.$kind $part flip.$kind
			[ "$(stat -c %s flip.$kind)" = "$size" ]
			fails 3 "flip.$kind" score -o out/x.bcf flip.$kind
			fails 3 "" piped flip.$kind score -o out/x.tsv -
		done
	done
}

@test "plain gzip: cut, damaged" {
	gzip -c big.vcf > plain.vcf.gz
	size=$(stat -c %s plain.vcf.gz)
	for less in 1 8 1000 $((size / 2)); do
		head -c -$less plain.vcf.gz > cut.vcf.gz
		fails 3 "cut.vcf.gz" score -o out/x.vcf cut.vcf.gz
		fails 3 "" piped cut.vcf.gz score -o out/x.vcf
	done
	python3 -c 'd = bytearray(open("plain.vcf.gz", "rb").read())
d[len(d) // 2] ^= 1; open("flip.vcf.gz", "wb").write(d)'
	fails 3 "flip.vcf.gz" score -o out/x.vcf flip.vcf.gz
}

@test "text cut in a line, also where the line still parses" {
	head -c -30 all.vcf > cut.vcf # in the genotypes
	fails 3 "cut.vcf" score -o out/x.vcf cut.vcf
	head -c -1 all.vcf > cut.vcf
	fails 3 "cut.vcf" score -o out/x.vcf cut.vcf
	fails 3 "" piped cut.vcf score -o out/x.vcf
	head -c -100 all.vcf > cut.vcf
	fails 3 "" from cut.vcf score -o out/x.vcf -
	head -c 300 all.vcf > cut.vcf # in the header
	fails 3 "cut.vcf" score -o out/x.vcf cut.vcf
	grep '^##' all.vcf > cut.vcf
	fails 3 "#CHROM" score -o out/x.vcf cut.vcf
}

@test "missing, empty, a directory, noise, another format" {
	fails 5 "absent.vcf: No such file" score -o out/x.vcf absent.vcf
	mkdir dir.vcf
	fails 5 "is a directory" score -o out/x.vcf dir.vcf
	: > empty.vcf
	fails 3 "empty.vcf" score -o out/x.vcf empty.vcf
	fails 3 "" from empty.vcf score -o out/x.vcf -
	head -c 5000 /dev/urandom > noise.vcf
	fails 3 "noise.vcf" score -o out/x.vcf noise.vcf
	fails 3 "p.fa" score -o out/x.vcf p.fa
	fails 3 "aligned.bam" score -o out/x.vcf "$READS/aligned.bam"
	printf 'BCF\2\2\377\377\377\377' | bgzip > lie.bcf
	fails 3 "lie.bcf" score -o out/x.vcf lie.bcf
	fails 2 "http" score -o out/x.vcf http://localhost/x.vcf
}

@test "headers: none, no #CHROM, text before it" {
	grep -v '^#' all.vcf > bare.vcf
	fails 3 "bare.vcf" score -o out/x.vcf bare.vcf
	grep -v '^#CHROM' all.vcf > half.vcf
	fails 3 "half.vcf" score -o out/x.vcf half.vcf
	fails 3 "" piped half.vcf score -o out/x.vcf
	{ echo hello; cat all.vcf; } > before.vcf
	fails 3 "before.vcf" score -o out/x.vcf before.vcf
	sed 's/\tFORMAT.*//; s/\t/ /g' all.vcf > blanks.vcf
	fails 3 "blanks.vcf" score -o out/x.vcf blanks.vcf
	{ cat all.vcf; echo '##late=1'; } > late.vcf
	fails 3 "late.vcf" score -o out/x.vcf late.vcf
}

# ---- records

@test "positions: not a number, negative, beyond 2^31; 0 is the telomere" {
	for position in x -1 -5 9223372036854775807 99999999999999999999 1e3 "" " 5"; do
		records "chr20_piece\t$position\t.\tA\tC\t.\t.\t.\n" > r.vcf
		fails 3 "r.vcf" score -o out/x.vcf r.vcf
	done
	records 'chr20_piece\t1\t.\tG\tC\t.\t.\t.\nchr20_piece\t2147483648\t.\tA\tC\t.\t.\t.\n' > r.vcf
	score -O t r.vcf | body | tail -n 1 | cut -f 2,10 | cmp - <(printf '2147483648\tOUTOFRANGE\n')
	fails 3 "2147483648" score -o out/x.bcf r.vcf # has no room for it
	records 'chr20_piece\t0\ttelomere\tN\tC\t.\t.\t.\nchr20_piece\t1\t.\tG\tC\t.\t.\t.\n' > r.vcf
	score -O t r.vcf | body | tail -n +2 | cut -f 2,10 > got
	printf '0\tOUTOFRANGE\n1\tOK&EDGE\n' | cmp - got
	score r.vcf | body | tail -n +2 | cut -f 1-5 | cmp - <(body r.vcf | tail -n +2 | cut -f 1-5)
}

@test "records: columns, alleles, contigs" {
	bad() { # TEXT: a record after a good one; the line is named
		records "chr20_piece\t5001\t.\tG\tC\t.\t.\t.\n$1\n" > r.vcf
		fails 3 "r.vcf:6" score -o out/x.vcf r.vcf
		fails 3 "6" piped r.vcf score -o out/x.bcf -
	}
	bad 'chr20_piece\t5002'
	bad 'chr20_piece\t5002\t.\tA'
	bad 'chr20_piece\t5002\t.\t\tC\t.\t.\t.'
	bad 'chr20_piece\t5002\t.\tA\t\t.\t.\t.'
	bad 'chr20_piece\t5002\t.\tA\tC,,G\t.\t.\t.'
	bad '\t5002\t.\tA\tC\t.\t.\t.'
	bad ''
	bad 'chr20_piece\t5002\t.\tA\tC\tx\t.\t.'
	sed '40{s/\t[^\t]*$//;q}' all.vcf > short.vcf
	fails 3 "short.vcf:40" score -o out/x.vcf short.vcf
	sed '40{s/$/\t0|0/;q}' all.vcf > long.vcf
	fails 3 "long.vcf:40" score -o out/x.vcf long.vcf
}

@test "65,535 ALTs, an allele of 500,000 bases, one that is too long for any record" {
	python3 - <<-'PY'
	import itertools
	head = ("##fileformat=VCFv4.2\n##contig=<ID=chr20_piece,length=100000>\n"
	        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
	words = ("".join(w) for w in itertools.product("ACGT", repeat=8))
	alts = ["G" + w for w in itertools.islice(words, 65000)]
	open("many.vcf", "w").write(head + f"chr20_piece\t5001\t.\tG\t{','.join(alts)}\t.\t.\t.\n")
	alts = alts[:4] + ["<DEL>"] * 64000
	open("dels.vcf", "w").write(head + f"chr20_piece\t5001\t.\tG\t{','.join(alts)}\t.\t.\t.\n")
	open("long.vcf", "w").write(head + f"chr20_piece\t5001\t.\tG\tG{'ACGTTGCA' * 62500}\t.\t.\t.\n"
	                            "chr20_piece\t5002\tnext\tT\tC\t.\t.\t.\n")
	open("huge.vcf", "w").write(head + f"chr20_piece\t5001\t.\tG\tG{'ACGTTGCA' * 1250000}\t.\t.\t.\n")
	PY
	score --max-indel 2 -O t many.vcf > got
	[ "$(cut -f 10 got | grep -c TOOLONG)" = 65000 ]
	score dels.vcf > x.vcf
	[ "$(table x.vcf | cut -f 10 | grep -c SYMBOLIC)" = 64000 ]
	[ "$(table x.vcf | cut -f 10 | grep -c OK)" = 4 ]
	score -O t long.vcf | body | tail -n +2 | cut -f 10 | paste -sd ' ' > got
	[ "$(cat got)" = "TOOLONG OK" ] || [ "$(cat got)" = "TOOLONG REFMISMATCH" ]
	fails 3 "huge.vcf" score -o out/x.vcf huge.vcf
	fails 3 "" piped huge.vcf score -o out/x.vcf
}

@test "ALT longer than the window: unscored, and the rest goes on" {
	python3 - <<-'PY' > r.tail
	print("chr20_piece\t5001\t.\tG\tG" + "ACGTTGCA" * 200 + ",C\t.\t.\t.")
	PY
	{ records ""; cat r.tail; } > r.vcf
	score -O t r.vcf | body | tail -n +2 | cut -f 10 | paste -sd ' ' > got
	[ "$(cat got)" = "TOOLONG OK" ]
	# longer than the window, and asked for
	score -O t --max-indel 100000 r.vcf | body | tail -n +2 | cut -f 10 | paste -sd ' ' > got
	[ "$(cat got)" = "OK OK" ]
	score -O t --max-indel 100000 --no-reuse --placement fixed --readout all r.vcf | body |
		tail -n +2 | cut -f 10 | paste -sd ' ' > got
	[ "$(cat got)" = "OK OK" ]
}

@test "duplicated records are each scored; unsorted input is fine without an index" {
	{ cat all.vcf; body all.vcf | sed -n 2,4p; } > unsorted.vcf
	score -O t unsorted.vcf > got
	[ "$(body got | wc -l)" = $((1 + 998 + 3)) ]
	tail -n 3 got | cmp - <(body got | sed -n 2,4p)
	score -O z -o x.vcf.gz unsorted.vcf
	fails 3 "sorted" score -W -o out/x.vcf.gz unsorted.vcf
	fails 3 "sorted" score -W -o out/x.bcf unsorted.vcf
	fails 3 "sorted" score --write-index=tbi -o out/x.vcf.gz unsorted.vcf
	fails 3 "sorted" piped unsorted.vcf score -W -o out/x.bcf -
}

# ---- the reference

@test "no FASTA given, a missing one, an empty one, gzip instead of bgzip" {
	fails 2 "-f" "$CROCUTA" score -q -m "$QUICK" -o out/x.vcf all.vcf
	fails 5 "absent.fa: No such file" "$CROCUTA" score -q -m "$QUICK" -f absent.fa -o out/x.vcf all.vcf
	: > empty.fa
	fails 3 "empty.fa" "$CROCUTA" score -q -m "$QUICK" -f empty.fa -o out/x.vcf all.vcf
	gzip -c p.fa > p.fa.gz
	fails 3 "bgzip" "$CROCUTA" score -q -m "$QUICK" -f p.fa.gz -o out/x.vcf all.vcf
	bgzip -c p.fa > cut.fa.gz
	truncate -s -28 cut.fa.gz
	fails 3 "end marker" "$CROCUTA" score -q -m "$QUICK" -f cut.fa.gz -o out/x.vcf all.vcf
}

@test "the wrong genome: REF differs in too many records" {
	awk '/^>chr20_piece/ { print; getline; print substr($0, 2); next } { print }' p.fa > shifted.fa
	wrong() { "$CROCUTA" score -q --no-version -m "$QUICK" -f shifted.fa "$@"; }
	fails 3 "wrong genome build" wrong -o out/x.vcf all.vcf
	fails 3 "wrong genome build" wrong -O t all.vcf
	fails 3 "wrong genome build" wrong --check-ref x -o out/x.vcf all.vcf
	fails 3 "wrong genome build" piped all.vcf wrong -o out/x.bcf -
	wrong --max-ref-mismatch 1 -O t all.vcf > got
	[ "$(grep -c REFMISMATCH got)" -gt 500 ]
	fails 3 "chr20_piece:156" wrong --check-ref e -o out/x.vcf all.vcf
	# nine mismatches are no other genome
	head -n 15 all.vcf > nine.vcf
	wrong -O t nine.vcf > got
	[ "$(grep -c REFMISMATCH got)" -le 9 ]
}

@test "a FASTA of other names; no record on any contig of it" {
	sed 's/^>chr20/>NC_20/' p.fa > other.fa
	fails 3 "NC_20_piece" "$CROCUTA" score -q -m "$QUICK" -f other.fa -o out/x.vcf all.vcf
	fails 3 "chr20_piece" "$CROCUTA" score -q -m "$QUICK" -f other.fa -o out/x.vcf all.vcf
	sed '/^#/!s/chr20_piece/chr21/; s/ID=chr20_piece/&>\n##contig=<ID=chr21/' all.vcf > off.vcf
	fails 3 "none of 998 records" score -o out/x.vcf off.vcf
	records 'chr20_piece\t100001\t.\tA\tC\t.\t.\t.\n' > past.vcf
	fails 3 "none of 1 record" score -o out/x.vcf past.vcf
}

@test "an index of another FASTA" {
	samtools faidx -o /dev/null p.fa chr20_tiny:1-2 --fai-idx right.fai
	awk -F'\t' -v OFS='\t' '{ $3 += 1; print }' right.fai > lie.fai
	fails 3 "lie.fai" "$CROCUTA" score -q -m "$QUICK" -f p.fa --fai-idx lie.fai -o out/x.vcf all.vcf
}

# ---- options

@test "windows, read-outs, steps" {
	fails 2 '"-5"' score --window -5 -o out/x.vcf all.vcf
	fails 2 '"0"' score --window 0 -o out/x.vcf all.vcf
	fails 2 "at least 2" score --window 1 -o out/x.vcf all.vcf
	fails 2 "at most 1026" score --window 1027 -o out/x.vcf all.vcf
	fails 2 "less than the window" score --window 100 --readout 100 -o out/x.vcf all.vcf
	fails 2 "less than the window" score --readout 5000 -o out/x.vcf all.vcf
	fails 2 '"0"' score --readout 0 -o out/x.vcf all.vcf
	fails 2 '"-1"' score --readout -1 -o out/x.vcf all.vcf
	fails 2 '"some"' score --readout some -o out/x.vcf all.vcf
	fails 2 "--step" score --window 100 --readout 50 --step 51 -o out/x.vcf all.vcf
	fails 2 "--placement grid" score --placement fixed --step 10 -o out/x.vcf all.vcf
	fails 2 "centre" score --placement centre -o out/x.vcf all.vcf
	fails 2 '"1.5"' score --max-n 1.5 -o out/x.vcf all.vcf
	fails 2 '"nan"' score --max-ref-mismatch nan -o out/x.vcf all.vcf
	fails 2 "" score --strands concat -o out/x.vcf all.vcf
	fails 2 "" score --check-ref q -o out/x.vcf all.vcf
	fails 2 "" score --regions-overlap 3 -o out/x.vcf all.vcf
	fails 2 "" score --tag-prefix 'A=B' -o out/x.vcf all.vcf
}

@test "shards: malformed, of a stream" {
	for shard in 0/3 4/3 3 a/b 1/0 -1/3 1/3/5 1.5/3 /3 1/; do
		fails 2 "\"$shard\"" score --shard $shard -o out/x.vcf all.vcf
	done
	fails 2 "shard" piped all.vcf score --shard 1/3 -o out/x.vcf -
	fails 2 "shard" piped all.vcf score --shard 1/3 -o out/x.vcf
	mkfifo pipe
	fails 2 "not a regular file" score --shard 1/3 -o out/x.vcf pipe
}

@test "regions: without an index, of a stream, unknown contig, syntax" {
	fails 3 "bcftools index" score -r chr20_piece:1-1000 -o out/x.vcf all.vcf
	cp big.vcf.gz noindex.vcf.gz
	fails 3 "bcftools index" score -r chr20_piece:1-1000 -o out/x.vcf noindex.vcf.gz
	fails 2 "" piped "$PANEL" score -r chr20_piece:1-1000 -o out/x.vcf -
	fails 3 "chrQ" score -r chrQ -o out/x.vcf "$PANEL"
	fails 3 "the file has chr20_piece" score -r chr20_pieces:5-10 -o out/x.vcf "$PANEL"
	fails 3 "chrQ" score -t chrQ -o out/x.vcf all.vcf
	fails 2 "" score -r chr20_piece:10-5 -o out/x.vcf "$PANEL"
	fails 2 "" score -r chr20_piece:0-5 -o out/x.vcf "$PANEL"
	fails 2 "exclude each other" score -r chr20_piece -R p.fa -o out/x.vcf "$PANEL"
	fails 2 "exclude each other" score -t chr20_piece -T p.fa -o out/x.vcf "$PANEL"
	fails 2 "" score -r ^chr20_piece -o out/x.vcf "$PANEL"
	fails 5 "absent.bed" score -R absent.bed -o out/x.vcf "$PANEL"
	printf 'chr20_piece\t10\n' > bad.bed
	fails 3 "bad.bed:1" score -R bad.bed -o out/x.vcf "$PANEL"
}

@test "an index of another file, damaged, cut" {
	cp "$PANEL" g.vcf.gz
	head -c 100 "$PANEL.csi" > g.vcf.gz.csi
	fails 3 "g.vcf.gz" score -r chr20_piece:1-1000 -o out/x.vcf g.vcf.gz
	head -c 300 /dev/urandom > g.vcf.gz.csi
	fails 3 "g.vcf.gz" score -r chr20_piece:1-1000 -o out/x.vcf g.vcf.gz
	cp big.vcf.gz b.vcf.gz
	bcftools index b.vcf.gz
	cp b.vcf.gz.csi g.vcf.gz.csi
	fails 3 "g.vcf.gz" score -r chr20_piece:90001-95000 -o out/x.vcf g.vcf.gz
}

@test "type against suffix, unknown types, an index without a file, of text" {
	fails 2 "suffix" score -O b -o out/x.vcf.gz all.vcf
	fails 2 "suffix" score -O v -o out/x.bcf all.vcf
	fails 2 "suffix" score -O t -o out/x.vcf all.vcf
	fails 2 "" score -O q -o out/x.vcf all.vcf
	fails 2 "" score -O z12 -o out/x.vcf.gz all.vcf
	fails 2 "" score -O v5 -o out/x.vcf all.vcf
	fails 2 "npy holds the matrix" score -o out/x.npy all.vcf
	fails 2 "scores go into" score -o out/x.bw all.vcf
	fails 2 "index" score -O z -W all.vcf
	fails 2 "index" score -O z -W -o - all.vcf
	fails 2 "index" score -W -o out/x.vcf all.vcf
	fails 2 "index" score -W -o out/x.tsv all.vcf
	fails 2 "index" score -O u -W -o out/x.bcf all.vcf
	fails 2 "tbi" score --write-index=tbi -o out/x.bcf all.vcf
	fails 2 "" score --write-index=xyz -o out/x.bcf all.vcf
	fails 2 "stray argument" score -o out/x.vcf all.vcf all.vcf
}

@test "a tag of that name, without --overwrite-tags" {
	score -o first.vcf all.vcf
	fails 10 "--overwrite-tags" score -o out/x.vcf first.vcf
	fails 10 "--overwrite-tags" score -O b first.vcf
	score -O t first.vcf | cmp - <(score -O t all.vcf)
	sed 's/^##INFO=<ID=AF,/##INFO=<ID=CROCUTA_DIST,Number=1,Type=String,Description="x">\n&/' all.vcf > one.vcf
	fails 10 "CROCUTA_DIST" score -o out/x.vcf one.vcf
	score --tag-prefix OTHER -o out/x.vcf one.vcf
	rm out/x.vcf
}

@test "--ism: no region, off the contig, N only, with an input, two regions as npy" {
	fails 2 "" score --ism chr20_piece:10-5 -o out/x.vcf
	fails 3 "chrQ" score --ism chrQ -o out/x.vcf
	fails 3 "chr20_piece" score --ism chr20_piece:99990-100010 -o out/x.vcf
	fails 3 "chr20_piece" score --ism chr20_piece:100001 -o out/x.npy
	fails 2 "one region" score --ism chr20_piece:1-5,chr20_tiny:1-5 -o out/x.npy
	fails 2 "" score --ism chr20_piece:1-5 -o out/x.vcf all.vcf
	fails 2 "" score --ism chr20_piece:1-5 -r chr20_piece -o out/x.vcf
	fails 2 "standard output" score --ism chr20_piece:1-5 -O npy
	fails 2 "shards" score --ism chr20_piece:1-5 --shard 1/2 -o out/x.npy
	fails 2 "-f" "$CROCUTA" score -q -m "$QUICK" --ism chr20_piece:1-5 -o out/x.vcf
	# N only: nothing to score is no failure, and a matrix of NaN
	score --ism chr20_first:10-20 > got.vcf
	[ "$(body got.vcf | wc -l)" = 1 ]
	score --ism chr20_first:10-20 -o n.npy
	vcf npy n.npy <(score --ism chr20_first:10-20 -O t) 10
}

# ---- models

@test "models: missing, NaN weights refused, their results too" {
	fails 4 "absent" "$CROCUTA" score -q -m absent -f p.fa -o out/x.vcf all.vcf
	hostile nan
	fails 4 "nan" "$CROCUTA" score -q -m ./nan -f p.fa -o out/x.vcf all.vcf
	for how in "" "--no-reuse"; do
		# shellcheck disable=SC2086
		fails 8 "NaN or infinite" "$CROCUTA" score -q -m ./nan --allow-nan-weights $how -f p.fa \
			-o out/x.vcf all.vcf
	done
	# a handful is a status, and no text of a number that is none
	head -n 14 all.vcf > few.vcf
	"$CROCUTA" score -q -m ./nan --allow-nan-weights -f p.fa -o few.out.vcf few.vcf
	table few.out.vcf | tail -n +2 | every '$6 == "." && $10 == "NONFINITE"'
	body few.out.vcf | lacks -i '=nan\|=inf\|=-inf'
	fails 3 "" "$CROCUTA" score -q --strict -m ./nan --allow-nan-weights -f p.fa -O t few.vcf
	fails 7 "CUDA" score --device cuda -o out/x.vcf all.vcf
	fails 6 "the limit is" score --max-mem 10k -o out/x.vcf all.vcf
}

# ---- outputs

@test "a full disk, small and large outputs of every type" {
	head -n 20 all.vcf > small.vcf
	for type in v z b u t; do
		for input in small.vcf big.vcf; do
			fails 5 "No space left" to /dev/full score -O $type $input
			fails 5 "No space left" score -O $type -o /dev/full $input
		done
	done
	fails 5 "No space left" to /dev/full score --ism chr20_tiny:1-20
	grep '^#' all.vcf > none.vcf
	for type in v z b t; do
		fails 5 "No space left" to /dev/full score -O $type none.vcf
	done
}

@test "a closed standard output, files limited in size" {
	closed() { "$@" >&-; }
	fails 5 "" closed score all.vcf
	fails 5 "" closed score -O b all.vcf
	for suffix in vcf vcf.gz bcf tsv; do
		fails 5 "File too large" limited 8 score -o out/x.$suffix big.vcf
	done
}

@test "a small file system, full or read-only; nothing stays" {
	can_mount
	for suffix in vcf vcf.gz bcf tsv; do
		fails 5 "No space left" mounted 16k rw "$CROCUTA" score -q -m "$QUICK" -f p.fa -o out/x.$suffix big.vcf
		fails 5 "Read-only file system" mounted 16k ro "$CROCUTA" score -q -m "$QUICK" -f p.fa \
			-o out/x.$suffix all.vcf
	done
	fails 5 "" mounted 16k rw "$CROCUTA" score -q -m "$QUICK" -f p.fa -W -o out/x.bcf big.vcf
}

@test "folders that are missing, not writable or no folders; --no-clobber" {
	fails 5 "No such file or directory" score -o out/absent/x.vcf all.vcf
	fails 5 "p.fa/x.vcf" score -o p.fa/x.vcf all.vcf
	echo old > x.vcf
	fails 10 "x.vcf" score --no-clobber -o x.vcf all.vcf
	echo old > y.vcf.gz.csi
	fails 10 "y.vcf.gz.csi" score --no-clobber -W -o y.vcf.gz all.vcf
	[ ! -e y.vcf.gz ]
	[ "$(cat x.vcf)" = old ]
	# an older output survives a failed run
	head -c -40 all.vcf > cut.vcf
	fails 3 "cut.vcf" score -o x.vcf cut.vcf
	[ "$(cat x.vcf)" = old ]
	chmod 555 out
	chmod 755 .
	if setpriv --reuid 12346 --clear-groups test -r "$QUICK/config.json" -a -r all.vcf 2> /dev/null; then
		fails 5 "Permission denied" setpriv --reuid 12346 --clear-groups "$CROCUTA" score -q \
			-m "$QUICK" -f p.fa -o out/x.vcf all.vcf
	fi
	chmod 755 out
}

# ---- stopped runs

# a run of minutes: each variant twice in windows of its own, computed plainly
start() { # OPTIONS
	long=$BATS_FILE_TMPDIR/long.vcf
	[ -s "$long" ] || { cat big.vcf; for _ in 1 2 3 4 5 6 7 8; do body big.vcf | tail -n +2; done; } > "$long"
	"$CROCUTA" score -m "$MODEL" -f p.fa -@ 1 --isa portable --no-reuse --placement fixed "$@" \
		"$long" 2> err &
	child=$!
	has_begun 400
}

@test "SIGTERM: 143 within seconds, nothing left, a word about it" {
	for suffix in vcf vcf.gz bcf tsv; do
		start -o out/x.$suffix
		stops_with TERM 143 10
		lacks '^\[E::' err
		grep -q '^\[W::score\] stopped by a signal' err
	done
}

@test "SIGTERM while an index is to be written" {
	start -W -o out/x.bcf
	stops_with TERM 143 10
}

@test "SIGINT, SIGHUP, SIGUSR1" {
	python3 - "$CROCUTA" "$MODEL" "$BATS_FILE_TMPDIR/big.vcf" <<-'PY'
	import os, signal, subprocess, sys, time
	crocuta, model, variants = sys.argv[1:]
	for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
	    run = subprocess.Popen([crocuta, "score", "-q", "-m", model, "-f", "p.fa", "-@", "1", "--isa",
	                            "portable", "--no-reuse", "--placement", "fixed", "-o", "out/x.bcf",
	                            variants],
	                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
	    while not os.listdir("out"):
	        time.sleep(0.05)
	    run.send_signal(number)
	    assert run.wait(10) == -number, (number, run.returncode)
	    assert not os.listdir("out"), os.listdir("out")
	PY
}

@test "SIGKILL: nothing under the output's name" {
	start -o out/x.vcf
	kill -KILL $child
	wait $child || true
	[ -z "$(find out -mindepth 1 -not -name '.*.part')" ]
	rm -f out/.*.part
}

@test "a reader that goes away: 141, no message" {
	status=$("$CROCUTA" score -m "$QUICK" -f p.fa -O t big.vcf 2> err | head -n 30 > rows
		echo "${PIPESTATUS[0]}")
	[ "$status" = 141 ]
	lacks '^\[E::' err
	[ "$(wc -l < rows)" = 30 ]
}
