/* fuzz_variants.c - VCF and BCF in, VCF and BCF out: whatever is read to a proven end is written as
 * VCF, and that reads again to the same records and writes the same lines; so with BCF, where BCF
 * can hold it. Input: a byte whose bits choose a target list, how records overlap, whether a cut is
 * allowed; then the file, which comes as standard input. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/variants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDS 200

static const cr_variant_tag tags[] = {{"FUZZ_A", 0, "a"}, {"FUZZ_S", 1, "s"}};

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	while (bytes--)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t hash_variant(uint64_t hash, const cr_variants *variants, const cr_variant *variant)
{
	if (variant->alleles < 1 || variant->position < -1 || variant->contig_index < 0 ||
	    strcmp(cr_contigs_name(cr_variants_contigs(variants), variant->contig_index),
		   variant->contig) != 0)
		abort();
	hash = mix(hash, variant->contig, strlen(variant->contig) + 1);
	hash = mix(hash, &variant->position, sizeof variant->position);
	hash = mix(hash, variant->id, strlen(variant->id) + 1);
	for (int i = 0; i < variant->alleles; i++)
		hash = mix(hash, variant->allele[i], strlen(variant->allele[i]) + 1);
	return hash;
}

/* Write one record, with tags where there is room for their values. */
static int write_one(cr_variants_writer *writer, cr_variant *variant, crocuta_error *error)
{
	int alts = variant->alleles - 1;
	float *floats = calloc((size_t)alts + 1, sizeof *floats);
	const char **texts = calloc((size_t)alts + 1, sizeof *texts);
	int code;

	if (!floats || !texts)
		abort();
	for (int i = 0; i < alts; i++) {
		floats[i] = i % 2 ? NAN : (float)i - 0.5f;
		texts[i] = i % 3 ? "OK&EDGE" : NULL;
	}
	code = cr_variants_write(writer, variant, floats, texts, error);
	free(floats);
	free(texts);
	return code;
}

/* Read standard input, write to `path`; the failure, or 0 and a hash of the records. */
static int pass(const char *path, char type, int again, const cr_variants_options *how,
		uint64_t *hash)
{
	cr_variants_writer_options options = {.path = path,
					      .type = type,
					      .level = 1,
					      .tags = tags,
					      .tag_count = 2,
					      .overwrite_tags = again};
	cr_variants_writer *writer = NULL;
	cr_variants *variants;
	crocuta_error error = {0};
	cr_variant *variant = NULL;
	int code, records = 0;

	*hash = UINT64_C(0xcbf29ce484222325);
	code = cr_variants_open("-", how, &variants, &error);
	if (!code)
		code = cr_variants_writer_open(variants, &options, &writer, &error);
	while (!code && records++ < RECORDS) {
		code = cr_variants_next(variants, &variant, &error);
		if (code || !variant)
			break;
		*hash = hash_variant(*hash, variants, variant);
		code = write_one(writer, variant, &error);
		cr_variant_free(variants, variant);
	}
	if (!code)
		code = cr_variants_writer_commit(writer, &error);
	cr_variants_writer_free(writer);
	cr_variants_close(variants);
	if (code && (error.code != code || !error.message[0] || code == CROCUTA_EINTERNAL))
		abort();
	if (!code && records > RECORDS)
		code = -1; /* not read to its end */
	return code;
}

static void give_as_input(int fd)
{
	if (lseek(fd, 0, SEEK_SET) || dup2(fd, 0) != 0)
		abort();
}

/* Offset of the "#CHROM" line. (A header line that htslib could only half read grows from pass to
 * pass.) */
static off_t columns_of(int fd)
{
	char bytes[1 << 16];
	ssize_t got = pread(fd, bytes, sizeof bytes, 0);
	const char *found = got > 0 ? memmem(bytes, (size_t)got, "\n#CHROM\t", 8) : NULL;

	return found ? found - bytes : -1;
}

static int same_records(int one, int other)
{
	off_t at = columns_of(one), behind = columns_of(other);

	while (at >= 0 && behind >= 0) {
		char a[4096], b[4096];
		ssize_t got = pread(one, a, sizeof a, at);

		if (got != pread(other, b, sizeof b, behind) || got < 0 ||
		    memcmp(a, b, (size_t)got) != 0)
			return 0;
		if (!got)
			return 1;
		at += got;
		behind += got;
	}
	return at == behind;
}

static int new_file(char path[32])
{
	int fd = memfd_create("fuzz", 0);

	if (fd < 0)
		abort();
	snprintf(path, 32, "/dev/fd/%d", fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const lists[] = {NULL, "1", "^1:10-20", "1:5,2:1-1,000"};
	cr_variants_options how = {0}, plain = {.regions_overlap = 1, .max_allele = 4096};
	char input_path[32], first_path[32], second_path[32];
	uint64_t hash, again;
	int input, first, second;

	if (!size)
		return 0;
	how.targets = lists[data[0] & 3];
	how.regions_overlap = (data[0] >> 2) % 3;
	how.allow_truncated = data[0] >> 7;
	how.max_allele = 4096;
	input = new_file(input_path);
	first = new_file(first_path);
	second = new_file(second_path);
	if (write(input, data + 1, size - 1) != (ssize_t)size - 1)
		abort();
	give_as_input(input);
	if (!pass(first_path, 'v', 0, &how, &hash)) {
		give_as_input(first);
		if (pass(second_path, 'v', 1, &plain, &again) || hash != again)
			abort();
		if (!same_records(first, second))
			abort();
		if (ftruncate(second, 0) || lseek(second, 0, SEEK_SET))
			abort();
		give_as_input(first);
		/* BCF says no to positions and tags that it cannot hold. */
		if (!pass(second_path, data[0] & 64 ? 'b' : 'u', 1, &plain, &again)) {
			give_as_input(second);
			if (hash != again || ftruncate(first, 0) ||
			    pass(first_path, 'z', 1, &plain, &again) || hash != again)
				abort();
		}
	}
	close(input);
	close(first);
	close(second);
	return 0;
}
