#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# module.sh KERNEL OUT [--tests] [MAKE-ARGUMENT]... - build vmem.ko in OUT/<its release>/ for
# KERNEL: the folder that a kernel is built in, or one of those that
# `tools/setup.sh VERSION` fetches; the lab's if it is empty. That of another suite is
# compiled in the suite's chroot, where this tree is in the same place as here. With
# --tests, the modules of tools/selftest/kernel too, in tests/ beside it.
#
# kbuild puts an external module's objects beside its sources, so the sources
# are linked into a folder of their own and the tree stays clean.

set -euo pipefail

die() {
	echo "module.sh: $*" >&2
	exit 1
}

self=$(readlink -f "$0")
top=$(cd "$(dirname "$self")/.." && pwd)
kernel=${1:-$(sed -n '/^[0-9]/{p;q}' "$top/tools/kernels")}
out=$(realpath -m "$2")
shift 2

kdir=$kernel
[ -e "$kdir" ] || kdir=$top/build/kernels/$kernel-amd64/build
[ -e "$kdir/Makefile" ] || {
	release=$(sed -nE 's,^/lib/modules/([^/]+).*,\1,p' <<<"$kernel")
	case $kernel in
	/*) die "no kernel to build for in $kernel: install its headers" \
		"(${release:+linux-headers-$release, or }kernel-devel)" ;;
	*) die "no kernel to build for in $kdir: run tools/setup.sh $kernel," \
		"or give KDIR=" ;;
	esac
}

case $kernel in [0-9]*@*)
	suite=${kernel#*@}
	suite=$top/build/suites/${suite%-backports}
	[ -e "$suite" ] || die "no $suite: run tools/setup.sh $kernel"
	exec "$top/tools/in-chroot" "$suite" "$self" "$kdir" "$out" "$@"
	;;
esac

tests=
if [ "${1:-}" = --tests ]; then
	tests=1
	shift
fi

release=$(sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
	"$kdir/include/generated/utsrelease.h" 2>/dev/null || true)
[ -n "$release" ] || die "nothing was built in $kdir: give the folder of O=, or of headers"
dir=$out/$release
mkdir -p "$dir"
for file in Kbuild include "$top"/*.c; do
	ln -sfn "$top/$(basename "$file")" "$dir/"
done

# Debian's headers name the compiler that the kernel was built with.
cc=$(sed -n 's/^CC = .*(CROSS_COMPILE)//p' "$kdir/.kernelvariables" 2>/dev/null || true)
for tool in make "${cc:-gcc}"; do
	command -v "$tool" >/dev/null || die "no $tool: install it"
done

# Quiet, but for what the compiler has to say.
build() {
	make -s -C "$kdir" M="$1" "${@:2}" modules 2> >(
		grep -v -e '^Skipping BTF generation' -e '^warning: pahole version' \
			-e '^  The kernel was built with:' -e '^  You are using:' \
			-e ' warning: jobserver unavailable: ' >&2
	)
}

build "$dir" "$@"
[ -n "$tests" ] || exit 0
mkdir -p "$dir/tests"
ln -sfn "$top"/tools/selftest/kernel/* "$dir/tests/"
build "$dir/tests" "$@"
