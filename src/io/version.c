/* version.c - versions of the library and of htslib, for --version and the provenance. */
#include <htslib/hts.h>

#include <crocuta/crocuta.h>

const char *crocuta_version(void)
{
	return CROCUTA_VERSION;
}

const char *crocuta_htslib_version(void)
{
	return hts_version();
}
