/* fuzz_safetensors.c - the safetensors header parser on any bytes.
 *
 * Input: 4 bytes, little endian, how many bytes of data the file is said to have behind the header;
 * then the file from its length word on. What is accepted is proved again here, slowly and by other
 * means: every range inside the data, no two overlapping, together all of it, products exact.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds)
{
	if (!holds)
		abort();
}

static void prove_tensor(const cr_tensor *tensor, uint64_t data_size)
{
	unsigned __int128 bytes = cr_dtype_size(tensor->dtype);
	int zero = 0;

	need(tensor->name && tensor->name[0] && strlen(tensor->name) <= CR_TENSOR_NAME_MAX);
	need(tensor->dtype >= 0 && tensor->dtype < CR_DTYPE_COUNT);
	need(tensor->rank >= 0 && tensor->rank <= CR_TENSOR_RANK_MAX);
	for (int i = 0; i < tensor->rank; i++) {
		need(tensor->shape[i] >= 0);
		zero |= tensor->shape[i] == 0;
		if (!zero) {
			bytes *= (uint64_t)tensor->shape[i];
			/* Behind a zero nothing is multiplied; before one, no wrap was let through.
			 */
			need(bytes >> 67 == 0);
		}
	}
	if (zero)
		bytes = 0;
	need(tensor->begin <= tensor->end && tensor->end <= data_size);
	need(bytes == tensor->end - tensor->begin);
	need((uint64_t)tensor->elements * cr_dtype_size(tensor->dtype) == bytes);
}

static void prove(const cr_safetensors *file, uint64_t file_size)
{
	uint64_t data_size = file_size - file->data_start, covered = 0;

	need(file->data_start >= 10 && file->data_start <= file_size);
	need(file->count >= 0 && file->count <= CR_TENSOR_COUNT_MAX);
	for (int64_t i = 0; i < file->count; i++) {
		const cr_tensor *a = &file->tensor[i];

		prove_tensor(a, data_size);
		covered += a->end - a->begin;
		for (int64_t j = 0; j < i && file->count < 3000; j++) {
			const cr_tensor *b = &file->tensor[j];

			need(strcmp(a->name, b->name) != 0);
			need(a->end <= b->begin || b->end <= a->begin);
			need(b->begin <= a->begin);
		}
	}
	/* No two overlap and all lie inside, so that the sum of sizes proves that there is no hole.
	 */
	need(covered == data_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	crocuta_error error = {0};
	cr_safetensors file;
	uint64_t more = 0, file_size;
	int code;

	if (size < 4)
		return 0;
	for (int i = 3; i >= 0; i--)
		more = more << 8 | data[i];
	file_size = size - 4 + more;
	code = cr_safetensors_parse_header(data + 4, size - 4, file_size, "f", &file, &error);
	if (code) {
		need(code == CROCUTA_EMODEL || code == CROCUTA_EMEMORY);
		need(error.code == code && error.message[0]);
		for (const char *p = error.message; *p; p++)
			need(*p >= 0x20 && *p < 0x7f);
		need(!file.tensor && !file.where);
		return 0;
	}
	prove(&file, file_size);
	cr_safetensors_close(&file);
	return 0;
}
