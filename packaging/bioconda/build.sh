#!/bin/bash
# Build and install crocuta into $PREFIX. conda-build sets PREFIX, CC, AR, CFLAGS, CPPFLAGS, LDFLAGS, CPU_COUNT.
set -euo pipefail

# The libraries of the host environment, by their pkg-config files and in no other place
export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig"

# Kernels for newer processors are chosen when the program starts: the flags are conda's baseline. -g0: no
# debugging information, conda does not strip.
variables=(
	BUILD=build/conda
	prefix="$PREFIX"
	CC="$CC"
	AR="${AR:-ar}"
	CPPFLAGS="${CPPFLAGS:-} -I$PREFIX/include"
	CFLAGS="${CFLAGS:-} -g0"
	LDFLAGS="${LDFLAGS:-} -L$PREFIX/lib -Wl,-rpath,$PREFIX/lib"
	V=1
)
make -j"${CPU_COUNT:-1}" "${variables[@]}"
make install "${variables[@]}"

# The package is the program: conda keeps static libraries out of packages that are not about them.
rm -r "$PREFIX/lib/libcrocuta.a" "$PREFIX/lib/pkgconfig/crocuta.pc" "$PREFIX/include/crocuta" \
	"$PREFIX/share/man/man3"/crocuta* "$PREFIX/share/doc/crocuta/examples"
