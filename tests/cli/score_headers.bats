#!/usr/bin/env bats
# Headers of variant scores: tags of an earlier run, inputs without contig lines, parts put together.

load common
load score_common

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	cd "$BATS_FILE_TMPDIR"
	make_quick
	bgzip -dc "$PIECES" > p.fa
	thin 40 "$PANEL" real.vcf
	bcftools view --no-version -G "$KINDS" > kinds.vcf
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	for file in "$BATS_FILE_TMPDIR"/*; do ln -s "$file" .; done
	mkdir out
}

# ---- an earlier run's tags

@test "overwriting with one strand leaves nothing of the other, nor a second model of the prefix" {
	for type in v b; do
		score -O $type -o both kinds.vcf
		score --strands forward --overwrite-tags -o one.vcf both
		score --strands forward -o fresh.vcf kinds.vcf
		cmp one.vcf fresh.vcf
		score -O b --strands reverse --overwrite-tags -o one.bcf both
		bcftools view --no-version one.bcf | cmp - <(score --strands reverse kinds.vcf)
	done
	# tags that no line of the header announces
	bcftools view --no-version both | grep -v '##INFO=<ID=CROCUTA_LLR_REV' > bare.vcf
	score --strands forward --overwrite-tags -o one.vcf bare.vcf
	cmp one.vcf fresh.vcf
	grep -v '^##INFO=<ID=CROCUTA\|^##crocuta' bare.vcf > barer.vcf
	fails 10 "has an INFO tag CROCUTA_LLR already" score --strands forward -o out/x.vcf barer.vcf
	{ grep "^#" kinds.vcf && for i in $(seq 5000); do
		printf "chr20_piece\t%d\t.\tN\tC\t.\t.\t.\n" "$i"; done; grep -v "^#" barer.vcf; } > late.vcf
	fails 10 "has a tag of this run's names" score --strands forward --check-ref w --max-ref-mismatch 1 -o out/x.vcf late.vcf
}

@test "any of the five tags is refused, whichever are written" {
	score --strands reverse -o reverse.vcf kinds.vcf
	bcftools annotate --no-version -x INFO/CROCUTA_LLR,INFO/CROCUTA_DIST,INFO/CROCUTA_STATUS \
		reverse.vcf > left.vcf
	fails 10 "CROCUTA_LLR_REV" score --strands forward -o out/x.vcf left.vcf
	score --strands forward --tag-prefix OTHER -o x.vcf left.vcf
	[ "$(grep -c '^##crocutaModel' x.vcf)" = 2 ]
}

@test "overwriting takes its own lines only; commands are history" {
	"$CROCUTA" score -q -m "$QUICK" -f p.fa --tag-prefix A -o a.vcf kinds.vcf
	"$CROCUTA" score -q -m "$QUICK" -f p.fa --tag-prefix B --window 512 -o ab.vcf a.vcf
	"$CROCUTA" score -q -m "$QUICK" -f "$PIECES" --tag-prefix B --window 256 --overwrite-tags \
		-o ab2.vcf ab.vcf
	grep -q '^##crocutaModel=.*TagPrefix="A"' ab2.vcf
	[ "$(grep -c '^##crocutaModel=.*TagPrefix="B"' ab2.vcf)" = 1 ]
	grep -q '^##crocutaModel=.*Window="256".*TagPrefix="B"' ab2.vcf
	[ "$(grep -c '^##crocutaCommand' ab2.vcf)" = 3 ]
	# A's may be the line of the other FASTA
	[ "$(grep -c '^##crocutaReference' ab2.vcf)" = 2 ]
	"$CROCUTA" score -q --no-version -m "$QUICK" -f p.fa -o c.vcf kinds.vcf
	score --overwrite-tags -o c2.vcf c.vcf
	[ "$(grep -c '^##crocutaReference' c2.vcf)" = 1 ]
	score kinds.vcf | cmp - c2.vcf
	score --overwrite-tags c2.vcf | cmp - c2.vcf
}

# ---- no contig lines

@test "without contig lines, shards are the whole run" {
	grep -v '^##contig' kinds.vcf > bare.vcf
	awk -v OFS='\t' '{ print } !/^#/ && NR % 9 == 0 { $1 = "decoy" NR; print }' \
		bare.vcf > mixed.vcf
	for input in bare mixed; do
		score -o whole.vcf $input.vcf
		for n in 2 5; do
			parts=
			for k in $(seq $n); do
				score --shard $k/$n -o s$k.vcf $input.vcf
				score --shard $k/$n -o s$k.tsv $input.vcf
				parts="$parts s$k"
			done
			# shellcheck disable=SC2046 # words
			concat $(printf '%s.vcf ' $parts) | cmp - whole.vcf
			# shellcheck disable=SC2046 # words
			concat $(printf '%s.tsv ' $parts) | cmp - <(score -O t $input.vcf)
		done
	done
	lacks '^##contig=<ID=decoy' whole.vcf
	[ "$(grep -c '^##contig' whole.vcf)" = "$(wc -l < "$PIECES.fai")" ]
	score -O b mixed.vcf | bcftools view --no-version > whole2.vcf
	cmp <(body whole2.vcf) <(body whole.vcf)
	grep -q '^##contig=<ID=decoy' whole2.vcf # BCF cannot do without
}

@test "records off the FASTA in front of those on it" {
	{
		grep '^##fileformat' kinds.vcf
		grep '^#CHROM' kinds.vcf
		for i in $(seq 5000); do printf 'decoy\t%d\t.\tA\tC\t.\t.\t.\n' "$i"; done
	} > decoys.vcf
	# contigs in another order than the FASTA's
	{ cat decoys.vcf && grep -v '^#' kinds.vcf | tac; } > late.vcf
	score -o late.out.vcf late.vcf
	{ grep '^#CHROM' kinds.vcf && body kinds.vcf | grep -v '^#' | tac; } > back.vcf
	{ grep '^##fileformat' kinds.vcf && cat back.vcf; } | score | body > want
	grep -v '^decoy' <(body late.out.vcf) | cmp - want
	for k in 1 2; do score --shard $k/2 -o s$k.vcf late.vcf; done
	concat s1.vcf s2.vcf | cmp - late.out.vcf
	# a part of more than one batch, which meets its contigs in the second
	{ cat late.vcf && grep -v '^#' decoys.vcf && grep -v '^#' decoys.vcf; } > middle.vcf
	score -o middle.out.vcf middle.vcf
	for k in 1 2; do score --shard $k/2 -o s$k.vcf middle.vcf; done
	[ "$(grep -vc '^#\|^decoy' s1.vcf)" = "$(grep -vc '^#' kinds.vcf)" ]
	concat s1.vcf s2.vcf | cmp - middle.out.vcf
	grep -v '^decoy' <(body middle.out.vcf) | cmp - want
	score < late.vcf | cmp - late.out.vcf
	fails 3 'the VCF has "decoy"' score -o out/x.vcf --shard 1/2 decoys.vcf
	fails 3 "decoy" score -o out/x.vcf decoys.vcf
	# names that would need "chr" come too late: the header is written
	sed 's/^chr20_piece/20_piece/' late.vcf > prefix.vcf
	fails 3 "rename-chrs" score -o out/x.vcf prefix.vcf
}

@test "a part without records fits the others" {
	sed 's/chr20_/20_/; s/chr21_/21_/' kinds.vcf | bgzip > k.vcf.gz
	bcftools sort -Oz -o s.vcf.gz k.vcf.gz 2> /dev/null
	bcftools index s.vcf.gz
	score -o a.vcf -r 20_piece s.vcf.gz
	score -o b.vcf -r 20_piece:60000-60001 s.vcf.gz
	[ -z "$(body b.vcf | grep -v '^#')" ]
	grep -q 'ContigMap="add-chr"' b.vcf
	concat a.vcf b.vcf | cmp - a.vcf
	# of names in no way those of the FASTA, where nothing is asked for
	printf '##fileformat=VCFv4.2\n##contig=<ID=strange>\n' > none.vcf
	grep '^#CHROM' kinds.vcf >> none.vcf
	score -o none.out.vcf none.vcf
}

# ---- bytes that would be columns and rows

@test "BCF: control bytes in ID, INFO and FORMAT" {
	python3 - <<'PY'
import gzip, subprocess
head = ('##fileformat=VCFv4.2\n##contig=<ID=chr20_piece,length=100000>\n'
        '##INFO=<ID=NOTE,Number=1,Type=String,Description="n">\n'
        '##FORMAT=<ID=WORD,Number=1,Type=String,Description="w">\n'
        '#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\n')
record = 'chr20_piece\t5001\trs0123\tG\tC\t.\t.\tNOTE=in4567\tWORD\tfo4567\tx\n'
open("good.vcf", "w").write(head + record)
data = subprocess.run("bcftools view --no-version -Ou good.vcf", shell=True, check=True,
                      stdout=subprocess.PIPE).stdout
data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
for name, old, new in (("id1", b"rs0123", b"r\t9\tG\t"), ("id2", b"rs0123", b"r\n9999"),
                       ("id3", b"rs0123", b"r\x019999"), ("info1", b"in4567", b"in\t567"),
                       ("info2", b"in4567", b"in\n567"), ("format1", b"fo4567", b"fo\t567"),
                       ("format2", b"fo4567", b"fo\n567")):
    assert data.count(old) == 1, name
    open(name + ".bcf", "wb").write(data.replace(old, new))
PY
	score -o good.out good.vcf
	for bad in id1 id2 id3; do
		for type in v z b t; do
			fails 3 "ID holds a control byte" score -O $type -o out/x $bad.bcf
		done
	done
	for bad in info1 info2 format1 format2; do
		fails 3 "chr20_piece:5001: a value holds" score -O v -o out/x $bad.bcf
		score -O b -o x.bcf $bad.bcf # as it came
	done
}

# ---- memory

@test "records of many ALTs: a batch counts what is computed for them" {
	slow # and their memory is not ours
	python3 - "$CROCUTA" "$QUICK" <<'PY'
import resource, subprocess, sys
bases = "".join(l.strip() for l in open("p.fa").read().split(">")[1].splitlines()[1:]).upper()
with open("many.vcf", "w") as out:
    out.write("##fileformat=VCFv4.2\n##contig=<ID=chr20_piece,length=100000>\n"
              "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    for i in range(4000):
        ref = bases[2000 + i % 16]
        alts = ",".join(a for a in "ACGT" if a != ref)
        out.write(f"chr20_piece\t{2001 + i % 16}\t.\t{ref}\t{','.join([alts] * 200)}\t.\t.\t.\n")
subprocess.run([sys.argv[1], "score", "-q", "-m", sys.argv[2], "-f", "p.fa", "--window", "64",
                "--readout", "1", "-o", "many.out.vcf", "many.vcf"], check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{peak:.0f} MiB")
sys.exit(peak > 300)
PY
	[ "$(grep -vc '^#' many.out.vcf)" = 4000 ]
}
