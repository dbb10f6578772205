/* made_model.h - models with random weights, made by the random_model tool for a test. */
#ifndef CR_TESTS_MADE_MODEL_H
#define CR_TESTS_MADE_MODEL_H

#include <unistd.h>

#include "golden.h"

/* Run a tool, build/<config>/tests/model/<this> -> build/<config>/tests/tools, and open what it made;
 * nothing stays on disk. Needs _GNU_SOURCE. */
static inline crocuta_model *made_by(const char *tool, const char *arguments)
{
	char folder[] = "/tmp/crocuta-model-XXXXXX", self[1024] = "", command[4096], path[1200];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	crocuta_model *model;

	assert_true(length > 0);
	*strrchr(self, '/') = '\0';
	*strrchr(self, '/') = '\0';
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/m", folder);
	snprintf(command, sizeof command, "'%s/tools/%s' '%s' %s", self, tool, path, arguments);
	if (system(command))
		fail_msg("failed: %s", command);
	model = open_model(path);
	snprintf(command, sizeof command, "rm -r '%s'", folder);
	assert_int_equal(system(command), 0);
	return model;
}

static inline crocuta_model *made_model(const char *arguments)
{
	return made_by("random_model", arguments);
}

#endif
