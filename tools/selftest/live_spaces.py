#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Many spaces of a running guest in one walk: its processes' page tables.

The roots are found without vmem: a process's root maps its stack where the
guest's pagemap says, and its half of kernel addresses is that of any other.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

import lablib
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))

# At least this many processes besides those that the guest starts with
PROCESSES = {"amd64": 40, "i686": 12}

# Bytes of memory that are looked through at once
PIECE = 1 << 20

# The first address of the kernel's half
KERNEL_HALF = {"4-level": 0xffff800000000000, "5-level": 0xff00000000000000,
               "2-level": 0xc0000000, "pae": 0xc0000000}

# Each process with the last page of its stack, and pagemap's word on that, in
# two halves
STACKS = r"""
for dir in /proc/[0-9]*; do
    stack=$(grep -F '[stack]' $dir/maps) || continue
    end=${stack#*-}
    page=$((0x${end%% *} / 4096 - 1))
    echo ${dir#/proc/} $page \
        $(dd if=$dir/pagemap bs=8 skip=$page count=1 2>/dev/null |
          od -An -tx4)
done
"""


class Roots:
    """CR3 of each of a stopped guest's processes."""

    def __init__(self, guest, stopped, stacks):
        self.registers = stopped.registers
        self.format = guest.format
        self.ram = stopped.ram
        self.system_ram = guest.system_ram
        self.candidates = list(self.find(guest))
        self.cr3 = {pid: cr3 for pid, page, gpa in stacks
                    for cr3 in self.candidates
                    if self.translate(cr3, page * lablib.PAGE) == gpa}

    def find(self, guest):
        """What in RAM may be a root table: its kernel half is that of one that is
        known. A page holds 128 of PAE paging's, and one of any other's."""
        shift = self.format.levels[0][1]
        size = self.format.table_size(shift)
        half = self.offset(KERNEL_HALF[guest.mode], shift)
        root = self.registers.root
        if guest.name == "amd64-pti":
            root &= ~lablib.PAGE                # where it is in kernel mode
        known = self.ram.page(root, size)[half:]
        for first, last in self.system_ram:
            first &= -lablib.PAGE
            for gpa in range(first, last, PIECE):
                piece = self.ram.page(gpa, min(PIECE, (last | lablib.PAGE - 1) +
                                               1 - gpa))
                at = -1
                while (at := piece.find(known, at + 1)) >= 0:
                    if at % size == half:
                        yield gpa + at - half

    def offset(self, va, shift):
        """Where in a table of a level the entry of an address is."""
        return (va >> shift) % self.format.entries(shift) * \
            struct.calcsize(self.format.entry)

    def translate(self, cr3, va):
        """Of a 4 KiB page; None if it is not mapped by one."""
        gpa = cr3
        for _, shift in self.format.levels:
            if not any(first <= gpa <= last for first, last in self.system_ram):
                return None                     # no root, but what was one
            size = self.format.table_size(shift)
            entry, = struct.unpack_from(self.format.entry,
                                        self.ram.page(gpa, size),
                                        self.offset(va, shift))
            if not entry & lablib.PRESENT:
                return None
            gpa = entry & self.format.address
        return gpa


def stacks(guest):
    """(pid, page number, guest-physical address) of each stack's last page."""
    for line in guest.run(STACKS).splitlines():
        pid, page, low, high = line.split()
        entry = int(low, 16) | int(high, 16) << 32
        if entry & lablib.PAGEMAP_PRESENT:
            yield (int(pid), int(page),
                   (entry & (1 << 55) - 1) * lablib.PAGE)


class Spaces(lablib.GuestTest):
    """The guest stands still meanwhile; `setup` finds the roots once."""

    def __init__(self, method, guest, stopped, roots):
        super().__init__(method, guest)
        self.registers = stopped.registers
        # A shell and a child of it that has run nothing yet look the same
        self.roots = sorted(set(roots.cr3.values()))

    def options(self, roots):
        """vmemctl's options for these roots."""
        words = self.registers.options()
        at = words.index("--cr3")
        return [*words[:at + 1], ",".join("%#x" % cr3 for cr3 in roots),
                *words[at + 2:]]

    def test_enough_processes(self):
        """the roots of its processes are found"""
        tap.diagnostic("%d roots" % len(self.roots))
        self.assertGreaterEqual(len(self.roots), PROCESSES[self.guest.arch])

    def test_references_followed(self):
        """all spaces in one walk are, references followed, each space alone"""
        registers = self.registers
        words = [str(self.guest.pid), vm_fd(self.guest.pid), registers.cr0,
                 registers.cr4, registers.efer, registers.maxphyaddr,
                 *self.roots]
        done = subprocess.run(
            [os.path.join(TOP, "build/bin/sharing"), *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            check=False)
        tap.diagnostic(done.stdout)
        self.assertEqual(done.returncode, 0)

    def test_contract(self):
        """spaces -j has the fields that it is to have"""
        out = lablib.json_of(self.guest, self.options(self.roots[:3]),
                             "spaces")
        self.assertEqual([(space["space"], lablib.number(space["root"]))
                          for space in out["spaces"]],
                         list(enumerate(self.roots[:3])))
        for space in out["spaces"]:
            self.assertIsNone(space["same_as"])
            self.assertLessEqual({row["type"] for row in space["rows"]},
                                 {"mapping", "reference", "anomaly"})
        self.assertTrue(lablib.of_type("reference", out["spaces"][2]["rows"]))

    def test_root_given_twice(self):
        """a root given twice is an alias of the first"""
        first, second = self.roots[:2]
        out = lablib.json_of(self.guest, self.options([first, first, second]),
                             "spaces")["spaces"]
        self.assertEqual([space["same_as"] for space in out], [None, 0, None])
        self.assertEqual(out[1]["rows"], [])
        self.assertIn((0, first), {
            (row["owner_space"], lablib.number(row["owner_root"]))
            for row in lablib.of_type("reference", out[2]["rows"])})

    def test_kernel_half(self):
        """the kernel's half of each space is references to the first"""
        base = KERNEL_HALF[self.guest.mode]
        out = lablib.json_of(self.guest, self.options(self.roots), "spaces",
                             "%#x" % base, "0xffffffffffffffff")["spaces"]
        references = 0
        for space in out[1:]:
            # A large page is no table, and cannot be shared as one
            for row in lablib.of_type("mapping", space["rows"]):
                self.assertGreater(row["page_size"], lablib.PAGE, row)
            for row in lablib.of_type("reference", space["rows"]):
                self.assertEqual((row["owner_space"],
                                  lablib.number(row["owner_root"])),
                                 (0, self.roots[0]))
                self.assertEqual(row["va"], row["owner_va"])
                references += 1
        tap.diagnostic("%d references in %d spaces" % (references,
                                                       len(out) - 1))
        self.assertGreaterEqual(references, len(out) - 1)

    def test_owner(self):
        """vtop in several spaces names the owner of what is shared"""
        va = self.guest.banner if self.guest.arch == "amd64" else \
            self.small_kernel_page()
        out = lablib.json_of(self.guest, self.options(self.roots[:3]), "vtop",
                             "%#x" % va)
        rows = [space["rows"][0] for space in out["spaces"]]
        owner = 0, "%#x" % self.roots[0], "%#x" % va
        self.assertEqual([(row["owner_space"], row["owner_root"],
                           row["owner_va"]) for row in rows],
                         [(None, None, None), owner, owner])
        self.assertEqual(len({row["gpa"] for row in rows}), 1)

    def small_kernel_page(self):
        """A kernel address that is mapped by a PT."""
        rows = lablib.maps(self.guest, self.registers.options(),
                           0xc0000000, 0xffffffff)
        return next(page.va for page in lablib.pages_of(rows)
                    if page.size == lablib.PAGE)

    def test_pictures(self):
        """the pictures have the numbers of aliases, and are kept: see README.md"""
        words = ["-p", str(self.guest.pid), *self.options(self.roots)]
        told = lablib.vmemctl_ok(*words, "aliases").decode()
        drawn = lablib.vmemctl_ok(*words, "graph").decode()
        tables, spaces, references = (
            sum(map(int, re.findall(pattern, drawn, re.M))) for pattern in
            (r"^.tables .* \[tables=(\d+)", r"^.spaces .* \[spaces=(\d+)",
             r"^.tables .* \[.* references=\"(\d+)"))
        self.assertEqual(spaces, len(self.roots))
        self.assertIn("\n%d shared table" % tables, "\n" + told)
        self.assertRegex(told, r"total: %d spaces.* %d reference" % (spaces,
                                                                   references))
        for name, options in (("spaces", words),
                              ("map", [*self.target, *self.registers.options()])):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "%s-%s.svg" % (name, self.guest.name))
                lablib.vmemctl_ok(*options, "graph", "-o", path)
                xml.etree.ElementTree.parse(path)
                shutil.copy(path, os.environ["VMEM_LAB_OUT"])

    def test_aliases(self):
        """the most shared table, and what it would expand to"""
        tables = lablib.json_of(self.guest, self.options(self.roots[:1]),
                                "aliases")["tables"]
        if self.guest.arch == "i686":
            tap.diagnostic("%d shared tables in one space" % len(tables))
            return
        # ESPFIX: one PT in every entry of a PD, which is in several of a PDPT
        table, directory = tables[:2]
        paths = (len(table["references"]) + 1) * \
            (len(directory["references"]) + 1)
        tap.diagnostic("%s %s at %s: %d references, and %d to the %s that it "
                       "is in: %d paths to %d leaves" % (
                           table["level"], table["table_gpa"],
                           table["owner_va"], len(table["references"]),
                           len(directory["references"]), directory["level"],
                           paths, table["leaves"]))
        self.assertEqual((table["level"], directory["level"]), ("PT", "PD"))
        self.assertEqual(lablib.number(table["owner_va"]),
                         lablib.number(directory["owner_va"]))
        self.assertGreaterEqual(paths, 2000)
        self.assertEqual(lablib.number(table["owner_va"]) >> 39,
                         0xffffff0000000000 >> 39)


def vm_fd(pid):
    """Which of a process's descriptors is its VM."""
    folder = "/proc/%d/fd" % pid
    return next(fd for fd in os.listdir(folder)
                if os.readlink(os.path.join(folder, fd)) == "anon_inode:kvm-vm")


def start_processes(guest):
    """Processes that do nothing, besides those that the guest starts with, unless
    another program has started them"""
    guest.run("mkdir /sleepers 2>/dev/null || exit 0; "
              "for i in $(seq %d); do sleep 100000 >/dev/null 2>&1 & done"
              % PROCESSES[guest.arch])


def cases(case, *args):
    """All tests of a class"""
    return [case(name, *args) for name in
            unittest.TestLoader().getTestCaseNames(case)]


def run(tests, words):
    """Runs the tests, or those with one of the words in their names."""
    return tap.run(unittest.TestSuite(
        test for test in tests
        if not words or any(word in test.id() for word in words)))


def test_guest(guest, words):
    """Runs the tests on one guest, which is stopped for them."""
    start_processes(guest)
    told = list(stacks(guest))
    with guest.in_worker() as stopped:
        roots = Roots(guest, stopped, told)
        return run(cases(Spaces, guest, stopped, roots), words)


def main():
    return max(test_guest(guest, sys.argv[1:]) for guest in lablib.guests())


if __name__ == "__main__":
    tap.main(main)
