#!/usr/bin/env bats
# The examples of the C library against an installed copy, by pkg-config alone: they compile without a warning,
# give the numbers of the command line, and fail as they say. And what `make install` puts where.

load common

TAKEN=$ROOT/test-data/variants

setup_file() {
	# shellcheck disable=SC2154 # BATS_FILE_TMPDIR is bats'
	local build=${CROCUTA%/*} flags usr=$BATS_FILE_TMPDIR/usr
	[ -f "$build/libcrocuta.a" ] && [ -f "$build/flags" ] || return 0
	flags=$(cat "$build/flags")
	case $flags in *fsanitize* | *CR_CUDA*) return 0 ;; esac
	# As the build was made, so that nothing is compiled again
	make -s -C "$ROOT" install BUILD="$build" prefix="$usr" > "$BATS_FILE_TMPDIR/install.log" 2>&1 || return
	export PKG_CONFIG_PATH=$usr/lib/pkgconfig
	cd "$BATS_FILE_TMPDIR"
	for name in embed_sequence likelihood score_variants; do
		# shellcheck disable=SC2046 # words
		${CC:-cc} -std=c11 -Wall -Wextra -Werror $(pkg-config --cflags crocuta) \
			-o $name "$usr/share/doc/crocuta/examples/$name.c" $(pkg-config --libs crocuta) -lm
	done
}

setup() {
	local build=${CROCUTA%/*}
	[ -f "$build/libcrocuta.a" ] || skip "no libcrocuta.a beside the program"
	[ -x "$BATS_FILE_TMPDIR/score_variants" ] || skip "for the plain build alone"
	USR=$BATS_FILE_TMPDIR/usr
	PATH=$BATS_FILE_TMPDIR:$PATH
	export CROCUTA_MODEL_PATH=$USR/share/crocuta/models PKG_CONFIG_PATH=$USR/lib/pkgconfig
	cd "$BATS_TEST_TMPDIR"
	mkdir out
}

@test "embed_sequence: the vector of embed --per-record" {
	local bases=GATTACAnacgtRyACGTTTGACCA
	printf '>s\n%s\n' $bases > s.fa
	for model in tiny-1k small-32k; do
		embed_sequence $bases $model > got
		[ "$(wc -l < got)" = 1 ]
		"$CROCUTA" embed -q -m $model --per-record s.fa | body | sed -n 2p | cut -f 6- > want
		[ "$(tr '\t' '\n' < got | wc -l)" -ge 128 ]
		paste <(tr '\t' '\n' < got) <(tr '\t' '\n' < want) |
			every 'NF == 2 && ($1 - $2) ^ 2 < 1e-12'
	done
	embed_sequence $bases | cmp - <(embed_sequence $bases tiny-1k)
}

@test "likelihood: the sums of the track, record by record" {
	make_fasta g.fa 7
	sed -n '1,15p;/>chrB/,$p' g.fa > short.fa # within a window of tiny-1k
	likelihood short.fa > got
	"$CROCUTA" embed -q --track logprob short.fa | body |
		awk '{ n[$1]++; s[$1] += $4 } END { for (c in n) printf "%s\t%d\t%.6f\n", c, n[c], s[c] }' | sort > want
	sort got | grep -v '^chrC' | paste - want | every '$1 == $4 && $2 == $5 && ($3 - $6) ^ 2 < 1e-6'
	[ "$(grep -c . want)" = 2 ]
	grep -qx 'chrC	0	0.000000' got
	gzip -c short.fa | likelihood - | cmp - got
}

@test "score_variants: the bytes of score" {
	head -n 60 "$TAKEN/kinds.vcf" > some.vcf
	score_variants "$TAKEN/chr20_pieces.fa.gz" some.vcf got.vcf > said 2> err
	"$CROCUTA" score -q --no-version -f "$TAKEN/chr20_pieces.fa.gz" -o want.vcf some.vcf
	cmp got.vcf want.vcf
	body want.vcf | grep -v '^#' | grep -c . > records
	grep -q "^$(cat records) records, " said
	[ "$(body want.vcf | grep -o 'STATUS=.*' | cut -f 1 | tr '=,;' '\n\n\n' | grep -c '^OK')" = \
		"$(awk '$1 == "OK" { print $2 }' said)" ]
}

@test "failures: the code of the header, one sentence, no output" {
	refused() { # STATUS TEXT COMMAND...
		local want=$1 text=$2 status=0
		shift 2
		"$@" > stdout 2> err || status=$?
		cat err
		[ $status = "$want" ]
		grep -q -- "$text" err
		[ ! -s stdout ]
		[ -z "$(find out -mindepth 1)" ]
	}
	refused 2 usage embed_sequence
	refused 2 usage likelihood
	refused 2 usage score_variants a b
	refused 4 no-such-model embed_sequence ACGT no-such-model
	refused 2 "length" embed_sequence "$(head -c 2000 /dev/zero | tr '\0' A)"
	refused 5 "absent.fa" likelihood absent.fa
	printf '>long\n%s\n' "$(head -c 2000 /dev/zero | tr '\0' A)" > long.fa
	refused 2 "2000 tokens" likelihood long.fa
	head -n 60 "$TAKEN/kinds.vcf" | bgzip -c | head -c 500 > cut.vcf.gz
	refused 3 cut.vcf.gz score_variants "$TAKEN/chr20_pieces.fa.gz" cut.vcf.gz out/x.vcf
	refused 5 absent.fa score_variants absent.fa cut.vcf.gz out/x.vcf
	[ ! -e /dev/full ] || {
		local status=0
		embed_sequence ACGT > /dev/full 2> err || status=$?
		[ $status = 5 ]
	}
}

@test "score_variants: stopped by a signal, then the same command goes on to the same bytes" {
	local status=0
	bcftools view --no-version -r chr20_piece:1-40000 "$TAKEN/1000g.vcf.gz" > some.vcf
	score_variants "$TAKEN/chr20_pieces.fa.gz" some.vcf out/x.vcf > said 2> err &
	child=$!
	has_begun 200
	kill -s TERM $child
	wait $child || status=$?
	cat err
	[ $status = 75 ]
	grep -q "stopped; the same command goes on" err
	[ ! -e out/x.vcf ]
	[ ! -s said ]
	score_variants "$TAKEN/chr20_pieces.fa.gz" some.vcf out/x.vcf
	"$CROCUTA" score -q --no-version -f "$TAKEN/chr20_pieces.fa.gz" some.vcf | cmp - out/x.vcf
	[ "$(ls -A out)" = x.vcf ]
}

@test "make install: everything in its place, a copy elsewhere, and uninstall takes it all back" {
	for file in bin/crocuta lib/libcrocuta.a lib/pkgconfig/crocuta.pc include/crocuta/crocuta.h \
		share/man/man1/crocuta.1 share/man/man1/crocuta-score.1 share/man/man3/crocuta_model.3 \
		share/bash-completion/completions/crocuta share/zsh/site-functions/_crocuta \
		share/fish/vendor_completions.d/crocuta.fish share/crocuta/models/tiny-1k/model.safetensors \
		share/doc/crocuta/README.md share/doc/crocuta/docs/formats.md share/doc/crocuta/examples/Makefile; do
		[ -s "$USR/$file" ] || { echo "missing: $file"; false; }
	done
	grep -q 'crocuta_model_open' "$USR/share/man/man3/crocuta_model_open.3" # a link
	lacks -r "$ROOT" "$USR/lib/pkgconfig" "$USR/share"
	[ "$(pkg-config --modversion crocuta)" = "$("$USR/bin/crocuta" --version | awk 'NR == 1 { print $2 }')" ]
	env -u CROCUTA_MODEL_PATH HOME="$PWD" "$USR/bin/crocuta" model verify -q tiny-1k

	# DESTDIR is where, prefix is what is written down; libraries beside those of the architecture
	stage() {
		make -s -C "$ROOT" "$1" BUILD="${CROCUTA%/*}" DESTDIR="$PWD/stage" prefix=/usr libdir=/usr/lib/tuple
	}
	stage install > /dev/null
	[ -f stage/usr/lib/tuple/libcrocuta.a ]
	grep -qx 'prefix=/usr' stage/usr/lib/tuple/pkgconfig/crocuta.pc
	grep -qx 'libdir=${prefix}/lib/tuple' stage/usr/lib/tuple/pkgconfig/crocuta.pc
	lacks stage stage/usr/lib/tuple/pkgconfig/crocuta.pc
	mkdir stage/usr/share/crocuta/models/mine
	echo mine > stage/usr/share/crocuta/models/mine/config.json
	stage uninstall > /dev/null
	[ "$(find stage -type f)" = stage/usr/share/crocuta/models/mine/config.json ]
}

@test "the Makefile of the examples" {
	cp "$USR"/share/doc/crocuta/examples/* .
	make -s PKG_CONFIG_PATH="$PKG_CONFIG_PATH"
	for name in embed_sequence likelihood score_variants; do [ -x ./$name ]; done
	./embed_sequence ACGTACGT | cmp - <(embed_sequence ACGTACGT)
	make -s clean
	[ ! -e embed_sequence ]
}

@test "pkg-config --static" {
	echo 'int main(void) { return 0; }' > empty.c
	# shellcheck disable=SC2046 # words
	${CC:-cc} -o empty empty.c $(pkg-config --static --libs htslib) 2> err ||
		skip "htslib's own flags for static linking do not link here: $(head -n 1 err)"
	# shellcheck disable=SC2046
	${CC:-cc} -std=c11 $(pkg-config --static --cflags crocuta) -o more \
		"$USR/share/doc/crocuta/examples/embed_sequence.c" $(pkg-config --static --libs crocuta) -lm
	./more ACGTACGT | cmp - <(embed_sequence ACGTACGT)
}

@test "packaging: one version everywhere; recipe and Dockerfile can be read" {
	local version
	version=$(sed -n 's/^.define CROCUTA_VERSION "\(.*\)"/\1/p' "$ROOT/include/crocuta/crocuta.h")
	[ "$(sed -n '1s/^crocuta (\(.*\)-[0-9]*) .*/\1/p' "$ROOT/packaging/debian/changelog")" = "$version" ]
	[ "$(sed -n 's/^{% set version = "\(.*\)" %}/\1/p' "$ROOT/packaging/bioconda/meta.yaml")" = "$version" ]
	"$ROOT/tools/check-docker" --parse CUDA=1 RUN_IMAGE=some/image > steps
	grep -qx 'FROM some/image' steps
	grep -qx 'RUN tools/install-deps --build' steps
	python3 -c 'import jinja2, yaml' 2> err || /usr/bin/python3 -c 'import jinja2, yaml' 2> err ||
		skip "the rest needs jinja2 and yaml of python3"
	"$ROOT/tools/check-conda" --render
}
