#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The address spaces of a guest, found in its memory.

The guest's own account are its processes' roots, each told by where its stack is. It
stands still meanwhile, so that what is put into its memory to mislead vmem can be taken
out again before it notices.
"""

import collections
import contextlib
import os
import random
import re
import sys

import lablib
import live_spaces
import tap

PAGE = lablib.PAGE
USED = ("vcpu", "user")

# So many processes come, do nothing and go.
GONE = 300

# A file of one page, which no process maps
DECOY = "/decoy"


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


def search(guest, options=()):
    """(all that `roots` finds by root, the whole answer)"""
    answer = lablib.json_of(guest, list(options), "roots")
    return ({lablib.number(row["root"]): row for row in answer["roots"]},
            answer)


def used(found):
    return {root for root, row in found.items() if row["class"] in USED}


def hexes(roots):
    return sorted("%#x" % root for root in roots)


class Roots(lablib.GuestTest):
    """The guest stands still."""

    def __init__(self, method, guest, stopped, roots):
        super().__init__(method, guest)
        self.stopped = stopped
        self.told = roots
        self.want = set(roots.cr3.values())
        self.twins = guest.name == "amd64-pti"
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
        before = resident(self.guest, base)
        found, answer = search(self.guest)
        self.assertEqual(resident(self.guest, base), before)
        self.assertIn("Rss", before)
        self.check(found)
        vcpu, = [root for root, row in found.items() if row["class"] == "vcpu"]
        self.assertEqual(vcpu, self.here)
        self.assertEqual({root for root, row in found.items()
                          if row["class"] == "twin"},
                         {root + PAGE for root in self.want if self.twins})
        tap.diagnostic("%d processes' roots and %d others; %d MiB read, %d MiB not there" % (
            len(self.want), len(found) - len(self.want), answer["read"] >> 20,
            answer["untouched"] >> 20))

    def test_by_cr3(self):
        """any process's root leads to all others"""
        found, _ = search(self.guest,
                          self.stopped.registers.options(cr3=self.some_root()))
        self.check(found)

    def test_all(self):
        """--all is the spaces of all processes"""
        out = lablib.json_of(self.guest, ["--all"], "spaces",
                             "0", "0xffff")["spaces"]
        self.assertEqual(hexes(lablib.number(space["space"]) for space in out),
                         hexes(self.want))

    def test_copy_in_user_memory(self):
        """a copy in a page of a process's is not taken for a root"""
        root = self.some_root()
        _, _, gpa = next(stack for stack in self.told.stacks
                         if stack[0] in self.told.cr3)
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
            self.assertEqual((copy["class"], lablib.number(copy["of"])),
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
        found = {(number(place["space"]), number(place["va"]))
                 for place in places if not place["by"]}
        more = True
        while more:
            more = {(number(place["space"]), va - number(by["their_va"]) +
                     number(by["our_va"]))
                    for place in places if (by := place["by"])
                    for space, va in found if space == number(by["space"])
                    if 0 <= va - number(by["their_va"]) < by["len"]} - found
            found |= more
        return found


def test_guest(guest, words):
    live_spaces.start_processes(guest)
    guest.run("for i in $(seq %d); do (:); done" % GONE)
    guest.run("yes 'vmem decoy %d ' | tr -d '\\n' | head -c %d >%s"
              % (guest.pid, PAGE, DECOY))
    told = list(live_spaces.stacks(guest))
    with guest.in_worker() as stopped:
        roots = live_spaces.Roots(guest, stopped, told, all_of_them=True)
        roots.stacks = told
        return live_spaces.run(
            live_spaces.cases(Roots, guest, stopped, roots), words)


def main():
    return max(test_guest(guest, sys.argv[1:]) for guest in lablib.guests())


if __name__ == "__main__":
    sys.exit(main())
