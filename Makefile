# crocuta - see README.md. `make` builds; `make test`, `make demo`, `make bench`, `make install`.
#
#   make                          build/release/crocuta and libcrocuta.a
#   make SAN=address,undefined    the same under sanitizers, in a directory of its own
#   make NATIVE=1                 -march=native for the code outside the kernels
CC      ?= cc
PREFIX  ?= /usr/local
prefix  ?= $(PREFIX)
DESTDIR ?=
OPT     ?= -O2

CONFIG  := release
ifneq ($(SAN),)
comma   := ,
CONFIG  := $(subst $(comma),-,$(SAN))
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
BUILD   := build/$(CONFIG)

PACKAGES := htslib jansson libcrypto
CFLAGS_ALL := -std=c11 $(OPT) -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -fopenmp \
	-fvisibility=hidden -fno-math-errno -Iinclude -Isrc $(shell pkg-config --cflags $(PACKAGES)) \
	-D_FORTIFY_SOURCE=2 -fstack-protector-strong $(if $(NATIVE),-march=native) $(SANFLAGS) $(CFLAGS)
LIBS := $(shell pkg-config --libs $(PACKAGES)) -lBigWig -lm
LDFLAGS_ALL := -fopenmp $(SANFLAGS) $(LDFLAGS)

# Kernels: one body, one object for each instruction set, chosen when the program starts.
KERNEL_FLAGS := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
$(BUILD)/src/backend/cpu/kernels_portable.o: EXTRA := $(KERNEL_FLAGS)
$(BUILD)/src/backend/cpu/kernels_avx2.o: EXTRA := $(KERNEL_FLAGS) -mavx2 -mfma
$(BUILD)/src/backend/cpu/kernels_avx512.o: EXTRA := $(KERNEL_FLAGS) -mavx2 -mfma -mavx512f \
	-mavx512vl -mavx512dq -mavx512bw -mprefer-vector-width=512

LIB_SOURCES := $(filter-out src/cli/%,$(wildcard src/*/*.c src/*/*/*.c))
CLI_SOURCES := $(wildcard src/cli/*.c)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)

all: $(BUILD)/crocuta

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(EXTRA) -MMD -MP -c -o $@ $<

$(BUILD)/libcrocuta.a: $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/crocuta: $(CLI_OBJECTS) $(BUILD)/libcrocuta.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# C tests: one program a file, cmocka.
TEST_SOURCES := $(wildcard tests/unit/*.c tests/ops/*.c tests/model/*.c tests/api/*.c)
TEST_PROGRAMS := $(TEST_SOURCES:%.c=$(BUILD)/%)
TOOL_SOURCES := $(wildcard tests/tools/*.c)
TOOL_PROGRAMS := $(TOOL_SOURCES:%.c=$(BUILD)/%)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libcrocuta.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

tests: $(TEST_PROGRAMS) $(TOOL_PROGRAMS)

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
.PHONY: all tests clean
.SECONDARY:
