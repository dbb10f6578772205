/* file_type.h - which kind of file a command that handles records writes: by -O, or by a suffix. */
#ifndef CR_TASK_FILE_TYPE_H
#define CR_TASK_FILE_TYPE_H

#include <crocuta/error.h>

enum cr_file_kind {
	CR_FILE_UNKNOWN = 0,
	CR_FILE_VCF = 'v',
	CR_FILE_VCF_BGZIP = 'z',
	CR_FILE_BCF = 'b',
	CR_FILE_BCF_PLAIN = 'u',
	CR_FILE_TABLE = 't',
	CR_FILE_NPY = 'n',
	CR_FILE_BEDGRAPH = 'g',
	CR_FILE_BIGWIG = 'w'
};

typedef struct cr_file_type {
	enum cr_file_kind kind;
	int level; /* of compression, 0 to 9; -1 not said */
} cr_file_type;

/* Settle the kind from what -O says ("v", "z9", "b", "u", "t", "tsv", "npy", "bedgraph", "bw"; NULL
 * nothing) and from the suffix of a path ("-": nothing). CR_FILE_UNKNOWN when neither knows; EARG
 * for another name, or when the two disagree. Any thread. */
CROCUTA_CHECKED int cr_file_type_choose(const char *name, const char *path, cr_file_type *type,
					crocuta_error *error);

/* What -O calls it: "z", "t", "npy"; constant. */
const char *cr_file_kind_name(enum cr_file_kind kind);

#endif
