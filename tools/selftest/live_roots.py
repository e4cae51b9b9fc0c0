#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The address spaces of a guest, found in its memory.

The guest's own account is what its kernel told of each space that began and ended. It
stands still meanwhile, so that what is put into its memory to mislead vmem can be taken
out again before it notices.
"""

import collections
import contextlib
import ctypes
import os
import random
import re
import subprocess
import sys
import time

import lablib
import live_spaces
import tap

PAGE = lablib.PAGE
USED = ("vcpu", "user")

# So many processes come, do nothing and go, and so many stay.
GONE = 1000
STAY = 100

# What the guest's kernel tells: a new space, its root, and the end of one. The thread is
# the one that asked for it.
TOLD = re.compile(r".*-(\d+) +\[\d+\].* (new|root|end): .*=0x([0-9a-f]+)$")

# A file of one page, which no process maps
DECOY = "/decoy"

# KSM looks at all memory within this, or the test has failed.
KSM = "/sys/kernel/mm/ksm/"
KSM_SECONDS = 300

# The host's khugepaged puts large pages where a process's memory has holes, unless
# none are wanted.
LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"

ZRAM = "/dev/zram0"
SYS_PROCESS_MADVISE = 440
MADV_PAGEOUT = 21


def resident(guest, base):
    """What of the memory that QEMU has for the guest at @base the host has in memory,
    by kind, in kB"""
    with open("/proc/%d/smaps" % guest.pid, encoding="utf-8") as file:
        for area in re.split(r"^(?=[0-9a-f]+-)", file.read(), flags=re.M)[1:]:
            start, end = re.match("([0-9a-f]+)-([0-9a-f]+)", area).groups()
            if int(start, 16) <= base < int(end, 16):
                return dict(re.findall(r"^(Rss|P\w+|A\w+|Swap):\s+(\d+)", area,
                                       re.M))
    raise lablib.LabError("QEMU has no memory at %#x" % base)


def put(path, value):
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(value))


def get(path):
    with open(path, encoding="utf-8") as file:
        return int(file.read())


def page_out(pid, base, length):
    """Has the host swap memory of a process out."""
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_uint64), ("length", ctypes.c_uint64)]

    process = os.pidfd_open(pid)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(SYS_PROCESS_MADVISE, process,
                        ctypes.byref(Vector(base, length)), ctypes.c_uint64(1),
                        MADV_PAGEOUT, 0)
    os.close(process)
    if done < 0:
        raise OSError(ctypes.get_errno(), "process_madvise")


def search(guest, options=()):
    """(all that `roots` finds by root, the whole answer)"""
    answer = lablib.json_of(guest, list(options), "roots")
    return ({lablib.number(row["root"]): row for row in answer["roots"]},
            answer)


def living(guest):
    """The roots of the spaces that have begun and not ended"""
    roots, asked = {}, {}
    for line in guest.text("spaces").splitlines():
        match = TOLD.match(line)
        if not match:
            raise lablib.LabError("the guest's kernel told: " + line)
        thread, what, address = match[1], match[2], int(match[3], 16)
        if what == "new":
            asked[thread] = address
        elif what == "root":
            roots[asked.pop(thread)] = guest.kernel_gpa(address)
        else:
            roots.pop(address, None)        # the first one's, from before
    return set(roots.values())


def used(found):
    return {root for root, row in found.items() if row["class"] in USED}


def hexes(roots):
    return sorted("%#x" % root for root in roots)


class Roots(lablib.GuestTest):
    """The guest stands still."""

    def __init__(self, method, guest, stopped, user_page):
        super().__init__(method, guest)
        self.stopped = stopped
        self.user_page = user_page
        self.want = living(guest)
        self.twins = guest.name.endswith("-pti")
        self.here = stopped.registers.root & ~(PAGE if self.twins else 0)

    @contextlib.contextmanager
    def overwritten(self, gpa, data):
        """Guest memory holds something else meanwhile."""
        at = self.stopped.ram.base + gpa
        with open("/proc/%d/mem" % self.guest.pid, "r+b", buffering=0) as mem:
            before = os.pread(mem.fileno(), len(data), at)
            os.pwrite(mem.fileno(), data, at)
            try:
                yield
            finally:
                os.pwrite(mem.fileno(), before, at)

    def root_page(self, root):
        """The page that a root is in"""
        return self.stopped.ram.page(root & -PAGE)

    def check(self, found):
        self.assertEqual(hexes(used(found)), hexes(self.want))

    def some_root(self):
        """One that is not on the vCPU"""
        return max(self.want - {self.here})

    def test_found(self):
        """each process's root is found, and nothing else is said to be one"""
        base = self.stopped.ram.base
        with open(LARGE_PAGES, encoding="utf-8") as file:
            self.addCleanup(put, LARGE_PAGES, re.search(r"\[(\w+)\]", file.read())[1])
        put(LARGE_PAGES, "never")
        before = resident(self.guest, base)
        begin = time.monotonic()
        found, answer = search(self.guest)
        seconds = time.monotonic() - begin
        self.assertEqual(resident(self.guest, base), before)
        self.assertIn("Rss", before)
        self.check(found)
        vcpu, = [root for root, row in found.items() if row["class"] == "vcpu"]
        self.assertEqual(vcpu, self.here)
        self.assertEqual({root for root, row in found.items()
                          if row["class"] == "twin"},
                         {root + PAGE for root in self.want if self.twins})
        tap.diagnostic("%d processes' roots and %d others; %d MiB read, %d MiB not there" % (
            len(self.want), len(found) - len(self.want), answer["read_bytes"] >> 20,
            answer["untouched_bytes"] >> 20))
        tap.diagnostic("%.0f s for each GiB, %.1f times as long as it takes to read it" % (
            seconds * (1 << 30) / answer["read_bytes"],
            seconds / self.seconds_to_read(answer["read_bytes"])))

    def test_merged(self):
        """what KSM has merged stays so"""
        merged = "/proc/%d/ksm_merging_pages" % self.guest.pid
        put(KSM + "pages_to_scan", 100000)
        until = get(KSM + "full_scans") + 3
        end = time.monotonic() + KSM_SECONDS
        put(KSM + "run", 1)
        while get(KSM + "full_scans") < until:
            self.assertLess(time.monotonic(), end, "KSM does not get on")
            time.sleep(0.2)
        put(KSM + "run", 0)
        self.addCleanup(put, KSM + "run", 2)    # all are made private again
        before = get(merged)
        self.check(search(self.guest)[0])
        tap.diagnostic("%d pages are merged" % before)
        self.assertGreater(before, 100)
        self.assertEqual(get(merged), before)

    def test_swapped_out(self):
        """what is swapped out stays there, but for tables of roots that do not"""
        base = self.stopped.ram.base
        subprocess.run("modprobe -q zram && echo 512M >/sys/block/zram0/disksize &&"
                       " mkswap %s && swapon %s" % (ZRAM, ZRAM), shell=True,
                       check=True, stdout=subprocess.DEVNULL)
        self.addCleanup(put, "/sys/block/zram0/reset", 1)
        self.addCleanup(subprocess.run, ["swapoff", ZRAM], check=True)
        page_out(self.guest.pid, base, self.guest.system_ram[-1][1] // 2 & -PAGE)
        before = resident(self.guest, base)
        found, answer = search(self.guest)
        after = resident(self.guest, base)
        tap.diagnostic("%s before, %s after; %d MiB read; %d roots of %d" % (
            before, after, answer["read_bytes"] >> 20, len(used(found)),
            len(self.want)))
        self.assertLessEqual(used(found), self.want)

    def seconds_to_read(self, size):
        """What it takes to read so much of guest memory, in large pieces"""
        piece, last = 1 << 20, self.guest.system_ram[-1][1]
        begin = time.monotonic()
        for at in range(0, size, piece):
            self.stopped.ram.page(at % (last - piece) & -PAGE, piece)
        return time.monotonic() - begin

    def test_by_cr3(self):
        """any process's root leads to all others"""
        found, _ = search(self.guest,
                          self.stopped.registers.options(cr3=self.some_root()))
        self.check(found)

    def test_all(self):
        """--all is the spaces of all processes"""
        out = lablib.json_of(self.guest, ["--all"], "spaces",
                             "0", "0xffff")["spaces"]
        self.assertEqual(hexes(lablib.number(space["root"]) for space in out),
                         hexes(self.want))

    def test_copy_in_user_memory(self):
        """a copy in a page of a process's is not taken for a root"""
        root = self.some_root()
        gpa = self.user_page
        with self.overwritten(gpa, self.root_page(root)):
            found, _ = search(self.guest)
        self.check(found)
        self.assertEqual(found[gpa + root % PAGE]["class"], "copy")

    def decoy(self):
        """The page of memory that the file DECOY is in"""
        start = b"vmem decoy %d " % self.guest.pid
        for first, last in self.guest.system_ram:
            for gpa in range(first & -PAGE, last, PAGE):
                page = self.stopped.ram.page(gpa)
                if page.startswith(start) and page == page[:len(start)] * (
                        PAGE // len(start)) + page[:PAGE % len(start)]:
                    return gpa
        self.fail("the guest has no page of %s" % DECOY)

    def test_copy_elsewhere(self):
        """a copy that no process can reach is told from the root by the kernel's
        pointers"""
        root = self.some_root()
        decoy = self.decoy()
        with self.overwritten(decoy, self.root_page(root)):
            found, _ = search(self.guest)
        copy = found[decoy + root % PAGE]
        if copy["pointers"]:
            # The kernel's own, from when it wrote the file: it cannot be told
            self.assertEqual(hexes(used(found)), hexes(self.want - {root}))
            self.assertEqual((copy["class"], found[root]["class"]),
                             ("unclear", "unclear"))
        else:
            self.check(found)
            self.assertEqual((copy["class"], lablib.number(copy["of_root"])),
                             ("copy", root))
        tap.diagnostic("%d pointers to the root, %d to the copy" % (
            found[root]["pointers"], copy["pointers"]))

    def test_random_tables(self):
        """a page of random entries, with some of the kernel's, is none"""
        root = self.some_root()
        page = self.root_page(root)
        other = os.urandom(PAGE)
        with self.overwritten(self.decoy(), other[:PAGE * 7 // 8] +
                              page[PAGE * 7 // 8:]):
            found, _ = search(self.guest)
        self.check(found)


    def test_who(self):
        """who is the inversion of the maps of every space"""
        roots = sorted(self.want)[:6]
        options = self.stopped.registers.options()
        options[options.index("--cr3") + 1] = ",".join(hexes(roots))
        last = 0xffffffff
        if self.guest.arch == "amd64":          # what is above has 65,536 pages
            last = 0xfffffeffffffffff
            options += ["--exclude", "%x-ffffffffffffffff" % (last + 1)]
        pages = {root: {page.va: page for page in lablib.pages_of(lablib.maps(
            self.guest, self.stopped.registers.options(cr3=root), 0, last))}
            for root in roots}
        spread = collections.Counter(
            page.gpa for space in pages.values() for page in space.values())
        asked = random.Random(1).sample(
            sorted(gpa for gpa, places in spread.items() if places < 100),
            40) + [1 << 38]
        out = lablib.json_of(self.guest, options, "who",
                             *("%#x" % (gpa + 5) for gpa in asked))["pages"]
        size = 4 << 20                          # no page here is larger
        at = collections.defaultdict(list)
        for root, space in pages.items():
            for page in space.values():
                at[page.gpa & -size].append((root, page))
        places = 0
        for gpa, answer in zip(asked, out):
            got = self.expanded(answer["places"])
            want = {(root, page.va + gpa - page.gpa + 5)
                    for root, page in at[gpa & -size]
                    if page.gpa <= gpa < page.gpa + page.size}
            self.assertEqual(got, want, "%#x" % gpa)
            places += len(got)
        tap.diagnostic("%d pages in %d places of %d spaces, one in %d" % (
            len(asked), places, len(roots),
            max(spread[gpa] for gpa in asked)))

    def expanded(self, places):
        """All (root, address), with what references add"""
        number = lablib.number
        found = {(number(place["root"]), number(place["va"]))
                 for place in places if not place["by"]}
        more = True
        while more:
            more = {(number(place["root"]), va - number(by["owner_va"]) +
                     number(by["va"]))
                    for place in places if (by := place["by"])
                    for root, va in found if root == number(by["owner_root"])
                    if 0 <= va - number(by["owner_va"]) < by["len"]} - found
            found |= more
        return found


def test_guest(guest, words):
    guest.run("for i in $(seq %d); do sleep 100000 >/dev/null 2>&1 & done" % STAY)
    guest.run("for i in $(seq %d); do (:); done" % GONE)
    guest.run("yes 'vmem decoy %d ' | tr -d '\\n' | head -c %d >%s"
              % (guest.pid, PAGE, DECOY))
    user_page, = (gpa for pid, _, gpa in live_spaces.stacks(guest)
                  if pid == guest.worker)
    with guest.in_worker(settled="spaces") as stopped:
        return live_spaces.run(
            live_spaces.cases(Roots, guest, stopped, user_page), words)


def main():
    return max(test_guest(guest, sys.argv[1:]) for guest in lablib.guests())


if __name__ == "__main__":
    tap.main(main)
