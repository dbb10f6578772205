/* file_type.c - see file_type.h. */
#include "task/file_type.h"

#include <string.h>
#include <strings.h>

#include "base/error.h"

static const struct {
	const char *name;
	enum cr_file_kind kind;
} names[] = {{"v", CR_FILE_VCF},       {"z", CR_FILE_VCF_BGZIP},       {"b", CR_FILE_BCF},
	     {"u", CR_FILE_BCF_PLAIN}, {"t", CR_FILE_TABLE},           {"tsv", CR_FILE_TABLE},
	     {"npy", CR_FILE_NPY},     {"bedgraph", CR_FILE_BEDGRAPH}, {"bw", CR_FILE_BIGWIG}};

static const struct {
	const char *suffix;
	enum cr_file_kind kind;
} suffixes[] = {{".vcf", CR_FILE_VCF},           {".vcf.gz", CR_FILE_VCF_BGZIP},
		{".vcf.bgz", CR_FILE_VCF_BGZIP}, {".bcf", CR_FILE_BCF},
		{".tsv", CR_FILE_TABLE},         {".tsv.gz", CR_FILE_TABLE},
		{".tsv.bgz", CR_FILE_TABLE},     {".npy", CR_FILE_NPY},
		{".bedgraph", CR_FILE_BEDGRAPH}, {".bedgraph.gz", CR_FILE_BEDGRAPH},
		{".bdg", CR_FILE_BEDGRAPH},      {".bw", CR_FILE_BIGWIG},
		{".bigwig", CR_FILE_BIGWIG},     {".bcf.gz", CR_FILE_BCF}};

const char *cr_file_kind_name(enum cr_file_kind kind)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].kind == kind)
			return names[i].name;
	return "unknown";
}

/* "z9": a letter that takes a level, and the level. */
static int parse_name(const char *name, cr_file_type *type)
{
	size_t length = strlen(name);

	type->level = -1;
	if (length == 2 && strchr("zb", name[0]) && name[1] >= '0' && name[1] <= '9') {
		type->level = name[1] - '0';
		length = 1;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strlen(names[i].name) == length && !strncmp(names[i].name, name, length)) {
			type->kind = names[i].kind;
			return 0;
		}
	}
	return -1;
}

static enum cr_file_kind kind_of_path(const char *path)
{
	size_t length = strlen(path);

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		size_t bytes = strlen(suffixes[i].suffix);

		if (length > bytes && !strcasecmp(path + length - bytes, suffixes[i].suffix))
			return suffixes[i].kind;
	}
	return CR_FILE_UNKNOWN;
}

int cr_file_type_choose(const char *name, const char *path, cr_file_type *type,
			crocuta_error *error)
{
	enum cr_file_kind by_path = kind_of_path(path);

	*type = (cr_file_type){by_path, -1};
	if (!name)
		return CROCUTA_OK;
	if (parse_name(name, type))
		return cr_fail(
			error, CROCUTA_EARG,
			"unknown output type \"%.40s\": give v, z, b, u (z and b with a level "
			"0 to 9, such as z9), t or npy",
			name);
	if (by_path && by_path != type->kind &&
	    !(by_path == CR_FILE_BCF && type->kind == CR_FILE_BCF_PLAIN))
		return cr_fail(error, CROCUTA_EARG,
			       "-O %s does not fit the suffix of \"%.200s\", which says %s", name,
			       path, cr_file_kind_name(by_path));
	return CROCUTA_OK;
}
