#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# setup.sh - install and fetch what building and testing vmem needs.
#
# Usage: tools/setup.sh [module|user|kunit|lab|style|budget|fuzz|bench|all]...
#
# The default is all, which is what the tests need: bench is not in it.
#
# Tools come from Debian packages, installed through apt, and only those that
# are missing. Kernels, a static busybox and the kernel source are not
# installed: they are fetched and unpacked under build/, with an apt state of
# our own, so that the machine's dpkg architectures and boot files stay as
# they are. Says nothing when there is nothing to do.

set -euo pipefail

top=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
build=$top/build
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- packages of the machine -------------------------------------------------

packages_of() {
	case $1 in
	module) echo gcc make kmod xz-utils ;;
	user) echo gcc g++ make binutils libc6-dev libjansson-dev libelf-dev \
		libseccomp-dev pkg-config ;;
	kunit) echo gcc make flex bison bc libelf-dev libssl-dev python3 kmod \
		cpio rsync xz-utils qemu-system-x86 ;;
	lab) echo gcc libc6-dev qemu-system-x86 python3 kmod xz-utils jq gdb \
		binutils strace ;;
	style) echo clang-format sparse perl python3 groff shellcheck ;;
	budget) echo gcc make libc6-dev python3 valgrind ;;
	fuzz) echo clang libclang-rt-dev llvm make libjansson-dev libelf-dev \
		pkg-config python3 ;;
	bench) echo python3-matplotlib ;;
	esac
}

missing() {
	local pkg have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" \
		2>/dev/null || true)
	for pkg; do
		grep -qxF "installed $pkg" <<<"$have" || echo "$pkg"
	done
}

updated=
install_missing() {
	local want
	mapfile -t want < <(missing "$@" | sort -u)
	[ ${#want[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] ||
		die "missing packages, as root: apt-get install ${want[*]}"
	say "installing ${want[*]}..."
	if [ -z "$updated" ]; then
		# A third-party source that is down must not stop us: what
		# matters is whether the packages below can be had.
		apt-get -qq update >&2 || true
		updated=1
	fi
	mkdir -p "$build"
	apt-get -qq install --no-install-recommends "${want[@]}" \
		>"$build/apt-install.log" 2>&1 </dev/null || {
		tail -n 20 "$build/apt-install.log" >&2
		die "apt-get install failed: see $build/apt-install.log"
	}
}

# --- downloads, with an apt state of our own ---------------------------------

# apt_of ARCHITECTURE TOOL ARGS...: apt-get or apt-cache with the system's
# sources and keyrings, but with lists, cache and (empty) dpkg status of our
# own. One state for each architecture: apt drops a source's index as a whole
# when one architecture's part is broken, and i386's must not cost amd64's.
apt_of() {
	local arch=$1 tool=$2
	shift 2
	"$tool" -c "$build/apt/$arch/apt.conf" -qq "$@"
}

# Read with -c, that is after the system's configuration: takes its hooks out.
private_index() {
	local arch=$1 dir=$build/apt/$1
	[ ! -e "$dir/fresh.$$" ] || return 0
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" \
		"$build/downloads"
	rm -f "$dir"/fresh.*
	: >"$dir/status"
	cat >"$dir/apt.conf" <<-CONF
	#clear APT::Architectures;
	#clear APT::Update::Pre-Invoke;
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	APT::Architecture "$arch";
	APT::Architectures { "$arch"; };
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	Dir::State "$dir/state";
	Dir::State::status "$dir/status";
	Dir::Cache "$dir/cache";
	CONF
	say "fetching the package index of $arch..."
	# As in install_missing, but what came of it may be an older kernel.
	apt_of "$arch" apt-get update >"$dir/update.log" 2>&1 || true
	grep -q '^[EW]:' "$dir/update.log" &&
		say "some sources failed ($dir/update.log), using the others"
	: >"$dir/fresh.$$"
}

# field ARCHITECTURE PACKAGE NAME: one field of the newest version's record
field() {
	apt_of "$1" apt-cache show --no-all-versions "$2" 2>/dev/null |
		sed -n "s/^$3: //p" | head -n 1
}

no_package() {
	die "no package $2 for $1: see $build/apt/$1/update.log"
}

# fetch ARCHITECTURE PACKAGE: prints the path of its .deb, downloaded if need be
fetch() {
	local arch=$1 pkg=$2 size version suffix deb
	size=$(field "$arch" "$pkg" Size)
	version=$(field "$arch" "$pkg" Version)
	suffix=$(field "$arch" "$pkg" Architecture).deb # may be "all"
	[ -n "$size" ] || no_package "$arch" "$pkg"
	# apt writes an epoch's colon as %3a
	deb=$build/downloads/${pkg}_${version//:/%3a}_$suffix
	if [ "$(stat -c %s "$deb" 2>/dev/null)" != "$size" ]; then
		say "downloading $pkg ($(((size + 999999) / 1000000)) MB)..."
		(cd "$build/downloads" &&
			apt_of "$arch" apt-get download "$pkg" >&2) ||
			die "cannot download $pkg"
	fi
	printf '%s\n' "$deb"
}

# unpack DEB DIRECTORY: an empty directory with the package's files in it
unpack() {
	rm -rf "$2"
	mkdir -p "$2"
	dpkg-deb -x "$1" "$2"
}

# The directories below appear under their final name once they are complete,
# so that their presence is the stamp.

# kernel NAME ARCHITECTURE META-PACKAGE: build/kernels/NAME, and in its file
# `release` what uname -r says there
kernel() {
	local arch=$2 meta=$3 dir=$build/kernels/$1 image deb
	[ ! -e "$dir" ] || return 0
	private_index "$arch"
	image=$(field "$arch" "$meta" Depends | grep -o '^linux-image-[^ ,]*') ||
		no_package "$arch" "$meta"
	deb=$(fetch "$arch" "$image")
	unpack "$deb" "$dir.part"
	depmod -b "$dir.part" "${image#linux-image-}"
	echo "${image#linux-image-}" >"$dir.part/release"
	mv "$dir.part" "$dir"
}

# busybox NAME ARCHITECTURE: build/busybox/NAME
busybox() {
	local dir=$build/busybox/$1 deb
	[ ! -e "$dir" ] || return 0
	private_index "$2"
	deb=$(fetch "$2" busybox-static)
	unpack "$deb" "$dir.part"
	mv "$dir.part" "$dir"
}

# build/linux: the kernel's source tree, for KUnit and the style checks
source_tree() {
	local tree=$build/linux deb
	[ ! -e "$tree" ] || return 0
	private_index amd64
	deb=$(fetch amd64 linux-source-6.1)
	say "unpacking linux-source-6.1 (1.4 GB)..."
	rm -rf "$tree.part"
	mkdir -p "$tree.part"
	dpkg-deb --fsys-tarfile "$deb" |
		tar -xO ./usr/src/linux-source-6.1.tar.xz |
		tar -xJ -C "$tree.part" --strip-components=1
	mv "$tree.part" "$tree"
}

# The headers must be those of the lab kernel, whatever kernel runs here.
headers() {
	kernel amd64 amd64 linux-image-amd64
	install_missing "linux-headers-$(<"$build/kernels/amd64/release")"
}

# --- what was asked for ------------------------------------------------------

sets=("$@")
[ ${#sets[@]} -gt 0 ] || sets=(all)
packages=()
for set in "${sets[@]}"; do
	case $set in
	module | user | kunit | lab | style | budget | fuzz | bench) ;;
	all)
		sets=(module user kunit lab style budget fuzz)
		break
		;;
	-h | --help)
		sed -n '4,/^$/s/^# \{0,1\}//p' "$0"
		exit
		;;
	*)
		sed -n 's/^# Usage/usage/p' "$0" >&2
		exit 2
		;;
	esac
done
for set in "${sets[@]}"; do
	# shellcheck disable=SC2207 # package names hold no blanks
	packages+=($(packages_of "$set"))
done
install_missing "${packages[@]}"

for set in "${sets[@]}"; do
	case $set in
	module) headers ;;
	kunit) source_tree ;;
	lab)
		headers
		kernel i686 i386 linux-image-686
		busybox amd64 amd64
		busybox i686 i386
		;;
	style)
		headers
		source_tree
		;;
	esac
done
