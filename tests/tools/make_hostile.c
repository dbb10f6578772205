/* make_hostile.c - write the malformed models of hostile_models.h out, to look at or to feed to
 * other programs: make_hostile DIR [SEED]. One directory a case; cases.tsv tells the verdicts. */
#define _GNU_SOURCE
#include "hostile_models.h"

static const char *root;
static FILE *table;

static void write_case(void *user, const struct hostile *hostile)
{
	static const char *const words[] = {"refuse", "load", "either"};
	char path[4096];
	int *number = user;

	snprintf(path, sizeof path, "%s/%04d-%s", root, ++*number, hostile->name);
	mkdir(path, 0777);
	fixture_write_file(path, "model.safetensors", hostile->weights, hostile->weights_size);
	fixture_write_file(path, "config.json", hostile->config, hostile->config_size);
	fprintf(table, "%04d-%s\t%s\n", *number, hostile->name, words[hostile->verdict]);
}

int main(int argc, char **argv)
{
	char path[4096];
	int number = 0;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: make_hostile DIR [SEED]\n");
		return 2;
	}
	root = argv[1];
	mkdir(root, 0777);
	snprintf(path, sizeof path, "%s/cases.tsv", root);
	table = fopen(path, "w");
	fixture_need(table != NULL, path);
	hostile_each(argc > 2 ? strtoull(argv[2], NULL, 10) : 1, 200, write_case, &number);
	fixture_need(!fclose(table), path);
	printf("%d cases\n", number);
	return 0;
}
