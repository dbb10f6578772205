#!/usr/bin/env bats
# Bad inputs: each gives the documented status and one error line, and leaves no file behind.
# `fails` (common.bash) checks all three; outputs are aimed at the directory `out`.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	make_fasta g.fa
	mkdir out
}

hostile() { python3 "$ROOT/tests/cli/hostile.py" "$1" "$MODEL" "$1"; }
with_model() { "$CROCUTA" embed -q -m "$1" -o out/x.npy g.fa; }
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

# ---- the command line

@test "options: unknown, ambiguous, twice, without value, stray" {
	fails 2 "unknown option --widnow; did you mean --window?" embed --widnow 5 -o out/x.npy g.fa
	fails 2 "unknown option -Z" embed -Z -o out/x.npy g.fa
	fails 2 "ambiguous: --model, --model-sha256" "$CROCUTA" embed --mod x -o out/x.npy g.fa
	fails 2 "given twice" embed --bin 1 --bin 2 -o out/x.npy g.fa
	fails 2 "takes no value" embed --half=yes -o out/x.npy g.fa
	fails 2 "needs a value" embed -o
	fails 2 "stray argument" embed -o out/x.npy g.fa g.fa
	fails 2 "given twice" embed -f g.fa -o out/x.npy g.fa
	fails 2 "unknown command \"embde\"; did you mean embed?" "$CROCUTA" embde
	fails 2 "did you mean show?" "$CROCUTA" model shwo
}

@test "numbers: not whole, out of range, too large, trailing text" {
	fails 2 '"abc"' embed --batch-size abc -o out/x.npy g.fa
	fails 2 '"-1"' embed --threads -1 -o out/x.npy g.fa
	fails 2 '"1e9"' embed -@ 1e9 -o out/x.npy g.fa
	fails 2 '"0"' embed --window 0 -o out/x.npy g.fa
	fails 2 '"99999999999999999999"' embed --bin 99999999999999999999 -o out/x.npy g.fa
	fails 2 '"10x"' embed --bin 10x -o out/x.npy g.fa
	fails 2 '"0x10"' embed --bin 0x10 -o out/x.npy g.fa
	fails 2 '"nan"' embed --filter-shift nan -o out/x.npy g.fa
	fails 2 '"1.5"' embed --skip-n 1.5 -o out/x.npy g.fa
	fails 2 'at most 1026 tokens' embed --window 2k -o out/x.npy g.fa
	fails 2 'less than' embed --window 100 --overlap 100 -o out/x.npy g.fa
	fails 2 'the model has 2 blocks' embed --layer 3 -o out/x.npy g.fa
}

@test "values and options that do not go together" {
	fails 2 "give mean, last or max" embed --pool median -o out/x.npy g.fa
	fails 2 "exclude each other" embed -r chrA -R g.fa -o out/x.npy g.fa
	fails 2 "--stream has no windows" embed --stream --window 100 -o out/x.npy g.fa
	fails 2 "needs --per-record" embed --special-tokens sep -o out/x.npy g.fa
	fails 2 "leave --bin out" embed --per-record --bin 5 -o out/x.npy g.fa
	fails 2 "concat makes two" embed --track logprob --strands concat -o out/x.bw g.fa
	fails 2 "--classes belongs to --track" embed --classes acgt -o out/x.npy g.fa
	fails 2 "--json belongs to --dry-run" embed --json -o out/x.npy g.fa
	fails 2 "regions need a FASTA file" from g.fa embed -r chrA -o out/x.npy -
}

@test "outputs: type against suffix, no suffix, npy to a pipe, wrong kind" {
	fails 2 "does not fit the suffix" embed -O tsv -o out/x.npy g.fa
	fails 2 "no suffix of a known format" embed -o out/x g.fa
	fails 2 "not written to standard output" embed -O npy g.fa
	fails 2 "not written to standard output" embed --track logprob -O bw -o - g.fa
	fails 2 "holds no vectors" embed -o out/x.bw g.fa
	fails 2 "holds no track" embed --track entropy -o out/x.npy g.fa
	fails 2 "--half belongs to npy" embed --half -O tsv -o out/x.tsv g.fa
	fails 2 "needs the contigs in advance" from g.fa embed --track logprob -o out/x.bw -
	fails 2 "records and reads go into tsv" embed --per-record --track logprob -o out/x.bedgraph g.fa
}

@test "devices: cuda is not built in, others are unknown" {
	fails 7 "built without CUDA" embed --device cuda -o out/x.npy g.fa
	fails 7 "built without CUDA" embed --device cuda:0,1 -o out/x.npy g.fa
	fails 7 "built without CUDA" embed --device cuda:all -o out/x.npy g.fa
	fails 2 "give auto, cpu or cuda" embed --device tpu -o out/x.npy g.fa
	fails 2 "give auto, cpu or cuda" embed --device cpu:0 -o out/x.npy g.fa
	for name in cuda: cuda:x cuda:0, cuda:,1 cuda:0,all cuda:-1 cuda:1:2 cuda:12345678901; do
		fails 2 "cuda:all" embed --device $name -o out/x.npy g.fa
	done
	fails 2 "" embed --dtype f16 -o out/x.npy g.fa
	fails 2 "which --device reference is not" embed --device reference --dtype bf16 -o out/x.npy g.fa
	fails 2 "needs a GPU, which --device cpu is not; use --dtype f32" embed --device cpu --dtype bf16 -o out/x.npy g.fa
	fails 7 "needs a GPU, and this crocuta is built without CUDA; use --dtype f32" embed --dtype bf16 \
		-o out/x.npy g.fa
	fails 2 "a stream is for the CPU; use --dtype f32" embed --dtype bf16 --stream -o out/x.npy g.fa
	fails 2 "isa is for the CPU; use --dtype f32" embed --dtype bf16 --isa portable -o out/x.npy g.fa
}

@test "memory: a plan above --max-mem is refused with its figures" {
	fails 6 "the limit is" embed --max-mem 1000 -o out/x.npy g.fa
	fails 6 "the limit is" embed --max-mem 1M --dry-run -o out/x.npy g.fa
	fails 6 "the limit is" embed --max-mem 13.7M --bin 1 --strands concat -o out/x.npy g.fa
}

# ---- FASTA and its indexes

@test "FASTA: missing, a directory, empty, no FASTA at all" {
	fails 5 "absent.fa: No such file" embed -o out/x.npy absent.fa
	mkdir dir.fa
	fails 5 "is a directory" embed -o out/x.npy dir.fa
	: > empty.fa
	fails 3 "empty.fa" embed -o out/x.npy empty.fa
	head -c 3000 /dev/urandom > noise.fa
	fails 3 "noise.fa" embed -o out/x.npy noise.fa
	fails 2 "http" embed -o out/x.npy http://localhost/x.fa
}

@test "FASTA: letters that are no nucleotide, doubled names, no name, empty record" {
	printf '>s\nACGTACGT\nACXT\n' > letter.fa
	fails 3 '"s"' embed -o out/x.npy letter.fa
	fails 3 'input:3: record "s"' from letter.fa embed -o out/x.npy -
	printf '>s\nACGT\n>s\nACGT\n' > twice.fa
	fails 3 "twice" embed -o out/x.npy twice.fa
	fails 3 '"s"' from twice.fa embed -o out/x.npy -
	printf '>\nACGT\n' > noname.fa
	fails 3 "noname.fa" embed -o out/x.npy noname.fa
	printf '>s\n>t\nACGT\n' > hollow.fa
	fails 3 "hollow.fa" embed -o out/x.npy hollow.fa
}

@test "compressed FASTA: gzip instead of bgzip, cut, damaged" {
	gzip -c g.fa > plain.fa.gz
	fails 3 "bgzip" embed -o out/x.npy plain.fa.gz
	bgzip -c g.fa > whole.fa.gz
	head -c -28 whole.fa.gz > noend.fa.gz
	fails 3 "end marker" embed -o out/x.npy noend.fa.gz
	head -c 1000 whole.fa.gz > cut.fa.gz
	fails 3 "cut.fa.gz" embed -o out/x.npy cut.fa.gz
	python3 -c 'import sys; d = bytearray(open("whole.fa.gz", "rb").read()); d[700] ^= 1
open("flip.fa.gz", "wb").write(d)'
	fails 3 "flip.fa.gz" embed -o out/x.npy flip.fa.gz
	head -c -100 plain.fa.gz > cut.gz
	fails 3 "" from cut.gz embed -o out/x.npy -
}

@test ".fai: lies about offset, width, length, order, numbers" {
	lie() { # NAME AWK TEXT: an index changed by AWK
		samtools faidx g.fa
		awk -F'\t' -v OFS='\t' "$1" g.fa.fai > lie.fai
		rm g.fa.fai
		fails 3 "lie.fai" embed --fai-idx lie.fai -o out/x.npy g.fa
	}
	lie '{ $3 += 1; print }'
	lie 'NR == 2 { $3 -= 3 } { print }'
	lie '{ $5 += 1; print }'
	lie '{ $4 = 0; $5 = 1; print }'
	lie '{ $5 = $4 - 1; print }'
	lie 'NR == 1 { $2 += 60 } { print }'
	lie 'NR == 3 { $2 = "9000000000000000000" } { print }'
	lie 'NR == 1 { $2 = -5 } { print }'
	lie '{ l[NR] = $0 } END { print l[2]; print l[1]; print l[3] }'
	lie 'NR == 1 { print $1, $2, $3, $4 } NR > 1 { print }'
	lie 'NR != 2 { print }'
	lie 'NR == 2 { $1 = "chrX" } { print }'
}

@test ".fai of another file, beside the FASTA; no index where there should be one" {
	make_fasta other.fa 2
	sed -i 1,20d other.fa
	sed -i '1i >other' other.fa
	samtools faidx other.fa
	cp other.fa.fai g.fa.fai
	fails 3 "g.fa.fai" embed -o out/x.npy g.fa
	rm g.fa.fai
	fails 5 "absent.fai" embed --fai-idx absent.fai -o out/x.npy g.fa
}

@test ".gzi: hostile counts, short, of another file" {
	bgzip -c g.fa > z.fa.gz
	samtools faidx z.fa.gz
	python3 -c '
import struct
open("huge.gzi", "wb").write(struct.pack("<Q", 2**64 - 1))
open("short.gzi", "wb").write(struct.pack("<QQ", 1, 100))
open("wrong.gzi", "wb").write(struct.pack("<QQQ", 1, 123, 456))'
	for kind in huge short wrong; do
		fails 3 "$kind.gzi" embed --gzi-idx $kind.gzi -o out/x.npy z.fa.gz
	done
}

@test "a FIFO is no FASTA for regions" {
	mkfifo pipe
	fails 2 "not a regular file" embed -r chrA -o out/x.npy pipe
}

# ---- regions

@test "regions: unknown contigs, off the contig, syntax" {
	fails 3 "did you mean \"chrA\"" embed -r A -o out/x.npy g.fa
	fails 3 "chrB" embed -r chrB:600-701 -o out/x.npy g.fa
	fails 3 "chrB" embed -r chrB:701 -o out/x.npy g.fa
	fails 2 "chrA" embed -r chrA:10-5 -o out/x.npy g.fa
	fails 2 "chrA" embed -r chrA:0-5 -o out/x.npy g.fa
	fails 2 "chrA" embed -r chrA:1-2-3 -o out/x.npy g.fa
	fails 2 "" embed -r chrA:1-99999999999999999999 -o out/x.npy g.fa
}

@test "BED lines: unknown contig, past the end, backwards, two columns, no numbers, empty file" {
	bed() { # TEXT LINE
		printf '%b' "$2" > r.bed
		fails 3 "$1" embed -R r.bed -o out/x.npy g.fa
	}
	bed "r.bed:1" 'chrQ\t1\t2\n'
	bed "r.bed:2" 'chrA\t1\t2\nchrB\t600\t701\n'
	bed "r.bed:1" 'chrA\t5\t2\n'
	bed "r.bed:1" 'chrA\t5\n'
	bed "r.bed:1" 'chrA\t1e3\t2000\n'
	bed "r.bed:1" 'chrA\t-1\t20\n'
	bed "r.bed:1" 'chrA\t+1\t20\n'
	bed "r.bed" ''
	fails 5 "absent.bed" embed -R absent.bed -o out/x.npy g.fa
}

# ---- reads

@test "FASTQ: cut in a record, lengths differ, letters" {
	printf '@a\nACGT\n+\nIIII\n@b\nACGT\n+\nII' > cut.fq
	fails 3 "cut.fq" embed -o out/x.npy cut.fq
	printf '@a\nACGT\n+\nIII\n@b\nAC\n+\nII\n' > lengths.fq
	fails 3 "lengths.fq" embed -o out/x.npy lengths.fq
	printf '@a\nACZT\n+\nIIII\n' > letters.fq
	fails 3 "letters.fq" embed -o out/x.npy letters.fq
	fails 2 "reads give one row each" embed --bin 10 -o out/x.npy cut.fq
}

@test "BAM: cut inside, without end marker, with regions" {
	size=$(stat -c %s "$READS/aligned.bam")
	head -c $((size / 2)) "$READS/aligned.bam" > cut.bam
	fails 3 "cut.bam" embed -o out/x.npy cut.bam
	head -c -28 "$READS/aligned.bam" > noend.bam
	fails 3 "end marker" embed -o out/x.npy noend.bam
	fails 2 "samtools view" embed -r 17:1-10 -o out/x.npy "$READS/aligned.bam"
	fails 3 "" from cut.bam embed -o out/x.tsv -
}

@test "CRAM: without reference, with another one, cut" {
	fails 2 "reference" embed -o out/x.npy "$READS/aligned.cram"
	sed 's/ACGT/ACGA/g' "$READS/ref17.fa" > other17.fa
	fails 3 "" embed --reference other17.fa -o out/x.npy "$READS/aligned.cram"
	head -c 20000 "$READS/aligned.cram" > cut.cram
	fails 3 "cut.cram" embed --reference "$READS/ref17.fa" -o out/x.npy cut.cram
}

# ---- models

@test "models: missing, a file, without weights, another format" {
	fails 4 "absent" with_model absent
	fails 4 "" with_model g.fa
	mkdir hollow
	fails 4 "config.json" with_model ./hollow
	cp "$MODEL/config.json" hollow
	fails 4 "hollow" with_model ./hollow
	hostile pickle
	fails 4 "pickle" with_model ./pickle
}

@test "hostile safetensors" {
	for kind in header-too-long header-zero tiny empty truncated trailing no-json deep duplicate \
		overlap past-end reversed shape-wraps float-offset unknown-dtype missing-tensor \
		transposed; do
		hostile $kind
		fails 4 "$kind" with_model ./$kind
	done
}

@test "config.json: no object, negative, absurd, another family" {
	for kind in config-list config-negative config-huge config-type; do
		hostile $kind
		fails 4 "$kind" with_model ./$kind
	done
	hostile good
	: > good/config.json
	fails 4 "good" with_model ./good
	printf '{"d_model": 128, "d_model": 64}' > good/config.json
	fails 4 "good" with_model ./good
}

@test "a digest that differs" {
	digest=$(printf '%064d' 0)
	fails 4 "$digest" embed --model-sha256 "$digest" -o out/x.npy g.fa
	fails 2 "64 hex digits" embed --model-sha256 12ab -o out/x.npy g.fa
}

@test "NaN weights are refused; allowed, their results are" {
	hostile nan
	fails 4 "nan" with_model ./nan
	fails 8 "NaN or infinity" "$CROCUTA" embed -q -m ./nan --allow-nan-weights -o out/x.npy g.fa
	fails 8 "chrA" "$CROCUTA" embed -q -m ./nan --allow-nan-weights --track logprob -o out/x.bw g.fa
}

@test "values too large for float16" {
	hostile huge
	fails 8 "" "$CROCUTA" embed -q -m ./huge --half -o out/x.npy g.fa
}

@test "--conv nearfar for filters that it does not hold for" {
	fails 4 "too rough" embed --conv nearfar --stream -o out/x.npy g.fa
}

# ---- outputs

@test "output: directory missing, a file as directory, a directory as file, over-long name" {
	fails 5 "No such file or directory" embed -o out/absent/x.npy g.fa
	fails 5 "g.fa/x.npy" embed -o g.fa/x.npy g.fa
	mkdir taken.npy
	fails 5 "taken.npy" embed -o taken.npy g.fa
	fails 5 "264 bytes" embed -o "out/$(printf '%0260d' 0).npy" g.fa
	# 248 + 4 bytes would do, 248 + 12 do not
	fails 5 "rows.bed.gz: a name of 260 bytes" embed -o "out/$(printf '%0248d' 0).npy" g.fa
}

@test "output = input, also by links and for sidecars" {
	cp g.fa g.tsv
	fails 2 "g.tsv" embed -o g.tsv g.tsv
	ln -s g.fa link.tsv
	fails 2 "link.tsv" embed -o link.tsv g.fa
	ln g.fa hard.npy
	fails 2 "hard.npy" embed -o hard.npy g.fa
	cp g.fa x.meta.json
	fails 2 "x.meta.json" embed -o x.npy x.meta.json
	cmp g.fa g.tsv
	cmp g.fa x.meta.json
	cp -r "$MODEL" model && chmod -R u+w model
	fails 2 "model.safetensors" "$CROCUTA" embed -q -m ./model -O tsv -o model/model.safetensors g.fa
	cmp model/model.safetensors "$MODEL/model.safetensors"
}

@test "--no-clobber refuses what exists, sidecars included" {
	echo old > x.npy
	fails 10 "x.npy" embed --no-clobber -o x.npy g.fa
	[ "$(cat x.npy)" = old ]
	echo old > y.meta.json
	fails 10 "y.meta.json" embed --no-clobber -o y.npy g.fa
	[ ! -e y.npy ]
}

@test "an older output survives a failed run" {
	hostile nan
	echo old > x.npy
	fails 8 "" "$CROCUTA" embed -q -m ./nan --allow-nan-weights -o x.npy g.fa
	[ "$(cat x.npy)" = old ]
	[ "$(find . -name '*x.*')" = ./x.npy ]
}

@test "a full standard output, small and large" {
	fails 5 "No space left" to /dev/full embed -r chrC -O tsv g.fa
	fails 5 "No space left" to /dev/full embed --bin 1 -O tsv g.fa
	fails 5 "No space left" to /dev/full embed --track logprob g.fa
	fails 5 "No space left" embed -O tsv -o /dev/full g.fa
	fails 5 "No space left" to /dev/full "$CROCUTA" --version
	fails 5 "No space left" to /dev/full "$CROCUTA" embed --help
	fails 5 "No space left" to /dev/full "$CROCUTA" model show "$MODEL"
}

@test "a closed standard output" {
	closed() { "$@" >&-; }
	fails 5 "" closed embed -O tsv -r chrC g.fa
	fails 5 "" closed "$CROCUTA" --version
}

@test "files limited in size" {
	fails 5 "File too large" limited 64 embed --bin 1 -o out/x.npy g.fa
	fails 5 "" limited 64 embed --bin 1 -o out/x.tsv g.fa
}

@test "a full disk and a read-only one" {
	can_mount
	fails 5 "space" mounted 64k rw "$CROCUTA" embed -q -m "$MODEL" --bin 1 -o out/x.npy g.fa
	fails 5 "No space left" mounted 64k rw "$CROCUTA" embed -q -m "$MODEL" --no-space-check --bin 1 \
		-o out/x.npy g.fa
	fails 5 "No space left" mounted 64k rw "$CROCUTA" embed -q -m "$MODEL" --bin 1 -o out/x.tsv g.fa
	# libBigWig 0.4.7 leaks in a write that fails: no concern of ours
	fails 5 "No space left" mounted 64k rw env ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" \
		"$CROCUTA" embed -q -m "$MODEL" --track logprob -o out/x.bw "$PIECE"
	fails 5 "Read-only file system" mounted 64k ro "$CROCUTA" embed -q -m "$MODEL" -o out/x.npy g.fa
	fails 5 "" mounted 64k rw "$CROCUTA" model convert -q -o out/model "$MODEL"
}

# ---- model commands

@test "model commands: bad arguments and targets" {
	fails 2 "-o/--output DIR is needed" "$CROCUTA" model convert "$MODEL"
	fails 2 "give F32, F16" "$CROCUTA" model convert --dtype F8 -o out/m "$MODEL"
	fails 2 "given twice" "$CROCUTA" model show -m "$MODEL" "$MODEL"
	fails 5 "" "$CROCUTA" model convert -o g.fa/m "$MODEL"
	mkdir taken
	fails 10 "taken" "$CROCUTA" model convert -o taken "$MODEL"
	fails 4 "absent" "$CROCUTA" model show absent
	fails 4 "selftest" "$CROCUTA" model verify "$MODEL"
}
