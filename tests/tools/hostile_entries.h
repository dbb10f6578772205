/* hostile_entries.h - malformed header entries of one tensor; part of hostile_models.h.
 *
 * Each stands in the header in place of LM "{" D32 S O "}". $ patterns: see hostile_expand.
 */
#ifndef HOSTILE_ENTRIES_H
#define HOSTILE_ENTRIES_H

#define LM "\"lm_head.weight\":"
#define D32 "\"dtype\":\"F32\","
#define S "\"shape\":[16,4],"
#define O "\"data_offsets\":[$B,$E]"

/* What stands in the header in place of the entry LM "{" D32 S O "}". */
static const struct {
	const char *name, *entry;
	enum hostile_verdict verdict;
} hostile_entries[] = {
	/* dtype */
	{"dtype-unknown", LM "{\"dtype\":\"F31\"," S O "}", HOSTILE_REFUSE},
	{"dtype-lower", LM "{\"dtype\":\"f32\"," S O "}", HOSTILE_REFUSE},
	{"dtype-f8", LM "{\"dtype\":\"F8_E4M3\"," S O "}", HOSTILE_REFUSE},
	{"dtype-f4", LM "{\"dtype\":\"F4\"," S O "}", HOSTILE_REFUSE},
	{"dtype-empty", LM "{\"dtype\":\"\"," S O "}", HOSTILE_REFUSE},
	{"dtype-number", LM "{\"dtype\":32," S O "}", HOSTILE_REFUSE},
	{"dtype-null", LM "{\"dtype\":null," S O "}", HOSTILE_REFUSE},
	{"dtype-absent", LM "{" S O "}", HOSTILE_REFUSE},
	{"dtype-wider", LM "{\"dtype\":\"F64\"," S O "}", HOSTILE_REFUSE},
	{"dtype-narrower", LM "{\"dtype\":\"F16\"," S O "}", HOSTILE_REFUSE},
	{"dtype-i32", LM "{\"dtype\":\"I32\"," S O "}", HOSTILE_REFUSE},
	{"dtype-u32", LM "{\"dtype\":\"U32\"," S O "}", HOSTILE_REFUSE},
	{"dtype-bool", LM "{\"dtype\":\"BOOL\",\"shape\":[64,4]," O "}", HOSTILE_REFUSE},
	{"dtype-f64-fits", LM "{\"dtype\":\"F64\",\"shape\":[8,4]," O "}", HOSTILE_REFUSE},
	{"dtype-twice", LM "{" D32 "\"dtype\":\"F16\"," S O "}", HOSTILE_REFUSE},
	{"dtype-nul", LM "{\"dtype\":\"F32\\u0000\"," S O "}", HOSTILE_REFUSE},
	/* shape */
	{"shape-negative", LM "{" D32 "\"shape\":[-16,-4]," O "}", HOSTILE_REFUSE},
	{"shape-float", LM "{" D32 "\"shape\":[16.0,4]," O "}", HOSTILE_REFUSE},
	{"shape-exponent", LM "{" D32 "\"shape\":[16,4e0]," O "}", HOSTILE_REFUSE},
	{"shape-string", LM "{" D32 "\"shape\":[\"16\",4]," O "}", HOSTILE_REFUSE},
	{"shape-true", LM "{" D32 "\"shape\":[16,true]," O "}", HOSTILE_REFUSE},
	{"shape-null-inside", LM "{" D32 "\"shape\":[16,null]," O "}", HOSTILE_REFUSE},
	{"shape-null", LM "{" D32 "\"shape\":null," O "}", HOSTILE_REFUSE},
	{"shape-number", LM "{" D32 "\"shape\":64," O "}", HOSTILE_REFUSE},
	{"shape-object", LM "{" D32 "\"shape\":{}," O "}", HOSTILE_REFUSE},
	{"shape-absent", LM "{" D32 O "}", HOSTILE_REFUSE},
	{"shape-nested", LM "{" D32 "\"shape\":[[16],[4]]," O "}", HOSTILE_REFUSE},
	{"shape-twice", LM "{" D32 S "\"shape\":[4,16]," O "}", HOSTILE_REFUSE},
	{"shape-rank9", LM "{" D32 "\"shape\":[1,1,1,1,1,1,1,16,4]," O "}", HOSTILE_REFUSE},
	{"shape-rank65",
	 LM "{" D32 "\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
	    "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,16,4]," O
	    "}",
	 HOSTILE_REFUSE},
	{"shape-rank0", LM "{" D32 "\"shape\":[]," O "}", HOSTILE_REFUSE},
	{"shape-scalar", LM "{" D32 "\"shape\":[]," O "}", HOSTILE_REFUSE},
	{"shape-wraps", LM "{" D32 "\"shape\":[4294967296,4294967296]," O "}", HOSTILE_REFUSE},
	{"shape-wraps-to-64", LM "{" D32 "\"shape\":[4611686018427387920,4]," O "}",
	 HOSTILE_REFUSE},
	{"shape-max", LM "{" D32 "\"shape\":[9223372036854775807,2]," O "}", HOSTILE_REFUSE},
	{"shape-bytes-wrap", LM "{" D32 "\"shape\":[4611686018427387968]," O "}", HOSTILE_REFUSE},
	{"shape-2e63", LM "{" D32 "\"shape\":[9223372036854775808]," O "}", HOSTILE_REFUSE},
	{"shape-2e64", LM "{" D32 "\"shape\":[18446744073709551680]," O "}", HOSTILE_REFUSE},
	{"shape-huge", LM "{" D32 "\"shape\":[1e400]," O "}", HOSTILE_REFUSE},
	{"shape-zero", LM "{" D32 "\"shape\":[0,4]," O "}", HOSTILE_REFUSE},
	{"shape-zero-fits",
	 LM "{" D32 "\"shape\":[16,0],\"data_offsets\":[$E,$E]},\"x\":{" D32 "\"shape\":[16,4]," O
	    "}",
	 HOSTILE_REFUSE},
	{"shape-transposed", LM "{" D32 "\"shape\":[4,16]," O "}", HOSTILE_REFUSE},
	{"shape-flat", LM "{" D32 "\"shape\":[64]," O "}", HOSTILE_REFUSE},
	{"shape-ones", LM "{" D32 "\"shape\":[1,16,1,4]," O "}", HOSTILE_LOAD},
	/* data_offsets */
	{"offsets-reversed", LM "{" D32 S "\"data_offsets\":[$E,$B]}", HOSTILE_REFUSE},
	{"offsets-negative", LM "{" D32 S "\"data_offsets\":[-256,0]}", HOSTILE_REFUSE},
	{"offsets-float", LM "{" D32 S "\"data_offsets\":[$B.0,$E.0]}", HOSTILE_REFUSE},
	{"offsets-exponent", LM "{" D32 S "\"data_offsets\":[$B,1e3]}", HOSTILE_REFUSE},
	{"offsets-string", LM "{" D32 S "\"data_offsets\":[\"$B\",\"$E\"]}", HOSTILE_REFUSE},
	{"offsets-null", LM "{" D32 S "\"data_offsets\":null}", HOSTILE_REFUSE},
	{"offsets-absent", LM "{" D32 "\"shape\":[16,4]}", HOSTILE_REFUSE},
	{"offsets-empty", LM "{" D32 S "\"data_offsets\":[]}", HOSTILE_REFUSE},
	{"offsets-one", LM "{" D32 S "\"data_offsets\":[$B]}", HOSTILE_REFUSE},
	{"offsets-three", LM "{" D32 S "\"data_offsets\":[$B,$E,$E]}", HOSTILE_REFUSE},
	{"offsets-object", LM "{" D32 S "\"data_offsets\":{\"0\":$B,\"1\":$E}}", HOSTILE_REFUSE},
	{"offsets-twice", LM "{" D32 S O ",\"data_offsets\":[0,256]}", HOSTILE_REFUSE},
	{"offsets-overlap", LM "{" D32 S "\"data_offsets\":[$M,$L]}", HOSTILE_REFUSE},
	{"offsets-hole", LM "{" D32 S "\"data_offsets\":[$P,$N]}", HOSTILE_REFUSE},
	{"offsets-hole-inside", LM "{" D32 "\"shape\":[63],\"data_offsets\":[$P,$E]}",
	 HOSTILE_REFUSE},
	{"offsets-past-end", LM "{" D32 "\"shape\":[65],\"data_offsets\":[$B,$N]}", HOSTILE_REFUSE},
	{"offsets-short", LM "{" D32 "\"shape\":[63],\"data_offsets\":[$B,$L]}", HOSTILE_REFUSE},
	{"offsets-same-as-first", LM "{" D32 S "\"data_offsets\":[0,256]}", HOSTILE_REFUSE},
	{"offsets-2e63", LM "{" D32 S "\"data_offsets\":[9223372036854775808,9223372036854776064]}",
	 HOSTILE_REFUSE},
	{"offsets-2e64", LM "{" D32 S "\"data_offsets\":[$B,18446744073709551616]}",
	 HOSTILE_REFUSE},
	{"offsets-minus-zero", LM "{" D32 S "\"data_offsets\":[-$B,-$E]}", HOSTILE_REFUSE},
	{"offsets-leading-zero", LM "{" D32 S "\"data_offsets\":[0$B,0$E]}", HOSTILE_REFUSE},
	{"offsets-plus", LM "{" D32 S "\"data_offsets\":[+$B,$E]}", HOSTILE_REFUSE},
	{"offsets-hex", LM "{" D32 S "\"data_offsets\":[0x10,$E]}", HOSTILE_REFUSE},
	/* the entry itself */
	{"entry-null", LM "null", HOSTILE_REFUSE},
	{"entry-number", LM "64", HOSTILE_REFUSE},
	{"entry-array", LM "[\"F32\",[16,4],[$B,$E]]", HOSTILE_REFUSE},
	{"entry-empty", LM "{}", HOSTILE_REFUSE},
	{"entry-extra-field", LM "{" D32 S O ",\"strides\":[4,1]}", HOSTILE_REFUSE},
	{"entry-nested", LM "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{}}}}}}}}",
	 HOSTILE_REFUSE},
	{"entry-twice", LM "{" D32 S O "}," LM "{" D32 S O "}", HOSTILE_REFUSE},
	{"entry-twice-apart",
	 LM "{" D32 S O "},\"x\":{" D32 "\"shape\":[0],\"data_offsets\":[0,0]}," LM "{" D32 S O "}",
	 HOSTILE_REFUSE},
	{"entry-reordered", LM "{" O "," S "\"dtype\":\"F32\"}", HOSTILE_LOAD},
	{"entry-spaced", LM " {\n\t" D32 " " S " " O " }", HOSTILE_LOAD},
	{"entry-escaped-name", "\"lm_h\\u0065ad.weight\":{" D32 S O "}", HOSTILE_LOAD},
	{"entry-zero-sized-extra",
	 LM "{" D32 S O "},\"x\":{" D32 "\"shape\":[0],\"data_offsets\":[$B,$B]}", HOSTILE_REFUSE},
	/* names */
	{"name-empty", "\"\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-unknown", "\"lm_head.weights\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-bad-utf8", "\"lm_head\xff.weight\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-overlong", "\"lm_head\xc0\xaf\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-cut-utf8", "\"lm_head\xe2\x82\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-surrogate-bytes", "\"lm_head\xed\xa0\x80\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-lone-surrogate", "\"lm_head\\ud800\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-low-surrogate", "\"lm_head\\udc00\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-nul", "\"lm_head.weight\\u0000\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-control", "\"lm_head\001.weight\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-newline", "\"lm_head\n.weight\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-escape", "\"lm_head\\x41\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-terminal", "\"lm_head\\u001b[2J\":{" D32 S O "}", HOSTILE_REFUSE},
	{"name-unquoted", "lm_head:{" D32 S O "}", HOSTILE_REFUSE},
	{"name-single-quoted", "'lm_head.weight':{" D32 S O "}", HOSTILE_REFUSE},
	{"name-format", "\"%s%s%n%d\":{" D32 S O "}", HOSTILE_REFUSE},
	/* grammar */
	{"json-trailing-comma", LM "{" D32 S O ",}", HOSTILE_REFUSE},
	{"json-no-comma", LM "{" D32 S O "}" LM "{}", HOSTILE_REFUSE},
	{"json-no-colon", "\"lm_head.weight\"{" D32 S O "}", HOSTILE_REFUSE},
	{"json-comment", LM "{" D32 S O "/* */}", HOSTILE_REFUSE},
	{"json-nan", LM "{" D32 S "\"data_offsets\":[NaN,$E]}", HOSTILE_REFUSE},
	{"json-infinity", LM "{" D32 S "\"data_offsets\":[$B,Infinity]}", HOSTILE_REFUSE},
	{"json-open-string", LM "{\"dtype\":\"F32}", HOSTILE_REFUSE},
	{"json-open-object", LM "{" D32 S O, HOSTILE_REFUSE},
	{"json-open-array", LM "{" D32 S "\"data_offsets\":[$B,$E}", HOSTILE_REFUSE},
	{"json-closes-early", LM "{" D32 S O "}}", HOSTILE_REFUSE},
	{"json-mixed", LM "{" D32 S "\"data_offsets\":[$B,$E}]", HOSTILE_REFUSE},
	{"json-zero-byte", LM "{" D32 S O "},\"\\u0000\":{}", HOSTILE_REFUSE},
};

#undef O

#endif
