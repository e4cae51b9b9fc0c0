#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# module.sh KDIR OUT [MAKE-ARGUMENT]... - build vmem.ko for the kernel whose
# build folder is KDIR, or for the lab's if that is empty, in OUT/<its release>/.
#
# kbuild puts an external module's objects beside its sources, so the sources
# are linked into a folder of their own and the tree stays clean.

set -euo pipefail

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
kdir=${1:-/lib/modules/$(<"$top/build/kernels/amd64/release")/build}
out=$(realpath -m "$2")
shift 2

[ -e "$kdir/Makefile" ] || {
	echo "module.sh: no kernel to build for in $kdir: install its" \
		"headers, or give KDIR=" >&2
	exit 1
}
release=$(sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
	"$kdir/include/generated/utsrelease.h")
dir=$out/$release
mkdir -p "$dir"
for file in Kbuild include "$top"/*.c; do
	ln -sfn "$top/$(basename "$file")" "$dir/"
done

# Quiet, but for what the compiler has to say.
make -s -C "$kdir" M="$dir" "$@" modules 2> >(
	grep -v '^Skipping BTF generation' >&2
)
