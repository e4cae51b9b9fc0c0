#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Files that a guest's memory comes in, and files that are something else."""

import gzip
import bz2
import io
import itertools
import lzma
import os
import re
import struct
import sys
import tarfile
import unittest
import zipfile

import answers
import image
import images
import tap
from image import A, CODE, HIGH, LOST, MAPS, PAGE
from images import AMD64, Segment

ROOT = ["--arch", "amd64", "--cr3", "%x" % A]
GIB = 1 << 30


def lime(pieces, version=1, magic=0x4c694d45):
    return b"".join(struct.pack("<IIQQQ", magic, version, gpa,
                                gpa + len(data) - 1, 0) + data
                    for gpa, data in pieces)


def pieces():
    return images.amd64().segments()


def segments(**changed):
    return [Segment(gpa, data, **changed) for gpa, data in pieces()]


# General registers of a vCPU, in VirtualBox's order and in that of QEMU's note
VBOX_REGS = {name: 0x1111 * i for i, name in enumerate((
    "rax rbx rcx rdx rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip rsp rbp "
    "rflags").split(), 1)}
NOTE_REGS = ("rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip "
             "rflags").split()


def virtualbox_notes(cr0=AMD64[0], cr3=A, efer=AMD64[2], size=8768,
                     version=0x10005):
    """As VBoxManage debugvm dumpvmcore has them: names without NUL"""
    def note(name, kind, desc):
        return (struct.pack("<III", len(name), len(desc), kind) +
                name + bytes(-len(name) % 4) + desc + bytes(-len(desc) % 4))

    cpu = bytearray(8768)
    struct.pack_into("<18Q", cpu, 0, *VBOX_REGS.values())
    struct.pack_into("<4Q", cpu, 288, cr0, 0xdead, cr3, AMD64[1])
    struct.pack_into("<Q", cpu, 488, efer)
    return (note(b"VBCORE", 0xb00, struct.pack("<6I", 0xc01ac0de, version, 24,
                                               0x07000000, 1, 1)) +
            note(b"VBCPU", 0xb01, bytes(cpu[:size])))


def packed(pack):
    """A file as a library's packer makes it"""
    out = io.BytesIO()
    pack(out)
    return out.getvalue()


def tar(out):
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("memory"))


def zipped(out):
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("memory", "x")


# What is no memory, and the word for it
OTHERS = [
    (gzip.compress(b"memory"), "gzip"), (bz2.compress(b"memory"), "bzip2"),
    (lzma.compress(b"memory"), "xz"), (packed(tar), "tar"),
    (packed(zipped), "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"), (b"\x1f\x9d\x90", "compress"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"), (b"\xff\x06\0\0sNaPpY", "snappy"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x50\x2a\x4d\x18", "pzstd"), (b"LZIP\1", "lzip"), (b"LRZI\0", "lrzip"),
    (b"Rar!\x1a\7", "RAR"), (b"MSCF\0\0\0\0", "cabinet"), (b"!<arch>\n", "ar "),
    (b"070701", "cpio"), (b"070702", "cpio"), (b"070707", "cpio"),
    (b"PK\7\x08", "zip"), (lzma.compress(b"memory", lzma.FORMAT_ALONE), "lzma"),
    (b"DISKDUMP", "diskdump"), (b"sadump\0\0", "sadump"),
    (b"\xed\x23\x8f\x61\x73\1\x19\xa8", "LKCD"),
    (b"\xcd\x23\x8f\x61\x73\1\x19\xa8", "LKCD"),
    (b"minidump FreeBSD/amd64", "FreeBSD minidump"),
    (b"FreeBSD Kernel Dump", "FreeBSD dump"),
    (b"PAGEDU64", "Windows crash dump"), (b"PAGEDUMP", "Windows crash dump"),
    (b"MDMP", "minidump"),
    *((word, "Windows hibernation") for word in (b"HIBR", b"hibr", b"WAKE",
                                                 b"wake", b"RSTR", b"rstr")),
    *((bytes(4086) + word, "Linux hibernation") for word in (
        b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")),
    (bytes(4086) + b"SWAPSPACE2", "swap"), (bytes(4086) + b"SWAP-SPACE", "swap"),
    (b"QEVM", "QEMU migration"), (b"LibvirtQemudSave", "libvirt save"),
    (b"LibvirtQemudPart", "libvirt save"), (b"libvirt-xml\n", "libvirt save"),
    (b"AVML", "AVML"), (b"HPAK", "HPAK"), (b"\x14\x20\x28\1", "Hyper-V"),
    *((struct.pack("<I", magic), "VMware state.*vmem")
      for magic in (0xbed2bed0, 0xbad1bad1, 0xbed2bed2, 0xbed3bed3)),
    (b"\x7fVirtualBox SavedState", "VirtualBox saved state.*dumpvmcore"),
    (b"Xen saved domain", "Xen"), (b"LibxlFmt", "Xen"), (b"\xff" * 8 + b"XENF", "Xen"),
    *((word, "EWF") for word in (b"EVF\x09\r\n\xff\0", b"EVF2\r\n\x81\0",
                                 b"LVF\x09\r\n\xff\0", b"LEF2\r\n\x81\0")),
    (b"AFF10\r\n\0", "AFF"), (b"ADSEGMENTEDFILE", "AD1"),
    (b"\xcf\xfa\xed\xfe", "Mach-O"), (b"\xce\xfa\xed\xfe", "Mach-O"),
    (b"QFI\xfb", "qcow2"), (b"QED\0", "QED"), (b"KDMV", "VMDK"), (b"COWD", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (bytes(64) + struct.pack("<I", 0xbeda107f), "VDI"),
    (b"vhdxfile", "VHDX"), (b"conectix", "VHD"), (b"WithoutFreeSpace", "Parallels"),
    (b"WithouFreSpacExt", "Parallels"), (b"Bochs Virtual HD Image", "Bochs"),
    (b"LUKS\xba\xbe", "LUKS"), (bytes(512) + b"EFI PART", "GPT"),
    (b"\xeb\x52\x90NTFS    ", "NTFS"), (bytes(32769) + b"CD001", "ISO 9660"),
    (b"hsqs", "squashfs"), (b"SQLite format 3\0", "SQLite"),
    (b"Salted__", "openssl"),
]


class Files(image.Case):
    def maps(self, data, *options, name="image"):
        """It is the amd64 guest."""
        self.answers(self.file(data, name), ["maps"], MAPS, warning=LOST,
                     options=[*ROOT, *options])

    def test_others(self):
        """what is something else is refused by its name, and what to do is said"""
        for data, name in OTHERS:
            self.damaged(data.ljust(3 * PAGE, b"\0"), "is not raw memory, but ",
                         "(?i)%s.*--region" % name)

    def test_others_by_their_end(self):
        """disks whose header is behind them"""
        memory = images.amd64().raw()
        for tail, name in ((b"conectix".ljust(512), "VHD"),
                           (b"conectix".ljust(511), "VHD"),
                           (b"koly\0\0\0\4".ljust(512), "DMG")):
            self.damaged(memory + tail, "is not raw memory, but a %s disk" % name)
            self.maps(memory + tail, "--region", "0::0")
            self.maps(memory + tail + bytes(PAGE - len(tail) + 1))

    def test_others_as_memory(self):
        """--region takes any file for memory"""
        memory = images.amd64()
        memory.fill(0, b"QFI\xfb")
        self.damaged(memory.raw(), "qcow2")
        self.maps(memory.raw(), "--region", "0::0")

    def test_lime(self):
        """ranges with LiME's headers, and zeros behind them"""
        data = lime(pieces())
        for tail in (b"", bytes(20), bytes(PAGE)):
            self.maps(data + tail)
        self.assertEqual(self.json(self.file(data), "info")["image"]["format"],
                         "lime")
        self.damaged(lime(pieces(), version=2), "version 2")
        self.damaged(data[:-PAGE], "truncated")
        self.damaged(data + b"\1" * 32, "damaged", "no range")
        self.damaged(data + bytes(32) + b"\1", "damaged", "no range")
        second = 32 + len(pieces()[0][1])
        self.damaged(data[:second] + bytes(4) + data[second + 4:], "damaged",
                     "no range of LiME's at %#x" % second)
        self.damaged(data + struct.pack("<IIQQQ", 0x4c694d45, 1, PAGE, 0, 0),
                     "damaged", "ends at 0 and begins at 0x1000")
        self.damaged(lime([(0, bytes(PAGE)), (0, b"\1" * PAGE)]),
                     "other memory at 0")
        self.damaged(struct.pack("<IIQQQ", 0x4c694d45, 1, 0, (1 << 64) - 1, 0),
                     "damaged|truncated")

    def test_region(self):
        """memory that lies somewhere else in a file, and in several"""
        low, high = pieces()[:1], pieces()[1:]
        self.assertTrue(high)
        for order in (low + high, high + low):
            data, words = bytearray(b"header"), []
            for gpa, piece in order:
                words += ["--region", "%x:%x:%x" % (gpa, len(piece), len(data))]
                data += piece
            self.maps(data, *words)
        files, words = itertools.count(), []
        for gpa, piece in pieces():
            path = self.file(b"12345678" + piece, "part%d" % next(files))
            words += ["--region", "%x::8:%s" % (gpa, path)]
        self.maps(b"anything", *words)

    def test_files(self):
        """info says which file each piece is in"""
        words, files = [], []
        for i, (gpa, piece) in enumerate(pieces()):
            files.append(self.file(piece, "part%d" % i) if i else None)
            words += ["--region", "%x::0" % gpa + (":" + files[i] if i else "")]
        path = files[0] = self.file(pieces()[0][1])
        slots = self.json(path, *words, "info")["memslots"]
        self.assertEqual([slot["file"] for slot in slots], files)
        text = self.ask(["--image", path, *words, "info"]).stdout.decode()
        self.assertRegex(text, r"(?m)^SLOT .*  FLAGS  FILE$")
        for file in files:
            self.assertRegex(text, r"(?m)^ .*  -      %s$" % re.escape(file))
        text = self.ask(["--image", path, "info"]).stdout.decode()
        self.assertNotIn("FILE\n", text)

    def test_output(self):
        """no file of the image is replaced by a snapshot"""
        files = [self.file(piece, "part%d" % i)
                 for i, (_, piece) in enumerate(pieces())]
        words = ["--image", files[0], *ROOT, "--region", "%x::0" % pieces()[0][0]]
        for (gpa, _), file in list(zip(pieces(), files))[1:]:
            words += ["--region", "%x::0:%s" % (gpa, file)]
        os.link(files[-1], os.path.join(self.folder, "link"))
        before = set(os.listdir(self.folder))
        for file in (*files, self.folder + "/link"):
            self.refuses([*words, "snapshot", "-o", file],
                         "cannot write %s: it is a file of the image" % file,
                         "another FILE")
        self.assertEqual(set(os.listdir(self.folder)), before)
        for file, (_, piece) in zip(files, pieces()):
            with open(file, "rb") as now:
                self.assertEqual(now.read(), piece)
        new = self.file(b"", "new")
        self.assertEqual(self.ask([*words, "snapshot", "-o", new]).returncode, 0)

    def test_overlaps_of_zeros(self):
        """zeros that are not in the file are zeros"""
        page = b"\1" * PAGE
        for a, b in ((page, page + bytes(PAGE)), (page, page), (b"", b""),
                     (b"", bytes(PAGE))):
            for pair in ((a, b), (b, a)):
                core = images.elf([Segment(0, data, memsz=2 * PAGE)
                                   for data in pair])
                self.json(self.file(core), "info")
        self.damaged(images.elf([Segment(0, page, memsz=2 * PAGE),
                                 Segment(0, page * 2)]), "other memory at 0")
        # The same, as often as one likes
        self.json(self.file(images.elf([
            Segment(0, page if i == 0 else b"", filesz=PAGE, memsz=PAGE,
                    offset=64 + 56 * 1000) for i in range(1000)], shift=None)),
            "info")

    def test_top(self):
        """there is no memory at the last address of all"""
        path = self.file(images.amd64().raw())
        for gpa in ("fffffffffffff000", "ffffffffffffff00", "%x" % (1 << 52)):
            self.refuses(["--image", path, "read", "--phys", gpa, "16"],
                         "unbacked")

    def test_region_refused(self):
        """regions that cannot be"""
        path = self.file(images.amd64().raw())
        other = self.file(b"short", "other")
        ask = ["--image", path]
        for word, *patterns in (
                ("0", "GPA:LEN:OFFSET"), ("0:1000", "GPA:LEN:OFFSET"),
                ("x:1000:0", "GPA of --region"), ("0:x:0", "LEN of --region"),
                ("0:1000:", "OFFSET of --region"), ("800:1000:0", "1000"),
                ("0:800:0", "1000"),
                ("0:0:0", "LEN is 0"), ("0::0:", "no name")):
            self.refuses([*ask, "--region", word, "info"], *patterns, status=2)
        for words, *patterns in (
                (["0:1000:fffff000"], "region at 0", path, "0 bytes"),
                (["0::fffff000"], "region at 0", path, "0 bytes"),
                (["0:1000:0:" + other], "region at 0", other, "0x5 bytes"),
                (["0:2000:0", "1000:1000:3000"], "other memory at 0x1000",
                 "once"),
                (["fffffffffffff000:1000:0"], "region at", "narrower"),
                (["0:1000:0:" + self.folder + "/none"], "none", "no such")):
            self.refuses([*ask, *("--region=" + word for word in words),
                          "info"], *patterns)
        self.refuses(["-p", "1", "--region", "0::0", "info"], "--image",
                     status=2)
        self.refuses([*ask, *["--region=0:1000:0"] * 257, "info"],
                     "at most", status=2)
        self.json(path, *["--region=0:1000:0"] * 256, "info")
        self.refuses([*ask, "--region=0::0", "--hole=c0000000", "info"],
                     "exclude each other", status=2)

    def test_hole(self):
        """a PC's RAM, of which what has no room below the hole is above 4 GiB"""
        hole = 0xc0000000
        memory = images.Memory("<Q")
        memory.table(A, {0: 0x2007})
        memory.table(0x2000, {0: 4 * GIB | 7, 1: 0x3007,
                              2: 4 * GIB + 0x7ffff000 | 7})
        memory.table(0x3000, {0: 0x4007})
        memory.table(0x4000, {0: 0xfe000000 | 7})
        memory.table(4 * GIB, {0: 0x200083})
        path = os.path.join(self.folder, "ram")
        with open(path, "wb") as file:          # sparse
            for gpa, page in memory.pages.items():
                file.seek(gpa if gpa < hole else gpa - 4 * GIB + hole)
                file.write(page)
            file.truncate(5 * GIB)
        for words in (["maps"], ["vtop", "0"], ["spaces"]):
            done = self.ask(["--image", path, *ROOT, *words])
            self.assertRegex(done.stderr.decode(), "behind the end.*--hole")
            for option in (["--region", "0::0"], ["--hole", "%x" % hole]):
                done = self.ask(["--image", path, *ROOT, *option, *words])
                self.assertNotIn(b"--hole", done.stderr)
        words = [*ROOT, "--hole", "%x" % hole]
        answer, = self.rows(path, *words, "vtop", "0")
        self.assertEqual((answer["status"], answer["gpa"]),
                         ("mapped", "0x200000"))
        self.refuses(["--image", path, *words, "read", "40000000", "8"],
                     "0xfe000000", "no memory")
        self.refuses(["--image", path, "--hole=80000000", "--hole=c0000000",
                      "info"], "one hole", status=2)
        small = self.file(images.amd64().raw())
        self.assertEqual(len(self.json(small, "--hole", "c0000000", "info")
                             ["memslots"]), 1)
        for word in ("0", "100000000", "c0000800"):
            self.refuses(["--image", path, "--hole", word, "info"],
                         "--hole", status=2)

    def test_kernels_core(self):
        """a core of a kernel that crashed: its text twice, and what has no place"""
        text = Segment(0x10000, dict(pieces())[0x10000][:PAGE],
                       va=0xffffffff81010000)
        self.maps(images.elf([text, *segments(va=1 << 63)]))
        self.maps(images.elf([*segments(va=1 << 63), text]))
        self.maps(images.elf([
            *segments(), Segment((1 << 64) - 1, b"\1" * PAGE, va=1 << 63)]))

    def test_overlaps(self):
        """what several segments say of the same memory has to be the same"""
        memory = b"".join(bytes([i]) * PAGE for i in range(8))
        spans = [(0, 5), (2, 3), (2, 8), (3, 4), (4, 8), (7, 8)]
        core = images.elf([Segment(a * PAGE, memory[a * PAGE:b * PAGE])
                           for a, b in spans])
        slots = self.json(self.file(core), "info")["memslots"]
        self.assertEqual(sum(slot["len"] for slot in slots), len(memory))
        done = self.ask(["--image", self.file(core), "read", "--raw", "--phys",
                         "0", "%d" % len(memory)])
        self.assertEqual(done.stdout, memory)
        for n, (a, b) in enumerate(spans[1:], 1):
            for at in (a, b - 1):
                other = bytearray(memory)
                other[at * PAGE + 7] ^= 1
                if at == 0:
                    continue
                core = images.elf([
                    Segment(x * PAGE, (other if i == n else memory)[
                        x * PAGE:y * PAGE]) for i, (x, y) in enumerate(spans)])
                self.damaged(core, "two segments", "other memory")

    def test_overlaps_take_no_time(self):
        """no file makes vmemctl compare for ever"""
        data = bytes(PAGE)
        core = images.elf([Segment(i, data, offset=i) for i in range(3000)])
        self.damaged(core + data * 64, "too many segments that overlap")

    def test_virtualbox(self):
        """VirtualBox's notes have registers, and its devices are no memory"""
        device = Segment(0x7fff000, b"", memsz=0x20000)
        core = images.elf([*segments(), device], virtualbox_notes())
        self.answers(self.file(core), ["maps"], MAPS, warning=LOST)
        vcpu, = self.json(self.file(core), "info")["vcpus"]
        self.assertEqual((int(vcpu["cr3"], 16), vcpu["mode"]), (A, "4-level"))
        self.refuses(["--image", self.file(core), "read", "--phys", "7fff000",
                      "8"], "unbacked")
        self.damaged(images.elf(segments(), virtualbox_notes(size=400)),
                     "vCPU 0 has 400 bytes")
        self.damaged(images.elf(segments(), virtualbox_notes(version=0x10000)),
                     "unknown version of VirtualBox", "0x10000")
        parked = virtualbox_notes(cr0=0x10) + virtualbox_notes()
        vcpus = self.json(self.file(images.elf(segments(), parked)),
                          "info")["vcpus"]
        self.assertEqual([vcpu["mode"] for vcpu in vcpus], ["off", "4-level"])

    def test_virtualbox_registers(self):
        """VirtualBox's general registers are there, and go into a snapshot"""
        core = self.file(images.elf(segments(), virtualbox_notes()))
        vcpu, = self.json(core, "vcpus")["vcpus"]
        self.assertEqual(vcpu["rip"], hex(VBOX_REGS["rip"]))
        new = os.path.join(self.folder, "new")
        self.json(core, "snapshot", "-o", new)
        with open(new, "rb") as file:
            data = file.read()
        self.assertEqual(
            struct.unpack_from("<18Q", data, data.index(b"QEMU\0\0\0\0") + 16),
            tuple(VBOX_REGS[name] for name in NOTE_REGS))

    def test_rip(self):
        """vcpus: RIP is that of an image's notes, where they say it"""
        notes = b"".join(images.qemu_note(AMD64[0], A, AMD64[1], rip=rip)
                         for rip in (CODE + 1, HIGH, 0))
        core = self.file(images.elf(segments(), notes))
        dump = self.file(images.kdump(images.amd64(), notes), "dump")
        new = os.path.join(self.folder, "new")
        self.json(core, "snapshot", "-o", new)
        for path in (core, dump, new):
            self.assertEqual(
                [(vcpu["rip"], vcpu["privilege"])
                 for vcpu in self.json(path, "vcpus")["vcpus"]],
                [(hex(CODE + 1), "user"), (hex(HIGH), "kernel"), (None, None)])
        self.assertRegex(self.ask(["--image", core, "vcpus"]).stdout.decode(),
                         r"1000 +400001  user .*\n.* ffffffff81000000  kernel .*\n"
                         r".* 1000 +-  -  ")

    def test_process(self):
        """the core of a process is none of a guest"""
        note = images.prstatus(images.ELF64)
        for made in ([Segment(0, data, va=0x7f0000000000 + gpa)
                      for gpa, data in pieces()],
                     [Segment(0, images.amd64().raw(), va=PAGE)]):
            self.damaged(images.elf(made, note), "no physical addresses",
                         "process", "--region")
        # A guest with a page at 0 is one.
        self.ask(["--image", self.file(images.elf([Segment(0, bytes(PAGE))],
                                                  note)), "info"])

    def test_backtick(self):
        """addresses as WinDbg writes them"""
        path = self.file(images.amd64_core())
        self.assertEqual(self.json(path, "vtop", "ffffffff`81000000"),
                         self.json(path, "vtop", "%x" % HIGH))
        for word in ("`81000000", "ffffffff`8100000", "1`1`81000000",
                     "fffffffff`fffffffff"):
            self.refuses(["--image", path, "vtop", word], "hex", status=2)

    def test_standard_input(self):
        """addresses on standard input"""
        path = self.file(images.amd64_core())
        vas = ["%x" % (0x400000 + i * 256) for i in range(3000)]
        for command in ("vtop", "access"):
            done = self.ask(["--image", path, "-j", command, "0", "-", "1"],
                            input="\n".join(vas).encode() + b"\n\t")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            each = 1 if command == "vtop" else 6    # kinds of access
            self.assertEqual([row["va"]
                              for row in answers.rows(done.stdout)[::each]],
                             ["0x0", *("0x" + va for va in vas), "0x1"])
        done = self.ask(["--image", path, "--cr3", "1000", "-j", "who", "-"],
                        input=b"10000")
        page, = answers.whole(done.stdout)["pages"]
        self.assertEqual(page["gpa"], "0x10000")
        for data, *patterns in ((b"", "no address"), (b"400000 x", "'x' is not"),
                                (b"4" * 100, "hex|fit")):
            self.refuses(["--image", path, "vtop", "-"], *patterns, status=2,
                         input=data)

    def test_help(self):
        """help COMMAND is COMMAND --help"""
        self.assertEqual(self.ask(["help"]).stdout, self.ask(["--help"]).stdout)
        self.assertEqual(self.ask(["help", "maps"]).stdout,
                         self.ask(["maps", "--help"]).stdout)
        self.refuses(["help", "nothing"], "no command 'nothing'", status=2)

    def test_read_says_where(self):
        """read and vtop agree on a page that is mapped to no memory"""
        data = images.amd64().raw()[:-PAGE]
        path = self.file(data)
        answer, = self.rows(path, *ROOT, "vtop", "%x" % HIGH)
        self.assertEqual((answer["status"], answer["gpa"]),
                         ("mapped", "0x13000"))
        self.refuses(["--image", path, *ROOT, "read", "%x" % HIGH, "9"],
                     "mapped to 0x13000, that is no memory")


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Files))


if __name__ == "__main__":
    sys.exit(main())
