#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl mount of images: what is in the files, and how it ends.

Needs root and FUSE, with fusermount3, and no lab.
"""

import concurrent.futures
import contextlib
import errno
import json
import mmap
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

import answers
import image
import image_roots
import images
import mounted
import promises
import tap
from image import SANITIZED, VMEMCTL
from images import (A, AMD64, B, CODE, DATA, EM_386, EM_X86_64, ELF32, ELF64,
                    HIGH, I686, P, PAGE, PS, R, Segment, TEXT, U, W)

# A device for all, where the machine's own is for root alone
FOR_ALL = """
mkdir -p "$1/guest" && chown %d "$1/guest" && mknod "$1/fuse" c 10 229 &&
chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse && shift && exec "$@"
""" % image.NOBODY

MAPS = image.MAPS + "# warning: entries lead nowhere: reserved, unbacked, " \
    "unreadable, withheld\n"
RAW = ["--arch", "amd64", "--cr3", "%x" % A]
READERS = 100

# An amd64 kernel as Linux has it: where it is, and where it has that
PHYS_BASE = 0x2600000
TEXT_VA = 0xffffffff82600000
TEXT_GPA = TEXT_VA - 0xffffffff80000000 + PHYS_BASE
ROOT = TEXT_GPA + 0x10000
DIRECT = 0xffff9a4380000000
NOTE = 0x5000


def vmcoreinfo(*lines):
    return "".join("%s\n" % line for line in (
        "OSRELEASE=6.1.0-test", "PAGESIZE=4096", *lines)).encode()


def amd64_info(root=ROOT, base=PHYS_BASE):
    return vmcoreinfo(
        "SYMBOL(swapper_pg_dir)=%x" % (root - base + 0xffffffff80000000),
        "NUMBER(phys_base)=%d" % base, "NUMBER(pgtable_l5_enabled)=0")


def put_note(memory, gpa, desc, **changed):
    fields = {"name": "VMCOREINFO", "kind": 0, **changed}
    note = images.note(fields["name"], fields["kind"], desc)
    for at in range(0, len(note), PAGE):
        memory.fill(gpa + at, note[at:at + PAGE])


def kernel():
    """Its text and data, 8 MiB and 2 MiB behind a hole, and a direct map."""
    memory = images.Memory("<Q")
    upper = ROOT + PAGE
    memory.table(ROOT, {DIRECT >> 39 & 511: upper | P | W,
                        511: upper + PAGE | P | W})
    memory.table(upper, {DIRECT >> 30 & 511: upper + 2 * PAGE | P | W})
    memory.table(upper + 2 * PAGE, {i: i << 21 | P | W | PS
                                    for i in range(512)})
    memory.table(upper + PAGE, {510: upper + 3 * PAGE | P | W})
    first = TEXT_VA >> 21 & 511
    memory.table(upper + 3 * PAGE, {
        first + i: TEXT_GPA + (i << 21) | P | PS for i in (0, 1, 2, 3, 5)})
    memory.fill(TEXT_GPA, b"text of the kernel")
    memory.fill(0x1000, b"low memory")
    return memory


def kernel_core(memory):
    """All memory up to 512 MiB, of which the file has what is not 0"""
    pieces = memory.segments()
    ends = [gpa for gpa, _ in pieces[1:]] + [512 << 20]
    segments = [Segment(gpa, bytes(data), memsz=end - gpa)
                for (gpa, data), end in zip(pieces, ends)]
    return images.elf(segments, images.qemu_note(AMD64[0], ROOT, AMD64[1]))


def close(file):
    """Of what nobody answers for any more"""
    with contextlib.suppress(OSError):
        os.close(file)


class Case(image.Case):
    def mounted(self, path, *options, tool=VMEMCTL, **more):
        mount = mounted.Mounted(["--image", path, *options], tool, **more)
        self.addCleanup(mount.close)
        return mount

    def core(self, data, *options):
        """The parsed vmcore, and all of its bytes"""
        with self.mounted(self.file(data), *options) as mount:
            data = mount.read("vmcore")
        return mounted.Core(data), data


class Files(Case):
    """What is in them."""

    def test_tree(self):
        """the files that there are, read-only, with their sizes"""
        with self.mounted(self.file(images.amd64_core())) as mount:
            self.assertEqual(mount.said, "mounted at %s\n" % mount.folder)
            self.assertEqual(sorted(os.listdir(mount.folder)),
                             ["memory", "spaces", "vmcore"])
            self.assertEqual(mount.roots(), {A, B})
            self.assertEqual(sorted(os.listdir(mount.path("spaces", "1000"))),
                             ["maps", "mem"])
            for names in (["vmcore"], ["memory"]):
                self.assertEqual(os.stat(mount.path(*names)).st_size,
                                 len(mount.read(*names)))
            with self.assertRaises(OSError) as caught:
                os.open(mount.path("memory"), os.O_RDWR)
            self.assertEqual(caught.exception.errno, errno.EROFS)

    def test_root_names(self):
        """a space is found by its root in one way of writing it, listed or not"""
        with self.mounted(self.file(images.amd64_core())) as mount:
            for name, there in (("1000", True), ("2000", True),
                                ("01000", False), ("0x1000", False),
                                ("1001", False), ("1000 ", False),
                                ("7fff000", False), ("x", False),
                                ("f" * 20, False), ("10000000000001000", False)):
                self.assertEqual(os.path.exists(mount.path("spaces", name)),
                                 there, name)

    def same_memory(self, memory, core, data):
        """The segments are all of the memory, and have its bytes."""
        self.assertEqual([(load.gpa, load.size) for load in core.loads],
                         [(gpa, len(piece)) for gpa, piece
                          in memory.segments()])
        for load, (_, piece) in zip(core.loads, memory.segments()):
            self.assertEqual(data[load.offset:load.offset + load.size], piece)

    def test_vmcore(self):
        """vmcore is the core that was mounted: registers and memory"""
        core, data = self.core(images.amd64_core())
        self.assertEqual((core.fmt, core.machine), (ELF64, EM_X86_64))
        self.same_memory(images.amd64(), core, data)
        self.assertEqual([(name, kind) for name, kind, _ in core.notes],
                         [("CORE", 1)] * 3 + [("QEMU", 0)] * 3)
        self.assertEqual(core.note("QEMU"), [
            note[20:] for note in (
                images.qemu_note(AMD64[0], A | 0x18, AMD64[1]),
                images.qemu_note(AMD64[0], B, AMD64[1]),
                images.qemu_note(0x60000010, 0, 0))])
        for number, status in enumerate(core.note("CORE")):
            self.assertEqual(len(status), 336)
            self.assertEqual(struct.unpack_from("<I", status, 32)[0],
                             number + 1)
            self.assertEqual(struct.unpack_from("<Q", status, 240)[0], 16)
        self.assertEqual(self.core(data)[1], data)

    def test_mapped(self):
        """vmcore can be mapped, as makedumpfile does"""
        with self.mounted(self.file(images.amd64_core())) as mount:
            with open(mount.path("vmcore"), "rb") as file:
                with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE,
                               mmap.PROT_READ) as mapped:
                    self.assertEqual(mapped[:], file.read())

    def test_vmcore_i686(self):
        """of 32-bit guests, it is one of 32 bits"""
        core, data = self.core(images.i686_core())
        self.assertEqual((core.fmt, core.machine), (ELF32, EM_386))
        self.same_memory(images.i686(), core, data)
        core, data = self.core(images.pae_core())
        self.assertEqual((core.fmt, core.machine), (ELF32, EM_386))
        self.same_memory(images.pae(), core, data)
        self.assertEqual(len(core.note("CORE")), 3)
        self.assertEqual(len(core.note("CORE")[0]), 144)
        memory = images.i686()
        memory.fill(5 << 30, b"beyond")
        core, data = self.core(images.elf(
            [Segment(*piece) for piece in memory.segments()],
            images.qemu_note(I686[0], R, I686[1]), machine=EM_386))
        self.assertEqual((core.fmt, core.machine), (ELF64, EM_386))
        self.same_memory(memory, core, data)

    def test_raw(self):
        """raw memory without registers has both files, and no spaces"""
        path = self.file(images.amd64().raw())
        with self.mounted(path) as mount:
            self.assertEqual(mount.read("memory"), images.amd64().raw())
            self.assertEqual(mount.roots(), set())
            core = mounted.Core(mount.read("vmcore"))
        self.assertEqual([(load.va, load.gpa) for load in core.loads],
                         [(0, 0)])
        self.assertEqual(core.notes, [])
        with self.mounted(path, *RAW) as mount:
            self.assertEqual(mount.roots(), {A, B})

    def test_memory(self):
        """memory has zeros where there is none, and tells where"""
        memory = images.amd64()
        with self.mounted(self.file(images.amd64_core())) as mount:
            self.assertEqual(mount.read("memory"), memory.raw())
            file = mount.open("memory")
            for _ in range(20):                 # not what was read before
                self.assertTrue(any(os.pread(file, PAGE, 0x11000)))
                self.assertFalse(any(os.pread(file, PAGE, 0xc000)))
            ends = [(gpa, gpa + len(piece)) for gpa, piece
                    in memory.segments()]
            at, found = 0, []
            while at < ends[-1][1]:
                start = os.lseek(file, at, os.SEEK_DATA)
                at = os.lseek(file, start, os.SEEK_HOLE)
                found.append((start, at))
            self.assertEqual(found, ends)
            with self.assertRaises(OSError) as caught:
                os.lseek(file, at, os.SEEK_DATA)
            self.assertEqual(caught.exception.errno, errno.ENXIO)
            os.close(file)

    def test_unreadable(self):
        """what cannot be read is EIO, and what is before it is read"""
        data = images.elf([Segment(0x1000, b"x" * (PAGE + 100)),
                           Segment(0x8000, b"y" * PAGE)])
        with self.mounted(self.file(data)) as mount:
            core = mounted.Core(os.pread(file := mount.open("vmcore"), PAGE, 0))
            load = core.loads[0]
            for number, start in ((file, load.offset),
                                  (mount.open("memory"), 0x1000)):
                self.assertEqual(os.pread(number, 2 * PAGE, start), b"x" * PAGE)
                with self.assertRaises(OSError) as caught:
                    os.pread(number, 10, start + PAGE)
                self.assertEqual(caught.exception.errno, errno.EIO)
                os.close(number)

    def same_maps(self, path, root, *options, piece=33):
        done = image.run(VMEMCTL, ["--image", path, *options, "--cr3",
                                   "%x" % root, "maps"])
        self.assertEqual(done.returncode, 0)
        with self.mounted(path, *options) as mount:
            file = mount.open("spaces", "%x" % root, "maps")
            text = b"".join(iter(lambda: os.read(file, piece), b""))
            self.assertRaises(OSError, os.lseek, file, 0, os.SEEK_SET)
            os.close(file)
            self.assertEqual(text, mounted.maps_of(done))
            self.assertEqual(mount.read("spaces", "%x" % root, "maps"), text)
        return text

    def test_maps(self):
        """a space's maps are what vmemctl maps says"""
        core = self.file(images.amd64_core(), "core")
        self.assertEqual(self.same_maps(core, A).decode(), MAPS)
        self.assertNotIn(b"#", self.same_maps(core, B))
        self.same_maps(core, 0x4000)            # not one, and yet
        self.same_maps(self.file(images.i686_core(), "i686"), R)
        self.same_maps(self.file(images.pae_core(), "pae"), R + 0x20)
        self.same_maps(self.file(images.amd64().raw(), "raw"), A, "--arch",
                       "amd64")
        self.same_maps(self.file(images.amd64().raw(), "la57"), A, "--arch",
                       "amd64-la57")

    def test_long_maps(self):
        """more rows than are read at once, and one over several windows"""
        memory = images.Memory("<Q")
        memory.table(A, {i: 0x2000 | P | W | U for i in (0, 511)})
        memory.table(0x2000, {i: 0x3000 | P | W | U for i in range(256)})
        memory.table(0x3000, {0: 0x4000 | P | W | U, 1: 0x4000 | P | W | U})
        memory.table(0x4000, {i: i * PAGE | P | W | U
                              for i in range(0, 512, 8)})
        memory.table(0x5000, {0: 0x6000 | P | U, 1: 0x7000 | P | U})
        memory.table(0x6000, {i: i << 30 | P | U | PS for i in range(512)})
        memory.table(0x7000, {i: 512 + i << 30 | P | U | PS
                              for i in range(512)})
        path = self.file(memory.raw())
        text = self.same_maps(path, A, "--arch", "amd64", piece=99999)
        self.assertGreater(len(text), 2 << 20)
        text = self.same_maps(path, 0x5000, "--arch", "amd64")
        self.assertEqual(text.count(b"\n"), 2)

    def test_no_memory(self):
        """maps for which there is no memory is an error, and lacks no row"""
        memory = images.Memory("<Q")
        memory.table(A, {0: 0x2000 | P | W | U})
        memory.table(0x2000, {0: 0x3000 | P | W | U})
        memory.table(0x3000, dict.fromkeys(range(512), 0x4000 | P | W | U))
        memory.table(0x4000, {i: i * PAGE | P | U for i in range(0, 512, 8)})
        path, maps = self.file(memory.raw()), ("spaces", "%x" % A, "maps")
        text = self.same_maps(path, A, *RAW[:2], piece=99999)
        with self.mounted(path, *RAW) as mount:
            failed = 0
            for more in range(0, 1 << 19, 1 << 14):
                file, pieces = mount.open(*maps), [b"-"]
                mount.limit(mount.memory("VmData") * 1024 + more)
                while pieces[-1]:
                    try:
                        pieces.append(os.read(file, 1 << 20))
                    except OSError as error:
                        self.assertEqual(error.errno, errno.ENOMEM)
                        mount.limit(resource.RLIM_INFINITY)
                        failed += 1
                os.close(file)
                mount.limit(resource.RLIM_INFINITY)
                self.assertEqual(b"".join(pieces[1:]), text)
            self.assertGreater(failed, 0)

    def test_no_memory_to_begin(self):
        """when it begins with little memory, it waits for more, or says so and ends"""
        path = self.file(images.amd64_core())
        with self.mounted(path) as mount:
            maps = mount.read("spaces", "%x" % A, "maps")
            enough = mount.memory("VmData") << 10
        served = 0
        for data in range(enough - (4 << 20), enough + (2 << 20), 1 << 19):
            words = ["--data=%d:" % data, VMEMCTL, "--image", path]
            try:
                mount = mounted.Mounted(words, "prlimit")
            except AssertionError as error:
                self.assertIn("vmemctl: cannot begin", str(error))
                continue
            with mount:
                with self.assertRaises(subprocess.TimeoutExpired):
                    mount.process.wait(0.2)
                mount.limit(resource.RLIM_INFINITY)
                self.assertEqual(mount.read("spaces", "%x" % A, "maps"), maps)
            served += 1
        self.assertGreater(served, 0)

    def test_spliced_maps(self):
        """sendfile() of a space's maps has them or an error, and is not empty"""
        out, into = os.pipe()
        with self.mounted(self.file(images.amd64_core())) as mount:
            file = mount.open("spaces", "%x" % A, "maps")
            for _ in range(2):
                try:
                    self.assertEqual(os.sendfile(into, file, None, 33), 33)
                    self.assertIn(os.read(out, 33).decode(), MAPS)
                except OSError as error:
                    self.assertEqual(error.errno, errno.EIO)
            os.close(file)
        os.close(out)
        os.close(into)

    def test_mem(self):
        """a space's memory, at its virtual addresses"""
        with self.mounted(self.file(images.amd64_core())) as mount:
            file = mount.open("spaces", "%x" % A, "mem")
            self.assertEqual(os.pread(file, 10, DATA + PAGE - 5),
                             b"irst!second page"[:10])
            self.assertEqual(os.pread(file, 5, CODE), b"\x7fcode"[:5])
            self.assertEqual(os.pread(file, len(TEXT), mounted.upper(HIGH)),
                             TEXT)
            self.assertEqual(len(os.pread(file, PAGE, DATA + 2 * PAGE - 3)), 3)
            for va in (0, 0x800000, 0x40000000, 1 << 47, 1 << 62,
                       mounted.upper(HIGH + PAGE), (1 << 63) - PAGE):
                with self.assertRaises(OSError) as caught:
                    os.pread(file, 1, va)
                self.assertEqual(caught.exception.errno, errno.EIO)
            os.close(file)


class Kernel(Case):
    """What is known of a Linux kernel."""

    def info_in(self, memory):
        core, _ = self.core(kernel_core(memory))
        return core.note("VMCOREINFO")

    def test_found(self):
        """VMCOREINFO is in vmcore, and the kernel's addresses"""
        memory = kernel()
        put_note(memory, NOTE, amd64_info())
        core, data = self.core(kernel_core(memory))
        self.assertEqual(core.note("VMCOREINFO"), [amd64_info()])
        text, *loads = core.loads
        self.assertEqual((text.va, text.gpa, text.size),
                         (TEXT_VA, TEXT_GPA, 12 << 20))
        self.assertTrue(data[text.offset:].startswith(b"text of the kernel"))
        self.assertEqual([(load.gpa, load.va) for load in loads],
                         [(0x1000, DIRECT + 0x1000)])
        self.assertEqual(loads[0].size, (512 << 20) - 0x1000)

    def test_registers(self):
        """raw memory with VMCOREINFO needs no registers"""
        memory = kernel()
        put_note(memory, NOTE, amd64_info())
        with self.mounted(self.file(memory.raw())) as mount:
            self.assertIn(ROOT, mount.roots())
            file = mount.open("spaces", "%x" % ROOT, "mem")
            self.assertEqual(os.pread(file, 4, mounted.upper(TEXT_VA)),
                             b"text")
            os.close(file)

    def test_two_pages(self):
        """one that is longer than what is left of its page"""
        memory = kernel()
        info = amd64_info() + b"NUMBER(n)="
        info += b"1" * (PAGE - len(info) - 1) + b"\n"
        put_note(memory, NOTE, info)
        self.assertEqual(self.info_in(memory), [info])

    def test_copies(self):
        """one that its tables do not confirm is passed over"""
        memory = kernel()
        put_note(memory, NOTE, amd64_info(base=PHYS_BASE + PAGE))
        put_note(memory, NOTE + 2 * PAGE, amd64_info(root=ROOT + 2 * PAGE))
        put_note(memory, NOTE + 4 * PAGE, amd64_info())
        put_note(memory, NOTE + 6 * PAGE, vmcoreinfo("NUMBER(phys_base)=x"))
        self.assertEqual(self.info_in(memory), [amd64_info()])

    def test_flood(self):
        """many of those do not hide it"""
        memory = kernel()
        for i in range(100):
            put_note(memory, NOTE + i * PAGE, vmcoreinfo("NUMBER(i)=%d" % i))
        put_note(memory, NOTE + 100 * PAGE, amd64_info())
        self.assertEqual(self.info_in(memory), [amd64_info()])

    def test_unconfirmed(self):
        """without tables that confirm one, the first is taken"""
        memory = kernel()
        put_note(memory, NOTE, vmcoreinfo("NUMBER(a)=1"))
        put_note(memory, NOTE + PAGE, vmcoreinfo("NUMBER(b)=2"))
        self.assertEqual(self.info_in(memory), [vmcoreinfo("NUMBER(a)=1")])

    def test_others(self):
        """what is none is not taken for one"""
        good = amd64_info()
        for desc, changed in (
                (good, {"name": "VMCOREINFX"}), (good, {"name": "VMCORE"}),
                (good, {"kind": 1}), (b"X" + good, {}), (good + b"\0", {}),
                (good[:-1], {}), (good.replace(b"-", b"\x1b"), {}), (b"", {}),
                (good + b"=\n" * 2048, {})):
            memory = kernel()
            put_note(memory, NOTE, desc, **changed)
            with self.mounted(self.file(kernel_core(memory))) as mount:
                core = mounted.Core(mount.read("vmcore"))
                mount.process.send_signal(signal.SIGTERM)
                self.assertRegex(mount.end()[1], "warning: no VMCOREINFO")
            self.assertEqual(core.note("VMCOREINFO"), [])
            self.assertEqual(core.loads[0].va, TEXT_VA)     # by CR3

    def test_i686(self):
        """a 32-bit kernel's memory, as far as it has it mapped"""
        split, root = 0x80000000, 0x400000
        memory = images.Memory("<I")
        memory.table(root, {(split >> 22) + i: i << 22 | P | W | PS
                            for i in range(16)})
        put_note(memory, NOTE, vmcoreinfo(
            "SYMBOL(swapper_pg_dir)=%x" % (split + root)))
        memory.page((80 << 20) - PAGE)
        core, _ = self.core(memory.raw())
        self.assertEqual((core.fmt, core.machine), (ELF32, EM_386))
        self.assertEqual([(load.gpa, load.va, load.size)
                          for load in core.loads],
                         [(0, split, 64 << 20),
                          (64 << 20, 0xffffffff, 16 << 20)])
        self.assertEqual(len(core.note("VMCOREINFO")), 1)


class Life(Case):
    """How it begins, and how it ends."""

    def one(self, **more):
        return self.mounted(self.file(images.amd64_core()), **more)

    def test_signals(self):
        """a signal unmounts it"""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.one(number=number):
                pass

    def test_sanitized(self):
        """under the sanitizers, all files are read, and nothing is said"""
        memory = kernel()
        put_note(memory, NOTE, amd64_info())
        for data in (images.amd64_core(), kernel_core(memory)):
            with self.mounted(self.file(data), tool=SANITIZED) as mount:
                for folder, _, names in os.walk(mount.folder):
                    for name in set(names) - {"mem"}:
                        mount.read(folder, name)
                subprocess.run(["umount", mount.folder], check=True)
                status, text = mount.end()
                self.assertEqual((status, image.errors(text)), (0, []))

    def test_no_spaces(self):
        """a look for spaces that fails is EIO, and leaves nothing behind"""
        kernel = image_roots.Kernel("i686-pae")
        known = kernel.process()
        page = bytes(kernel.memory.page(known & -PAGE))
        root = page[known % PAGE:known % PAGE + kernel.size]
        for _ in range(65536 // 128):
            kernel.fill(kernel.frame(), root * 128)
        with self.mounted(self.file(kernel.image()), "--arch", kernel.arch,
                          "--cr3", "%x" % known, tool=SANITIZED) as mount:
            with self.assertRaises(OSError) as caught:
                mount.roots()
            self.assertEqual(caught.exception.errno, errno.EIO)
            subprocess.run(["umount", mount.folder], check=True)
            status, text = mount.end()
            self.assertEqual((status, image.errors(text)), (0, []))

    def test_json(self):
        """-j says where, too"""
        with self.mounted(self.file(images.amd64_core()), "-j") as mount:
            answer = json.loads(mount.said)
        answers.check(answer)
        self.assertEqual(answer["folder"], mount.folder)

    def test_unmounted(self):
        """umount ends it"""
        with self.one() as mount:
            subprocess.run(["umount", mount.folder], check=True)
            self.assertEqual(mount.end()[0], 0)

    def test_open_at_the_end(self):
        """a file that is open keeps nothing mounted"""
        with self.one() as mount:
            file = mount.open("memory")
            self.assertEqual(len(os.pread(file, 4, 0x1000)), 4)
        with self.assertRaises(OSError) as caught:
            os.pread(file, 4, 0x1000)
        self.assertEqual(caught.exception.errno, errno.ENOTCONN)
        close(file)

    def test_server_killed(self):
        """if what answers is killed, it is unmounted, and that is said"""
        mount = self.one()
        file = mount.open("memory")
        os.kill(mount.server, signal.SIGKILL)
        status, text = mount.end()
        self.assertEqual(status, 1)
        self.assertIn("by signal 9", text)
        self.assertFalse(mounted.is_mounted(mount.folder))
        self.assertRaises(OSError, os.pread, file, 4, 0x1000)
        close(file)

    def test_killed(self):
        """if it is killed itself, what answers ends with it"""
        mount = self.one()
        server = mount.server
        mount.process.kill()
        mount.process.wait()
        self.assertTrue(mounted.wait_until(
            lambda: not os.path.exists("/proc/%d" % server)))
        self.refuses(["--image", self.file(images.amd64_core()), "mount",
                      mount.folder], "has died: umount it")
        subprocess.run(["umount", mount.folder], check=True)
        mount.end()

    def test_image_cut(self):
        """if the image becomes shorter, it ends, and says so"""
        path = self.file(images.amd64().raw())
        mount = self.mounted(path, *RAW)
        os.truncate(path, PAGE)
        self.assertRaises(OSError, mount.read, "memory")
        status, text = mount.end()
        self.assertEqual(status, 1)
        self.assertIn("the image has become shorter", text)
        self.assertFalse(mounted.is_mounted(mount.folder))

    def test_confined(self):
        """what answers has no capability, and a filter of system calls"""
        with self.one() as mount:
            mount.roots()
            tasks = os.listdir("/proc/%d/task" % mount.server)
            self.assertGreater(len(tasks), 2)
            for task in tasks:
                with open("/proc/%d/task/%s/status" % (mount.server, task),
                          encoding="ascii") as file:
                    status = dict(line.split(":\t") for line in file)
                for name in "CapPrm", "CapEff", "CapInh":
                    self.assertEqual(int(status[name], 16), 0)
                self.assertEqual((status["Seccomp"], status["NoNewPrivs"]),
                                 ("2\n", "1\n"))

    def test_readers(self):
        """a hundred readers at once read what there is"""
        want = images.amd64().raw()
        with self.one() as mount:
            text = mount.read("spaces", "%x" % A, "maps")

            def read(number):
                if number % 3 == 0:
                    return mount.read("memory") == want
                if number % 3 == 1:
                    return mount.roots() == {A, B}
                return mount.read("spaces", "%x" % A, "maps") == text

            with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
                self.assertTrue(all(pool.map(read, range(10 * READERS))))

    def test_one_file(self):
        """two who read one open file are served together, each with a piece of its own"""
        with self.one() as mount:
            # From now on the kernel knows that whoever closes a file need not wait.
            text = mount.read("spaces", "%x" % A, "maps")
            file = mount.open("spaces", "%x" % A, "maps")
            os.kill(mount.server, signal.SIGSTOP)
            readers = [subprocess.Popen(["dd", "bs=33", "count=1"], stdin=file,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
                       for _ in range(2)]
            for reader in readers:
                self.assertTrue(mounted.wait_until(
                    lambda: mounted.waits(reader.pid)))
            os.kill(mount.server, signal.SIGCONT)
            os.close(file)
            self.assertEqual({reader.communicate(timeout=mounted.SECONDS)[0]
                              for reader in readers}, {text[:33], text[33:66]})

    def test_slow_tables(self):
        """tables that take minutes to read keep nobody from files, and no reader alive"""
        memory = images.Memory("<Q")
        for gpa in (A, 0x2000, 0x3000):
            memory.table(gpa, dict.fromkeys(range(512), gpa + PAGE | P | W))
        memory.page(0x4000)
        with self.mounted(self.file(memory.raw()), *RAW) as mount:
            files = [mount.open("spaces", "%x" % A, "maps") for _ in range(10)]
            readers = [subprocess.Popen(["cat"], stdin=file,
                                        stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
                       for file in [*files, files[0]]]
            for file in files:
                os.close(file)
            for reader in readers:
                self.addCleanup(reader.kill)
                self.assertTrue(mounted.wait_until(
                    lambda: mounted.waits(reader.pid)))
            self.assertEqual(mount.read("memory"), memory.raw())
            for reader in reversed(readers):
                self.assertIsNone(readers[0].poll())
                reader.kill()
                self.assertEqual(reader.wait(mounted.SECONDS), -signal.SIGKILL)

    def test_few_files(self):
        """with few descriptors it is mounted, or says why it is not, and leaves nothing"""
        core = self.file(images.amd64_core())
        for nr in range(3, 64):
            try:
                with mounted.Mounted(["--nofile=%d" % nr, VMEMCTL, "--image",
                                      core], "prlimit") as mount:
                    self.assertTrue(mount.read("memory"))
                    break
            except AssertionError as error:
                status, text, is_there = error.args
                self.assertEqual((status, len(image.errors(text)), is_there),
                                 (1, 1, False), text)
        self.assertIn(nr, range(5, 63))

    def grown(self, mount, nr, *names):
        """KiB that the server takes more when a file is open, and was read from"""
        before = mount.memory("VmHWM")
        files = []
        for _ in range(nr):
            files.append(mount.open(*names))
            os.read(files[-1], 1)
        for file in files:
            os.close(file)
        return (mount.memory("VmHWM") - before) / nr

    def test_memory(self):
        """open files take no more memory than docs/limits.md says"""
        tables = images.Memory("<Q")
        for gpa in (A, 0x2000, 0x3000):
            tables.table(gpa, dict.fromkeys(range(512), gpa + PAGE | P | U))
        tables.table(0x4000, {i: 0x5000 | P | U | i % 2 << 1
                              for i in range(512)})
        pieces = images.elf([Segment(2 * PAGE * i, b"", memsz=PAGE)
                             for i in range(65000)],
                            images.qemu_note(AMD64[0], A, AMD64[1]) * 4096)
        limits = {row["open file"]: int(row["KiB"].replace(",", "")) for row
                  in promises.rows_with(promises.LIMITS, "open file", "KiB")}
        for data, options, names in (
                (tables.raw(), RAW, ("spaces", "%x" % A, "maps")),
                (pieces, (), ("vmcore",))):
            with self.subTest(names), self.mounted(self.file(data), *options) as mount:
                more = self.grown(mount, 50, *names)
                tap.diagnostic("%s: %d KiB" % (names[-1], more))
                self.assertLessEqual(more, limits["`%s`" % names[-1]])
                self.assertGreater(more, limits["`%s`" % names[-1]] / 3)

    def test_nobody(self):
        """who is not root mounts by fusermount3, in a namespace with such a device"""
        os.chown(self.folder, image.NOBODY, image.NOBODY)
        where = os.path.join(self.folder, "guest")
        core = self.file(images.amd64_core())
        nobody = ["setpriv", "--reuid=%d" % image.NOBODY, "--clear-groups",
                  "--pdeathsig=TERM"]
        mount = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", FOR_ALL, "-", self.folder, *nobody,
             VMEMCTL, "--image", core, "mount", where], text=True,
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.addCleanup(mount.wait, mounted.SECONDS)
        self.addCleanup(mount.kill)
        self.assertEqual(mount.stdout.readline(), "mounted at %s\n" % where)
        enter = ["nsenter", "-m", "-t", str(mount.pid), *nobody]
        read = image.run(enter[0], [*enter[1:], "cat", os.path.join(
            where, "spaces/1000/maps")])
        self.assertEqual(read.stdout.decode(), MAPS)
        mount.terminate()
        self.assertEqual(mount.wait(mounted.SECONDS), 0)
        mount.stdout.close()

    def test_refused(self):
        """what it cannot mount at is named"""
        core = self.file(images.amd64_core())
        for where, why in ((core, "not a directory"),
                           (self.folder, "it is not empty"),
                           (os.path.join(self.folder, "none"),
                            "there is no such directory: make it")):
            self.refuses(["--image", core, "mount", where],
                         re.escape(where), why)
        self.refuses(["--image", core, "mount"], "one argument", status=2)
        self.refuses(["-p", "1", "--qmp", "/none", "mount", "/mnt"],
                     "--qmp has no effect here", status=2)
        self.refuses(["--image", core, "--all", "mount", "/"],
                     "mount: --all has no effect here", status=2)


def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(load(case) for case in (Files, Kernel, Life))
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        os.chmod(tempfile.tempdir, 0o755)
        try:
            return tap.run(suite)
        finally:
            mounted.unmount_all(tempfile.tempdir)


if __name__ == "__main__":
    sys.exit(main())
