# score_common.bash - shared by the tests of `crocuta score`; after `load common`.

VARIANTS=$ROOT/test-data/variants
PIECES=$VARIANTS/chr20_pieces.fa.gz
PANEL=$VARIANTS/1000g.vcf.gz
KINDS=$VARIANTS/kinds.vcf
TINY=$ROOT/models/tiny-1k
TOOLS=${CROCUTA%/*}/tests/tools
# a small model with random weights, for tests of anything but the numbers
QUICK=${BATS_FILE_TMPDIR:-}/quick
make_quick() { "$TOOLS/random_model" "$QUICK" --width 16 --inner 32 --layers 2 --max-length 1026; }

# score with that model, no messages but errors, and no lines that name version and date
score() { "$CROCUTA" score -q --no-version -m "$QUICK" -f "$PIECES" "$@"; }

concat() { "$CROCUTA" concat -q --no-version "$@"; }

# One line an ALT: CHROM POS ID REF ALT LLR LLR_FWD LLR_REV DIST STATUS, whatever the kind of the
# output. Arguments of vcf.py: a file, a prefix.
table() { python3 "$ROOT/tests/cli/vcf.py" table "$@"; }
vcf() { python3 "$ROOT/tests/cli/vcf.py" "$@"; }

# brute MODEL FASTA VCF OPTIONS...: the judge's table
brute() { "$TOOLS/brute_score" "$@" | grep -v '^##'; }

# A file of `count` lines behind the header of a VCF: every so-manieth record, all indels kept
thin() { # EVERY IN OUT
	bcftools view --no-version "$2" | awk -v every="$1" -F'\t' \
		'/^#/ || n++ % every == 0 || length($4 $5) > 2 && m++ % 2 == 0' > "$3"
}
