/* inputs.c - see inputs.h. */
#define _GNU_SOURCE
#include "task/inputs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

void cr_inputs_add(cr_inputs *inputs, const char *path)
{
	if (path && strcmp(path, "-") && inputs->count < CR_INPUTS - 1)
		inputs->list[inputs->count++] = path;
}

static void add_beside(cr_inputs *inputs, const char *path, const char *suffix)
{
	char *name = inputs->names[inputs->named++];

	snprintf(name, sizeof inputs->names[0], "%s%s", path, suffix);
	cr_inputs_add(inputs, name);
}

static void add_with(cr_inputs *inputs, const char *path, const char *one, const char *other)
{
	if (!path || !strcmp(path, "-"))
		return;
	cr_inputs_add(inputs, path);
	add_beside(inputs, path, one);
	add_beside(inputs, path, other);
}

void cr_inputs_add_fasta(cr_inputs *inputs, const char *path)
{
	add_with(inputs, path, ".fai", ".gzi");
}

void cr_inputs_add_variants(cr_inputs *inputs, const char *path)
{
	add_with(inputs, path, ".csi", ".tbi");
}

void cr_inputs_add_model(cr_inputs *inputs, const crocuta_model_info *info)
{
	if (info)
		add_with(inputs, info->path, "/model.safetensors", "/config.json");
}

void cr_inputs_add_head(cr_inputs *inputs, const char *path)
{
	add_with(inputs, path, "/head.safetensors", "/head.json");
}

int cr_check_output_options(int shard, int shards, const char *write_index, crocuta_error *error)
{
	if ((shard || shards) && (shard < 1 || shard > shards))
		return cr_fail(error, CROCUTA_EARG, "--shard %d/%d: give K/N with K from 1 to N",
			       shard, shards);
	if (write_index && strcmp(write_index, "csi") && strcmp(write_index, "tbi"))
		return cr_fail(error, CROCUTA_EARG, "--write-index %.20s: give csi or tbi",
			       write_index);
	return CROCUTA_OK;
}

int cr_input_is_regular(const char *path)
{
	struct stat status;

	return strcmp(path, "-") && !stat(path, &status) && S_ISREG(status.st_mode);
}

int cr_input_check(const char *path, int regular, const char *why, crocuta_error *error)
{
	struct stat status;

	if (!path || !strcmp(path, "-") || strstr(path, "://"))
		return CROCUTA_OK;
	if (stat(path, &status))
		return cr_fail_errno(error, CROCUTA_EIO, "%.300s", path);
	if (S_ISDIR(status.st_mode))
		return cr_fail(error, CROCUTA_EIO, "%.300s is a directory", path);
	if (access(path, R_OK))
		return cr_fail_errno(error, CROCUTA_EIO, "%.300s", path);
	if (regular && !S_ISREG(status.st_mode))
		return cr_fail(error, CROCUTA_EARG, "%.300s is not a regular file: %s", path, why);
	return CROCUTA_OK;
}
