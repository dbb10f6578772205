/* replay.c - a main for fuzz targets without libFuzzer: every file named, or below a directory
 * named, goes through LLVMFuzzerTestOneInput once. A crash or abort is the finding.
 *
 *	cc ... tests/fuzz/fuzz_config.c tests/fuzz/replay.c libcrocuta.a; ./a.out
 *tests/fuzz/corpus/config
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static long files;

static int replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(size ? size : 1); /* exact, so that ASan sees one byte too far */

	if (!file || !data || fread(data, 1, size, file) != size) {
		fprintf(stderr, "replay: cannot read %s\n", path);
		free(data);
		if (file)
			fclose(file);
		return 1;
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	files++;
	return 0;
}

static int replay(const char *path, int depth)
{
	struct dirent **items;
	struct stat status;
	int count, failed = 0;

	if (stat(path, &status)) {
		fprintf(stderr, "replay: cannot find %s\n", path);
		return 1;
	}
	if (!S_ISDIR(status.st_mode))
		return replay_file(path, (size_t)status.st_size);
	count = depth < DEPTH_MAX ? scandir(path, &items, NULL, alphasort) : -1;
	if (count < 0) {
		fprintf(stderr, "replay: cannot list %s\n", path);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		char *name = NULL;

		if (items[i]->d_name[0] != '.' &&
		    asprintf(&name, "%s/%s", path, items[i]->d_name) >= 0) {
			failed |= replay(name, depth + 1);
			free(name);
		}
		free(items[i]);
	}
	free(items);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i], 0);
	printf("%ld inputs\n", files);
	return failed || files == 0;
}
