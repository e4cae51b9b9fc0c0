#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# module.sh KERNEL OUT [MAKE-ARGUMENT]... - build vmem.ko in OUT/<its release>/ for
# KERNEL: the folder that a kernel is built in, or one of those that
# `tools/setup.sh VERSION` fetches; the lab's if it is empty. That of another suite is
# compiled in the suite's chroot, where this tree is in the same place as here.
#
# kbuild puts an external module's objects beside its sources, so the sources
# are linked into a folder of their own and the tree stays clean.

set -euo pipefail

self=$(readlink -f "$0")
top=$(cd "$(dirname "$self")/.." && pwd)
kernel=${1:-$(sed -n '/^[0-9]/{p;q}' "$top/tools/kernels")}
out=$(realpath -m "$2")
shift 2

kdir=$kernel
[ -e "$kdir" ] || kdir=$top/build/kernels/$kernel-amd64/build
[ -e "$kdir/Makefile" ] || {
	echo "module.sh: no kernel to build for in $kdir: install its" \
		"headers, or give KDIR=" >&2
	exit 1
}

case $kernel in [0-9]*@*)
	suite=${kernel#*@}
	suite=$top/build/suites/${suite%-backports}
	[ -e "$suite" ] || {
		echo "module.sh: no $suite: run tools/setup.sh $kernel" >&2
		exit 1
	}
	# shellcheck disable=SC2016 # expanded in there
	exec unshare --mount sh -ec '
		suite=$1 top=$2
		shift 2
		mkdir -p "$suite$top"
		mount --bind "$top" "$suite$top"
		mount --bind /dev "$suite/dev"
		mount --bind /proc "$suite/proc"
		exec chroot "$suite" "$@"' - "$suite" "$top" \
		"$self" "$kdir" "$out" "$@"
	;;
esac

release=$(sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
	"$kdir/include/generated/utsrelease.h")
dir=$out/$release
mkdir -p "$dir"
for file in Kbuild include "$top"/*.c; do
	ln -sfn "$top/$(basename "$file")" "$dir/"
done

# Quiet, but for what the compiler has to say.
make -s -C "$kdir" M="$dir" "$@" modules 2> >(
	grep -v -e '^Skipping BTF generation' -e '^warning: pahole version' \
		-e '^  The kernel was built with:' -e '^  You are using:' >&2
)
