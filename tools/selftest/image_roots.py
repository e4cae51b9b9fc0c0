#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Roots, and who maps a page, in images of a kernel made up for it: in every mode, with
roots that were freed, copies of all kinds, and twins."""

import functools
import os
import random
import subprocess
import sys
import tempfile
import unittest

import answers
import images
import promises
import tap
from images import NX, P, PAGE, PS, U, W

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
VMEMCTL = os.path.join(TOP, "build/bin/vmemctl")
RAM = 8 << 20

# By --arch: bits of an index by level, root first; entry; where all memory is mapped
MODES = {
    "amd64": ((9, 9, 9, 9), "<Q", 0xffff888000000000),
    "amd64-la57": ((9, 9, 9, 9, 9), "<Q", 0xff11000000000000),
    "i686": ((10, 10), "<I", 0xc0000000),
    "i686-pae": ((2, 9, 9), "<Q", 0xc0000000),
}
USER_VA = 0x400000

GUESSED = ("vmemctl: warning: no root was known: the spaces are by a guess, see "
           "vmemctl roots\n")


class Kernel:
    """Memory of a guest, as its kernel keeps it"""

    def __init__(self, arch):
        self.arch = arch
        self.bits, entry, self.base = MODES[arch]
        self.memory = images.Memory(entry)
        self.is_long = arch.startswith("amd64")
        self.next = 0x10000
        self.random = random.Random(arch)
        self.fill(self.frame(), os.urandom(PAGE))
        self.words = self.frame()
        self.nr_words = 0
        self.root = self.new_root()
        large = PAGE << self.bits[-1]
        for gpa in range(0, RAM, large):        # all memory
            self.map(self.root, self.base + gpa, gpa | P | W | PS, large)
        if self.is_long:                        # and some more
            for index in range(300, 310):
                self.entry(self.root, index, self.frame() | P | W)

    def frame(self):
        self.next += PAGE
        return self.next - PAGE

    def fill(self, gpa, data):
        self.memory.fill(gpa, data)

    def entry(self, table, index, raw=None):
        """The entry of a table, which may begin anywhere in a page"""
        form = self.memory.entry
        at = table % PAGE + index * form.size
        page = self.memory.page(table & -PAGE)
        if raw is not None:
            form.pack_into(page, at, raw)
        return form.unpack_from(page, at)[0]

    def new_root(self):
        root = self.frame()
        if self.arch == "i686-pae":
            root += 32 * self.random.randrange(1, 100)
        return root

    @property
    def size(self):
        """Bytes of a root"""
        return self.memory.entry.size << self.bits[0]

    @property
    def split(self):
        """The first entry of the kernel half"""
        return 1 << self.bits[0] - 1 if self.is_long else \
            self.base >> sum(self.bits[1:]) + 12

    def va_of(self, index):
        """The first address that an entry of a root leads to"""
        return index << 12 + sum(self.bits[1:])

    def map(self, root, va, raw, size=PAGE):
        table = root
        shift = 12 + sum(self.bits)
        for bits in self.bits:
            shift -= bits
            index = va >> shift & (1 << bits) - 1
            if size >> shift:
                self.entry(table, index, raw)
                return
            if not self.entry(table, index):
                is_pdpte = self.arch == "i686-pae" and table == root
                self.entry(table, index,
                           self.frame() | (P if is_pdpte else P | W | U))
            table = self.entry(table, index) & 0xffffffffff & -PAGE

    def copy(self, root, to, halves="uk"):
        for index in range(1 << self.bits[0]):
            if ("k" if index >= self.split else "u") in halves:
                self.entry(to, index, self.entry(root, index))

    def word(self, value):
        """The next in a page of the kernel's"""
        size = 8 if self.is_long else 4
        start = size * self.nr_words
        self.memory.page(self.words)[start:start + size] = \
            value.to_bytes(size, "little")
        self.nr_words += 1

    def point_at(self, root, before=None):
        """As the kernel's account of a process has it"""
        if before is not None:
            self.word(before)
        self.word(self.base + root)

    def process(self, pages=5, root=None, pointed=True):
        """A space with pages of its own"""
        root = root or self.new_root()
        self.copy(self.root, root, "k")
        for page in range(pages):
            self.map(root, USER_VA + page * PAGE, self.frame() | P | W | U)
        if pointed:
            self.point_at(root)
        return root

    def user_page(self, root):
        table, shift = root, 12 + sum(self.bits)
        for bits in self.bits:
            shift -= bits
            table = self.entry(table, USER_VA >> shift & (1 << bits) - 1) & \
                0xffffffffff & -PAGE
        return table

    def image(self):
        self.memory.page(RAM - PAGE)
        return self.memory.raw()


def each_mode(test):
    """The test, in each mode"""
    @functools.wraps(test)
    def tests(self):
        for arch in MODES:
            with self.subTest(arch=arch):
                test(self, Kernel(arch))
    return tests


class Roots(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def ask(self, kernel, *words, error="", warning=""):
        path = os.path.join(self.folder.name, "image")
        with open(path, "wb") as file:
            file.write(kernel.image())
        done = subprocess.run(
            [VMEMCTL, "--image", path, "--arch", kernel.arch, "-j",
             *map(str, words)], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "vmemctl: %s\n" % error) if error else
                         (0, warning))
        return None if error else answers.whole(done.stdout)

    def classes(self, kernel, *words):
        """What is found: {root: (class, of)}"""
        answer = self.ask(kernel, *words, "roots")
        return {int(row["root"], 16):
                (row["class"], row["of_root"] and int(row["of_root"], 16))
                for row in answer["roots"]}

    def by(self, root):
        return "--cr3=%#x" % root

    def used(self, found):
        return {root for root, (kind, _) in found.items()
                if kind in ("vcpu", "user")}

    @each_mode
    def test_processes(self, kernel):
        """processes are told from roots without a user half"""
        processes = [kernel.process() for _ in range(4)]
        freed = [kernel.process(0) for _ in range(2)]
        want = {root: ("user", None) for root in processes}
        want |= {root: ("kernel", None) for root in [kernel.root, *freed]}
        for known in processes:
            self.assertEqual(self.classes(kernel, self.by(known)),
                             want | {known: ("vcpu", None)})

    @each_mode
    def test_copy_that_user_mode_reaches(self, kernel):
        """a copy in a process's page is none, whatever points to it"""
        first, second = kernel.process(), kernel.process()
        copy = kernel.user_page(second)
        kernel.copy(first, copy)
        kernel.point_at(copy)
        found = self.classes(kernel, self.by(second))
        self.assertEqual(self.used(found), {first, second})
        self.assertEqual(found[copy], ("copy", None))
        answer = self.ask(kernel, self.by(second), "roots")
        self.assertEqual([int(row["root"], 16) for row in answer["roots"]
                          if row["in_user_memory"]], [copy])

    @each_mode
    def test_copy_without_pointer(self, kernel):
        """of two with the same user half the one that is pointed to is used"""
        first, second = kernel.process(), kernel.process()
        copies = [kernel.frame() for _ in range(3)]
        for copy in copies:
            kernel.copy(first, copy)
        found = self.classes(kernel, self.by(second))
        self.assertEqual(self.used(found), {first, second})
        for copy in copies:
            self.assertEqual(found[copy], ("copy", first))

    @each_mode
    def test_pointers_that_are_no_accounts(self, kernel):
        """a pointer counts that has before it what others have"""
        task_size = kernel.base - PAGE
        roots = [kernel.process(pointed=False) for _ in range(4)]
        copy = kernel.frame()
        kernel.copy(roots[1], copy)
        for stale in (copy, roots[1], copy):
            kernel.point_at(stale, 0x1234 + kernel.nr_words)
        words = b"".join(word.to_bytes(8 if kernel.is_long else 4, "little")
                         for word in (task_size, kernel.base + copy))
        kernel.memory.page(kernel.user_page(roots[2]))[:len(words)] = words
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual((found[copy][0], found[roots[1]][0]),
                         ("unclear", "unclear"))
        for root in roots:
            kernel.point_at(root, task_size)
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual(self.used(found), set(roots))
        self.assertEqual(found[copy], ("copy", roots[1]))

    @each_mode
    def test_forged_pointers(self, kernel):
        """pointers that somebody put there make nothing of a copy but a riddle"""
        task_size = kernel.base - PAGE
        roots = [kernel.process(pointed=False) for _ in range(4)]
        copy = kernel.frame()
        kernel.copy(roots[1], copy)
        for junk in range(40):
            kernel.point_at(roots[1], 0x1000 + junk)
        for root in (copy, roots[0], roots[2], roots[3]):
            kernel.point_at(root, task_size)
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual((found[copy][0], found[roots[1]][0]),
                         ("unclear", "unclear"))

    @each_mode
    def test_two_words_alike(self, kernel):
        """where two words are before as many pointers, neither is what an account has"""
        roots = [kernel.process(pointed=False) for _ in range(4)]
        copy = kernel.frame()
        kernel.copy(roots[1], copy)
        for root in (roots[0], roots[2], copy):
            kernel.point_at(root, 0x10)
        for root in (roots[0], roots[2], roots[1]):
            kernel.point_at(root, kernel.base - PAGE)
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual((found[copy][0], found[roots[1]][0]),
                         ("unclear", "unclear"))

    @each_mode
    def test_false_root_that_maps_all(self, kernel):
        """what maps all memory to user mode hides no root that has an account"""
        roots = [kernel.process(pointed=False) for _ in range(5)]
        false, copy = kernel.new_root(), kernel.user_page(roots[2])
        kernel.copy(kernel.root, false, "k")
        large = PAGE << kernel.bits[-1]
        for gpa in range(0, RAM, large):
            kernel.map(false, 0x40000000 + gpa, gpa | P | W | U | PS, large)
        kernel.copy(roots[1], copy)
        for root in roots:
            kernel.point_at(root, kernel.base - PAGE)
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual(self.used(found), set(roots))
        self.assertEqual(found[false][0], "unclear")
        self.assertIn(found[copy][0], ("copy", "unclear"))

    @each_mode
    def test_copy_of_the_known(self, kernel):
        """a vCPU has one of two: that one is used"""
        known = kernel.process(pointed=False)
        copy = kernel.new_root()
        kernel.copy(known, copy)
        kernel.point_at(copy)
        found = self.classes(kernel, self.by(known))
        self.assertEqual(found[copy], ("copy", known))

    @each_mode
    def test_unclear(self, kernel):
        """nothing tells which of two is used, and both are said to be unclear"""
        known, first = kernel.process(), kernel.process(pointed=False)
        copy = kernel.new_root()
        kernel.copy(first, copy)
        found = self.classes(kernel, self.by(known))
        self.assertEqual(self.used(found), {known})
        self.assertEqual((found[first][0], found[copy][0]),
                         ("unclear", "unclear"))

    @each_mode
    def test_copy_that_lacks_a_table(self, kernel):
        """a copy of a part of the user half is a copy"""
        first, second = kernel.process(), kernel.process()
        kernel.map(first, kernel.va_of(2), kernel.frame() | P | W | U)
        copies = [kernel.new_root() for _ in range(2)]
        for index, copy in zip((USER_VA // kernel.va_of(1), 2), copies):
            kernel.copy(first, copy)
            kernel.entry(copy, index, 0)
        found = self.classes(kernel, self.by(second))
        self.assertEqual(self.used(found), {first, second})
        for copy in copies:
            self.assertEqual(found[copy], ("copy", first))

    @each_mode
    def test_copy_of_two(self, kernel):
        """a copy of parts of two roots is no rival of both, and takes neither away"""
        roots = [kernel.process(pointed=False) for _ in range(3)]
        kernel.map(roots[1], kernel.va_of(2), kernel.frame() | P | W | U)
        copy = kernel.new_root()
        kernel.copy(roots[0], copy)
        kernel.entry(copy, 2, kernel.entry(roots[1], 2))
        found = self.classes(kernel, self.by(roots[0]))
        self.assertEqual(self.used(found), set(roots))
        self.assertEqual(found[copy], ("copy", roots[0]))
        found = self.classes(kernel, self.by(roots[2]))
        self.assertEqual(self.used(found), {roots[2]})

    def test_twins(self):
        """what user mode runs on is told apart, and leads to the rest"""
        for arch in ("amd64", "amd64-la57"):
            kernel = Kernel(arch)
            roots = []
            for _ in range(3):
                kernel.next += kernel.next & PAGE
                roots.append(kernel.frame())
                kernel.frame()
                kernel.process(root=roots[-1])
                kernel.copy(roots[-1], roots[-1] + PAGE, "u")
                for index in range(kernel.split):
                    raw = kernel.entry(roots[-1], index)
                    kernel.entry(roots[-1], index, raw and raw | NX)
                kernel.entry(roots[-1] + PAGE, 305, kernel.entry(kernel.root, 305))
            for known in (roots[1], roots[1] + PAGE):
                found = self.classes(kernel, self.by(known))
                self.assertEqual(self.used(found), set(roots))
                self.assertEqual(found[roots[1]][0], "vcpu")
                for root in roots:
                    self.assertEqual(found[root + PAGE], ("twin", root))

    def test_kernel_half_filled_later(self):
        """with 2 levels a root may lack some of the kernel half"""
        kernel = Kernel("i686")
        for index in range(900, 906):
            kernel.entry(kernel.root, index, kernel.frame() | P | W)
        processes = [kernel.process() for _ in range(4)]
        for index, root in enumerate(processes):
            for late in range(900, 900 + index):
                kernel.entry(root, late, 0)
        for known in processes:
            found = self.classes(kernel, self.by(known))
            self.assertEqual(self.used(found), set(processes))

    @each_mode
    def test_noise(self, kernel):
        """pages that hold anything else are no roots"""
        known = kernel.process()
        for _ in range(20):
            page = bytearray(os.urandom(PAGE))
            kernel.fill(kernel.frame(), page)
            start = kernel.frame()
            kernel.copy(known, start)
            for index in range(kernel.split, 1 << kernel.bits[0]):
                kernel.entry(start, index, kernel.frame() | P | W)
        self.assertEqual(self.used(self.classes(kernel, self.by(known))),
                         {known})

    def test_another_kernel(self):
        """half of the kernel's entries are not enough"""
        for arch in ("amd64", "amd64-la57"):
            kernel = Kernel(arch)
            known, other = kernel.process(), kernel.process()
            for index in range(kernel.split, 1 << kernel.bits[0], 2):
                if kernel.entry(other, index):
                    kernel.entry(other, index, kernel.frame() | P | W)
            self.assertEqual(self.used(self.classes(kernel, self.by(known))),
                             {known})

    @each_mode
    def test_nested(self, kernel):
        """the tables of a guest of the guest's are none of its own, of any kernel"""
        processes = {kernel.process() for _ in range(3)}
        inner = Kernel(kernel.arch)
        for _ in range(2):                      # so that no frame is as in the outer one
            inner.frame()
        inner.root = inner.new_root()
        for index in range(inner.split, 1 << inner.bits[0]):
            inner.entry(inner.root, index, inner.frame() | P | (
                0 if inner.arch == "i686-pae" else W))
        for _ in range(5):
            inner.process()
        kernel.next = max(kernel.next, inner.next)
        for page in inner.memory.pages.values():
            kernel.fill(kernel.frame(), page)
        for known in processes:
            found = self.classes(kernel, self.by(known))
            self.assertEqual(self.used(found), processes)

    @each_mode
    def test_pieces(self, kernel):
        """roots that lie in two pieces of an image, and a piece without bytes"""
        known = kernel.process()
        others = {kernel.process() for _ in range(3)}
        data = kernel.image()
        cuts = [0, *sorted({(root & -PAGE) + 2048 for root in others}), len(data)]
        path = os.path.join(self.folder.name, "image")
        with open(path, "wb") as file:
            file.write(images.elf(
                [images.Segment(a, data[a:b]) for a, b in zip(cuts, cuts[1:])] +
                [images.Segment(1 << 40, b"", memsz=1 << 44)]))
        done = subprocess.run(
            [VMEMCTL, "--image", path, "--arch", kernel.arch, "-j",
             self.by(known), "roots"], capture_output=True, text=True,
            check=True, timeout=60)
        found = {int(row["root"], 16): (row["class"], None)
                 for row in answers.whole(done.stdout)["roots"]}
        self.assertEqual(self.used(found), others | {known})

    def test_tables_that_unfold(self):
        """what unfolds to more than there is in memory is none, and no matter of hours"""
        for leaf in (P | W, P | W | U, 0):
            kernel = Kernel("amd64")
            processes = {kernel.process() for _ in range(4)}
            false, *tables = (kernel.frame() for _ in range(4))
            kernel.copy(kernel.root, false, "k")
            for table, below in zip([false, *tables], [*tables, None]):
                for index in range(256 if table == false else 512):
                    raw = 0x10000 * (index % 2) | leaf if below is None \
                        else below | P | W | U
                    kernel.entry(table, index, raw if below or leaf else 0)
            found = self.classes(kernel, self.by(min(processes)))
            self.assertEqual(self.used(found), processes)
            self.assertNotIn(found[false][0], ("user", "vcpu"))

    def test_too_many(self):
        """memory full of copies is an error, and no matter of hours"""
        kernel = Kernel("i686-pae")
        known = kernel.process()
        page = bytes(kernel.memory.page(known & -PAGE))
        root = page[known % PAGE:known % PAGE + kernel.size]
        for _ in range(65536 // 128):
            kernel.fill(kernel.frame(), root * 128)
        self.ask(kernel, self.by(known), "roots", error=(
            "more than 65536 pages look like roots: no guest has so many processes: it "
            "fills its memory with copies; name the roots with --cr3"))

    def test_memory(self):
        """a search takes no more memory than docs/limits.md says"""
        kernel = Kernel("i686-pae")
        known, other = kernel.process(), kernel.process()
        page = bytes(kernel.memory.page(other & -PAGE))
        root = page[other % PAGE:other % PAGE + kernel.size]
        for _ in range(65000 // 128):
            kernel.fill(kernel.frame(), root * 128)
        path = os.path.join(self.folder.name, "image")
        with open(path, "wb") as file:
            data = kernel.image()
            file.write(images.elf([images.Segment(0, data),
                                   images.Segment(1 << 43, b"", memsz=PAGE)]))
        with subprocess.Popen(
                [VMEMCTL, "--image", path, "--arch", kernel.arch,
                 self.by(known), "roots"], stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = status
        self.assertEqual(status, 0)
        limit, = (row["MiB"] for row in promises.rows_with(
            promises.LIMITS, "command", "MiB") if row["command"] == "`roots`")
        tap.diagnostic("roots: %d MiB" % (usage.ru_maxrss >> 10))
        self.assertLessEqual(usage.ru_maxrss >> 10, int(limit.replace(",", "")))

    def test_unfolding(self):
        """tables that unfold to 2^36 pages do not keep a search from its end"""
        memory = images.Memory("<Q")
        for gpa in (0x1000, 0x2000, 0x3000):
            memory.table(gpa, dict.fromkeys(range(512), gpa + 0x1000 | 7))
        memory.table(0x4000, {i: 0x5000 | 5 | i % 2 << 1 for i in range(512)})
        path = os.path.join(self.folder.name, "image")
        with open(path, "wb") as file:
            file.write(memory.raw())
        done = subprocess.run([VMEMCTL, "--image", path, "--arch", "amd64",
                               "--cr3", "1000", "roots"], check=True,
                              capture_output=True, timeout=60)
        self.assertIn(b"total: 1 vcpu,", done.stdout)

    @each_mode
    def test_root_of_nothing(self, kernel):
        """a root that is given, and leads nowhere, does not end the search"""
        known, other = kernel.process(), kernel.process()
        for nowhere in (0x40000000, RAM):
            found = self.classes(kernel, "--cr3=%#x,%#x" % (known, nowhere))
            self.assertEqual(self.used(found), {known, other})
            self.assertEqual(found[nowhere][0], "copy")

    def test_no_twin(self):
        """what is before a root is none that it is the twin of, whatever it is"""
        for arch in ("amd64", "amd64-la57"):
            for halves in ("u", "uk"):
                kernel = Kernel(arch)
                others = {kernel.process() for _ in range(2)}
                kernel.next += kernel.next & PAGE
                before, root = kernel.frame(), kernel.frame()
                kernel.process(root=root)
                kernel.copy(root, before, halves)
                if halves == "uk":              # of another kernel
                    for index in range(kernel.split, 1 << kernel.bits[0]):
                        if kernel.entry(root, index):
                            kernel.entry(before, index, kernel.frame() | P | W)
                found = self.classes(kernel, self.by(root))
                self.assertEqual(found[root], ("vcpu", None))
                self.assertLessEqual(others | {root}, self.used(found))

    @each_mode
    def test_all_of_a_kernel_alone(self, kernel):
        """--all of a guest without processes is what its vCPU has"""
        out = self.ask(kernel, self.by(kernel.root), "--all", "spaces")["spaces"]
        self.assertEqual([int(space["root"], 16) for space in out],
                         [kernel.root])

    @each_mode
    def test_guess(self, kernel):
        """with no root known, by what most have in common"""
        processes = {kernel.process() for _ in range(5)}
        self.assertEqual(self.used(self.classes(kernel)), processes)
        self.assertTrue(self.ask(kernel, "roots")["guessed"])

    @each_mode
    def test_guess_of_equals(self, kernel):
        """of kernel halves that as many tables have, the one that leads to memory"""
        processes = {kernel.process() for _ in range(3)}
        for _ in range(4):                      # the kernel's own is one more
            junk = [kernel.frame() for _ in range(2)]
            for page in junk:
                kernel.fill(page, bytes(PAGE))
            for _ in range(len(processes) + 1):
                false = kernel.new_root()
                for index, page in enumerate(junk[:(1 << kernel.bits[0]) -
                                                  kernel.split]):
                    kernel.entry(false, kernel.split + index, page | P)
        self.assertEqual(self.used(self.classes(kernel)), processes)

    @each_mode
    def test_low_pages_of_the_kernel(self, kernel):
        """a root of the kernel's that maps something low is as good to begin with"""
        kernel.map(kernel.root, 0x8000, kernel.frame() | P | W)
        processes = {kernel.process() for _ in range(3)}
        self.assertEqual(self.used(self.classes(kernel, self.by(kernel.root))),
                         processes)

    @each_mode
    def test_all(self, kernel):
        """--all is all of them"""
        processes = {kernel.process() for _ in range(3)}
        out = self.ask(kernel, "--all", "spaces", warning=GUESSED)["spaces"]
        self.assertEqual({int(space["root"], 16) for space in out},
                         processes)

    @each_mode
    def test_who(self, kernel):
        """who is the inversion of the maps of every space"""
        first, second = kernel.process(), kernel.process()
        shared = kernel.user_page(first)
        kernel.map(second, 0x900000, shared | P | U)
        kernel.map(second, 0x901000, shared | P | W | U)
        places = self.ask(kernel, "who", "%x" % (shared + 9),
                          warning=GUESSED)["pages"][0]
        got = {(int(place["root"], 16), int(place["va"], 16),
                place["writable"], place["user"])
               for place in places["places"] if place["va"] < "0xc" or
               not place["by"]}
        want = {(first, USER_VA + 9, True, True),
                (second, 0x900009, False, True),
                (second, 0x901009, True, True)}
        self.assertLessEqual(want, got)
        other = {(root, kernel.base + shared + 9)
                 for root in (first, second)}
        self.assertEqual({(int(place["root"], 16), int(place["va"], 16))
                          for place in places["places"]},
                         {place[:2] for place in want} | other)


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Roots))


if __name__ == "__main__":
    sys.exit(main())
