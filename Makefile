# crocuta - see README.md
#
#   make                           build/release/crocuta and libcrocuta.a
#   make test                      everything, after installing what is missing (tools/install-deps)
#   make demo                      install, build, embed and score a real sequence
#   make bench                     speed on this machine; read PERF.md beside it
#   make bench-gpu                 speed on this machine's GPU, beside PyTorch where python3 has it
#   make install prefix=/usr/local [DESTDIR=] [libdir=]; give prefix to `make` as well. make uninstall
#   make SAN=address,undefined test   the same tests under sanitizers, in a directory of their own
#   make SAN=thread test-threads      the threaded tests under ThreadSanitizer (clang)
#   make fuzz-TARGET [SECONDS=60]     libFuzzer on tests/fuzz/fuzz_TARGET.c (clang); fuzz: all
#   make CUDA=1                    with the GPU backend (needs nvcc), in a directory of its own
#   make check-cuda                the GPU against the CPU and the golden files; needs a GPU
#   make check-deb check-docker check-conda   the packages of packaging/, in clean systems (root, network)
#   make NATIVE=1                  -march=native for the code outside the kernels
#   make V=1                       shows whole commands
#   make format                    clang-format over all C
prefix  ?= /usr/local
DESTDIR ?=
OPT     ?= -O2
CXX     ?= c++
PKG_CONFIG ?= pkg-config
SECONDS ?= 60
VERSION := $(shell sed -n 's/^.define CROCUTA_VERSION "\(.*\)"/\1/p' include/crocuta/crocuta.h)

CONFIG  := release
HARDEN  := -fstack-protector-strong $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2)
ifneq ($(SAN),)
comma   := ,
CONFIG  := $(subst $(comma),-,$(SAN))
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
HARDEN  :=
ifeq ($(SAN)$(origin CC),threaddefault)
# gcc's OpenMP gives false reports
CC      := clang
endif
endif
ifneq ($(CUDA),)
CONFIG  := $(CONFIG)-cuda
endif
BUILD   := build/$(CONFIG)

# One line instead of a wall of errors when something is missing. Found once for each build.
NOBUILD := clean format demo test bench bench-gpu test-threads check-cuda fuzz fuzz-% uninstall check-deb \
	check-docker check-conda
ifneq ($(filter-out $(NOBUILD),$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(BUILD)/found),)
hash    := \#
compiles = $(shell echo '$(hash)include <$(1)>' | $(CC) $(CPPFLAGS) $(CFLAGS) \
	`$(PKG_CONFIG) --cflags-only-I $(2) 2>/dev/null` -fsyntax-only -x c - 2>/dev/null || echo '$(2)')
MISSING := $(shell command -v $(firstword $(CC)) >/dev/null 2>&1 || echo a compiler '($(CC))')
ifeq ($(MISSING),)
MISSING := $(shell command -v $(PKG_CONFIG) >/dev/null || echo pkg-config) \
	$(call compiles,htslib/hts.h,htslib) $(call compiles,jansson.h,jansson) \
	$(call compiles,bigWig.h,libBigWig) $(call compiles,openssl/evp.h,libcrypto)
endif
ifneq ($(strip $(MISSING)),)
$(error not found: $(strip $(MISSING)). Run tools/install-deps)
endif
$(shell mkdir -p $(BUILD) && touch $(BUILD)/found)
endif
endif

PACKAGES := htslib jansson libcrypto
CFLAGS_ALL := -std=c11 $(OPT) -g -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -fopenmp \
	-fvisibility=hidden -fno-math-errno -Iinclude -Isrc \
	$(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null) \
	$(HARDEN) $(if $(NATIVE),-march=native) $(SANFLAGS) $(CPPFLAGS) $(CFLAGS)
LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null) -lBigWig -lm
LDFLAGS_ALL := -fopenmp $(SANFLAGS) $(LDFLAGS)

# The GPU backend: nvcc for the .cu files, the toolkit's libraries. The program starts without a driver.
ifneq ($(CUDA),)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(firstword $(shell command -v nvcc) /usr/local/cuda/bin/nvcc))
NVCC    ?= $(CUDA_HOME)/bin/nvcc
CUDA_CODES ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
	-gencode arch=compute_90,code=compute_90
# tile_*.cu: instructions of compute capability 9.0 alone
CUDA_HOPPER_CODES ?= -gencode arch=compute_90a,code=sm_90a
CODES   = $(CUDA_CODES)
$(BUILD)/src/backend/cuda/tile_%.cu.o: CODES = $(CUDA_HOPPER_CODES)
NVCC_FLAGS := -std=c++17 -O3 -g -lineinfo -Iinclude -Isrc -Xcompiler -Wall,-Wextra,-fopenmp
CFLAGS_ALL += -DCR_CUDA
LIBS    += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcufft -lcudart -lstdc++ -ldl
$(BUILD)/src/comm/comm_nccl%.o: EXTRA := -isystem $(CUDA_HOME)/include
$(BUILD)/src/comm/comm_nccl.o $(BUILD)/tests/tools/nccl_ring.o: EXTRA := -isystem $(CUDA_HOME)/include
CUDA_SOURCES := $(wildcard src/backend/cuda/*.cu)
ifeq ($(wildcard $(NVCC)),)
$(error CUDA=1 needs nvcc of the CUDA toolkit, 12 or later; it is not at $(NVCC). Set CUDA_HOME)
endif
endif

# Kernels: one body, one object for each instruction set, chosen when the program starts.
KERNEL_FLAGS := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
$(BUILD)/src/backend/cpu/kernels_portable.o: EXTRA := $(KERNEL_FLAGS)
ifneq ($(findstring x86_64,$(shell $(CC) -dumpmachine 2>/dev/null)),)
$(BUILD)/src/backend/cpu/kernels_avx2.o: EXTRA := $(KERNEL_FLAGS) -mavx2 -mfma
$(BUILD)/src/backend/cpu/kernels_avx512.o: EXTRA := $(KERNEL_FLAGS) -mavx2 -mfma -mavx512f \
	-mavx512vl -mavx512dq -mavx512bw -mprefer-vector-width=512
endif
$(BUILD)/src/model/find.o: EXTRA := -DCR_MODEL_DIR='"$(prefix)/share/crocuta/models"'

LIB_SOURCES := $(filter-out src/cli/% $(if $(CUDA),,src/model/engine_cuda% src/comm/comm_nccl%), \
	$(wildcard src/*/*.c src/*/*/*.c))
CLI_SOURCES := $(wildcard src/cli/*.c)
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(CUDA_SOURCES:%.cu=$(BUILD)/%.cu.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)

all: $(BUILD)/crocuta

Q := $(if $(V),,@)
say = $(if $(V),,@echo '  $(1) $@')

# Objects made with other flags are not mixed in.
FLAGS = $(CC) $(CFLAGS_ALL)$(if $(CUDA), $(NVCC) $(NVCC_FLAGS) $(CUDA_CODES) $(CUDA_HOPPER_CODES))
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) $(EXTRA) -MMD -MP -c -o $@ $<

$(BUILD)/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) $(NVCC_FLAGS) $(CODES) -MMD -MP -c -o $@ $<

$(BUILD)/libcrocuta.a: $(LIB_OBJECTS)
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/crocuta: $(CLI_OBJECTS) $(BUILD)/libcrocuta.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Test programs: cmocka, one for each file; fuzz targets with a main that replays files; tools.
TEST_SOURCES := $(wildcard tests/unit/*.c tests/ops/*.c tests/model/*.c tests/task/*.c tests/api/*.c)
TEST_PROGRAMS := $(TEST_SOURCES:%.c=$(BUILD)/%)
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY_PROGRAMS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/fuzz_%)
TOOL_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/tools/*.c))

$(REPLAY_PROGRAMS): %: %.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libcrocuta.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libcrocuta.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

tests: $(BUILD)/crocuta $(TEST_PROGRAMS) $(TOOL_PROGRAMS) $(REPLAY_PROGRAMS)

# These install first, and so build in a second make that sees what was installed.
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
AGAIN = +$(MAKE) --no-print-directory $(if $(findstring j,$(firstword -$(MAKEFLAGS))),,-j$(JOBS))

test:
	@tools/install-deps --build --test $(if $(findstring thread,$(SAN)),--fuzz)
	@tools/install-deps --more || echo "what they test is skipped"
	$(AGAIN) tests
	@CC='$(CC)' CXX='$(CXX)' tools/run-tests $(BUILD)

# Those that start threads of their own: the sessions and the operators.
THREAD_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/model/test_*.c tests/ops/test_*.c \
	tests/task/test_*.c tests/unit/test_task_*.c tests/unit/test_comm_*.c))
test-threads:
	@tools/install-deps --build --test --fuzz
	$(AGAIN) $(THREAD_TESTS) $(TOOL_PROGRAMS)
	@TSAN_OPTIONS="ignore_noninstrumented_modules=1 $$TSAN_OPTIONS" \
		tools/run-tests $(BUILD) $(THREAD_TESTS)

check-cuda:
	@tools/install-deps --build --test
	$(AGAIN) CUDA=1 tests
	@tools/check-cuda build/release-cuda

demo:
	@tools/install-deps --build
	$(AGAIN) all
	@tools/demo $(BUILD)

bench:
	@tools/install-deps --build
	$(AGAIN) all $(TOOL_PROGRAMS)
	@tools/bench/run $(BUILD)

bench-gpu:
	@tools/install-deps --build --test
	$(AGAIN) CUDA=1 tests
	@tools/bench/gpu build/release-cuda

# libFuzzer. Finds go to build/fuzz; the seeds in tests/fuzz/corpus are replayed by `make test`.
fuzz: $(FUZZ_TARGETS:%=fuzz-%)

fuzz-%:
	@test -f tests/fuzz/fuzz_$*.c || { echo "no target $*; there are: $(FUZZ_TARGETS)"; exit 2; }
	@tools/install-deps --build --fuzz
	$(AGAIN) fuzzer-$*
	@mkdir -p build/fuzz/corpus/$* tests/fuzz/corpus/$*
	build/fuzz/fuzz_$* -max_total_time=$(SECONDS) -artifact_prefix=build/fuzz/$*- \
		$(patsubst %,-dict=%,$(wildcard tests/fuzz/fuzz_$*.dict)) \
		-print_final_stats=1 build/fuzz/corpus/$* tests/fuzz/corpus/$*

fuzzer-%:
	+@$(MAKE) CC=clang CONFIG=fuzz HARDEN= SANFLAGS='-fsanitize=fuzzer-no-link,address,undefined \
		-fno-omit-frame-pointer -fno-sanitize-recover=all' build/fuzz/fuzz_$*

build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o build/fuzz/libcrocuta.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)

format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.inc')

# Where things go. Debian, conda and others name other directories for some of them.
bindir  = $(prefix)/bin
libdir  = $(prefix)/lib
mandir  = $(prefix)/share/man
docdir  = $(prefix)/share/doc/crocuta
bashdir = $(prefix)/share/bash-completion/completions
zshdir  = $(prefix)/share/zsh/site-functions
fishdir = $(prefix)/share/fish/vendor_completions.d
DOCS   := README.md NEWS.md PERF.md LICENSE $(wildcard docs/*.md examples/*.c examples/*.md examples/Makefile) \
	$(shell find workflows -type f -not -path '*/.*' -not -path '*/__pycache__/*' 2>/dev/null | sort)
# What a program that links libcrocuta.a needs besides the packages that crocuta.pc requires.
PC_LIBS := -lBigWig -lm -fopenmp
ifneq ($(CUDA),)
PC_LIBS += -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcufft -lcudart -lstdc++ -ldl
endif

# Completions are what the program says of its options. One for another processor cannot be asked.
install: all
	install -d $(addprefix $(DESTDIR),$(bindir) $(libdir)/pkgconfig $(prefix)/include/crocuta $(docdir) \
		$(mandir)/man1 $(mandir)/man3)
	install -m755 $(BUILD)/crocuta $(DESTDIR)$(bindir)
	install -m644 $(BUILD)/libcrocuta.a $(DESTDIR)$(libdir)
	install -m644 include/crocuta/*.h $(DESTDIR)$(prefix)/include/crocuta
	install -m644 $(wildcard man/*.1) $(DESTDIR)$(mandir)/man1
	$(if $(wildcard man/*.3),install -m644 $(wildcard man/*.3) $(DESTDIR)$(mandir)/man3)
	sed '/^#/d' man/links | while read -r name page; do ln -sf $$page $(DESTDIR)$(mandir)/man3/$$name || exit; done
	sed -e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
		-e 's|@version@|$(VERSION)|' -e 's|@libs@|$(PC_LIBS)|' crocuta.pc.in \
		> $(BUILD)/crocuta.pc
	install -m644 $(BUILD)/crocuta.pc $(DESTDIR)$(libdir)/pkgconfig
	if $(BUILD)/crocuta --version >/dev/null 2>&1; then \
		tools/make-completions $(BUILD)/crocuta $(BUILD)/completions && \
		install -Dm644 $(BUILD)/completions/crocuta.bash $(DESTDIR)$(bashdir)/crocuta && \
		install -Dm644 $(BUILD)/completions/_crocuta $(DESTDIR)$(zshdir)/_crocuta && \
		install -Dm644 $(BUILD)/completions/crocuta.fish $(DESTDIR)$(fishdir)/crocuta.fish; \
	else echo 'install: no completions, $(BUILD)/crocuta does not run here'; fi
	for file in $$(find models -type f); do \
		install -Dm644 $$file $(DESTDIR)$(prefix)/share/crocuta/$$file || exit; done
	for file in $(DOCS); do mode=644; [ ! -x $$file ] || mode=755; \
		install -Dm$$mode $$file $(DESTDIR)$(docdir)/$$file || exit; done

# What `install` put there with the same variables; models and files of others stay.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(bindir)/crocuta $(libdir)/libcrocuta.a $(libdir)/pkgconfig/crocuta.pc \
		$(bashdir)/crocuta $(zshdir)/_crocuta $(fishdir)/crocuta.fish \
		$(patsubst man/%,$(mandir)/man1/%,$(wildcard man/*.1)) \
		$(patsubst man/%,$(mandir)/man3/%,$(wildcard man/*.3)) \
		$(patsubst include/%,$(prefix)/include/%,$(wildcard include/crocuta/*.h)) \
		$(addprefix $(docdir)/,$(DOCS)))
	for page in $$(sed '/^#/d; s/ .*//' man/links); do rm -f $(DESTDIR)$(mandir)/man3/$$page; done
	for file in $$(find models -type f); do rm -f $(DESTDIR)$(prefix)/share/crocuta/$$file; done
	for place in $(prefix)/share/crocuta $(prefix)/include/crocuta $(docdir); do \
		[ ! -d $(DESTDIR)$$place ] || find $(DESTDIR)$$place -depth -type d -empty -delete; done

check-deb:
	@tools/check-deb
check-docker:
	@tools/check-docker
check-conda:
	@tools/check-conda

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
FORCE:
.PHONY: all tests test test-threads check-cuda check-deb check-docker check-conda demo bench bench-gpu fuzz format \
	install uninstall clean FORCE
.SECONDARY:
