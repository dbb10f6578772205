/* gpu_list.c - see gpu_list.h. */
#include "model/gpu_list.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"

#define LARGEST 9999

static int refuse(const char *device, crocuta_error *error)
{
	return cr_fail(error, CROCUTA_EARG,
		       "--device \"%.80s\": give cuda, cuda:N, several as cuda:N,N, or cuda:all",
		       device);
}

int cr_gpu_list_parse(const char *device, cr_gpu_list *list, crocuta_error *error)
{
	const char *at = device + strlen("cuda");

	memset(list, 0, sizeof *list);
	if (strncmp(device, "cuda", strlen("cuda")))
		return refuse(device, error);
	if (!*at) {
		list->count = 1;
		return 0;
	}
	if (*at != ':')
		return refuse(device, error);
	if (!strcmp(at, ":all")) {
		list->all = 1;
		return 0;
	}
	do {
		int number = 0;

		if (!isdigit((unsigned char)*++at) || list->count == CR_GPUS_MAX)
			return refuse(device, error);
		for (; isdigit((unsigned char)*at) && number <= LARGEST; at++)
			number = 10 * number + (*at - '0');
		if (number > LARGEST)
			return refuse(device, error);
		list->gpu[list->count++] = number;
	} while (*at == ',');
	return *at ? refuse(device, error) : 0;
}

void cr_gpu_list_expand(cr_gpu_list *list, int there)
{
	if (!list->all)
		return;
	list->count = there < CR_GPUS_MAX ? there : CR_GPUS_MAX;
	for (int i = 0; i < list->count; i++)
		list->gpu[i] = i;
}
