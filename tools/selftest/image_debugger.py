#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots of images as gdb sees them: by virtual address, and not at all.

Needs no lab, no module and no root, but gdb. As in image.py, everything is asked
twice: of vmemctl as it is built, and of one that the compiler's sanitizers watch.
"""

import os
import re
import struct
import subprocess
import sys
import unittest

import answers
import image
import images
import tap
from image import LEFT_OUT, LEFT_OUT_ONE
from images import A, B, CODE, DATA, HIGH, P, PAGE, R, W, Segment

# Where in QEMU's note of a vCPU RSP and RIP are
NOTE_RSP, NOTE_RIP = 20 + 8 + 6 * 8, 20 + 8 + 16 * 8

# Of the image tests' guests: their options, and how a warning counts what is left out
GUESTS = {
    "amd64": (images.amd64_core, [], LEFT_OUT),
    "the other space": (images.amd64_core, ["--vcpu", "1"], ""),
    "raw": (lambda: images.amd64().raw(), ["--arch", "amd64", "--cr3", hex(A)],
            LEFT_OUT),
    "i686": (images.i686_core, [], LEFT_OUT_ONE),
    "PAE": (images.pae_core, [], ""),
}


def gdb(path, *commands):
    """What gdb prints to each command, errors among it."""
    words = ["gdb", "-nx", "-batch", "-core", path]
    for command in commands:
        words += ["-ex", command, "-ex", r"echo \n===\n"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.split("\n===\n")[:-1]


class Case(image.Case):
    def make(self, data, options=(), words=(), warning=""):
        """A snapshot of an image by virtual address; the files, and its JSON."""
        old, new = self.file(data), os.path.join(self.folder, "new")
        done = self.ask(["--image", old, *options, "-j", "snapshot", "--virtual",
                         "-o", new, *words])
        self.assertEqual((done.returncode, done.stderr.decode()), (0, warning))
        return old, new, answers.whole(done.stdout)

    def headers(self, path):
        """Its segments, as readelf has them, which has nothing against it."""
        done = subprocess.run(["readelf", "-lWn", path], capture_output=True,
                              text=True, check=True)
        self.assertEqual(done.stderr, "")
        return [tuple(int(word, 16) for word in words) for words in re.findall(
            r"^  LOAD +0x(\S+) 0x(\S+) 0x(\S+) 0x(\S+)", done.stdout, re.M)]


class Virtual(Case):
    """By virtual address."""

    def pages(self, path, options):
        """What there is at each address: {va: bytes}, None where there is no memory."""
        pages = {}
        text = self.ask(["--image", path, *options, "maps"]).stdout.decode()
        for row in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", text, re.M):
            first, last = (int(word, 16) for word in row)
            # Of a device that is large, a page here and there
            step = max(PAGE, (last + 1 - first) // 16)
            for va in {*range(first, min(last, first + 8 * PAGE), PAGE),
                       *range(first, last, step)}:
                done = image.run(image.VMEMCTL, [
                    "--image", path, *options, "read", "-r", hex(va), "4096"])
                pages[va] = done.stdout if not done.returncode else None
            for va in first - PAGE, last + 1:
                if 0 <= va < 1 << 32 or va >> 47 == 0x1ffff:
                    pages.setdefault(va, None)
        return pages

    def test_all(self):
        """gdb reads what vmemctl reads, and nothing elsewhere"""
        for name, (make, options, warning) in GUESTS.items():
            with self.subTest(guest=name):
                old, new, _ = self.make(make(), options, warning=warning)
                pages = self.pages(old, options)
                self.assertGreater(sum(map(bool, pages.values())), 1)
                self.assertIn(None, pages.values())
                path = os.path.join(self.folder, "page-%x")
                said = gdb(new, *("dump binary memory %s %#x %#x" % (
                    path % va, va, va + PAGE) for va in pages))
                for (va, want), text in zip(pages.items(), said, strict=True):
                    if want is None:
                        self.assertRegex(text, "Cannot access memory", hex(va))
                        continue
                    with open(path % va, "rb") as file:
                        self.assertEqual(file.read(), want, hex(va))
                tap.diagnostic("%s: %d pages" % (name, len(pages)))
                os.unlink(new)

    def test_segments(self):
        """segments have the rights of the path, and share what is mapped twice"""
        _, new, told = self.make(images.amd64_core(), warning=LEFT_OUT)
        loads = self.headers(new)
        self.assertEqual([load[1:] for load in loads], [
            (CODE, 0x10000, PAGE), (DATA, 0x11000, 2 * PAGE),
            (0x5ff000, 0x10000, PAGE), (0x600000, 0x10000, PAGE),
            (0x601000, 0x11000, 2 * PAGE), (0x7ff000, 0x10000, PAGE),
            (HIGH, 0x13000, PAGE)])
        places = {gpa: {load[0] for load in loads if load[2] == gpa}
                  for gpa in (0x10000, 0x11000, 0x13000)}
        self.assertEqual([len(offsets) for offsets in places.values()], [1] * 3)
        with open(new, "rb") as file:
            head = file.read(PAGE)
        flags = [struct.unpack_from("<I", head, 64 + 56 * i + 4)[0]
                 for i in range(1, 8)]
        self.assertEqual(flags, [5, 6, 5, 5, 4, 5, 5])
        self.assertEqual(told, {
            **told, "segments": 7, "vcpu_notes": 1, "unreadable": 0, "extents": [],
            "spaces": [{"type": "space", "space": 0, "root": hex(A),
                        "new_root": None}],
            "file_bytes": os.path.getsize(new)})

    def test_registers(self):
        """the vCPUs in the space are its threads, and have their registers"""
        for vcpu in 0, 1:
            _, new, _ = self.make(images.amd64_core(), ["--vcpu", str(vcpu)],
                                  warning="" if vcpu else LEFT_OUT)
            said = gdb(new, "info threads", "p/x $rbx", "p/x $rip", "p/x $cs")
            self.assertEqual(said[0].count("New LWP"), 1, said)
            self.assertRegex(said[1], "= 0x1$")
            self.assertRegex(said[2], "= 0x10$")
            self.assertRegex(said[3], "= 0x8$")

    def test_none(self):
        """a space that no vCPU is in"""
        _, new, told = self.make(images.amd64_snapshot(), ["--cr3", hex(B)])
        self.assertEqual(told["vcpu_notes"], 0)
        said = gdb(new, "x/gx %#x" % CODE, "x/gx %#x" % (CODE + 0x3000))
        self.assertIn("0x02010065646f637f", said[0])
        self.assertIn("Cannot access memory", said[1])

    def test_backtrace(self):
        """x/i $rip and bt"""
        memory = images.amd64()
        memory.fill(0x10000, bytes.fromhex("0f0b") * 64)        # ud2
        memory.fill(0x12000, bytes(0x80) + struct.pack("<3Q", CODE + 0x42, 0, 0))
        note = bytearray(images.qemu_note(images.AMD64[0], A, images.AMD64[1]))
        struct.pack_into("<Q", note, NOTE_RSP, DATA + 0x1080)
        struct.pack_into("<Q", note, NOTE_RIP, CODE + 0x10)
        data = images.elf([Segment(*piece) for piece in memory.segments()], note)
        _, new, _ = self.make(data, warning=LEFT_OUT)
        said = gdb(new, "x/i $rip", "bt")
        self.assertRegex(said[0], r"0x%x:\s+ud2" % (CODE + 0x10))
        self.assertRegex(said[1], r"#0 +0x0*%x in .*\n#1 +0x0*%x in" % (
            CODE + 0x10, CODE + 0x42))

    def test_part(self):
        """a range, with parts left out"""
        for words, want in (
                ([], [CODE, DATA]),
                (["--exclude", "400000-400fff"], [DATA]),
                (["--exclude", "401000-600fff"], [CODE]),
                (["--exclude", "0-3fffff", "--exclude", "402000-402fff"],
                 [CODE, DATA]),
                (["--exclude", "0-402fff"], [])):
            _, new, _ = self.make(images.amd64_core(), [*words, "--vcpu", "1"],
                                  ["400000", "402fff"])
            self.assertEqual([load[1] for load in self.headers(new)], want, words)

    def test_text(self):
        """text"""
        new = os.path.join(self.folder, "new")
        self.answers(self.file(images.amd64_core()),
                     ["--vcpu", "1", "snapshot", "--virtual", "-o", new],
                     image.table("""
                     |space 0: root 0000000005000
                     |by virtual address: 4 segments, 1 vCPU
                     |%s: 20 KiB, of a guest with 56 KiB
                     """) % new)

    def test_limit(self):
        """error: more segments than a snapshot may have"""
        new = os.path.join(self.folder, "new")
        done = image.run(image.VMEMCTL, [
            "--image", self.file(images.alternating(2049)), "--arch", "amd64", "--cr3",
            "1000", "snapshot", "--virtual", "-o", new])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"more than 1048576 pieces of memory", done.stderr)
        self.assertFalse(os.path.exists(new))

    def test_many(self):
        """more segments than an ELF header has a number for"""
        nr = 130
        _, new, told = self.make(images.alternating(nr),
                                 ["--arch", "amd64", "--cr3", "1000"])
        self.assertEqual(told["segments"], nr * 512)
        last = nr * 512 * PAGE
        said = gdb(new, "x/s 0", "x/s %#x" % (last - PAGE), "x/s %#x" % last)
        self.assertIn('"even"', said[0])
        self.assertIn('"odd"', said[1])
        self.assertIn("Cannot access memory", said[2])
        text = self.ask(["--image", new, "info"]).stdout.decode()
        self.assertEqual(re.findall(r"^ +\d  0+([48]000)-", text, re.M),
                         ["4000", "8000"])

    def test_wide(self):
        """memory above 4 GiB of a guest of 32 bits has no address in the file"""
        gpa = 0x140000000
        memory = images.Memory("<Q")
        memory.table(R, {0: 0x2001})
        memory.table(0x2000, {1: gpa | 0x83})
        memory.fill(gpa + 5 * PAGE, b"above")
        data = images.elf([Segment(*p) for p in memory.segments()])
        _, new, _ = self.make(data, ["--arch", "i686-pae", "--cr3", hex(R)])
        self.assertEqual([load[1:] for load in self.headers(new)],
                         [(0x205000, 0xffffffff, PAGE)])
        self.assertIn('"above"', gdb(new, "x/s 0x205000")[0])

    def test_as_image(self):
        """vmemctl reads it by guest-physical address"""
        _, new, _ = self.make(images.amd64_core(), warning=LEFT_OUT)
        self.assertEqual(
            self.ask(["--image", new, "read", "-r", "--phys", "13000", "5"]).stdout,
            images.TEXT[:5])
        self.refuses(["--image", new, "maps"], "no memory where CR3 points")
        # And its tables, if the space maps them as kernels do
        memory = images.amd64()
        memory.table(0x8000, {511: 0xb000 | P | W})
        memory.table(0xb000, {0: 0 | P | W | images.PS})
        data = images.elf([Segment(*p) for p in memory.segments()],
                          images.qemu_note(images.AMD64[0], A, images.AMD64[1]))
        old, new, _ = self.make(data, warning=LEFT_OUT)
        self.assertEqual(*(self.ask(["--image", path, "maps"]).stdout
                           for path in (old, new)))

    def test_usage(self):
        """error: command lines that make no sense"""
        path = self.file(images.amd64_core())
        new = os.path.join(self.folder, "new")
        snapshot = ["snapshot", "--virtual", "-o", new]
        for words, pattern in (
                (["--base", "1000", *snapshot], "--virtual and --base"),
                (["--cr3", "1000,5000", *snapshot], "one address space"),
                (["--all", *snapshot], "one address space"),
                (["maps", "--virtual"], "maps: --virtual has no effect here")):
            self.refuses(["--image", path, *words], pattern, status=2)
        self.assertFalse(os.path.exists(new))


class Rebuilt(Case):
    """With tables of its own: its addresses are no guest's virtual ones."""

    def test_no_address(self):
        """gdb shows no page in place of another one"""
        for name, make in (("amd64", images.amd64_core), ("pae", images.pae_core)):
            new = os.path.join(self.folder, name)
            self.assertEqual(self.ask(["--image", self.file(make()), "snapshot",
                                       "-o", new]).returncode, 0)
            for said in gdb(new, "x/gx 0", "x/gx 0x100000", "x/gx 0x400000",
                            "x/gx 0xffffe000"):
                self.assertIn("Cannot access memory", said)


def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite(load(case) for case in (Virtual, Rebuilt)))


if __name__ == "__main__":
    sys.exit(main())
