/* meta.c - see meta.h. */
#include "io/meta.h"

#include "base/error.h"

struct sink {
	cr_output *output;
	crocuta_error *error;
	int code;
};

static int append(const char *text, size_t bytes, void *user)
{
	struct sink *sink = user;

	sink->code = cr_output_write(sink->output, text, (int64_t)bytes, sink->error);
	return sink->code ? -1 : 0;
}

/* 15 digits tell every decimal fraction that was given with as many: 0.05, not
 * 0.050000000000000003. */
int cr_meta_write(cr_output *output, const json_t *object, crocuta_error *error)
{
	struct sink sink = {output, error, CROCUTA_OK};

	if (json_dump_callback(object, append, &sink,
			       JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15)) &&
	    !sink.code)
		sink.code = cr_fail(error, CROCUTA_EMEMORY, "%.200s: cannot print the JSON object",
				    cr_output_path(output));
	return sink.code ? sink.code : cr_output_text(output, "\n", error);
}

int cr_meta_save(const char *path, const json_t *object, const cr_output_options *options,
		 crocuta_error *error)
{
	cr_output *output;
	int code = cr_output_open(path, options, &output, error);

	if (code)
		return code;
	code = cr_meta_write(output, object, error);
	if (!code)
		code = cr_output_commit(output, error);
	cr_output_free(output);
	return code;
}
