#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# style.sh - the checks that every change must pass, as KTAP. The rules are the
# kernel's own: its clang-format file, checkpatch and kernel-doc come from the
# source tree that setup.sh unpacked.

set -uo pipefail

cd "$(dirname "$(readlink -f "$0")")/.." || exit
linux=build/linux

mapfile -t all_c < <(git ls-files '*.c' '*.h')
mapfile -t headers < <(git ls-files 'include/*.h' \
	'tools/libvmem/include/*.h')
mapfile -t python < <(git ls-files '*.py'; git grep -lE '^#!.*python3' -- ':!*.py')
mapfile -t pages < <(git ls-files '*.[1-9]')
mapfile -t scripts < <(git grep -lE '^#!/bin/(ba)?sh|^# shellcheck shell=')

format() {
	clang-format --style="file:$linux/.clang-format" --dry-run --Werror \
		"${all_c[@]}"
}

# libelf's types, libFuzzer's and zstd's functions and C's words have the names that they
# have, and tracepoints the layout that they have in the kernel. Of a call with a
# message longer than a line, clang-format and checkpatch want different layouts.
# checkpatch ends with 1 if it has something to say, and with another status if it
# cannot; it leaves the names that it met in a file.
checkpatch() {
	local said
	said=$(perl "$linux/scripts/checkpatch.pl" --strict --no-tree --quiet \
		--terse --no-summary --file "${all_c[@]}") ||
		[ $? = 1 ] || return
	rm -f .checkpatch-camelcase.*
	! grep -vE -e '^$|Avoid CamelCase: <(G?Elf((32|64)?_[A-Z][a-z]+)?|LLVMFuzzer\w+|ZSTD_\w+|_Static_assert)>$' \
		-e '^include/trace/.* CHECK: (Alignment|Lines) should ' \
		-e '^tools/vmemctl/confine.c:.* ENOSYS means' \
		-e "^tools/libvmem/.* CHECK: Lines should not end with a '\('$" \
		<<<"$said"
}

# sparse and W=1 warn and go on, so it is their silence that counts.
silent() {
	local said
	said=$("$@" 2>&1) && [ -z "$said" ] && return
	printf '%s\n' "$said"
	return 1
}

build_with() {
	rm -rf build/style
	silent tools/module.sh "" build/style "$@"
}

kernel_doc() {
	silent "$linux/scripts/kernel-doc" -none -Werror "${headers[@]}" ./*.c
}

# SC1091: files that only exist in the lab cannot be followed. SC2317: functions
# that are called by their name, as here, look as if nobody called them.
shell() {
	shellcheck -e SC1091,SC2317 "${scripts[@]}"
}

# Names that a change left behind: nothing else finds them before they are run.
flakes() {
	pyflakes3 "${python[@]}"
}

man_pages() {
	silent groff -man -ww -z -Tutf8 "${pages[@]}"
}

n=0 failed=0
check() {
	local name=$1 said
	shift
	n=$((n + 1))
	if said=$("$@" 2>&1); then
		echo "ok $n - style: $name"
	else
		failed=$((failed + 1))
		printf '%s\n' "$said" | sed 's/^/# /'
		echo "not ok $n - style: $name"
	fi
}

echo "KTAP version 1"
echo "1..9"
check clang-format format
check "checkpatch --strict" checkpatch
check "sparse" build_with C=2
check "W=1" build_with W=1
check kernel-doc kernel_doc
check shellcheck shell
check pyflakes flakes
check "man pages" man_pages
check "names" tools/names.py "$linux"
exit $((failed > 0))
