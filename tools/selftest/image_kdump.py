#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""kdump-compressed dumps: those of QEMU and makedumpfile, of guests that run here, and
those that are made by hand.

A guest has a kernel of Debian's and a busybox, and is emulated on the host: it takes
seconds to boot, and needs no lab. What its dumps say has to be what its ELF core says.
"""

import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import image
import images
import lablib
import tap
from image import LOST, MAPS
from images import A, LZO, PAGE, SNAPPY, ZLIB, ZSTD

sys.path.append(os.path.join(image.TOP, "tools/lab"))
import kernels                          # noqa: E402

SEED = 20261129
MUTANTS = 1000


def amd64(flags=ZLIB, notes=None, **changed):
    return images.kdump(images.amd64(), images.amd64_notes() if notes is None
                        else notes, flags, **changed)


class Made(image.Case):
    def maps(self, data, *options):
        """It is the amd64 guest."""
        self.answers(self.file(data), ["maps"], MAPS, warning=LOST,
                     options=options)

    def same(self, data, core):
        """A dump says what an ELF core of the same guest says."""
        dump, core = self.file(data), self.file(core, "core")
        for words in (["spaces"], ["vcpus"], ["aliases"]):
            self.assertEqual(self.json(dump, *words), self.json(core, *words))
        self.assertEqual(self.json(dump, "info")["vcpus"],
                         self.json(core, "info")["vcpus"])
        info = self.json(dump, "info")
        self.assertEqual((info["image"]["format"], info["memslots"][0]["offset"]),
                         ("kdump", None))
        self.assertRegex(self.ask(["--image", dump, "info"]).stdout.decode(),
                         r"(?m)^ .* packed            -$")

    def test_packed(self):
        """pages in each way to pack them, plain and flattened"""
        rng = random.Random(SEED)
        for flags in (0, ZLIB, LZO, SNAPPY, ZSTD):
            data = amd64(flags)
            self.maps(data)
            for size, order in ((16 << 10, lambda pieces: None),
                                (100, rng.shuffle),
                                # Once more the same
                                (1000, lambda pieces: pieces.extend(pieces[:9]))):
                self.maps(images.flattened(data, size, order))

    def test_any_page(self):
        """pages of all kinds come out as they went in"""
        rng = random.Random(SEED)
        memory = images.Memory("<Q")
        for i in range(200):
            size = rng.choice((1, 3, 5, 60, 61, 62, 200, 400, 3000))
            words = [rng.randbytes(rng.randint(1, 9)) for _ in range(4)]
            page = rng.randbytes(size) + b"".join(
                rng.choice(words) for _ in range(rng.randrange(2000)))
            memory.fill(i * PAGE, page[:PAGE])
        for i in range(200, 1300):              # more than are kept
            memory.fill(i * PAGE, b"%d" % i)
        raw = memory.raw()
        for flags in (ZLIB, LZO, SNAPPY, ZSTD):
            path = self.file(images.kdump(memory, b"", flags))
            done = self.ask(["--image", path, "read", "--raw", "--phys", "0",
                             "%d" % len(raw)])
            self.assertEqual(done.stdout, raw)

    def test_registers(self):
        """guests of each mode, in headers of 64 bits and of 32"""
        self.same(amd64(), images.amd64_core())
        self.same(amd64(version=4), images.amd64_core())
        for wide in (True, False):
            # More than 4 GiB, and QEMU's header is of 64 bits.
            self.same(images.kdump(images.pae(), images.pae_notes(), wide=wide),
                      images.pae_core())
        memory = images.i686()
        self.same(images.kdump(memory, images.i686_notes(), wide=False),
                  images.i686_core())
        roots = ["--arch", "amd64", "--cr3", "%x" % A]
        for data in (amd64(notes=b""), amd64(version=3)):
            self.answers(self.file(data), ["maps"], MAPS, warning=LOST,
                         options=roots)
            self.assertEqual(self.json(self.file(data), "info")["vcpus"], [])

    def test_left_out(self):
        """what makedumpfile left out is unreadable, and only if it says so, zeros"""
        where = ["read", "--phys", "11000", "16"]
        for level, out in ((31, 0x11000), (0, 0x11000), (1, 0x12000)):
            path = self.file(amd64(left_out=[out], level=level))
            page = "%x" % out
            self.assertEqual(self.ask(["--image", path, "maps"]).stdout.decode(),
                             MAPS)
            if level == 1:
                done = self.ask(["--image", path, "read", "--raw", "--phys", page,
                                 "4096"])
                self.assertEqual(done.stdout, bytes(PAGE))
            else:
                self.refuses(["--image", path, *where], page, "unreadable|read")
            slots = self.json(path, "info")["memslots"]
            self.assertEqual(sum(slot["len"] for slot in slots),
                             PAGE * len(images.amd64().pages))
        # A table
        path = self.file(amd64(left_out=[0x4000], level=31))
        answer, = self.rows(path, "vtop", "400000")
        self.assertEqual(answer["status"], "unreadable")
        self.refuses(["--image", path, "read", "--phys", "7000000", "8"],
                     "unbacked|no memory")

    def test_damaged_page(self):
        """a page that cannot be unpacked is unreadable"""
        good = amd64()
        where = good.index(images.PACKERS[ZLIB](
            bytes(images.amd64().pages[0x4000])))
        bad = self.file(good[:where] + bytes(8) + good[where + 8:])
        answer, = self.rows(bad, "vtop", "400000")
        self.assertEqual(answer["status"], "unreadable")
        for flags in (ZLIB | LZO, LZO, SNAPPY, ZSTD):
            self.refuses(["--image", self.file(amd64(page_flags=flags)), "read",
                          "--phys", "1000", "8"], "unreadable")

    def test_refused(self):
        """files that are no dump of a guest, or not all of it"""
        for machine in (b"s390x", b"aarch64", b"ppc64le", b"", b"i86"):
            self.damaged(amd64(machine=machine.ljust(1, b"\1")),
                         "not of an x86 machine")
        self.damaged(amd64(status=8 | ZLIB), "incomplete")
        self.damaged(amd64(split=1), "one part of several", "--reassemble")
        self.damaged(amd64(block=65536), "damaged", "65536")
        for pages in (0, 1 << 20, 1 << 40):
            self.damaged(amd64(pages=pages), "damaged", "%d pages" % pages)
        self.damaged(images.flattened(images.amd64_core(), PAGE),
                     "flattened dump of another format", "makedumpfile -R")
        self.damaged(b"DISKDUMP".ljust(PAGE), "diskdump")
        pieces = images.Memory("<Q")
        for i in range(70000):
            pieces.pages[2 * i * PAGE] = b""
        self.damaged(images.kdump(pieces, flags=0, left_out=pieces.pages),
                     "more than 65536 pieces")
        other = bytearray(amd64())
        other[PAGE + 104 + 3] = 77
        self.damaged(bytes(other), "notes make no sense")
        struct.pack_into("<Q", other, PAGE + 56, 65 << 20)
        self.damaged(bytes(other), "more than 64 MiB of notes")

    def test_pieces(self):
        """pieces of a flattened dump that cannot be"""
        data = amd64()
        for end in (b"", b"\xff" * 15):
            self.damaged(images.flattened(data, PAGE, end=end), "truncated")
        whole = images.flattened(data, PAGE)
        for at in range(PAGE, len(whole), 997):
            self.damaged(whole[:at], "truncated")
        for where, size in ((0, 0), (0, 1 << 62), (1 << 60, 8),
                            (0, (1 << 64) + PAGE - len(whole))):    # once around
            self.damaged(whole[:-16] + struct.pack(">QQ", where, size) +
                         bytes(8) + b"\xff" * 16, "truncated|damaged")
        self.damaged(whole[:-16] + struct.pack(">QQ8s", 0, 8, b"DISKDUMP") +
                     b"\xff" * 16, "other memory at 0")

    def test_truncated(self):
        """a dump that is cut anywhere is refused"""
        data = amd64()
        for at in [*range(8, 2 * PAGE, 499), *range(2 * PAGE, len(data), 911),
                   len(data) - 1]:
            self.damaged(data[:at], "truncated|not of an x86|damaged")
        # Its last pages are zeros, which are one page.
        memory = images.amd64()
        for i in range(100):
            memory.page(0x20000 + i * PAGE)
        self.damaged(images.kdump(memory)[:-1], "truncated")

    def test_mutants(self):
        """files that were changed at random do no harm"""
        rng = random.Random(SEED)
        bases = [make(flags) for flags in (ZLIB, LZO, SNAPPY, ZSTD) for make in (
            amd64, lambda flags: images.flattened(amd64(flags), 1000))]
        bases.append(images.kdump(images.i686(), images.i686_notes(), wide=False))

        def mutants():
            for i in range(MUTANTS):
                data = bytearray(rng.choice(bases))
                for _ in range(rng.randint(1, 5)):
                    end = rng.choice((500, PAGE + 120, len(data)))
                    at = rng.randrange(end)
                    if rng.random() < 0.5:
                        data[at] ^= 1 << rng.randrange(8)
                    else:
                        at &= -4
                        value = rng.choice((0, 1, PAGE, (1 << 31) - 1, 1 << 31,
                                            (1 << 32) - 1, len(data)))
                        data[at:at + 4] = struct.pack("<I", value)
                yield "mutant %d" % i, bytes(data), rng.choice(image.COMMANDS)

        image.Hostile.check(self, mutants())


INIT = """#!/bin/busybox sh
while read -r module; do /bin/busybox insmod "$module"; done </lib/modules.list
/bin/busybox sleep 1000000 &
echo the guest is up
exec /bin/busybox sleep 1000001
"""

MEMORY = 128


class Emulated:
    """A guest that is emulated on this machine, and stands still"""

    def __init__(self, arch, folder):
        self.folder = folder
        kernel = kernels.Kernel.debian(arch)
        init = os.path.join(folder, "init")
        console = os.path.join(folder, "console")
        with open(init, "w", encoding="utf-8") as file:
            file.write(INIT)
        # 5 levels are of no use to makedumpfile here.
        self.qemu = subprocess.Popen([
            "qemu-system-x86_64", "-nodefaults", "-no-user-config",
            "-machine", "pc", "-accel", "tcg", "-cpu", "max,la57=off",
            "-m", str(MEMORY), "-smp", "2", "-display", "none", "-no-reboot",
            "-kernel", kernel.image, "-initrd", kernel.initramfs(
                arch.partition("-")[0], ("qemu_fw_cfg",), {"init": init}),
            "-append", "console=ttyS0 quiet panic=-1",
            "-serial", "file:" + console, "-device", "vmcoreinfo",
            "-qmp", "unix:%s/qmp,server=on,wait=off" % folder],
            stdin=subprocess.DEVNULL)
        try:
            while "the guest is up" not in self.text(console):
                if self.qemu.poll() is not None:
                    raise lablib.LabError("QEMU has ended")
                time.sleep(0.1)
            self.qmp = lablib.Qmp(os.path.join(folder, "qmp"))
            self.qmp.execute("stop")
        except BaseException:
            self.end()
            raise

    @staticmethod
    def text(path):
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def end(self):
        self.qemu.send_signal(signal.SIGKILL)
        self.qemu.wait()

    def formats(self):
        answer = self.qmp.execute("query-dump-guest-memory-capability")
        return [name for name in answer["formats"] if name.startswith("kdump")]

    def dump(self, name):
        path = os.path.join(self.folder, name)
        self.qmp.execute("dump-guest-memory", paging=False,
                         protocol="file:" + path, format=name)
        return path


def rearranged(path):
    """makedumpfile wants the program headers behind the ELF header."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(64))
        where, = struct.unpack_from("<Q", head, 32)
        file.seek(where)
        headers = file.read(56 * struct.unpack_from("<H", head, 56)[0])
        struct.pack_into("<QQ", head, 32, 64, 0)
        head[58:64] = bytes(6)
        file.seek(0)
        file.write(head + headers)
    return path


def said(path, *words):
    done = image.run(image.VMEMCTL, ["--image", path, "-j", *words])
    if done.returncode:
        raise AssertionError("%s: %s" % (words, done.stderr.decode()))
    return done.stdout


class Real(unittest.TestCase):
    """Dumps of guests that ran"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def boot(self, arch):
        guest = Emulated(arch, self.folder)
        self.addCleanup(guest.end)
        return guest

    def core(self, guest):
        core = guest.dump("elf")
        slot = json.loads(said(core, "info"))["memslots"][0]
        self.memory = int(slot["offset"], 16)
        return core, self.answers(core)

    def answers(self, core):
        """What the ELF core says, by question"""
        answers = {words: said(core, *words) for words in (
            ("maps", "--all"), ("spaces", "--all"), ("vcpus",))}
        vas = re.findall(rb'"va":"(0x[0-9a-f]+)"', said(core, "maps"))
        self.assertGreaterEqual(len(vas), 50)
        words = ("vtop", *map(bytes.decode, vas[::len(vas) // 50]))
        return answers | {words: said(core, *words)}

    def same(self, answers, core, dump, left_out=False):
        """A dump says what the ELF core says, of which pages may have been left out."""
        for words, answer in answers.items():
            self.assertTrue(answer == said(dump, *words),
                            "%s: another answer" % (words[:2],))
        missing = 0
        for gpa in range(0, MEMORY << 20, 600 * PAGE):
            done = image.run(image.VMEMCTL, [
                "--image", dump, "read", "--raw", "--phys", "%x" % gpa, "%d" % PAGE])
            if left_out and done.returncode:
                self.assertIn(b"unreadable", done.stderr)
                missing += 1
                continue
            with open(core, "rb") as file:
                file.seek(self.memory + gpa)
                self.assertEqual(done.stdout, file.read(PAGE))
        self.assertEqual(missing > 0, left_out)

    def test_amd64(self):
        """dumps of an amd64 guest by QEMU and by makedumpfile say what its core says"""
        guest = self.boot("amd64")
        core, answers = self.core(guest)
        self.assertIn("kdump-zlib", guest.formats())
        for name in guest.formats():
            dump = guest.dump(name)
            self.same(answers, core, dump)
        plain = dump + ".plain"
        with open(dump, "rb") as file:
            subprocess.run(["makedumpfile", "-R", plain], stdin=file, check=True,
                           capture_output=True)
        self.same(answers, core, plain)
        rearranged(core)
        for options in ("-c", "-l", "-l -d 31", "-d 16", "-c -F"):
            dump = os.path.join(self.folder, "filtered" + options)
            words = ["makedumpfile", *options.split(), core]
            with open(dump, "wb") as file:
                if "-F" not in options:
                    os.unlink(dump)
                    words.append(dump)
                subprocess.run(words, stdout=file, stderr=subprocess.PIPE, check=True)
            tap.diagnostic("makedumpfile %s: %d of %d bytes" % (
                options, os.path.getsize(dump), os.path.getsize(core)))
            self.same(answers, core, dump, left_out="-d" in options)

    def test_i686(self):
        """dumps of 32-bit guests, of both modes"""
        for arch in ("i686", "i686-pae"):
            guest = self.boot(arch)
            core, answers = self.core(guest)
            self.same(answers, core, guest.dump("kdump-zlib"))
            guest.end()
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))


def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite(load(case) for case in (Made, Real)))


if __name__ == "__main__":
    sys.exit(main())
