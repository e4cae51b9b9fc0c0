#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# setup.sh - install and fetch what building and testing vmem needs.
#
# Usage: tools/setup.sh [module|user|kunit|lab|style|budget|fuzz|bench|intel|
#                        completion|matrix|deb|all|VERSION]...
#        tools/setup.sh --mirror
#
# The default is all, which is what the tests need: bench, matrix and deb are not in
# it. VERSION is a kernel of Debian's: of the machine's own release (6.12), or of
# another suite (7.3@trixie-backports, which gets a chroot with its compiler).
#
# Tools come from Debian packages, installed through apt, and only those that
# are missing. Kernels, their headers, a static busybox and the kernel source are
# not installed: they are fetched and unpacked under build/, with an apt state of
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
	module) echo gcc make kmod xz-utils pahole ;;
	user) echo gcc g++ make binutils libc6-dev libjansson-dev libelf-dev \
		libfuse3-dev liblzo2-dev libseccomp-dev libzstd-dev pkg-config \
		python3-jsonschema zlib1g-dev ;;
	kunit) echo gcc make flex bison bc libelf-dev libssl-dev python3 kmod \
		cpio rsync xz-utils qemu-system-x86 ;;
	lab) echo gcc libc6-dev qemu-system-x86 python3 kmod xz-utils jq gdb \
		binutils strace fuse3 graphviz makedumpfile \
		python3-drgn python3-jsonschema ;;
	style) echo clang-format sparse perl python3 groff shellcheck pyflakes3 ;;
	intel) echo bochs bochs-term bochsbios vgabios xorriso isolinux \
		syslinux-common gcc binutils python3 kmod ;;
	completion) echo bash-completion zsh python3 make ;;
	budget) echo gcc make libc6-dev python3 valgrind ;;
	fuzz) echo clang libclang-rt-dev llvm make libjansson-dev libelf-dev \
		liblzo2-dev libzstd-dev zlib1g-dev pkg-config python3 ;;
	bench) echo python3-matplotlib ;;
	matrix) echo debootstrap ;;
	deb) echo build-essential debhelper dh-dkms dh-python dpkg-dev lintian \
		debootstrap ;;
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
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
		say "no apt here: with what is there; these are needed, by Debian's names: $*"
		return
	fi
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

# apt_of STATE TOOL ARGS...: apt-get or apt-cache with lists, cache and (empty)
# dpkg status of our own. STATE is an architecture, with the system's sources, or
# another suite for amd64. One state for each: apt drops a source's index as a
# whole when one architecture's part is broken, and i386's must not cost amd64's.
apt_of() {
	local state=$1 tool=$2
	shift 2
	"$tool" -c "$build/apt/$state/apt.conf" -qq "$@"
}

# Where the machine has Debian's packages from
mirror() {
	local release uri
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# shellcheck disable=SC2016 # apt's own variables
	uri=$(apt-get indextargets --format '$(CODENAME) $(ORIGIN) $(REPO_URI)' \
		'Created-By: Packages' | sed -n "s/^$release Debian //p" | head -n 1)
	[ -n "$uri" ] || die "no source of Debian $release in /etc/apt, or no index of it:" \
		"add one, and run apt-get update"
	echo "$uri"
}

declare -A fresh # what has an index of today

# Read with -c, that is after the system's configuration: takes its hooks out.
private_index() {
	local state=$1 dir=$build/apt/$1 arch=amd64 mirror
	[ -z "${fresh[$state]-}" ] || return 0
	command -v apt-get >/dev/null ||
		die "no apt here to fetch a kernel with: make module KDIR=/lib/modules/\$(uname -r)/build"
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" \
		"$build/downloads"
	: >"$dir/status"
	[ "$state" != i386 ] || arch=i386
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
	case $state in amd64 | i386) ;; *)
		mirror=$(mirror)
		echo "deb [signed-by=$keyring] $mirror $state main" >"$dir/sources.list"
		cat >>"$dir/apt.conf" <<-CONF
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		CONF
		;;
	esac
	say "fetching the package index of $state..."
	# As in install_missing, but what came of it may be an older kernel.
	apt_of "$state" apt-get update >"$dir/update.log" 2>&1 || true
	grep -q '^[EW]:' "$dir/update.log" &&
		say "some sources failed ($dir/update.log), using the others"
	fresh[$state]=y
}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# field STATE PACKAGE NAME: one field of the newest version's record
field() {
	apt_of "$1" apt-cache show --no-all-versions "$2" 2>/dev/null |
		sed -n "s/^$3: //p" | head -n 1
}

no_package() {
	die "no package $2 for $1: see $build/apt/$1/update.log"
}

# fetch STATE PACKAGE: prints the path of its .deb, downloaded if need be
fetch() {
	local state=$1 pkg=$2 size version suffix deb
	size=$(field "$state" "$pkg" Size)
	version=$(field "$state" "$pkg" Version)
	suffix=$(field "$state" "$pkg" Architecture).deb # may be "all"
	[ -n "$size" ] || no_package "$state" "$pkg"
	# apt writes an epoch's colon as %3a
	deb=$build/downloads/${pkg}_${version//:/%3a}_$suffix
	if [ "$(stat -c %s "$deb" 2>/dev/null)" != "$size" ]; then
		say "downloading $pkg ($(((size + 999999) / 1000000)) MB)..."
		(cd "$build/downloads" &&
			apt_of "$state" apt-get download "$pkg" >&2) ||
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

# release STATE VERSION FLAVOUR: the newest one that has headers and an image,
# which is signed on another day
release() {
	local version=${2//./\\.} release
	version=${version//+/\\+}
	apt_of "$1" apt-cache pkgnames "linux-headers-$2" |
		sed -nE "s/^linux-headers-($version(\\.[0-9]+)?([+][a-z0-9]+|-[0-9]+)?-$3)$/\\1/p" |
		sort -rV |
		while read -r release; do
			[ -z "$(field "$1" "linux-image-$release" Size)" ] || {
				echo "$release"
				break
			}
		done
}

# What a kernel's image and headers are made of: of late the image's package is
# empty, and needs two others.
kernel_packages() {
	local state=$1 release=$2 pkg
	for pkg in "linux-image-$release" "linux-headers-$release"; do
		echo "$pkg"
		field "$state" "$pkg" Depends |
			grep -oE 'linux-(base|binary|modules|kbuild|headers)-[^ ,]*' || true
	done
}

# kernel VERSION[@SUITE] FLAVOUR: build/kernels/VERSION[@SUITE]-FLAVOUR. In its file
# `release` is what uname -r says there, `build` is the folder of its headers, which
# name the place where they are to be.
kernel() {
	local version=${1%@*} flavour=$2 dir=$build/kernels/$1-$2 state=amd64
	local release pkg deb
	[ ! -e "$dir" ] || return 0
	case $1-$2 in
	*@*) state=${1#*@} ;;
	*-686*) state=i386 ;;
	esac
	private_index "$state"
	release=$(release "$state" "$version" "$flavour")
	[ -n "$release" ] || no_package "$state" "linux-headers-$version...-$flavour"
	rm -rf "$dir.part"
	mkdir -p "$dir.part"
	for pkg in $(kernel_packages "$state" "$release"); do
		deb=$(fetch "$state" "$pkg")
		dpkg-deb -x "$deb" "$dir.part"
	done
	[ -e "$dir.part/lib" ] || ln -s usr/lib "$dir.part/lib"
	mkdir -p "$dir.part/boot"
	[ -e "$dir.part/boot/vmlinuz-$release" ] ||
		ln "$dir.part/lib/modules/$release/vmlinuz" \
			"$dir.part/boot/vmlinuz-$release"
	ln -s "usr/src/linux-headers-$release" "$dir.part/build"
	sed -i "s,/usr/src/,$dir/usr/src/," "$dir.part/build/Makefile"
	depmod -b "$dir.part" "$release"
	echo "$release" >"$dir.part/release"
	mv -T "$dir.part" "$dir"
}

# chroot_of SUITE: build/suites/SUITE, with what compiles a module there, and
# trixie's with the QEMU that newer kernels want below them, and with a crash that knows
# the lab's kernel
chroot_of() {
	local suite=${1%-backports} dir mirror with=gcc,make,kmod,xz-utils,pahole
	dir=$build/suites/$suite
	[ "$suite" != trixie ] || with+=,qemu-system-x86,crash
	! grep -qxF "$with" "$dir/with" 2>/dev/null || return 0
	[ "$(id -u)" = 0 ] || die "a chroot of $suite: only root can make it"
	install_missing debootstrap
	mirror=$(mirror)
	say "making a chroot of $suite..."
	rm -rf "$dir.part"
	mkdir -p "$dir.part"
	# Mounts of its own, so that none is left when it is killed
	unshare --mount debootstrap --variant=minbase --keyring="$keyring" --include="$with" \
		"$suite" "$dir.part" "$mirror" >"$dir.log" 2>&1 ||
		die "debootstrap of $suite failed: see $dir.log"
	echo "$with" >"$dir.part/with"
	rm -rf "$dir"
	mv -T "$dir.part" "$dir"
}

# busybox NAME ARCHITECTURE: build/busybox/NAME
busybox() {
	local dir=$build/busybox/$1 deb
	[ ! -e "$dir" ] || return 0
	private_index "$2"
	deb=$(fetch "$2" busybox-static)
	unpack "$deb" "$dir.part"
	mv -T "$dir.part" "$dir"
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
	mv -T "$tree.part" "$tree"
}

# Any version but the lab's own
kernel_of_version() {
	chroot_of trixie
	case $1 in *@*) chroot_of "${1#*@}" ;; esac
	kernel "$1" amd64
}

mapfile -t versions < <(sed '/^#/d' "$top/tools/kernels")
lab=${versions[0]}

# --- what was asked for ------------------------------------------------------

sets=("$@")
[ ${#sets[@]} -gt 0 ] || sets=(all)
packages=()
for set in "${sets[@]}"; do
	case $set in
	module | user | kunit | lab | style | budget | fuzz | bench | intel | \
		completion | matrix | deb) ;;
	[0-9]*) ;;
	all)
		sets+=(module user kunit lab style budget fuzz intel completion)
		;;
	--mirror)
		mirror
		exit
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

# One at a time: of two, one would take away what the other is making.
mkdir -p "$build"
exec 9>"$build/setup.lock"
flock -n 9 || {
	say "waiting for another setup.sh..."
	flock 9
}
for set in "${sets[@]}"; do
	case $set in
	module) kernel "$lab" amd64 ;;
	kunit) source_tree ;;
	matrix)
		for version in "${versions[@]}"; do
			kernel_of_version "$version"
		done
		;;
	[0-9]*) kernel_of_version "$set" ;;
	lab)
		kernel "$lab" amd64
		kernel "$lab" 686
		kernel "$lab" 686-pae
		busybox amd64 amd64
		busybox i686 i386
		;;
	style)
		kernel "$lab" amd64
		source_tree
		;;
	esac
done
