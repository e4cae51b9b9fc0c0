#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Snapshots of a stopped guest, held against QEMU's own dump of it.

A snapshot has the spaces that the guest has, with pages under other names: the
same addresses map the same contents, and two addresses are one page in both or
in neither. The contents are compared without vmem, in the two files.
"""

import contextlib
import itertools
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import answers
import lablib
import live_errors
import live_spaces
import tap

PAGE = lablib.PAGE

# Where in QEMU's note of a vCPU CR3 is, and what it cannot be asked about
NOTE_CR3, NOTE_KERNEL_GS = 416, 432

# Where in a snapshot's own note the rules of the processor are
NOTE_RULES = 44

BASE = 0x100000

# Bytes of memory that are compared at once
PIECE = 32 << 20

# Where gdb sees a snapshot's memory
NO_VA, NO_VA_32 = 1 << 56, 0xfffff000


class Core:
    """An ELF core: its memory and its notes."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "rb")
        head = self.file.read(0x1000)
        self.wide = head[4] == 2                    # ELFCLASS64
        self.machine, = struct.unpack_from("<H", head, 18)
        self.pieces = list(lablib.load_segments(head))
        self.notes = list(self._notes(head))

    def close(self):
        self.file.close()

    def _phdrs(self, head):
        if self.wide:
            at, size, count = struct.unpack_from("<Q14xHH", head, 32)
            form = struct.Struct("<I4xQ16xQ")       # type offset filesz
        else:
            at, size, count = struct.unpack_from("<I10xHH", head, 28)
            form = struct.Struct("<II8xI")
        return [form.unpack_from(head, at + i * size) for i in range(count)]

    def _notes(self, head):
        for kind, offset, size in self._phdrs(head):
            if kind != 4:                           # PT_NOTE
                continue
            self.file.seek(offset)
            data = self.file.read(size)
            while data:
                namesz, descsz, kind = struct.unpack_from("<III", data)
                name = data[12:12 + namesz].rstrip(b"\0").decode()
                at = 12 + (namesz + 3 & -4)
                yield name, kind, data[at:at + descsz]
                data = data[at + (descsz + 3 & -4):]

    def note(self, name):
        """The only note of a name."""
        desc, = [desc for owner, _, desc in self.notes if owner == name]
        return desc

    def memory(self, gpa, size):
        """What is at an address; None where the core has nothing."""
        for piece in self.pieces:
            if piece.gpa <= gpa and gpa + size <= piece.gpa + piece.size:
                return os.pread(self.file.fileno(), size,
                                piece.offset + gpa - piece.gpa)
        return None


class Files:
    """A stopped guest in files: QEMU's dumps, raw memory, and a snapshot."""

    def __init__(self, folder, guest, stopped, roots):
        self.dump = os.path.join(folder, "dump")
        self.raw = os.path.join(folder, "raw")
        self.snapshot = os.path.join(folder, "snapshot")
        stopped.qmp.execute("dump-guest-memory", paging=False,
                            protocol="file:" + self.dump)
        can = stopped.qmp.execute("query-dump-guest-memory-capability")
        packed = [name for name in can["formats"] if name.startswith("kdump")]
        # Another one for each guest: image_kdump.py has them all.
        name = packed[list(lablib.GUESTS).index(guest.name) % len(packed)]
        self.dumps = [self.dump, os.path.join(folder, name)]
        stopped.qmp.execute("dump-guest-memory", paging=False, format=name,
                            protocol="file:" + self.dumps[1])
        self.size = max(last + 1 for _, last in guest.system_ram)
        stopped.qmp.execute("pmemsave", val=0, size=self.size,
                            filename=self.raw)
        began = time.monotonic()
        self.told = snapshot(guest, stopped, self.snapshot, roots)
        self.seconds = time.monotonic() - began


def options_of(registers, roots):
    """vmemctl's options for these roots."""
    words = registers.options()
    at = words.index("--cr3")
    return [*words[:at + 1], ",".join("%#x" % cr3 for cr3 in roots),
            *words[at + 2:]]


def snapshot(guest, stopped, path, roots):
    """What vmemctl tells of a snapshot of these roots, by way of QMP."""
    with stopped.qmp.away():
        return answers.whole(lablib.vmemctl_ok(
            "-p", str(guest.pid), "--qmp", guest.qmp_path,
            *options_of(stopped.registers, roots), "-j", "snapshot", "-o",
            path, "--base", "%x" % BASE))


def ask(target, options, *words):
    return lablib.vmemctl_ok(*target, *options, *words)


def first_difference(a, b):
    """The first lines that differ; None if all are equal"""
    return next((pair for pair in itertools.zip_longest(
        a.splitlines(), b.splitlines()) if pair[0] != pair[1]), None)


class Snapshot(lablib.GuestTest):
    """The guest stands still meanwhile; there is one snapshot for all."""

    def __init__(self, method, guest, stopped, roots, files):
        super().__init__(method, guest)
        self.stopped = stopped
        self.registers = stopped.registers
        self.roots = roots
        self.files = files

    def setUp(self):
        self.core = Core(self.files.snapshot)
        self.addCleanup(self.core.close)
        self.dump = Core(self.files.dump)
        self.addCleanup(self.dump.close)

    def options(self, roots):
        return options_of(self.registers, roots)

    # What vmemctl says of it

    def test_contract(self):
        """snapshot -j has the fields that it is to have"""
        told = self.files.told
        self.assertEqual(set(told), {
            "version", "command", "file", "file_bytes", "guest_bytes", "spaces",
            "extents", "tables_read", "tables", "leaves", "links", "dropped",
            "unreadable", "strays", "segments", "vcpu_notes", "error"})
        self.assertEqual(told["file"], self.files.snapshot)
        self.assertEqual([(lablib.number(space["root"]),
                           lablib.number(space["new_root"]))
                          for space in told["spaces"]],
                         [(cr3, BASE + i * PAGE)
                          for i, cr3 in enumerate(self.roots)])
        self.assertEqual([(lablib.number(extent["gpa"]), extent["len"])
                          for extent in told["extents"]],
                         [(piece.gpa, piece.size)
                          for piece in self.core.pieces])
        self.assertEqual(told["file_bytes"],
                         os.path.getsize(self.files.snapshot))
        self.assertEqual(os.stat(self.files.snapshot).st_mode & 0o777, 0o600)
        for key in ("tables_read", "tables", "leaves", "links"):
            self.assertGreater(told[key], 0, key)
        self.assertEqual(told["unreadable"], 0)

    def test_size(self):
        """it has no more than the guest, and fewer tables"""
        told = self.files.told
        used = os.stat(self.files.snapshot).st_blocks * 512
        tap.diagnostic(
            "%d spaces in %.1f s: %.1f MiB, %.1f MiB of them on the disk; the "
            "guest has %.1f MiB; %d tables for %d that were read, %d links, "
            "%d leaves" % (
                len(self.roots), self.files.seconds, told["file_bytes"] / 2 ** 20,
                used / 2 ** 20, told["guest_bytes"] / 2 ** 20, told["tables"],
                told["tables_read"], told["links"], told["leaves"]))
        memory = sum(piece.size for piece in self.core.pieces)
        self.assertLess(memory, told["guest_bytes"] +
                        told["tables"] * PAGE)
        self.assertLess(used, self.files.size)
        self.assertLessEqual(told["tables"], told["tables_read"])

    # What others make of it

    def test_readelf(self):
        """readelf reads it as it reads QEMU's dump"""
        got, want = (self.readelf(path) for path in (self.files.snapshot,
                                                     self.files.dump))
        for key in ("type", "machine"):
            self.assertEqual(got[key], want[key])
        # QEMU has the firmware below 4 GiB, up to the last byte
        self.assertEqual(got["class"],
                         {"amd64": "ELF64", "i686": "ELF32"}[self.guest.arch])
        self.assertEqual(got["loads"], [(piece.gpa, piece.size)
                                        for piece in self.core.pieces])
        self.assertEqual(got["notes"][:2], want["notes"])
        self.assertEqual(got["notes"][2][0], "VMEM")

    def readelf(self, path):
        done = subprocess.run(["readelf", "-W", "-h", "-l", "-n", path],
                              stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=True)
        text = done.stdout

        def field(name):
            return re.search(r"^ *%s: +(.*)$" % name, text, re.M)[1]

        return {
            "class": field("Class"), "type": field("Type"),
            "machine": field("Machine"),
            "loads": [(int(gpa, 16), int(size, 16)) for gpa, size in
                      re.findall(r"^ *LOAD +\S+ +\S+ +(\S+) +\S+ +(\S+)",
                                 text, re.M)],
            "notes": re.findall(r"^ +(CORE|QEMU|VMEM) +(0x\S+)", text, re.M),
        }

    def test_gdb(self):
        """gdb opens it, reads registers, and memory where no guest has any"""
        def address(gpa):
            return NO_VA + gpa if self.core.wide else NO_VA_32 + gpa - BASE

        piece = self.core.pieces[0]
        at = address(piece.gpa) + PAGE - 16
        counter = {"amd64": "$rip", "i686": "$eip"}[self.guest.arch]
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-ex", "info files", "-ex",
             "printf \"at %%llx\\n\", (unsigned long long)%s" % counter, "-ex",
             "x/16xb %#x" % address(BASE), "-ex", "x/16xb %#x" % at,
             "-core", self.files.snapshot],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=True)
        for number, piece in enumerate(self.core.pieces):
            first = address(piece.gpa) if self.core.wide else NO_VA_32
            self.assertRegex(done.stdout, r"(?m)0x0*%x - 0x0*%x is load%d" % (
                first, first + piece.size, number + 1))
        raw, _ = self.guest.read_registers(self.stopped.qmp)
        self.assertIn("at %x\n" % raw.get("RIP", raw.get("EIP")), done.stdout)
        read = bytes(int(byte, 16) for byte in
                     re.findall(r"\t0x([0-9a-f]{2})\b", done.stdout))
        self.assertEqual(read, self.core.memory(BASE, 16) +
                         self.core.memory(BASE + PAGE - 16, 16))

    def test_gdb_virtual(self):
        """and by virtual address: the code that the vCPU is at, its stack, registers"""
        path = os.path.join(os.path.dirname(self.files.snapshot), "virtual")
        registers, stop = self.registers, self.stopped
        with stop.qmp.away():
            lablib.vmemctl_ok(*self.target, "--qmp", self.guest.qmp_path, "snapshot",
                              "--virtual", "-o", path)
        self.addCleanup(os.unlink, path)
        raw, _ = self.guest.read_registers(stop.qmp)
        pc, sp = ("$rip", "$rsp") if self.guest.arch == "amd64" else ("$eip", "$esp")
        done = subprocess.run(
            ["gdb", "-nx", "-batch", "-ex", "info threads", "-ex", "p/x %s" % pc,
             "-ex", "x/16xb %s" % pc, "-ex", "x/16xb %s" % sp, "-ex", "x/i %s" % pc,
             "-ex", "bt 3", "-core", path], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True)
        tap.diagnostic(done.stdout)
        read = bytes(int(byte, 16) for byte in
                     re.findall(r"\t0x([0-9a-f]{2})\b", done.stdout))
        want = b""
        for name in ("RIP", "RSP") if "RIP" in raw else ("EIP", "ESP"):
            want += lablib.vmemctl(*self.target, *registers.options(), "read",
                                   "-r", "%x" % raw[name], "16").stdout
        self.assertEqual(read, want)

    def test_notes(self):
        """the vCPU's notes are QEMU's own but for CR3"""
        self.assertEqual(self.core.note("CORE"), self.dump.note("CORE"))
        got, want = (bytearray(core.note("QEMU"))
                     for core in (self.core, self.dump))
        cr3, = struct.unpack_from("<Q", want, NOTE_CR3)
        self.assertEqual(cr3, self.registers.cr3)
        struct.pack_into("<Q", want, NOTE_CR3,
                         BASE + self.roots.index(self.registers.root) * PAGE)
        struct.pack_into("<Q", want, NOTE_KERNEL_GS, 0)
        self.assertEqual(got, want)

    # One guest in several files

    def test_maps_agree(self):
        """maps of the guest, of QEMU's dumps, and of raw memory is one text"""
        options = self.options(self.roots[:3])
        live = ask(self.target, options, "maps")
        self.assertGreater(live.count(b"\n"), 500)
        for path in (*self.files.dumps, self.files.raw):
            self.assertTrue(ask(["--image", path], options, "maps") == live,
                            path)
        tap.diagnostic("%d lines" % live.count(b"\n"))

    def test_batch(self):
        """a batch of the guest answers as often as it is asked"""
        options = self.options(self.roots[:3])
        lines = ["maps", "spaces", "vtop 400000 ffffffff81000000", "spaces", "aliases"]
        done = subprocess.run(
            ["vmemctl", *self.target, *options, "batch"], check=True,
            input="".join(line + "\n" for line in lines).encode(),
            capture_output=True)
        self.assertEqual(done.stdout, b"".join(
            lablib.vmemctl(*self.target, *options, *line.split()).stdout
            for line in lines))

    def test_dump_alone(self):
        """and so is maps of QEMU's dumps by their own registers, which lack EFER"""
        live = ask(self.target, self.registers.options(), "maps")
        width = ["--maxphyaddr", str(self.registers.maxphyaddr)]
        for path in self.files.dumps:
            alone = ask(["--image", path], width, "maps")
            self.assertEqual(first_difference(alone, live), None, path)

    def test_spaces_agree(self):
        """and so is spaces of all roots"""
        options = self.options(self.roots)
        live = ask(self.target, options, "spaces")
        for path in (*self.files.dumps, self.files.raw):
            self.assertTrue(ask(["--image", path], options, "spaces") == live,
                            path)
        tap.diagnostic("%d lines" % live.count(b"\n"))

    def test_read_phys(self):
        """read --phys gives the memory that QEMU's pmemsave has"""
        total = 0
        with open(self.files.raw, "rb") as raw:
            for first, last in self.guest.system_ram:
                size = min(last + 1 - first, 64 << 20)
                raw.seek(first)
                got = ask(self.target, [], "read", "--raw", "--phys",
                          "%x" % first, str(size))
                self.assertTrue(got == raw.read(size), "%#x" % first)
                total += size
        tap.diagnostic("%d MiB" % (total >> 20))

    def test_snapshot_of_dump(self):
        """a snapshot of QEMU's dump has what that of the guest has"""
        path = self.files.snapshot + ".dump"
        self.addCleanup(os.unlink, path)
        told = answers.whole(ask(["--image", self.files.dump],
                                 self.options(self.roots), "-j", "snapshot",
                                 "-o", path, "--base", "%x" % BASE))
        for key in told.keys() - {"file", "guest_bytes"}:
            self.assertEqual(told[key], self.files.told[key], key)
        core = Core(path)
        self.addCleanup(core.close)
        self.assertEqual(core.note("CORE"), self.core.note("CORE"))
        # A dump tells no rules of the processor
        want = bytearray(self.core.note("VMEM"))
        struct.pack_into("<I", want, NOTE_RULES, 0)
        self.assertEqual(core.note("VMEM"), want)
        got, want = core.note("QEMU"), bytearray(self.core.note("QEMU"))
        want[NOTE_KERNEL_GS:] = self.dump.note("QEMU")[NOTE_KERNEL_GS:]
        self.assertEqual(got, want)
        compared = 0
        for extent in told["extents"]:
            first = lablib.number(extent["gpa"])
            for gpa in range(first, first + extent["len"], PIECE):
                size = min(PIECE, first + extent["len"] - gpa)
                self.assertTrue(core.memory(gpa, size) ==
                                self.core.memory(gpa, size), "%#x" % gpa)
                compared += size
        tap.diagnostic("%d MiB compared" % (compared >> 20))

    # The snapshot against the guest

    def test_pages(self):
        """all spaces map what they did, by pages of other names"""
        old = self.spaces(self.target, self.options(self.roots))
        new = self.spaces(["--image", self.files.snapshot], [])
        self.assertEqual(len(new), len(self.roots))
        names = {}
        for index, (mine, theirs) in enumerate(zip(old, new)):
            self.assertEqual({va: page[1:] for va, page in mine.items()},
                             {va: page[1:] for va, page in theirs.items()},
                             "space %d" % index)
            for va, page in mine.items():
                names.setdefault((page[0], page[1]), set()).add(theirs[va][0])
        twice = {gpa: found for gpa, found in names.items() if len(found) > 1}
        self.assertEqual(twice, {}, "pages that became several")
        self.one_to_one({gpa: found.pop() for gpa, found in names.items()})
        compared = self.contents(old, new)
        tap.diagnostic("%d mappings of %d pages, %d MiB compared" % (
            sum(map(len, old)), len(names), compared >> 20))

    def spaces(self, target, options):
        """For each space {va: (gpa, size, rights)} of what is its own."""
        out = answers.whole(ask(target, options, "-j", "spaces"))
        return [{page.va: (page.gpa, page.size, page.writable, page.user,
                           page.executable)
                 for page in lablib.pages_of(
                     lablib.of_type("mapping", space["rows"]))}
                for space in out["spaces"]]

    def one_to_one(self, names):
        """Two that were not one page have not become one."""
        small = {}
        for (gpa, size), new in names.items():
            for offset in range(0, size, PAGE):
                self.assertEqual(small.setdefault(gpa + offset, new + offset),
                                 new + offset, "%#x" % gpa)
        self.assertEqual(len(set(small.values())), len(small))

    def contents(self, old, new):
        """Compares each pair of pages once, those of the dump and those of the
        snapshot; gives the bytes that it took."""
        seen, total = set(), 0
        for mine, theirs in zip(old, new):
            for va, (gpa, size, *_) in mine.items():
                if (gpa, size) in seen:
                    continue
                seen.add((gpa, size))
                # A part of a large page may be a hole of the PC's
                for offset in range(0, size, min(size, 1 << 21)):
                    total += self.same(gpa + offset, theirs[va][0] + offset,
                                       min(size, 1 << 21))
        return total

    def same(self, gpa, new, size):
        want = self.dump.memory(gpa, size)
        got = self.core.memory(new, size)
        if want is None:
            # A device's, which stays where it is, or so near one that only
            # the smallest pages tell
            self.assertTrue(got is None and gpa == new or got is not None,
                            "%#x" % gpa)
            return 0
        self.assertTrue(got == want, "%#x is not %#x" % (new, gpa))
        return size

    def test_references(self):
        """and share the tables that they did"""
        old = self.references(self.target, self.options(self.roots),
                              self.roots)
        new = self.references(["--image", self.files.snapshot], [],
                              [BASE + i * PAGE
                               for i in range(len(self.roots))])
        self.assertEqual(old, new)
        self.assertGreaterEqual(len(old), len(self.roots) - 1)
        tap.diagnostic("%d references" % len(old))

    def references(self, target, options, roots):
        """(space, va, table, rights, owner, its va) of those to anything."""
        shared = answers.whole(ask(target, options, "-j", "aliases"))["tables"]
        for name, root in [(row["space"], row["root"]) for table in shared
                           for row in table["references"]] + [
                (table["owner_space"], table["owner_root"])
                for table in shared]:
            self.assertEqual(lablib.number(root), roots[name])
        return {(ref["space"], ref["va"], table["level"], ref["writable"],
                 ref["user"], ref["executable"], table["owner_space"],
                 table["owner_va"])
                for table in shared if table["leaves"]
                for ref in table["references"]}

    def test_range(self):
        """a part of it, with a part of that left out"""
        low = live_spaces.KERNEL_HALF[self.guest.mode]
        path = self.files.snapshot + ".part"
        self.addCleanup(os.unlink, path)
        out = ask(self.target, self.options(self.roots[:2]), "--exclude",
                  "0-%x" % (PAGE * 256 - 1), "-j", "snapshot", "-o", path, "0",
                  "%x" % (low - 1))
        told = answers.whole(out)
        self.assertLess(told["file_bytes"], self.files.told["file_bytes"] // 4)
        old = self.spaces(self.target, [
            *self.options(self.roots[:2]), "--exclude",
            "0-%x" % (PAGE * 256 - 1)])
        new = self.spaces(["--image", path], [])
        for mine, theirs in zip(old, new):
            self.assertEqual({va for va in mine if va < low}, set(theirs))
        tap.diagnostic("%d KiB" % (told["file_bytes"] >> 10))

    def test_guest_untouched(self):
        """the guest's memory is what it was"""
        # In pieces: the lab's /tmp has no room for all of it once more.
        path = self.files.raw + ".after"
        self.addCleanup(os.unlink, path)
        differing = []
        with open(self.files.raw, "rb") as before:
            while (piece := before.read(PIECE)):
                at = before.tell() - len(piece)
                self.stopped.qmp.execute("pmemsave", val=at, size=len(piece),
                                         filename=path)
                with open(path, "rb") as after:
                    if after.read() != piece:
                        differing.append("%#x" % at)
        self.assertEqual(differing, [])


class Resuming:
    """A QEMU that serves one client, and tells it before one of its answers to a
    command that the guest ran meanwhile."""

    EVENT = b'{"event": "RESUME", "timestamp": {}}\r\n'

    def __init__(self, path, qemu, command, nth):
        self.qemu = qemu
        self.command = command
        self.nth = nth
        self.asked = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen()
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.socket.close()

    def _serve(self):
        theirs, _ = self.socket.accept()
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(self.qemu)
        with theirs, ours:
            answers = ours.makefile("rb")
            theirs.sendall(answers.readline())          # the greeting
            while command := theirs.recv(65536):
                ours.sendall(command)
                answer = answers.readline()
                now = self.command in command
                self.asked += now
                theirs.sendall(self.EVENT * (now and self.asked == self.nth) +
                               answer)


class Errors(live_errors.Refusals):
    """What a snapshot is refused for. The guest stands still, in its worker;
    what is made is of that alone."""

    def __init__(self, method, guest, stopped, folder):
        super().__init__(method, guest)
        self.stopped = stopped
        self.folder = folder

    def setUp(self):
        self.path = os.path.join(self.folder, "old")
        with open(self.path, "wb") as file:
            file.write(b"old")
        self.before = set(os.listdir(self.folder))

    def words(self, *words, path=None, **changed):
        return [*self.target, *self.stopped.registers.options(**changed),
                "snapshot", "-o", path or self.path, *words]

    def unchanged(self):
        """There is nothing new, and the old file is as it was."""
        self.assertEqual(set(os.listdir(self.folder)), self.before)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(16), b"old")

    def refused(self, words, *patterns, **options):
        super().refused(words, *patterns, **options)
        self.unchanged()

    def test_usage(self):
        """error: command lines of snapshot that make no sense"""
        self.refused([*self.target, "--cr3", "0", "snapshot"], "-o FILE",
                     status=2)
        self.refused([*self.target, "--cr3", "0", "maps", "-o", "x"], "maps",
                     status=2)
        for words, pattern in (
                (["--base", "800"], "800"),
                (["--base", "10000000000000"], "10000000000000"),
                (["0"], "snapshot"), (["1", "fff"], "VA 0x1 "),
                (["0", "1000"], "LAST_VA 0x1000"),
                (["--exclude", "0-ffe"], "LAST_VA 0xffe")):
            self.refused(self.words(*words), pattern, status=2)

    def test_running(self):
        """error: a guest that runs"""
        words = [*self.target, "--qmp", self.guest.qmp_path, "snapshot", "-o",
                 self.path]
        self.stopped.qmp.execute("cont")
        try:
            with self.stopped.qmp.away():
                self.refused(words, "runs", "stop it", '"stop"')
        finally:
            self.stopped.qmp.execute("stop")

    def test_ran_meanwhile(self):
        """error: a guest that ran while it was asked, or while it was copied"""
        path = os.path.join(self.folder, "qmp")
        self.before.add("qmp")
        words = [*self.target, "--qmp", path, "snapshot", "-o", self.path, "0",
                 "%x" % (256 * PAGE - 1)]
        for command, nth in ((b"info registers", 1), (b"query-status", 3)):
            with self.subTest(command=command), self.stopped.qmp.away(), \
                    Resuming(path, self.guest.qmp_path, command, nth) as qemu:
                self.refused(words, "ran meanwhile", "try again")
            self.assertGreaterEqual(qemu.asked, nth)
            os.unlink(path)

    def test_base(self):
        """error: places where it cannot be"""
        # The local APIC, which both kernels map
        self.refused(self.words("--base", "fee00000"), "device",
                     "another .*base")
        too_high = {"amd64": "8000000000000", "i686": "100000000"}
        self.refused(self.words("--base", too_high[self.guest.arch]),
                     "cannot name", "lower .*base")

    def test_not_a_file(self):
        """error: what is to be replaced is not a file"""
        link = os.path.join(self.folder, "link")
        os.symlink(self.path, link)
        self.addCleanup(os.unlink, link)
        self.before.add("link")
        for path in (self.folder, link, "/dev/null"):
            self.refused(self.words(path=path), "not a regular file",
                         re.escape(path))
        self.refused(self.words(path=self.folder + "/"), re.escape(
            self.folder))
        self.refused(self.words(path=self.folder + "/no/such"), "no such")
        self.refused(self.words(path="/proc/snapshot"), "cannot write")

    def test_full(self):
        """error: the disk is full"""
        full = os.path.join(self.folder, "full")
        os.mkdir(full)
        self.addCleanup(os.rmdir, full)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs",
                        full], check=True)
        self.addCleanup(subprocess.run, ["umount", full], check=True)
        self.before.add("full")
        path = os.path.join(full, "old")
        with open(path, "wb") as file:
            file.write(b"old")
        self.refused(self.words(path=path), "full", "make room")
        self.assertEqual(os.listdir(full), ["old"])
        with open(path, "rb") as file:
            self.assertEqual(file.read(16), b"old")

    def test_too_long(self):
        """error: the file would be longer than it may"""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        self.refused(self.words(), "too long", "ulimit -f", preexec_fn=limit)

    def test_disk_error(self):
        """error: the disk fails"""
        dynamic = os.path.join(live_errors.TOP, "build/obj/vmemctl/dynamic")
        path = dynamic + ":" + os.environ["PATH"]
        source = os.path.join(self.folder, "eio.c")
        library = os.path.join(self.folder, "eio.so")
        for call in ("pwrite", "fsync"):
            with open(source, "w", encoding="ascii") as file:
                file.write("#include <errno.h>\n"
                           "long %s(void) { errno = EIO; return -1; }\n" %
                           call)
            subprocess.run(["gcc", "-shared", "-fPIC", "-fno-builtin", "-o",
                            library, source], check=True)
            os.unlink(source)
            self.before.add("eio.so")
            self.refused(self.words(), "disk reports an error",
                         env={**os.environ, "LD_PRELOAD": library,
                              "PATH": path})
        os.unlink(library)

    def test_signals(self):
        """error: somebody ends it"""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number.name):
                self.interrupt(number)
                self.unchanged()

    def is_writing(self, pid):
        """A file of the folder is open, which has no name there yet."""
        fds = "/proc/%d/fd" % pid
        with contextlib.suppress(FileNotFoundError):
            return any(os.readlink(os.path.join(fds, fd))
                       .startswith(self.folder + "/") for fd in os.listdir(fds))
        return False

    def interrupt(self, number):
        with subprocess.Popen(["vmemctl", *self.words()],
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            while not self.is_writing(process.pid):
                self.assertIsNone(process.poll())
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        tap.diagnostic(err.rstrip("\n"))
        self.assertEqual((process.returncode, out), (1, ""))
        self.assertRegex(err, r"\Avmemctl: interrupted[^\n]*\n\Z")

    def test_replaced(self):
        """a file that is there is replaced, by one with nothing left over"""
        lablib.vmemctl_ok(*self.words("0", "%x" % (256 * PAGE - 1)))
        self.assertEqual(set(os.listdir(self.folder)), self.before)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(4), b"\x7fELF")
        # Longer than what comes after it
        with open(self.path, "ab") as file:
            file.truncate(1 << 30)
        lablib.vmemctl_ok(*self.words("0", "%x" % (256 * PAGE - 1)))
        self.assertLess(os.path.getsize(self.path), 1 << 24)


def test_guest(guest, words):
    """Runs the tests on one guest, which is stopped for them."""
    live_spaces.start_processes(guest)
    told = list(live_spaces.stacks(guest))
    with tempfile.TemporaryDirectory() as folder, \
            tempfile.TemporaryDirectory() as other, \
            guest.in_worker() as stopped:
        found = live_spaces.Roots(guest, stopped, told)
        roots = sorted(set(found.cr3.values()))
        files = Files(folder, guest, stopped, roots)
        tests = live_spaces.cases(Snapshot, guest, stopped, roots, files) + \
            live_spaces.cases(Errors, guest, stopped, other)
        return live_spaces.run(tests, words)


def main():
    return max(test_guest(guest, sys.argv[1:]) for guest in lablib.guests())


if __name__ == "__main__":
    tap.main(main)
