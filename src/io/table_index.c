/* table_index.c - see table_index.h. */
#include "io/table_index.h"

#include <errno.h>
#include <htslib/tbx.h>

#include "base/error.h"

#define CSI_SHIFT 14 /* smallest bin 16,384 bases, as bcftools */

int cr_table_index(const char *data, const char *index, int tbi, const char *name,
		   crocuta_error *error)
{
	hts_idx_t *again;

	errno = 0;
	if (tbx_index_build3(data, index, tbi ? 0 : CSI_SHIFT, 0, &tbx_conf_bed) >= 0) {
		/* htslib drops the result of some writes */
		again = hts_idx_load3(data, index, tbi ? HTS_FMT_TBI : HTS_FMT_CSI,
				      HTS_IDX_SILENT_FAIL);
		if (again) {
			hts_idx_destroy(again);
			return CROCUTA_OK;
		}
	}
	return cr_fail_errno(error, CROCUTA_EIO, "%.200s: its index cannot be written%s", name,
			     tbi ? "; contigs above 512 Mb need -W csi" : "");
}
