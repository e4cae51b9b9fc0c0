# SPDX-License-Identifier: GPL-2.0-only
#
#   make demo     boot two real guests, resolve their addresses, show it
#   make test     style checks, KUnit, and the tests on live guests
#   make test-sanitize  KUnit and the lab's on a kernel with KASAN, lockdep...
#   make deb      Debian packages: module (DKMS), tool, library
#   make bench    how fast it is, beside what else there is
#
# Each target installs and fetches what it needs (tools/setup.sh). What is
# built and fetched is in build/.

ifneq ($(words $(CURDIR)),1)
$(error kbuild cannot build in a path with blanks: $(CURDIR))
endif
B := $(CURDIR)/build
SETUP := tools/setup.sh

# The kernel that `make module` builds for: the folder of its headers, or a version
# of tools/kernels; by default the lab's own. With KDIR nothing is fetched. That of
# the environment, which many have for modules of theirs, is not looked at.
KDIR :=

all: module tools ## vmem.ko and the tools

# An external module is built where its sources are, so it gets a folder of
# links, and the tree stays clean. The folder bears the kernel's release.
module: $(if $(KDIR),,lab-module) ## vmem.ko for the lab's kernel, or for KDIR=: headers, or a version
	$(if $(KDIR),@tools/module.sh "$(KDIR)" "$(B)/module")

lab-module:
	@$(SETUP) module
	@tools/module.sh "" "$(B)/module"

vmemctl: ## the library and vmemctl alone, with what is installed
	@$(MAKE) --no-print-directory -s -C tools/libvmem O="$(B)"
	@$(MAKE) --no-print-directory -s -C tools/vmemctl O="$(B)"

tools: ## vmemctl and the test programs
	@$(SETUP) user
	@$(MAKE) --no-print-directory -s vmemctl
	@$(MAKE) --no-print-directory -s -C samples O="$(B)"
	@$(MAKE) --no-print-directory -s -C tools/selftest O="$(B)"
	@$(MAKE) --no-print-directory -s -C tools/bench O="$(B)" all lab
	@$(MAKE) --no-print-directory -s -C tools/fuzz O="$(B)" ioctl

# Where `make install` puts the library, the tool and their man pages; DESTDIR
# goes in front of it for a package. A relative one is from here.
PREFIX ?= /usr/local
DESTDIR ?=
dest = $(if $(DESTDIR),$(shell realpath -m "$(DESTDIR)"))

install: ## libvmem, vmemctl, the Python package, man pages and headers, to PREFIX
	@$(MAKE) --no-print-directory -s -C tools/libvmem O="$(B)" install \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"
	@$(MAKE) --no-print-directory -s -C tools/vmemctl O="$(B)" install \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"
	@$(MAKE) --no-print-directory -s -C tools/python install \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"

uninstall: ## what `make install` put there with this PREFIX, LIBDIR and DESTDIR
	@$(MAKE) --no-print-directory -s -C tools/libvmem uninstall \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"
	@$(MAKE) --no-print-directory -s -C tools/vmemctl uninstall \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"
	@$(MAKE) --no-print-directory -s -C tools/python uninstall \
		PREFIX="$(PREFIX)" DESTDIR="$(dest)"

sanitizer: ## a kernel with KASAN, UBSAN, lockdep, kmemleak, and vmem.ko for it
	@$(SETUP) kunit
	@kunit/run --sanitizer --build

demo: lab-module tools ## boot both guests in the lab and show what vmemctl sees
	@$(SETUP) lab
	@tools/lab/lab run --guest amd64 --guest i686 -- tools/lab/demo

lab: lab-module tools ## a shell in the lab, beside both guests
	@$(SETUP) lab
	@tools/lab/lab shell --guest amd64 --guest i686

kunit: ## the KUnit suites, by the kernel's kunit.py on QEMU
	@$(SETUP) kunit
	@kunit/run

style: ## clang-format, checkpatch, sparse, W=1, kernel-doc, shellcheck
	@$(SETUP) module user style
	@tools/style.sh

bench: lab-module tools ## how fast, as ratios: natively and in the lab
	@$(SETUP) lab bench
	@mkdir -p $(B)/bench
	@tools/bench/bench --json $(B)/bench/samples.json --plot $(B)/bench

# How long for each target, and how many calls of the device by each thread.
FUZZ_SECONDS ?= 600
FUZZ_CALLS ?= 200000

fuzz: tools sanitizer ## the core for FUZZ_SECONDS each, the device on that kernel
	@$(SETUP) lab fuzz
	@tools/fuzz/fuzz --seconds $(FUZZ_SECONDS) --coverage
	@VMEM_CALLS=$(FUZZ_CALLS) tools/lab/lab run --timeout 86400 \
		--kernel build/sanitizer/arch/x86/boot/bzImage -- \
		build/bin/fuzz-ioctl

test: ## everything that CI runs
	@$(SETUP) kunit
	@$(MAKE) --no-print-directory -j2 test-kernel test-programs
	@tools/test.py

# It takes one processor, most of the time, to fetch and build the rest.
test-kernel:
	@kunit/run --build

test-programs:
	@$(SETUP) all 6.12
	@$(MAKE) --no-print-directory lab-module
	@$(MAKE) --no-print-directory tools
	@tools/module.sh "" "$(B)/module" --tests
	@tools/module.sh 6.12 "$(B)/module" --tests
	@$(MAKE) --no-print-directory -s -C tools/vmemctl san O="$(B)"

test-sanitize: tools sanitizer ## KUnit and the lab's tests on that kernel
	@$(SETUP) lab
	@$(MAKE) --no-print-directory -s -C tools/vmemctl san O="$(B)"
	@tools/test.py --sanitize

intel: lab-module tools ## KVM on Intel, in Bochs: tests, and a guest with vmemctl
	@$(SETUP) lab intel
	@tools/lab/intel --timeout 5400 --with build/bin/vmemctl -- \
		env VMEM_TRANSLATIONS=2000 VMEM_STATES=200 VMEM_JUDGE_CASES=5000 \
		tools/selftest/run build/bin/vmm build/bin/uapi \
		build/bin/restore build/bin/torn build/bin/pages build/bin/judge
	@tools/lab/intel --mb 1536 --guest

matrix: tools ## tests on each kernel of tools/kernels, into docs/kernels.md
	@$(SETUP) all matrix
	@tools/matrix.py

deb: ## packages of what is committed, in build/deb, and what lintian says
	@$(SETUP) user deb
	@packaging/deb "$(B)/deb"
	@lintian $(B)/deb/*.changes

deb-try: ## packages of a fresh bookworm and a fresh trixie, in the lab
	@$(SETUP) deb lab 6.12
	@packaging/try bookworm "$(B)/deb/try"
	@packaging/try trixie "$(B)/deb/try"

clean: ## remove what was built; downloads and unpacked kernels stay
	rm -rf $(B)/module $(B)/bin $(B)/lib $(B)/obj $(B)/kunit $(B)/sanitizer \
		$(B)/lab $(B)/bench $(B)/deb $(B)/fuzz/seeds $(B)/fuzz/cover

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST))

.PHONY: all module lab-module vmemctl tools install uninstall sanitizer demo lab kunit style \
	bench fuzz test test-kernel test-programs test-sanitize intel matrix deb deb-try clean help
