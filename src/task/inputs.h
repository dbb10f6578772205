/* inputs.h - the files a run reads: their list, so that no output is one of them, and what can be seen
 * of a file before it is opened as a format. */
#ifndef CR_TASK_INPUTS_H
#define CR_TASK_INPUTS_H

#include <crocuta/error.h>
#include <crocuta/model.h>

/* Paths, NULL-terminated; fill from {0}. Names of files beside others are kept here. */
#define CR_INPUTS 20
typedef struct cr_inputs {
	const char *list[CR_INPUTS];
	char names[8][4096];
	int count, named;
} cr_inputs;

/* Add a path, borrowed; NULL and "-" are none. */
void cr_inputs_add(cr_inputs *inputs, const char *path);

/* The same with its .fai and .gzi, or its .csi and .tbi. */
void cr_inputs_add_fasta(cr_inputs *inputs, const char *path);
void cr_inputs_add_variants(cr_inputs *inputs, const char *path);

/* The files of a model; info NULL: none. */
void cr_inputs_add_model(cr_inputs *inputs, const crocuta_model_info *info);

/* The files of a head's directory. */
void cr_inputs_add_head(cr_inputs *inputs, const char *path);

/* Options that commands share: a shard from 1 to its number or none, an index "csi", "tbi" or NULL. EARG. */
CROCUTA_CHECKED int cr_check_output_options(int shard, int shards, const char *write_index,
					    crocuta_error *error);

/* Is it a file, which can be read twice and at any place? Not "-", a FIFO or a device. */
int cr_input_is_regular(const char *path);

/* Is it there, no directory, readable and, with `regular`, a regular file (`why` ends that sentence)?
 * Streams and URLs are left to who opens them. EIO, EARG. */
CROCUTA_CHECKED int cr_input_check(const char *path, int regular, const char *why,
				   crocuta_error *error);

#endif
