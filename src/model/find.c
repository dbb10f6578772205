/* find.c - from what a user calls a model to the directory that holds it. Never the network.
 *
 * Places for plain names, in order: the directories of CROCUTA_MODEL_PATH, the user's data
 * directory, that of the program (share/crocuta/models beside its bin, models/ of the source tree it
 * was built in), the one of the configured prefix. A hub name ORG/NAME is looked for in the local Hugging Face cache.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/model_internal.h"

#define ROOTS_MAX 64
#define REVISION_MAX 128

struct roots {
	char *path[ROOTS_MAX];
	int count;
	int failed; /* an allocation did */
};

/* Formatted text, allocated; NULL without memory. */
static char *format_text(const char *format, ...) __attribute__((__format__(printf, 1, 2)));

static char *format_text(const char *format, ...)
{
	va_list list, again;
	char *text;
	int length;

	va_start(list, format);
	va_copy(again, list);
	length = vsnprintf(NULL, 0, format, list);
	text = cr_calloc((size_t)length + 1, 1);
	if (text)
		vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	va_end(list);
	return text;
}

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* Takes the text over. */
static void add_root(struct roots *roots, char *path)
{
	if (!path)
		roots->failed = 1;
	else if (roots->count < ROOTS_MAX)
		roots->path[roots->count++] = path;
	else
		cr_free(path);
}

static void free_roots(struct roots *roots)
{
	while (roots->count)
		cr_free(roots->path[--roots->count]);
}

static void add_environment_path(struct roots *roots)
{
	const char *list = environment("CROCUTA_MODEL_PATH");

	while (list && *list) {
		size_t length = strcspn(list, ":");

		if (length)
			add_root(roots, format_text("%.*s", (int)length, list));
		list += length + (list[length] == ':');
	}
}

/* Cut the last component off, which is returned: "" without one. */
static const char *cut_component(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		return "";
	*slash = '\0';
	return slash + 1;
}

/* models/ of the program: TREE/models for TREE/build/CONFIG/crocuta, PREFIX/share/crocuta/models
 * for PREFIX/bin/crocuta. The link has no ".." and no link in it. */
static void add_program_path(struct roots *roots)
{
	char program[4096];
	ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

	if (length <= 0)
		return;
	program[length] = '\0';
	cut_component(program);
	cut_component(program);
	add_root(roots, format_text("%s/share/crocuta/models", program));
	if (!strcmp(cut_component(program), "build"))
		add_root(roots, format_text("%s/models", program));
}

static int find_roots(struct roots *roots, crocuta_error *error)
{
	const char *data = environment("XDG_DATA_HOME"), *home = environment("HOME");

	*roots = (struct roots){.count = 0};
	add_environment_path(roots);
	if (data)
		add_root(roots, format_text("%s/crocuta/models", data));
	else if (home)
		add_root(roots, format_text("%s/.local/share/crocuta/models", home));
	add_program_path(roots);
	add_root(roots, format_text("%s", CR_MODEL_DIR));
	if (!roots->failed)
		return 0;
	free_roots(roots);
	return cr_fail(error, CROCUTA_EMEMORY, "no memory to look for models");
}

static int is_directory(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISDIR(status.st_mode);
}

/* Without allocating: lack of memory must not pass one model over for another. */
static int holds_model(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), found;
	struct stat status;

	if (fd < 0)
		return 0;
	found = !fstatat(fd, "config.json", &status, 0);
	close(fd);
	return found;
}

static int hand_over(const char *found, char *path, size_t capacity, crocuta_error *error)
{
	size_t length = strlen(found);

	if (length >= capacity)
		return cr_fail(error, CROCUTA_EARG, "%.200s...: the path is too long", found);
	memcpy(path, found, length + 1);
	return 0;
}

/* A name that cannot climb out of the directory it is looked for in. */
static int is_plain(const char *name, size_t length)
{
	return length > 0 && name[0] != '.' && !memchr(name, '/', length);
}

/* Directories searched, for a message: "a, b, c". */
static void list_roots(const struct roots *roots, char *text, size_t capacity)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < roots->count && used < capacity; i++) {
		char *real = realpath(roots->path[i], NULL);

		used += (size_t)snprintf(text + used, capacity - used, "%s%s", used ? ", " : "",
					 real ? real : roots->path[i]);
		free(real);
	}
}

static int find_named(const char *name, int here, char *path, size_t capacity, crocuta_error *error)
{
	char searched[700];
	struct roots roots;
	int code = find_roots(&roots, error), found = 0;

	if (code)
		return code;
	for (int i = 0; i < roots.count && !found; i++) {
		char *real = realpath(roots.path[i], NULL);
		char *candidate = cr_path_join(real ? real : roots.path[i], name);

		free(real);
		if (!candidate)
			code = cr_fail(error, CROCUTA_EMEMORY, "no memory to look for models");
		else if (holds_model(candidate)) {
			found = 1;
			code = hand_over(candidate, path, capacity, error);
		}
		cr_free(candidate);
		if (code)
			break;
	}
	list_roots(&roots, searched, sizeof searched);
	free_roots(&roots);
	if (code || found)
		return code;
	if (here)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%.200s: this directory has no config.json, and no model of that name is "
			"in %s",
			name, searched);
	return cr_fail(
		error, CROCUTA_EMODEL,
		"no model \"%.200s\": not a directory, and not in %s; \"crocuta model list\" "
		"shows what there is",
		name, searched);
}

/* The hub's cache directory. *known: 0 when nothing in the environment says where it is; NULL
 * otherwise means no memory. */
static char *hub_cache(int *known)
{
	static const struct {
		const char *variable, *below;
	} places[] = {
		{"HF_HUB_CACHE", ""},
		{"HUGGINGFACE_HUB_CACHE", ""},
		{"HF_HOME", "/hub"},
		{"XDG_CACHE_HOME", "/huggingface/hub"},
		{"HOME", "/.cache/huggingface/hub"},
	};

	*known = 1;
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (environment(places[i].variable))
			return format_text("%s%s", environment(places[i].variable),
					   places[i].below);
	*known = 0;
	return NULL;
}

/* First word of a small file, if it may be a revision: a directory's name, not a path. */
static int read_revision(const char *path, char revision[REVISION_MAX])
{
	FILE *file = fopen(path, "re");
	size_t length;

	if (!file)
		return 0;
	length = fread(revision, 1, REVISION_MAX - 1, file);
	fclose(file);
	revision[length] = '\0';
	revision[strcspn(revision, " \t\r\n")] = '\0';
	return is_plain(revision, strlen(revision));
}

static int find_hub(const char *name, char *path, size_t capacity, crocuta_error *error)
{
	size_t organisation = strcspn(name, "/");
	char revision[REVISION_MAX], *ref = NULL, *snapshot = NULL;
	int code = 0, known;
	char *cache = hub_cache(&known);

	if (!known)
		return cr_fail(
			error, CROCUTA_EMODEL,
			"%.200s: not a directory, and neither HF_HUB_CACHE, HF_HOME nor HOME says "
			"where the Hugging Face cache is",
			name);
	if (cache)
		ref = format_text("%s/models--%.*s--%s/refs/main", cache, (int)organisation, name,
				  name + organisation + 1);
	known = ref && read_revision(ref, revision);
	if (known)
		snapshot = format_text("%s/models--%.*s--%s/snapshots/%s", cache, (int)organisation,
				       name, name + organisation + 1, revision);
	if (!ref || (known && !snapshot))
		code = cr_fail(error, CROCUTA_EMEMORY, "no memory to look for models");
	else if (known && holds_model(snapshot))
		code = hand_over(snapshot, path, capacity, error);
	else if (known && is_directory(snapshot))
		code = cr_fail(
			error, CROCUTA_EMODEL,
			"%s: no config.json in this snapshot of the Hugging Face cache; fetch "
			"the model again",
			snapshot);
	else
		code = cr_fail(
			error, CROCUTA_EMODEL,
			"no model \"%.200s\": not a directory, and not in the Hugging Face cache "
			"%.300s; crocuta downloads nothing, fetch it first: huggingface-cli "
			"download %.200s",
			name, cache, name);
	cr_free(cache);
	cr_free(ref);
	cr_free(snapshot);
	return code;
}

int crocuta_model_find(const char *name, char *path, size_t capacity, crocuta_error *error)
{
	const char *slash, *base, *what, *advice;
	struct stat status;
	int exists, here;

	if (!name)
		name = CR_MODEL_DEFAULT;
	if (!name[0])
		return cr_fail(error, CROCUTA_EARG, "the name of the model is empty");
	slash = strchr(name, '/');
	exists = !stat(name, &status);
	here = exists && S_ISDIR(status.st_mode);
	/* A plain name may by chance be a directory here; one with a model in it is meant. */
	if (here && (slash || !is_plain(name, strlen(name)) || holds_model(name)))
		return hand_over(name, path, capacity, error);
	if (exists && !here) {
		base = strrchr(name, '/');
		base = base ? base + 1 : name;
		if (strcmp(base, "model.safetensors") && strcmp(base, "config.json") &&
		    cr_model_describe_file(base, &what, &advice))
			return cr_fail(error, CROCUTA_EMODEL,
				       "%.300s: is %s, not a model directory: %s", name, what,
				       advice);
		return cr_fail(error, CROCUTA_EMODEL,
			       "%.300s: is a file; give the directory that holds config.json and "
			       "model.safetensors",
			       name);
	}
	if (!slash && is_plain(name, strlen(name)))
		return find_named(name, here, path, capacity, error);
	if (slash && is_plain(name, (size_t)(slash - name)) &&
	    is_plain(slash + 1, strlen(slash + 1)))
		return find_hub(name, path, capacity, error);
	return cr_fail(error, CROCUTA_EMODEL, "%.300s: no such model directory", name);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the models in one directory, sorted; -1 without memory. */
static int64_t read_names(const char *root, char ***names)
{
	DIR *directory = opendir(root);
	int64_t count = 0, capacity = 0;
	struct dirent *item;

	*names = NULL;
	while (directory && (item = readdir(directory))) {
		char *path, **grown;
		int wanted;

		if (!is_plain(item->d_name, strlen(item->d_name)))
			continue;
		path = cr_path_join(root, item->d_name);
		wanted = path && holds_model(path);
		cr_free(path);
		if (path && !wanted)
			continue;
		if (count == capacity) {
			capacity = capacity ? 2 * capacity : 16;
			grown = path ? cr_realloc(*names, (size_t)capacity, sizeof *grown) : NULL;
			*names = grown ? grown : *names;
			path = grown ? path : NULL;
		}
		if (path)
			(*names)[count] = cr_strdup(item->d_name);
		if (!path || !(*names)[count]) {
			while (count)
				cr_free((*names)[--count]);
			cr_free(*names);
			*names = NULL;
			closedir(directory);
			return -1;
		}
		count++;
	}
	if (directory)
		closedir(directory);
	if (count)
		qsort(*names, (size_t)count, sizeof **names, by_text);
	return count;
}

/* Has an earlier entry of the model path led to the same directory? */
static int seen_before(const struct roots *roots, int index)
{
	struct stat mine, other;

	if (stat(roots->path[index], &mine))
		return 0;
	for (int i = 0; i < index; i++)
		if (!stat(roots->path[i], &other) && other.st_dev == mine.st_dev &&
		    other.st_ino == mine.st_ino)
			return 1;
	return 0;
}

static int list_root(const char *root, crocuta_model_visit *visit, void *user, int *stop,
		     crocuta_error *error)
{
	char **names, *real = realpath(root, NULL);
	int64_t count = read_names(root, &names);
	int code = count < 0 ? cr_fail(error, CROCUTA_EMEMORY, "no memory to list models") : 0;

	for (int64_t i = 0; i < count; i++) {
		char *path = code || *stop ? NULL : cr_path_join(real ? real : root, names[i]);

		if (path)
			*stop = visit(user, names[i], path) != 0;
		else if (!code && !*stop)
			code = cr_fail(error, CROCUTA_EMEMORY, "no memory to list models");
		cr_free(path);
		cr_free(names[i]);
	}
	cr_free(names);
	free(real);
	return code;
}

int crocuta_model_list(crocuta_model_visit *visit, void *user, crocuta_error *error)
{
	struct roots roots;
	int code = find_roots(&roots, error), stop = 0;

	if (code)
		return code;
	for (int i = 0; i < roots.count && !code && !stop; i++)
		if (!seen_before(&roots, i))
			code = list_root(roots.path[i], visit, user, &stop, error);
	free_roots(&roots);
	return code;
}
