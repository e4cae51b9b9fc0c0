#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl on images: what it says of them, and that no file can harm it.

Needs no lab, no module and no root. The images are made here (images.py), with
tables small enough that the answers were worked out by hand. Everything is
asked twice: of vmemctl as it is built, and of one that the compiler's
sanitizers watch; both must say the same.
"""

import concurrent.futures
import contextlib
import errno
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import answers
import docs
import images
import lablib
import live_snapshot
import modes
import promises
import tap
from images import (A, AMD64, B, CODE, DATA, HIGH, I686, NX, PAGE, R, Segment,
                    TEXT)
from modes import G, LARGE_PAT

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
BUILD = os.environ.get("O") or os.path.join(TOP, "build")
VMEMCTL = os.path.join(BUILD, "bin/vmemctl")
DYNAMIC = os.path.join(BUILD, "obj/vmemctl/dynamic/vmemctl")
SANITIZED = os.path.join(BUILD, "obj/san/vmemctl")

# A sanitizer that has something to say ends vmemctl with this
SANITIZER_STATUS = 99

# Opens no file without a name
UNNAMED_FILES = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
"""

NOBODY = 65534
SECONDS = 60                            # far more than any answer takes

SEED = 20261120
MUTANTS = 3000

LOST = "vmemctl: warning: 2 entries lead nowhere: reserved, unbacked, " \
       "unreadable, withheld\n"
LEFT_OUT = "vmemctl: warning: 2 entries lead nowhere, and are left out\n"
LEFT_OUT_ONE = "vmemctl: warning: 1 entry leads nowhere, and is left out\n"
PARKED = "vmemctl: warning: vCPU 2 is left out: it does not page like vCPU 0\n"


def run(tool, words, leaks=False, **options):
    """Leaks are looked for on demand: an error ends vmemctl where it is found,
    with all that it has."""
    said = "exitcode=%d:detect_leaks=%d" % (SANITIZER_STATUS, leaks)
    environment = dict(os.environ, ASAN_OPTIONS=said, UBSAN_OPTIONS=said)
    return subprocess.run([tool, *words], capture_output=True, check=False,
                          timeout=SECONDS, env=environment,
                          **{"input": b"", **options})


def saved(*roots):
    """The spaces that a snapshot says it has"""
    return [{"type": "space", "space": i, "root": hex(root),
             "new_root": hex(0x100000 + i * PAGE)}
            for i, root in enumerate(roots)]


def errors(text):
    """The lines of standard error that are no warnings."""
    return [line for line in text.splitlines()
            if not line.startswith("vmemctl: warning: ")]


def table(text):
    """What follows a line's end, without the margin that Python needs."""
    return re.sub(r"^ *\|", "", text.lstrip("\n").rstrip(" "), flags=re.M)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.folder = folder.name

    def file(self, data, name="image"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def amd64(self):
        """The amd64 guest in each format, with the options that it takes."""
        roots = ["--cr3", "%x,%x" % (A, B)]
        raw = [*roots, "--arch", "amd64"]
        yield self.file(images.amd64().raw(), "raw"), raw, ""
        yield self.file(images.amd64_core(), "core"), [], PARKED
        yield self.file(images.amd64_core(shift=0), "aligned"), [], PARKED
        yield self.file(images.amd64_core(), "core"), roots, ""
        yield self.file(images.elf([
            Segment(*piece) for piece in images.amd64().segments()]),
            "without notes"), raw, ""

    def ask(self, words, **options):
        """What vmemctl, under either build, says."""
        done = run(VMEMCTL, words, **options)
        watched = run(SANITIZED, words, leaks=not done.returncode, **options)
        self.assertEqual(
            (watched.returncode, watched.stdout, watched.stderr.decode()),
            (done.returncode, done.stdout, done.stderr.decode()), words)
        return done

    def answers(self, image, words, text, *, warning="", options=()):
        """vmemctl answers with this text."""
        done = self.ask(["--image", image, *options, *words])
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (0, warning), words)
        self.assertEqual(done.stdout.decode(), text)

    def json(self, image, *words):
        done = self.ask(["--image", image, "-j", *words])
        self.assertEqual(done.returncode, 0, done.stderr)
        return answers.whole(done.stdout)

    def rows(self, image, *words):
        """Those of an answer about one space"""
        space, = self.json(image, *words)["spaces"]
        return space["rows"]

    def refuses(self, words, *patterns, status=1, **options):
        """vmemctl fails so, and its one line matches all the patterns."""
        with self.subTest(command="vmemctl " + " ".join(words)):
            done = self.ask(words, **options)
            text = done.stderr.decode()
            tap.diagnostic(text.rstrip("\n").replace(self.folder, "..."))
            self.assertEqual(done.returncode, status, text)
            self.assertEqual(done.stdout, b"")
            self.assertEqual(text.count("\n"), 1, "more or less than a line")
            self.assertTrue(text.startswith("vmemctl: "))
            for pattern in patterns:
                self.assertRegex(text, pattern)

    def damaged(self, data, *patterns, words=("info",), **options):
        path = self.file(data)
        self.refuses(["--image", path, *words], re.escape(path), *patterns,
                     **options)


# --- what the answers are ----------------------------------------------------

MAPS = table("""
    |0000000000400000-0000000000400fff 0000000010000  4K r-xu
    |0000000000401000-0000000000402fff 0000000011000  4K rw-u
    |00000000005ff000-00000000005fffff 0000000010000  4K r-xu
    |0000000000600000-0000000000600fff 0000000010000  4K r-xu
    |0000000000601000-0000000000602fff 0000000011000  4K r--u
    |00000000007ff000-00000000007fffff 0000000010000  4K r-xu
    |0000000000800000-00000000009fffff 0000040000000  2M rw-u
    |ffffffff81000000-ffffffff81000fff 0000000013000  4K r-xs
    |total: 8 mappings, 2.0 MiB
    """)

SPACES = table("""
    |space 0: root 0000000001000
    |0000000000400000-0000000000400fff 0000000010000  4K r-xu
    |0000000000401000-0000000000402fff 0000000011000  4K rw-u
    |00000000005ff000-00000000005fffff 0000000010000  4K r-xu
    |0000000000600000-00000000007fffff r-xu 2 MiB -> PT of this space at \
0000000000400000-00000000005fffff
    |0000000000800000-00000000009fffff 0000040000000  2M rw-u
    |0000000000a00000-0000000000bfffff !! reserved: entry of a PD, raw 2081
    |0000000040000000-000000007fffffff !! unbacked: 0000007fff000 as a PD, \
raw 7fff007
    |ffffffff81000000-ffffffff81000fff 0000000013000  4K r-xs
    |
    |space 1: root 0000000005000
    |0000000000400000-00000000005fffff rwxu 2 MiB -> PT of space 0 at \
0000000000400000-00000000005fffff
    |ffffff8000000000-ffffffffffffffff rwxs 512 GiB -> PDPT of space 0 at \
ffffff8000000000-ffffffffffffffff
    |
    """)

TOTAL = table("""
    |total: 2 spaces, 5 mappings, 6 leaves, 3 references, 2 anomalies
    |read:  10 tables, 5120 entries
    |each root alone would show 15 leaves
    """)

SHARED = table("""
    |PT 0000000004000: 2 references to 4 leaves, expanded: 8
    |  owner: space 0 (root 0000000001000) at \
0000000000400000-00000000005fffff rwxu
    |   from: space 1 at 0000000000400000-00000000005fffff rwxu
    |         space 0 at 0000000000600000-00000000007fffff r-xu
    |
    |PDPT 0000000008000: 1 reference to 1 leaf, expanded: 1
    |  owner: space 0 (root 0000000001000) at \
ffffff8000000000-ffffffffffffffff rwxs
    |   from: space 1 at ffffff8000000000-ffffffffffffffff rwxs
    |
    |2 shared tables
    """)

VTOP = table("""
    |VIRTUAL           PHYSICAL
    |401234            11234
    |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
    |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
    |     PD: 0000000003010 => 0000000000004007 (PRESENT|RW|USER)
    |     PT: 0000000004008 => 8000000000011007 (PRESENT|RW|USER|NX)
    |   PAGE: 0000000011000 (4 KiB)
    |  FLAGS: writable, user, no-execute
    |   ATTR: WB (PAT 0, as after reset)
    |
    |VIRTUAL           PHYSICAL
    |40200000          (not mapped)
    |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
    |   PDPT: 0000000002008 => 0000000007fff007 (PRESENT|RW|USER)
    |         unbacked at PD
    |
    |VIRTUAL           PHYSICAL
    |812345            40012345
    |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
    |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
    |     PD: 0000000003020 => 8000000040000087 (PRESENT|RW|USER|PSE|NX)
    |   PAGE: 0000040000000 (2 MiB)
    |  FLAGS: writable, user, no-execute
    |   ATTR: WB (PAT 0, as after reset)
    |
    |VIRTUAL           PHYSICAL
    |800000000000      (not mapped)
    |         non-canonical
    |
    """)

READ = table("""
    |0000000000401ff6  69 72 73 74 66 69 72 73  74 21 73 65 63 6f 6e 64  \
|irstfirst!second|
    |0000000000402006  20 70 61 67 65 00 00                              \
| page..|
    """)

READ_PHYS = table("""
    |0000000011ff6  69 72 73 74 66 69 72 73  74 21 73 65 63 6f 6e 64  \
|irstfirst!second|
    |0000000012006  20 70 61 67 65 00 00                              \
| page..|
    """)

# Ten tables and four pages
SNAPSHOT = table("""
    |space 0: root 0000000001000 -> 0000000100000
    |space 1: root 0000000005000 -> 0000000101000
    |
    |memory: 0000000100000-000000010dfff 56 KiB
    |tables: 10, of 10 read; 3 links to shared ones, 6 leaves
    |%s: 60 KiB, of a guest with 56 KiB
    """)

I686_MAPS = table("""
    |00000000-00000fff 0000003000  4K r-xu
    |003ff000-003fffff 0000004000  4K rwxu
    |00400000-00400fff 0000003000  4K r-xs
    |007ff000-007fffff 0000004000  4K rwxs
    |c0000000-c03fffff 0000000000  4M rwxs
    |c0400000-c07fffff 0300400000  4M rwxs
    |total: 6 mappings, 8.0 MiB
    """)

I686_SPACES = table("""
    |space 0: root 0000001000
    |00000000-00000fff 0000003000  4K r-xu
    |003ff000-003fffff 0000004000  4K rwxu
    |00400000-007fffff rwxs 4 MiB -> PT of this space at 00000000-003fffff
    |c0000000-c03fffff 0000000000  4M rwxs
    |c0400000-c07fffff 0300400000  4M rwxs
    |c0800000-c0bfffff !! reserved: entry of a PD, raw 600081
    |
    |total: 1 space, 4 mappings, 4 leaves, 1 reference, 1 anomaly
    |read:  2 tables, 2048 entries
    |each root alone would show 6 leaves
    """)

I686_SHARED = table("""
    |PT 0000002000: 1 reference to 2 leaves, expanded: 2
    |  owner: space 0 (root 0000001000) at 00000000-003fffff rwxu
    |   from: space 0 at 00400000-007fffff rwxs
    |
    |1 shared table
    |total: 1 space, 4 mappings, 4 leaves, 1 reference, 1 anomaly
    |read:  2 tables, 2048 entries
    |each root alone would show 6 leaves
    """)

I686_VTOP = table("""
    |VIRTUAL           PHYSICAL
    |400123            3123
    |     PD: 0000001004 => 00002003 (PRESENT|RW)
    |     PT: 0000002000 => 00003005 (PRESENT|USER)
    |   PAGE: 0000003000 (4 KiB)
    |  FLAGS: read-only, supervisor, executable
    |   ATTR: WB (PAT 0, as after reset)
    |
    |VIRTUAL           PHYSICAL
    |c0412345          300412345
    |     PD: 0000001c04 => 00406083 (PRESENT|RW|PSE)
    |   PAGE: 0300400000 (4 MiB)
    |  FLAGS: writable, supervisor, executable
    |   ATTR: WB (PAT 0, as after reset)
    |
    |VIRTUAL           PHYSICAL
    |100000000         (not mapped)
    |         non-canonical
    |
    """)

PAE_SPACES = table("""
    |space 0: root 0000000001000
    |00000000-00000fff 0000000006000  4K r-xu
    |001ff000-001fffff 0000000007000  4K rw-u
    |00200000-003fffff 0000040000000  2M rwxs
    |ffe00000-ffffffff 0000140000000  2M rw-s
    |
    |space 1: root 0000000001020
    |00000000-001fffff r-xu 2 MiB -> PT of space 0 at 00000000-001fffff
    |
    |space 2: root 0000000001fe0
    |00000000-3fffffff rwxu 1 GiB -> PD of space 0 at 00000000-3fffffff
    |
    |total: 3 spaces, 4 mappings, 4 leaves, 2 references
    |read:  7 tables, 2060 entries
    |each root alone would show 9 leaves
    """)

PAE_VTOP = table("""
    |VIRTUAL           PHYSICAL
    |1ff123            7123
    |   PDPT: 0000000001000 => 0000000000002001 (PRESENT)
    |     PD: 0000000002000 => 0000000000005007 (PRESENT|RW|USER)
    |     PT: 0000000005ff8 => 8000000000007007 (PRESENT|RW|USER|NX)
    |   PAGE: 0000000007000 (4 KiB)
    |  FLAGS: writable, user, no-execute
    |   ATTR: WB (PAT 0, as after reset)
    |
    |VIRTUAL           PHYSICAL
    |40001234          (not mapped)
    |   PDPT: 0000000001008 => 0000000000000000
    |         not-present at PDPT
    |
    |VIRTUAL           PHYSICAL
    |100000000         (not mapped)
    |         non-canonical
    |
    """)

I686_READ = table("""
    |003ff000  64 61 74 61 20 6f 66 20  33 32 20 62 69 74 73     \
|data of 32 bits|
    """)


class Answers(Case):
    """Text and JSON, from every format."""

    def test_maps(self):
        """maps of an amd64 guest"""
        for image, options, _ in self.amd64():
            if options:
                options = ["--cr3", hex(A), "--arch", "amd64"]
            self.answers(image, ["maps"], MAPS, warning=LOST, options=options)

    def test_spaces(self):
        """spaces of an amd64 guest"""
        for image, options, warning in self.amd64():
            self.answers(image, ["spaces"], SPACES + TOTAL, warning=warning,
                         options=options)

    def test_aliases(self):
        """aliases of an amd64 guest"""
        for image, options, warning in self.amd64():
            self.answers(image, ["aliases"], SHARED + TOTAL, warning=warning,
                         options=options)

    def test_vtop(self):
        """vtop of an amd64 guest"""
        words = ["vtop", "401234", "40200000", "812345", "800000000000"]
        for image, options, _ in self.amd64():
            if options:
                options = ["--cr3", hex(A), "--arch", "amd64"]
            self.answers(image, words, VTOP, options=options)

    def test_read(self):
        """read of an amd64 guest"""
        for image, options, _ in self.amd64():
            if options:
                options = ["--cr3", hex(A), "--arch", "amd64"]
            self.answers(image, ["read", "401ff6", "23"], READ,
                         options=options)
            self.answers(image, ["read", "-r", hex(HIGH), str(len(TEXT))],
                         TEXT.decode(), options=options)

    def test_read_phys(self):
        """read --phys of a guest, without registers"""
        for data in (images.amd64().raw(), images.amd64_core(),
                     images.amd64_snapshot()):
            image = self.file(data)
            self.answers(image, ["read", "--phys", "11ff6", "23"], READ_PHYS)
            self.answers(image, ["read", "--phys", "-r", "13000",
                                 str(len(TEXT))], TEXT.decode())
            self.assertEqual(
                self.json(image, "read", "--phys", "0x4008", "8"),
                {"version": 1, "command": "read", "rows": [
                    {"type": "memory", "gpa": "0x4008",
                     "data": "0710010000000080", "len": 8,
                     "status": "mapped", "level": None}], "error": None})
        image = self.file(images.i686_core())
        self.answers(image, ["read", "-r", "--phys", "4000", "15"],
                     "data of 32 bits")

    def test_read_phys_chunks(self):
        """read --phys of more than is read at once"""
        data = random.Random(SEED).randbytes(3 << 20)
        image = self.file(data)
        done = self.ask(["--image", image, "read", "-r", "--phys", "123",
                         str(len(data) - 0x123)])
        self.assertEqual(done.stdout, data[0x123:])
        found, = self.json(image, "read", "--phys", "123",
                           str(len(data) - 0x123))["rows"]
        self.assertEqual((found["data"], found["len"]),
                         (data[0x123:].hex(), len(data) - 0x123))

    def test_read_phys_short(self):
        """a read --phys that comes out short"""
        core = self.file(images.amd64_core())
        words = ["--image", core, "read", "--phys", "13ffc", "8"]
        done = self.ask(words)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.decode(), table("""
            |0000000013ffc  00 00 00 00                                       \
|....|
            """))
        short = "cannot read on at 0x14000, 4 bytes short: " \
            "unbacked; `vmemctl info' lists the guest's memory"
        self.assertEqual(done.stderr.decode(), "vmemctl: %s\n" % short)
        done = self.ask([*words, "-j"])
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (1, "vmemctl: %s\n" % short))
        answer = answers.broken(done.stdout)
        self.assertEqual(answer["rows"], [
            {"type": "memory", "gpa": "0x13ffc", "data": "00000000", "len": 4,
             "status": "unbacked", "level": None}])
        self.assertEqual(answer["error"], {"message": short, "advice": None})

    def test_short(self):
        """a read that comes out short"""
        core = self.file(images.amd64_core())
        done = self.ask(["--image", core, "read", hex(DATA + 2 * PAGE - 4),
                         "8"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"00 00 00 00 ", done.stdout)
        self.assertEqual(errors(done.stderr.decode()), [
            "vmemctl: cannot read on at 0x403000, 4 bytes short: not-present "
            "at PT; `vmemctl vtop' shows its path"])

    def test_cow(self):
        """pages that a convention of the guest's marks copy-on-write"""
        memory = images.amd64()
        memory.table(0x4000, {1: 0x11207 | images.NX})
        raw = self.file(memory.raw(), "raw")
        options = ["--cr3", hex(A), "--arch", "amd64", "--cow", "e00:200"]
        done = self.ask(["--image", raw, *options, "maps", "401000", "402fff"])
        self.assertEqual(done.stdout.decode().splitlines()[:2], [
            "0000000000401000-0000000000401fff 0000000011000  4K r--u cow",
            "0000000000402000-0000000000402fff 0000000012000  4K rw-u"])
        rows = self.rows(raw, *options, "maps", "401000", "402fff")
        self.assertEqual([(row["cow"], row["writable"]) for row in rows],
                         [(True, False), (False, True)])
        self.refuses(["--image", self.file(images.i686().raw()), "--cr3",
                      hex(R), "--arch", "i686", "--cow",
                      "10000000000000:10000000000000", "maps"], "bits 11:9")
        self.refuses(["--image", self.file(images.i686().raw()), "--cr3",
                      hex(R), "--arch", "i686-pae", "--cow",
                      "10000000000000:10000000000000", "maps"],
                     "outside of long mode", "bits 11:9")
        for cow in ("e00", "e01:200", "e00:100", "e00:0"):
            self.refuses(["--image", raw, "--cow", cow, "maps"], "--cow",
                         status=2)

    def test_i686(self):
        """all of an i686 guest"""
        raw = ["--cr3", hex(R), "--arch", "i686"]
        lost = LOST.replace("2 entries lead", "1 entry leads")
        for data, options in ((images.i686().raw(), raw),
                              (images.i686_core(), []),
                              (images.i686_core(images.ELF64), [])):
            image = self.file(data)
            for words, text, warning in (
                    (["maps"], I686_MAPS, lost),
                    (["spaces"], I686_SPACES, ""),
                    (["aliases"], I686_SHARED, ""),
                    (["vtop", "400123", "c0412345", "100000000"], I686_VTOP,
                     ""),
                    (["read", "3ff000", "15"], I686_READ, "")):
                self.answers(image, words, text, warning=warning,
                             options=options)

    def test_pae(self):
        """a PAE guest with three roots in a page"""
        image = self.file(images.pae_core())
        self.answers(image, ["spaces"], PAE_SPACES)
        self.answers(image, ["vtop", "1ff123", "40001234", "100000000"],
                     PAE_VTOP)
        self.answers(image, ["read", "-r", "1ff000", "11"], "data of PAE")
        self.assertEqual([vcpu["mode"] for vcpu in
                          self.json(image, "info")["vcpus"]], ["pae"] * 3)
        new = os.path.join(self.folder, "new")
        done = self.ask(["--image", image, "-j", "snapshot", "-o", new])
        self.assertEqual(
            answers.whole(done.stdout)["spaces"],
            saved(R, R + 0x20, R + 0xfe0))
        self.assertEqual([vcpu["cr3"] for vcpu in
                          self.json(new, "info")["vcpus"]],
                         ["0x100000", "0x101000", "0x102000"])

    def test_snapshot(self):
        """a snapshot's own spaces are the roots"""
        image = self.file(images.amd64_snapshot())
        again = "space 2: root 0000000001000, same as space 0\n\n"
        total = TOTAL.replace("spaces, ", "spaces, 1 root alias, ") \
            .replace("15", "25")
        self.answers(image, ["spaces"], SPACES + again + total)
        self.answers(image, ["aliases"], SHARED + total)
        self.answers(image, ["maps"], MAPS, warning=LOST)
        self.answers(image, ["read", "401ff6", "23"], READ)
        self.answers(image, ["maps", "0", "7fffffffffff"], table("""
            |0000000000400000-0000000000400fff 0000000010000  4K r-xu
            |0000000000401000-0000000000402fff 0000000011000  4K rw-u
            |00000000005ff000-00000000005fffff 0000000010000  4K r-xu
            |total: 3 mappings, 16 KiB
            """), options=["--cr3", hex(B)])

    def test_longer_note(self):
        """a snapshot with more registers than we know, all zero"""
        image = self.file(images.amd64_snapshot(more_regs=bytes(64)))
        self.answers(image, ["maps"], MAPS, warning=LOST)

    def test_vcpu(self):
        """--vcpu takes the registers of another vCPU"""
        image = self.file(images.amd64_core())
        space, = self.json(image, "--vcpu", "1", "maps")["spaces"]
        self.assertEqual((space["space"], space["root"]), (0, hex(B)))

    def test_options_first(self):
        """options come before what the image says"""
        image = self.file(images.amd64_core())
        space, = self.json(image, "--cr3", hex(B), "maps")["spaces"]
        self.assertEqual(space["root"], hex(B))
        # Without EFER.NXE the bit that forbids execution is reserved.
        row, = self.rows(image, "--efer", "500", "vtop", hex(DATA))
        self.assertEqual(row["status"], "reserved")
        row, = self.rows(image, "--maxphyaddr", "32", "vtop", hex(DATA))
        self.assertEqual(row["status"], "mapped")

    def test_owner(self):
        """vtop in several spaces tells who owns a table"""
        image = self.file(images.amd64_core())
        found = self.json(image, "--cr3", "%x,%x" % (A, B), "vtop",
                          hex(CODE))["spaces"]
        (first,), (second,) = (space["rows"] for space in found)
        for row, owner in ((first, [None] * 3), (second, [0, hex(A), hex(CODE)])):
            self.assertEqual([row["owner_" + what]
                              for what in ("space", "root", "va")], owner)

    def test_exclude(self):
        """what is excluded is left out"""
        image = self.file(images.amd64_snapshot())
        found = self.json(image, "--exclude", "%x-ffffffffffffffff" % CODE,
                          "spaces")
        self.assertEqual([(space["same_as"], space["rows"])
                          for space in found["spaces"]],
                         [(None, []), (None, []), (0, [])])

    def test_json(self):
        """JSON of every command"""
        image = self.file(images.amd64_core())
        row = {"type": "mapping", "va": "0x400000", "last_va": "0x400fff",
               "len": 4096, "gpa": "0x10000", "page_size": 4096,
               "writable": False, "user": True, "executable": True,
               "cow": False}
        found = self.json(image, "maps", "400000", "400fff")
        self.assertEqual(found, {"version": 1, "command": "maps", "spaces": [
            {"type": "space", "space": 0, "root": hex(A), "rows": [row],
             "anomalies": 0, "torn": 0}], "error": None})
        found = self.json(image, "spaces", "400000", "5fffff")
        first, second = found["spaces"]
        self.assertEqual(first["rows"][0], row)
        self.assertEqual(second, {
            "type": "space", "space": 1, "root": hex(B), "same_as": None,
            "rows": [{"type": "reference", "va": "0x400000",
                      "last_va": "0x5fffff", "len": 2 << 20, "level": "PT",
                      "table_gpa": "0x4000", "owner_space": 0,
                      "owner_root": hex(A), "owner_va": "0x400000",
                      "writable": True, "user": True, "executable": True,
                      "wider": False}]})
        self.assertEqual(found["stats"]["spaces"], 2)
        row, = self.json(image, "spaces", "a00000",
                         "a00fff")["spaces"][0]["rows"]
        self.assertEqual(row, {
            "type": "anomaly", "va": "0xa00000", "last_va": "0xa00fff",
            "status": "reserved", "level": "PD", "table_gpa": None,
            "raw": "0x2081"})
        found = self.json(image, "aliases")
        self.assertEqual([(t["level"], t["table_gpa"], t["leaves"],
                           t["expands_to"]) for t in found["tables"]],
                         [("PT", "0x4000", 4, 8), ("PDPT", "0x8000", 1, 1)])
        self.assertEqual(
            [(r["space"], r["root"], r["va"])
             for r in found["tables"][0]["references"]],
            [(0, hex(A), "0x600000"), (1, hex(B), "0x400000")])
        found, = self.rows(image, "vtop", "401234")
        self.assertEqual((found["status"], found["gpa"], found["level"]),
                         ("mapped", "0x11234", "PT"))
        self.assertEqual([step["raw"] for step in found["trace"]],
                         ["0x2007", "0x3007", "0x4007", "0x8000000000011007"])
        found, = self.rows(image, "read", hex(HIGH), "5")
        self.assertEqual((found["data"], found["len"], found["status"]),
                         (TEXT[:5].hex(), 5, "mapped"))


class Snapshot(Case):
    """Snapshots of images. The pages that a snapshot maps have other addresses:
    they are compared by what is in them."""

    def snapshot(self, image, options=(), words=(), *, warning=LEFT_OUT,
                 name="new"):
        """What vmemctl says of a snapshot in JSON, and the file; both builds
        make the same."""
        path = os.path.join(self.folder, name)
        words = ["--image", image, *options, "-j", "snapshot", "-o", path,
                 *words]
        done = self.ask(words)
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (0, warning))
        with open(path, "rb") as file:
            sanitized = file.read()
        self.assertEqual(run(VMEMCTL, words).returncode, 0)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), sanitized)
        return answers.whole(done.stdout), path

    def spaces(self, image, options=()):
        """For each space, its own pages {va: (gpa, size, rights)}, and its
        references."""
        out = self.json(image, *options, "spaces")["spaces"]
        pages = [{page.va: (page.gpa, page.size, page.writable, page.user,
                            page.executable)
                  for page in lablib.pages_of(
                      lablib.of_type("mapping", space["rows"]))}
                 for space in out]
        references = [[{**row, "owner_root": None, "table_gpa": None}
                       for row in lablib.of_type("reference", space["rows"])]
                      for space in out]
        return pages, references

    def same_guest(self, memory, old, new):
        """What two images map is the same, pages by what is in them."""
        (mine, references), (theirs, others) = old, self.spaces(new)
        self.assertEqual(references, others)
        core = live_snapshot.Core(new)
        self.addCleanup(core.close)
        for space, found in zip(mine, theirs, strict=True):
            self.assertEqual({va: page[1:] for va, page in space.items()},
                             {va: page[1:] for va, page in found.items()})
            for va, (gpa, size, *_) in space.items():
                if gpa not in memory.pages:     # a device stays where it is
                    self.assertEqual((found[va][0], core.memory(gpa, size)),
                                     (gpa, None))
                    continue
                self.assertEqual(core.memory(found[va][0], size),
                                 memory.pages[gpa])

    def test_same_maps(self):
        """a snapshot of an image maps what the image does"""
        for image, options, warning in self.amd64():
            told, path = self.snapshot(image, options,
                                       warning=warning + LEFT_OUT)
            self.same_guest(images.amd64(), self.spaces(image, options), path)
            self.assertEqual(os.path.getsize(path),
                             told["file_bytes"])
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            os.unlink(path)

    def test_i686(self):
        """likewise of an i686 guest"""
        memory = images.i686()
        memory.table(R, {768: 0, 769: 0x400000 | 3 << 13 | 0x83})
        for fmt in (images.ELF32, images.ELF64):
            image = self.file(images.elf(
                [Segment(*piece) for piece in memory.segments()],
                images.qemu_note(I686[0], R, I686[1], size=432), fmt,
                images.EM_386))
            _, path = self.snapshot(image, warning=LEFT_OUT_ONE)
            self.same_guest(memory, self.spaces(image), path)
            os.unlink(path)

    def test_again(self):
        """a snapshot of a snapshot is the same but for the spaces' old names"""
        _, first = self.snapshot(self.file(images.amd64_core()),
                                 warning=PARKED + LEFT_OUT, name="first")
        told, second = self.snapshot(first, warning="", name="second")
        self.assertEqual(told["spaces"], saved(0x100000, 0x101000))
        for words in (["maps"], ["spaces"], ["aliases", "-j"]):
            self.assertEqual(
                self.ask(["--image", first, *words]).stdout,
                self.ask(["--image", second, *words]).stdout)
        cores = [live_snapshot.Core(path) for path in (first, second)]
        pieces = [[core.memory(piece.gpa, piece.size) for piece in core.pieces]
                  for core in cores]
        for core in cores:
            core.close()
        self.assertEqual(pieces[0], pieces[1])

    def test_repeated(self):
        """a space that is given twice is there once"""
        told, _ = self.snapshot(self.file(images.amd64_snapshot()))
        self.assertEqual(told["spaces"], saved(A, B))

    def test_vcpus(self):
        """the vCPUs of a dump are in its snapshot"""
        image = self.file(images.amd64_core())
        _, path = self.snapshot(image, warning=PARKED + LEFT_OUT)
        old, new = (self.json(path, "info")["vcpus"]
                    for path in (image, path))
        roots = [0x100000, 0x101000, 0x100000]
        self.assertEqual(new, [{**vcpu, "cr3": hex(root)}
                               for vcpu, root in zip(old, roots, strict=True)])

    def test_json(self):
        """JSON of a snapshot"""
        image = self.file(images.amd64_snapshot())
        told, path = self.snapshot(image)
        del told["spaces"]
        self.assertEqual(told, {
            "version": 1, "command": "snapshot", "file": path,
            "file_bytes": os.path.getsize(path), "guest_bytes": 14 * PAGE,
            "extents": [{"type": "extent", "gpa": "0x100000",
                         "len": 14 * PAGE}],
            "tables_read": 10, "tables": 10, "leaves": 6, "links": 3,
            "segments": 0, "vcpu_notes": 0,
            "dropped": 2, "unreadable": 0, "strays": 0, "error": None})

    def test_text(self):
        """text of a snapshot"""
        path = os.path.join(self.folder, "new")
        self.answers(self.file(images.amd64_snapshot()),
                     ["snapshot", "-o", path], SNAPSHOT % path,
                     warning=LEFT_OUT)

    def test_part(self):
        """a snapshot of a range, with a part left out"""
        image = self.file(images.amd64_core())
        _, path = self.snapshot(
            image, ["--cr3", hex(A), "--exclude", "401000-401fff"],
            ["400000", "7fffff"], warning="")
        pages, _ = self.spaces(path)
        self.assertEqual(sorted(pages[0]), [0x400000, 0x402000, 0x5ff000,
                                            0x600000, 0x601000, 0x602000,
                                            0x7ff000])

    def test_split(self):
        """a large page of a PAE guest, above 4 GiB, of which a part is memory"""
        gpa = 0x140000000
        memory = images.Memory("<Q")
        memory.table(R, {0: 0x2001})
        memory.table(0x2000, {1: gpa | 0x83})
        memory.fill(gpa + 5 * PAGE, b"memory")
        image = self.file(images.elf(
            [Segment(*p) for p in memory.segments()]))
        told, path = self.snapshot(
            image, ["--arch", "i686-pae", "--cr3", hex(R)], warning="")
        self.assertEqual((told["leaves"], told["unreadable"]), (512, 0))
        rows = [(row["va"], row["gpa"], row["page_size"])
                for row in self.rows(path, "maps")]
        self.assertEqual([rows[0], rows[2]],
                         [(hex(0x200000), hex(gpa), PAGE),
                          (hex(0x206000), hex(gpa + 6 * PAGE), PAGE)])
        self.assertEqual(self.ask(["--image", path, "read", "-r", "205000",
                                   "6"]).stdout, b"memory")

    def test_strict(self):
        """--strict has nothing against what an image lacks"""
        image = self.file(images.amd64_snapshot())
        told, path = self.snapshot(image, words=["--strict"])
        self.same_guest(images.amd64(), self.spaces(image, ["--cr3", "%x,%x" %
                                                            (A, B)]), path)
        self.assertEqual(told["unreadable"], 0)

    def test_base(self):
        """a snapshot's memory begins at --base"""
        image = self.file(images.amd64_snapshot())
        told, path = self.snapshot(image, words=["--base", "123456000"])
        self.assertEqual([extent["gpa"] for extent in told["extents"]],
                         ["0x123456000"])
        self.same_guest(images.amd64(), self.spaces(image, ["--cr3", "%x,%x" %
                                                            (A, B)]), path)


class Info(Case):
    """info, which has a heading of its own for images."""

    def test_core(self):
        """info of a core"""
        image = self.file(images.amd64_core())
        self.answers(image, ["info"], table("""
            |image %s
            |format elf64, 58.6 KiB
            |
            |SLOT  GUEST-PHYSICAL                     SIZE  FILE OFFSET       \
FLAGS
            |   0  0000000001000-000000000afff      40 KiB  \
0000000000000a7c  -
            |   1  0000000010000-0000000013fff      16 KiB  \
000000000000aa7c  -
            |
            |VCPU    ID       CR0       CR4  EFER  MAXPHYADDR               \
CR3  MODE
            |   0     0  80050033        20   d01          52              \
1018  4-level (long mode)
            |   1     1  80050033        20   d01          52              \
5000  4-level (long mode)
            |   2     2  60000010         0     0          40                 \
0  paging off
            """) % image)

    def test_i686(self):
        """info of a 32-bit core, of either class"""
        for fmt, name in ((images.ELF32, "elf32"), (images.ELF64, "elf64")):
            found = self.json(self.file(images.i686_core(fmt)), "info")
            self.assertEqual(found["image"]["format"], name)
            self.assertEqual(found["vcpus"], [{
                "type": "vcpu", "vcpu": 0, "withheld": False, "id": 0,
                "mode": "2-level", "cr0": "0x80050033", "cr4": "0x10",
                "efer": "0x0", "maxphyaddr": 40, "cr3": "0x1000", "pat": None,
                "rules": None}])

    def test_snapshot(self):
        """info of a snapshot"""
        image = self.file(images.amd64_snapshot())
        done = self.ask(["--image", image, "info"])
        text = done.stdout.decode()
        self.assertIn("format elf64, snapshot, 56.3 KiB\n", text)
        self.assertNotIn("VCPU", text)
        self.assertTrue(text.endswith(table("""
            |
            |SPACE              ROOT      IN THE GUEST  MODE
            |    0              1000            111000  4-level (long mode)
            |    1              5000            222000  4-level (long mode)
            |    2              1000            333000  4-level (long mode)
            """)), text)
        self.assertEqual(
            [(row["space"], row["root"], row["old_root"])
             for row in self.json(image, "info")["spaces"]],
            [(0, "0x1000", "0x111000"), (1, "0x5000", "0x222000"),
             (2, "0x1000", "0x333000")])

    def test_raw(self):
        """info of raw memory"""
        image = self.file(images.i686().raw() + b"odd")
        self.assertEqual(self.json(image, "info"), {
            "version": 1, "command": "info", "api_version": 1,
            "source": "image",
            "image": {"file": image, "format": "raw",
                      "file_bytes": 5 * PAGE + 3, "rules": None},
            "spaces": [], "vcpus": [],
            "memslots": [{"type": "memslot", "id": 0, "gpa": "0x0",
                          "len": 5 * PAGE, "offset": "0x0", "file": image,
                          "readonly": False}],
            "error": None})

    def test_many_segments(self):
        """info of more segments than one call lists"""
        segments = [Segment(2 * i * PAGE, b"\x01") for i in range(600)]
        random.Random(SEED).shuffle(segments)
        slots = self.json(self.file(images.elf(segments)), "info")["memslots"]
        self.assertEqual([int(slot["gpa"], 16) for slot in slots],
                         [2 * i * PAGE for i in range(600)])

    def test_name(self):
        """a path that is no text"""
        path = os.fsencode(self.folder) + b"/\xff"
        with open(path, "wb") as file:
            file.write(images.i686_core())
        done = self.ask([b"--image", path, b"-j", b"info"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIsNone(answers.whole(done.stdout)["image"]["file"])


class Memory(Case):
    """How the guest's memory lies in the file."""

    def pieces(self, size, gap=0):
        """The amd64 guest in pieces of a size, in no order, with gaps between
        those that are no tables."""
        tables, pages = images.amd64().segments()
        segments = [Segment(gpa + at, data[at:at + size - less])
                    for (gpa, data), less in ((tables, 0), (pages, gap))
                    for at in range(0, len(data), size)]
        random.Random(SEED).shuffle(segments)
        return self.file(images.elf(segments))

    def test_unsorted(self):
        """segments in no order"""
        for size in (PAGE, 3 * PAGE):
            self.answers(self.pieces(size), ["maps"], MAPS, warning=LOST,
                         options=["--cr3", hex(A), "--arch", "amd64"])

    def test_parts_of_pages(self):
        """pages that are in several segments"""
        for size in (8, 1000, 1024, PAGE + 8):
            self.answers(self.pieces(size), ["spaces"], SPACES + TOTAL,
                         options=["--cr3", "%x,%x" % (A, B), "--arch",
                                  "amd64"])

    def test_gaps(self):
        """a page of which something is not there is no memory"""
        image = self.pieces(16, gap=8)
        self.refuses(["--image", image, "read", "--phys", "13000", "32"],
                     "32 bytes short: unbacked")

    def test_empty_segments(self):
        """segments without memory are passed over"""
        segments = [Segment(*piece) for piece in images.amd64().segments()]
        segments[1:1] = [Segment(0x10800, b"", offset=1 << 60)]
        self.answers(self.file(images.elf(segments)), ["maps"], MAPS,
                     warning=LOST, options=["--cr3", hex(A), "--arch",
                                            "amd64"])

    def test_zeros(self):
        """memory that is not in the file reads as zeros"""
        segments = [Segment(*piece) for piece in images.amd64().segments()]
        tail = segments[-1]
        tail.data = tail.data[:3 * PAGE + len(TEXT)]
        tail.memsz = 4 * PAGE
        segments.append(Segment(0x40000000, b"", memsz=1 << 40, offset=-8 %
                                (1 << 64)))
        # Something else follows the tail in the file.
        image = self.file(images.elf(reversed(segments), shift=0))
        root = ["--cr3", hex(A), "--arch", "amd64"]
        self.answers(image, ["maps"], MAPS, warning=LOST, options=root)
        done = self.ask(["--image", image, *root, "read", "-r", hex(HIGH),
                         "4096"])
        self.assertEqual(done.stdout, TEXT.ljust(PAGE, b"\0"))
        done = self.ask(["--image", image, *root, "read", "-r", "9ff000",
                         "4096"])
        self.assertEqual(done.stdout, bytes(PAGE))

    def test_odd_end(self):
        """raw memory that ends inside a page"""
        data = images.amd64().raw()[:-PAGE + len(TEXT)]
        root = ["--cr3", hex(A), "--arch", "amd64"]
        self.answers(self.file(data), ["maps"], MAPS, warning=LOST,
                     options=root)
        self.refuses(["--image", self.file(data), *root, "read", "-r", hex(HIGH),
                      "4096"], "mapped to 0x13000, that is no memory")

    def test_many_tables(self):
        """more tables than one call reads"""
        memory = images.Memory("<Q")
        memory.table(A, {0: 0x2000 | 7})
        memory.table(0x2000, {i: 0x100000 + i * PAGE | 7 for i in range(4)})
        for i in range(4):
            memory.table(0x100000 + i * PAGE, {
                j: (0x200000 + (i * 512 + j) * PAGE) | 7 for j in range(512)})
        for i in range(2048):
            memory.table(0x200000 + i * PAGE, {0: i << 12 | 7})
        image = self.file(images.elf([
            Segment(*piece) for piece in memory.segments()]))
        root = ["--cr3", hex(A), "--arch", "amd64"]
        stats = self.json(image, *root, "spaces")["stats"]
        # A call reads 2^20 entries, as the module's does. One call follows, and
        # begins with the four tables on the path to where the last one ended.
        self.assertEqual((stats["leaves"], stats["tables_known"],
                          stats["tables_read"]),
                         (2048, 2054, 2054 + 4))
        found = self.rows(image, *root, "maps")
        self.assertEqual(len(found), 2048)


    def test_many_rows(self):
        """more rows than one call tells"""
        memory = images.Memory("<Q")
        memory.table(A, {0: 0x2000 | 7})
        memory.table(0x2000, {0: 0x3000 | 7})
        memory.table(0x3000, {i: 0x100000 + i * PAGE | 7 for i in range(20)})
        for i in range(20):
            memory.table(0x100000 + i * PAGE, {
                j: (i * 512 + j) << 12 | (7 if j % 2 else 5)
                for j in range(512)})
        image = self.file(images.elf([
            Segment(*piece) for piece in memory.segments()]))
        root = ["--cr3", hex(A), "--arch", "amd64"]
        rows = [(hex(i << 12), bool(i % 2)) for i in range(20 * 512)]
        found = self.rows(image, *root, "maps")
        self.assertEqual([(row["gpa"], row["writable"]) for row in found],
                         rows)
        found = self.rows(image, *root, "spaces")
        self.assertEqual([(row["gpa"], row["writable"]) for row in found],
                         rows)
        found = self.rows(image, *root, "vtop",
                          *[hex(i << 12) for i in range(150)])
        self.assertEqual([(row["gpa"], row["writable"]) for row in found],
                         rows[:150])


# --- every mode --------------------------------------------------------------

GUESTS = 4                              # of each mode, at random


class Modes(Case):
    """Random tables of every mode, by all rules, against a reference."""

    def guests(self):
        """Each guest, its file, and the options that it takes without roots."""
        for number, mode in enumerate(modes.MODES):
            rng = random.Random(SEED + number)
            for i in range(GUESTS):
                guest = modes.random_guest(mode, rng)
                image = self.file(images.elf(
                    [Segment(*p) for p in guest.memory.segments()]))
                yield guest, image, rng

    def roots(self, guest):
        return [*guest.mode.options(), "--cr3",
                ",".join(map(hex, guest.roots))]

    def leaves(self, rows):
        """{va: Leaf} of rows of maps --attributes, or without"""
        leaves = {}
        for row in rows:
            va, last, gpa = (int(row[key], 16)
                             for key in ("va", "last_va", "gpa"))
            rights = row["writable"], row["user"], row["executable"]
            for at in range(0, last + 1 - va, row["page_size"]):
                leaves[va + at] = modes.Leaf(gpa + at, row["page_size"],
                                             rights, row.get("attributes"))
        return leaves

    def test_maps(self):
        """maps --attributes, in every mode"""
        pages = 0
        for guest, image, _ in self.guests():
            with self.subTest(mode=guest.mode.name):
                found = self.json(image, *self.roots(guest), "maps",
                                  "--attributes")
                self.assertEqual((found["pat"], found["pat_source"]),
                                 ("0x7040600070406", "reset"))
                for root, space in zip(guest.roots, found["spaces"],
                                       strict=True):
                    leaves, lost = guest.leaves(root)
                    self.assertEqual(int(space["root"], 16), root)
                    self.assertEqual(self.leaves(space["rows"]), leaves)
                    self.assertEqual(space["anomalies"], lost)
                    pages += len(leaves)
        tap.diagnostic("%d pages" % pages)

    def addresses(self, guest, rng):
        """Some that are mapped, and some at random"""
        mapped = [(va, leaf) for root in guest.roots
                  for va, leaf in guest.leaves(root)[0].items()]
        vas = [va + rng.randrange(leaf.size)
               for va, leaf in rng.sample(mapped, min(20, len(mapped)))]
        bits = guest.mode.va_bits
        for _ in range(20):
            va = rng.getrandbits(bits)
            for level in range(1, guest.mode.top + 1):  # mostly by entries
                shift = guest.mode.shift(level)         # that are there
                if rng.random() < 0.7:
                    mask = guest.mode.entries(level) - 1 << shift
                    va = va & ~mask | rng.choice((0, mask))
            vas.append(guest.mode.canonical(va))
        return vas + [1 << bits - guest.mode.long_mode, 1 << 63]

    def test_vtop(self):
        """vtop and all that it says of entries, in every mode"""
        ends = {}
        for guest, image, rng in self.guests():
            with self.subTest(mode=guest.mode.name):
                vas = self.addresses(guest, rng)
                found = self.json(image, *self.roots(guest), "vtop",
                                  *map(hex, vas))
                for root, space in zip(guest.roots, found["spaces"],
                                       strict=True):
                    for va, result in zip(vas, space["rows"], strict=True):
                        self.check_result(guest, root, va, result)
                        ends[result["status"]] = ends.get(result["status"], 0) + 1
        tap.diagnostic(str(ends))
        self.assertEqual(set(ends), {"mapped", "not-present", "reserved",
                                     "unbacked", "non-canonical"})

    def check_result(self, guest, root, va, result):
        mode = guest.mode
        status, level, gpa, path = guest.path(root, va)
        self.assertEqual(
            (result["va"], result["status"], result["level"], result["gpa"]),
            (hex(va), status, level, None if gpa is None else hex(gpa)))
        self.assertEqual([{**step, "flags": set(step["flags"])}
                          for step in result["trace"]],
                         [mode.entry(*step) for step in path])
        self.assertEqual(result["attributes"], mode.attributes(
            modes.TABLES.index(level) + 1, path[-1][2])
            if status == "mapped" else None)

    def expanded(self, guest, spaces):
        """{va: (gpa, size)} of each space, with what its references stand for"""
        known = []
        for space in spaces:
            pages = {va: (leaf.gpa, leaf.size) for va, leaf in self.leaves(
                lablib.of_type("mapping", space["rows"])).items()}
            known.append(pages)
            for row in lablib.of_type("reference", space["rows"]):
                ours, theirs = (int(row[key], 16) for key in ("va", "owner_va"))
                self.assertEqual(row["len"], 1 << guest.mode.shift(
                    modes.TABLES.index(row["level"]) + 2))
                pages |= {ours + va - theirs: page for va, page in
                          known[row["owner_space"]].items()
                          if theirs <= va < theirs + row["len"]}
        return {int(space["root"], 16): pages
                for space, pages in zip(spaces, known, strict=True)}

    def test_spaces(self):
        """spaces: what its references stand for, in every mode"""
        references = 0
        for guest, image, _ in self.guests():
            with self.subTest(mode=guest.mode.name):
                found = self.json(image, *self.roots(guest), "spaces")["spaces"]
                references += sum(row["type"] == "reference" for space in found
                                  for row in space["rows"])
                self.assertEqual(self.expanded(guest, found), {
                    root: {va: (leaf.gpa, leaf.size)
                           for va, leaf in guest.leaves(root)[0].items()}
                    for root in guest.roots})
        tap.diagnostic("%d references" % references)

    def test_aliases(self):
        """aliases: the tables that several entries name, in every mode"""
        for guest, image, _ in self.guests():
            with self.subTest(mode=guest.mode.name):
                found = self.json(image, *self.roots(guest), "aliases")["tables"]
                self.assertEqual(
                    {(table["level"], int(table["table_gpa"], 16)):
                     len(table["references"]) for table in found},
                    {table: nr - 1 for table, nr in guest.parents().items()
                     if nr > 1})

    def test_snapshot(self):
        """snapshot: it maps the same, with the same attributes, and is not encrypted,
        in every mode"""
        new = os.path.join(self.folder, "new")
        for guest, image, _ in self.guests():
            with self.subTest(mode=guest.mode.name):
                done = self.ask(["--image", image, *self.roots(guest), "snapshot",
                                 "-o", new])
                self.assertEqual(done.returncode, 0, done.stderr)
                core = live_snapshot.Core(new)
                self.assertEqual(core.machine, images.EM_X86_64
                                 if guest.mode.long_mode else images.EM_386)
                self.assertEqual(self.json(new, "info")["image"]["rules"], {
                    "amd": guest.mode.amd, "no_1g": guest.mode.no_1g,
                    "c_bit": None, "shared_bit": None})
                for number, root in enumerate(guest.roots):
                    leaves = guest.leaves(root)[0]
                    made = self.leaves(self.rows(
                        new, "--cr3", hex(0x100000 + number * PAGE), "maps",
                        "--attributes"))
                    self.assertEqual(made.keys(), leaves.keys())
                    for va, leaf in leaves.items():
                        self.check_copy(guest, core, leaf, made[va])
                core.close()

    def check_copy(self, guest, core, old, new):
        self.assertEqual(
            (new.size, new.rights, new.attributes),
            (old.size, old.rights, {**old.attributes, "encrypted": None}))
        if old.gpa in guest.memory.pages and old.size == PAGE:
            self.assertEqual(core.memory(new.gpa, PAGE),
                             guest.memory.pages[old.gpa])
        else:
            self.assertEqual(new.gpa, old.gpa)

    def test_arch(self):
        """--arch, and a core of QEMU's, of every mode"""
        for mode in modes.MODES[:4]:
            guest = modes.random_guest(mode, random.Random(SEED))
            raw = self.file(guest.memory.raw(), "raw")
            notes = b"".join(images.qemu_note(
                modes.WP_PG, root, mode.cr4, cs=images.CS64
                if mode.long_mode else images.CS32) for root in guest.roots)
            core = self.file(images.elf(
                [Segment(*p) for p in guest.memory.segments()], notes,
                machine=images.EM_X86_64 if mode.long_mode else
                images.EM_386), "core")
            root = ["--cr3", hex(guest.roots[0])]
            leaves = {va: (leaf.gpa, leaf.rights)
                      for va, leaf in guest.leaves(guest.roots[0])[0].items()}
            for image, options in ((raw, ["--arch", mode.arch, *root]),
                                   (core, [])):
                rows = self.rows(image, *options, "maps", "--attributes")
                self.assertEqual(
                    {va: (leaf.gpa, leaf.rights)
                     for va, leaf in self.leaves(rows).items()}, leaves)
            self.assertEqual(
                [int(space["root"], 16)
                 for space in self.json(core, "spaces")["spaces"]],
                guest.roots)
            self.assertEqual(
                [vcpu["mode"] for vcpu in self.json(core, "info")["vcpus"]],
                [mode.name] * 2)


class Attributes(Case):
    """Attributes and entries as people see them; the PAT, LAM and rules."""

    def image(self, cr4=0x4000a0, cr3=A, **changed):
        """A page of each size with an attribute of each kind"""
        memory = images.amd64()
        memory.table(0x2000, {2: 0x80000000 | LARGE_PAT | G | 0x93})
        memory.table(0x3000, {6: 0x40000000 | LARGE_PAT | 0xeb | 10 << 59})
        memory.table(0x4000, {3: 0x12063, 4: 0x13163 | 3 << 59 | NX,
                              5: 0xdeadbeef00 | 0xe2})
        notes = images.qemu_note(AMD64[0], cr3, cr4)
        return self.file(images.elf(
            [Segment(*p) for p in memory.segments()], notes, **changed))

    def test_vtop(self):
        """vtop names what is set in entries"""
        self.answers(self.image(), ["vtop", "404000", "c00123", "80000000",
                                    "405000", "a00000"], table("""
            |VIRTUAL           PHYSICAL
            |404000            13000
            |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
            |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
            |     PD: 0000000003010 => 0000000000004007 (PRESENT|RW|USER)
            |     PT: 0000000004020 => 9800000000013163 \
(PRESENT|RW|ACCESSED|DIRTY|GLOBAL|NX) key 3
            |   PAGE: 0000000013000 (4 KiB)
            |  FLAGS: writable, supervisor, no-execute
            |   ATTR: accessed, dirty, global, WB (PAT 0, as after reset), key 3
            |
            |VIRTUAL           PHYSICAL
            |c00123            40000123
            |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
            |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
            |     PD: 0000000003030 => 50000000400010eb \
(PRESENT|RW|PWT|ACCESSED|DIRTY|PSE|PAT) key 10
            |   PAGE: 0000040000000 (2 MiB)
            |  FLAGS: writable, supervisor, executable
            |   ATTR: accessed, dirty, WT (PAT 5, as after reset), key 10
            |
            |VIRTUAL           PHYSICAL
            |80000000          80000000
            |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
            |   PDPT: 0000000002010 => 0000000080001193 \
(PRESENT|RW|PCD|PSE|PAT|GLOBAL)
            |   PAGE: 0000080000000 (1 GiB)
            |  FLAGS: writable, supervisor, executable
            |   ATTR: global, UC- (PAT 6, as after reset), key 0
            |
            |VIRTUAL           PHYSICAL
            |405000            (not mapped)
            |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
            |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
            |     PD: 0000000003010 => 0000000000004007 (PRESENT|RW|USER)
            |     PT: 0000000004028 => 000000deadbeefe2
            |         not-present at PT
            |
            |VIRTUAL           PHYSICAL
            |a00000            (not mapped)
            |   PML4: 0000000001000 => 0000000000002007 (PRESENT|RW|USER)
            |   PDPT: 0000000002000 => 0000000000003007 (PRESENT|RW|USER)
            |     PD: 0000000003028 => 0000000000002081 (PRESENT|PSE) \
reserved: 2000
            |         reserved at PD
            |
            """))

    def test_maps(self):
        """maps --attributes has columns of them"""
        words = ["maps", "--attributes", "402000", "ffffffff"]
        self.answers(self.image(), words, table("""
            |0000000000402000-0000000000402fff 0000000012000  4K rw-u --- WB  key 0
            |0000000000403000-0000000000403fff 0000000012000  4K rwxs ad- WB  key 0
            |0000000000404000-0000000000404fff 0000000013000  4K rw-s adg WB  key 3
            |00000000005ff000-00000000005fffff 0000000010000  4K r-xu --- WB  key 0
            |0000000000600000-0000000000600fff 0000000010000  4K r-xu --- WB  key 0
            |0000000000601000-0000000000602fff 0000000011000  4K r--u --- WB  key 0
            |0000000000603000-0000000000603fff 0000000012000  4K r-xs ad- WB  key 0
            |0000000000604000-0000000000604fff 0000000013000  4K r--s adg WB  key 3
            |00000000007ff000-00000000007fffff 0000000010000  4K r-xu --- WB  key 0
            |0000000000800000-00000000009fffff 0000040000000  2M rw-u --- WB  key 0
            |0000000000c00000-0000000000dfffff 0000040000000  2M rwxs ad- WT  key 10
            |0000000080000000-00000000bfffffff 0000080000000  1G rwxs --g UC- key 0
            |PAT: 0007040600070406 (reset)
            |total: 12 mappings, 1.0 GiB
            """), warning=LOST)
        found = self.ask(["--image", self.image(cr4=0x20), "--c-bit", "51",
                          *words[:2], "404000", "404fff"]).stdout.decode()
        self.assertIn("rw-s ad- WB  plain\n", found)
        self.refuses(["--image", self.image(), "vtop", "--attributes", "0"],
                     "vtop: --attributes has no effect here", status=2)

    def test_merge(self):
        """pages with other attributes share a row only if nobody asks for these"""
        memory = images.amd64()
        memory.table(0x4000, {0: 0x10007, 1: 0x11027, 2: 0x12027})
        image = self.file(memory.raw())
        root = ["--cr3", hex(B), "--arch", "amd64"]
        rows = [len(self.rows(image, *root, *words, "maps", "400000",
                              "402fff"))
                for words in ([], ["--attributes"])]
        self.assertEqual(rows, [1, 2])

    def test_pat(self):
        """--pat, of which 0 is a value like any other"""
        image = self.image()
        for pat, kinds in (
                ("0", ["UC"] * 4), ("0606060606060606", ["WB"] * 4),
                ("0504010007040106", ["WB", "WB", "WT", "UC-"]),
                ("0102030006060606", ["WB", "WB", "reserved", "reserved"])):
            # PAT entries 0, 0, 5 and 6
            found = self.json(image, "--pat", pat, "vtop", "403000", "404000",
                              "c00000", "80000000")
            kinds = [self.by_entry(pat, entry) for entry in (0, 0, 5, 6)]
            space, = found["spaces"]
            self.assertEqual([row["attributes"]["memory_type"]
                              for row in space["rows"]], kinds)
            self.assertEqual((found["pat"], found["pat_source"]),
                             (hex(int(pat, 16)), "option"))

    def by_entry(self, pat, entry):
        kind = int(pat, 16) >> 8 * entry & 0xff
        return {0: "UC", 1: "WC", 4: "WT", 5: "WP", 6: "WB",
                7: "UC-"}.get(kind, "reserved")

    def test_lam(self):
        """LAM takes metadata out of addresses"""
        sup, u57, u48 = 1 << 28, 1 << 61, 1 << 62
        memory = images.amd64()
        memory.table(0x6000, {0: A | 7, 511: A | 7})    # a PML5 for them
        image = self.file(memory.raw())
        user, high = 0x400123, HIGH + 0x123
        for cr3, cr4, va, status, translated in (
                (A, 0x20, 0x7e00000000400123, "non-canonical", None),
                (A | u57, 0x20, 0x7e00000000400123, "mapped", user),
                (A | u57, 0x20, 0x7f00000000400123, "non-canonical",
                 0x7f00000000400123),
                (A | u57, 0x20, 0x0001000000400123, "non-canonical", None),
                (A | u48, 0x20, 0x7fff000000400123, "mapped", user),
                (A | u48, 0x20, 0x7fff800000400123, "non-canonical",
                 0x7fff800000400123),
                (A | u48, 0x20, 0x8fff000000400123, "non-canonical", None),
                (A | u57 | u48, 0x20, 0x0001000000400123, "non-canonical",
                 None),
                (A, 0x20 | sup, 0x8000ffff81000123, "mapped", high),
                (A, 0x20 | sup, 0x80007fff81000123, "non-canonical",
                 0x80007fff81000123),
                (A, 0x20, 0x8000ffff81000123, "non-canonical", None),
                (0x6000 | u57, 0x1020, 0x7e00000000400123, "mapped", user),
                (0x6000 | u48, 0x1020, 0x7fff000000400123, "mapped", user),
                (0x6000, 0x1020 | sup, 0x81ffffff81000123, "mapped", high),
                (0x6000, 0x1020 | sup, 0x80ffffff81000123, "non-canonical",
                 0x80ffffff81000123)):
            root = ["--arch", "amd64", "--cr3", hex(cr3), "--cr4", hex(cr4)]
            with self.subTest(cr3=hex(cr3), cr4=hex(cr4), va=hex(va)):
                result, = self.rows(image, *root, "vtop", hex(va))
                self.assertEqual(result["va"], hex(va))
                self.assertEqual(result["status"], status)
                self.assertEqual(result["translated_va"],
                                 None if translated in (None, va) else
                                 hex(translated))
                if status == "mapped":
                    row, = self.rows(image, *root, "read", hex(va), "8")
                    self.assertEqual((row["va"], row["translated_va"]),
                                     (hex(va), hex(translated)))
                    done = self.ask(["--image", image, *root, "read", "-r",
                                     hex(va), "8"])
                    gpa = int(result["gpa"], 16)
                    self.assertEqual(
                        done.stdout,
                        memory.pages[gpa & -PAGE][gpa % PAGE:][:8])
        self.assertIn("    LAM: 0000000000400123 is translated\n", self.ask([
            "--image", image, "--arch", "amd64", "--cr3", hex(A | u57),
            "vtop", "7e00000000400123"]).stdout.decode())

    def test_lam_32(self):
        """there is no LAM outside of long mode"""
        image = self.file(images.i686().raw())
        result, = self.rows(image, "--arch", "i686", "--cr3", hex(R | 3 << 61),
                            "vtop", "7e00000000400123")
        self.assertEqual(result["status"], "non-canonical")

    def test_lam_snapshot(self):
        """a snapshot keeps LAM, and so answers the same"""
        u57 = 1 << 61
        new = os.path.join(self.folder, "new")
        image = self.image(cr3=A | u57)
        done = self.ask(["--image", image, "snapshot", "-o", new])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.json(new, "info")["vcpus"][0]["cr3"],
                         hex(0x100000 | u57))
        for file in (image, new):
            result, = self.rows(file, "vtop", "7e00000000400123")
            self.assertEqual((result["status"], result["translated_va"]),
                             ("mapped", "0x400123"))

    def test_rules(self):
        """rules of a snapshot's note, and options before them"""
        memory = images.amd64()
        memory.table(A, {0: 0x2107})                # bit 8 of a PML4E
        memory.table(0x2000, {2: 0x80000000 | 0x83})
        segments = [Segment(*p) for p in memory.segments()]

        def ends(rules, *options):
            note = images.vmem_note(AMD64, A, [(0x111000, A)], rules=rules)
            image = self.file(images.elf(segments, note))
            return [row["status"] for row in self.rows(
                image, *options, "vtop", "400000", "80000000")]

        self.assertEqual(ends(0), ["mapped", "mapped"])
        self.assertEqual(ends(1), ["reserved", "reserved"])
        self.assertEqual(ends(2), ["mapped", "reserved"])
        self.assertEqual(ends(3, "--vendor", "intel"), ["mapped", "reserved"])
        self.assertEqual(ends(0, "--vendor", "amd"), ["reserved", "reserved"])
        self.assertEqual(ends(0, "--no-1g"), ["mapped", "reserved"])
        self.assertEqual(ends(0, "--c-bit", "33"), ["mapped", "mapped"])

    def test_info(self):
        """info names the rules of a snapshot"""
        rules = 1 | 2 | 4 | 51 << 8
        note = images.vmem_note(AMD64, A, [(0x111000, A)], rules=rules)
        image = self.file(images.elf(
            [Segment(*p) for p in images.amd64().segments()], note))
        text = self.ask(["--image", image, "info"]).stdout.decode()
        self.assertTrue(text.endswith("4-level (long mode), AMD, no 1 GiB "
                                      "pages, shared bit 51\n"), text)
        self.assertEqual(self.json(image, "info")["image"]["rules"], {
            "amd": True, "no_1g": True, "c_bit": None, "shared_bit": 51})

    def test_alike(self):
        """vCPUs that do not page alike are left out"""
        cr0, cr4 = AMD64[:2]

        def left_out(*notes, options=()):
            image = self.file(images.elf(
                [Segment(*p) for p in images.amd64().segments()],
                b"".join(images.qemu_note(*note) for note in notes)))
            done = self.ask(["--image", image, *options, "-j", "spaces"])
            self.assertEqual(done.returncode, 0, done.stderr)
            return (re.findall(r"vCPU (\d+) is left out", done.stderr.decode()),
                    [space["root"]
                     for space in answers.whole(done.stdout)["spaces"]])

        two = (cr0, A, cr4), (cr0, B, cr4)
        self.assertEqual(left_out(*two), ([], [hex(A), hex(B)]))
        self.assertEqual(left_out((cr0, A, cr4), (cr0, B, cr4 | 0x1000)),
                         (["1"], [hex(A)]))
        # Other bits of CR4 are nothing to the tables.
        self.assertEqual(left_out((cr0, A, cr4), (cr0, B, cr4 | 0x680)),
                         ([], [hex(A), hex(B)]))
        # With and without pages of 4 MiB
        self.assertEqual(left_out((cr0, 0xc000, 0x10), (cr0, 0xd000, 0)),
                         (["1"], ["0xc000"]))
        parked = 0x60000010, 0, 0
        for options in ([], ["--arch", "amd64"], ["--efer", "d01"]):
            self.assertEqual(left_out(*two, parked, options=options),
                             (["2"], [hex(A), hex(B)]))


# --- what goes wrong ---------------------------------------------------------

class Errors(Case):
    """Each failure is one line that names the image and says what to do."""

    def core(self, segments=None, notes=b"", **changed):
        if segments is None:
            segments = [Segment(*p) for p in images.amd64().segments()]
        return images.elf(segments, notes, **changed)

    def test_missing(self):
        """error: no such file"""
        path = os.path.join(self.folder, "missing")
        self.refuses(["--image", path, "info"], path, "no such file")

    def test_kinds(self):
        """error: a directory, a pipe, an empty file"""
        self.refuses(["--image", self.folder, "info"], "directory", "give")
        pipe = os.path.join(self.folder, "pipe")
        os.mkfifo(pipe)
        self.refuses(["--image", pipe, "info"], "regular file", "copy")
        self.damaged(b"", "empty")

    @unittest.skipIf(os.getuid(), "only root can be somebody else")
    def test_permission(self):
        """error: a file that we may not read"""
        path = self.file(images.amd64_core())
        os.chmod(path, 0)
        # A user who may not look into the folder of the tool cannot start it.
        self.refuses(["--image", path, "info"], path, "permission denied",
                     preexec_fn=drop_override)

    def test_raw(self):
        """error: raw memory, and no registers"""
        image = self.file(images.amd64().raw())
        for options, missed in (
                ([], ["--cr3", "--arch", "--efer"]),
                (["--cr3", hex(A)], ["--arch", "--efer"]),
                (["--arch", "amd64"], ["--cr3"]),
                (["--cr3", hex(A), "--cr0", "80000001"], ["--arch", "--efer"])):
            for words in (["maps"], ["spaces"], ["vtop", "0"],
                          ["read", "0", "1"]):
                self.refuses(["--image", image, *options, *words], *missed,
                             status=2)

    def test_excluded(self):
        """error: an image and a guest that runs"""
        image = self.file(images.amd64_core())
        for options in (["-p", "1"], ["--vm-fd", "3"], ["--qmp", "x"]):
            self.refuses(["--image", image, *options, "maps"], "--image",
                         "--pid", "--qmp", status=2)

    def test_no_guest(self):
        """error: neither an image nor a guest that runs"""
        self.refuses(["info"], "--pid", "--image", status=2)

    def test_elf(self):
        """error: ELF files that are no cores of ours"""
        self.damaged(self.core(kind=images.ET_EXEC), "no core")
        self.damaged(self.core(machine=183), "x86")
        self.damaged(self.core(data=2), "x86|ELF header")
        self.damaged(self.core(fmt=3), "ELF header")
        self.damaged(b"\x7fELF", "ELF header", "truncated")
        self.damaged(self.core([]), "no memory", "no segment of it")
        self.damaged(self.core([], phnum=7), "truncated", "0 of 7")

    def test_segments(self):
        """error: segments that cannot be"""
        page, other = bytes(PAGE), b"\1" * PAGE
        self.damaged(self.core([Segment(0, page), Segment(PAGE - 1, other)]),
                     "segments, 0 and 1", "0xfff", "--region")
        notes = images.qemu_note(AMD64[0], A, AMD64[1])
        self.damaged(self.core([Segment(0, page), Segment(0, other)], notes),
                     "other memory at 0", "-p")
        self.damaged(self.core([Segment(0, page), Segment(0, other)]),
                     "two segments")
        self.damaged(self.core([Segment(0, page, memsz=100)]), "segment 0",
                     "0x1000", "0x64")
        self.damaged(self.core([Segment(0, page, memsz=0)]), "segment 0")
        self.damaged(self.core([Segment(-PAGE % (1 << 64), page)]),
                     "segment 0", "widest")
        self.damaged(self.core([Segment(PAGE, page, memsz=-1 % (1 << 64))]),
                     "segment 0", "widest")
        self.damaged(self.core([Segment(1 << 52, page)]), "widest")

    def test_truncated(self):
        """error: segments beyond the end of the file"""
        page = bytes(PAGE)
        core = self.core([Segment(0, page), Segment(0x100000, page)])
        self.damaged(core[:-1000], "truncated", "segment 1 at 0x100000",
                     "lacks 0x3e8 of 0x1000")
        self.damaged(self.core([Segment(0, page, offset=1 << 63)]),
                     "segment 0", "lacks 0x1000 of 0x1000")
        self.damaged(self.core([Segment(0, page, filesz=1 << 40,
                                        memsz=1 << 41)]), "truncated")
        for there in ({"filesz": 1 << 40}, {"offset": 1 << 40}):
            self.damaged(self.core([Segment(0, page), Segment(
                0, bytes(64), kind=images.PT_NOTE, **there)]),
                "truncated", "notes")

    def test_qemu_notes(self):
        """error: notes of vCPUs that lie"""
        regs = (AMD64[0], A, AMD64[1])
        good = images.qemu_note(*regs)
        self.damaged(self.core(notes=images.qemu_note(*regs, version=2)),
                     "vCPU 0", "version 2")
        for size in (0, 431, 441, 0xffffffff):
            self.damaged(
                self.core(notes=good + images.qemu_note(*regs, size=size)),
                "vCPU 1", "of 440 bytes")
        self.damaged(self.core(notes=images.note("QEMU", 0, bytes(431))),
                     "vCPU 0", "431 bytes instead of 432")
        self.damaged(self.core(notes=good[:-4]), "make no sense", "byte 0")
        self.damaged(self.core(notes=good * 4097), "more than 4096 vCPUs")
        self.damaged(self.core(notes=good + bytes(4)), "make no sense")
        long_name = struct.pack("<III", 0xfffffff0, 0, 0)
        self.damaged(self.core(notes=good + long_name), "make no sense")

    def test_vmem_notes(self):
        """error: a snapshot's note that lies"""
        spaces = [(0x111000, A), (0x222000, B)]

        def lies(*patterns, cr3=A, told=tuple(spaces), **changed):
            notes = images.vmem_note(AMD64, cr3, told, **changed)
            self.damaged(self.core(notes=notes), *patterns)

        note = images.vmem_note(AMD64, A, spaces)
        self.damaged(self.core(notes=note * 2), "two")
        lies("version 2", version=2)
        for size in (0, 15, 89, 0xffffffff):
            lies("88 bytes, and says %d" % size, size=size)
        for size in (16, 55, 57):
            lies("of another version", size=size)
        lies("0 bytes for 0 spaces", told=())
        for nr in (0, 1, 3, 4097, 0x10000002, 0xffffffff):
            lies("%d spaces" % nr, nr=nr)
        lies("4097 spaces", told=[(0, A)] * 4097)
        lies("of another version", reserved=1)
        lies("MAXPHYADDR 31", maxphyaddr=31)
        lies("MAXPHYADDR 4294967295", maxphyaddr=0xffffffff)
        lies("CR3 0x5000", "0x1000", cr3=B)
        lies("of another version", more_regs=bytes(31) + b"\x01")
        self.damaged(self.core(notes=images.note("VMEM", images.VMEM_NOTE,
                                                   b"\x01\0\0\0")),
                     "4 bytes")

    def test_other_notes(self):
        """notes of other names and types are passed over"""
        note = images.vmem_note(AMD64, A, [(0x111000, A)])
        others = (images.note("VMEM", 2, b"?") + images.note("VMEM", 1, b"?") +
                  images.note("VMEMX", images.VMEM_NOTE, b"") +
                  images.note("QEMU", 1, b"?") + images.note("", 0, b"?") +
                  images.note("VMCOREINFO", 0, b"OSRELEASE=1\n"))
        image = self.file(self.core(notes=others + note))
        self.answers(image, ["maps"], MAPS, warning=LOST)

    def test_read_phys(self):
        """error: command lines of read --phys that make no sense"""
        image = ["--image", self.file(images.amd64_core())]
        self.refuses([*image, "read", "--phys", "0"], "read --phys GPA LEN",
                     status=2)
        self.refuses([*image, "read", "--phys", "x", "1"], "GPA 'x'",
                     status=2)
        self.refuses([*image, "read", "--phys", "f" * 13 + "000", "4097"],
                     "give at most 4096", status=2)
        self.refuses([*image, "maps", "--phys"], "maps: --phys has no effect here",
                     status=2)

    def test_vcpu(self):
        """error: a vCPU that there is not"""
        image = self.file(images.amd64_core())
        self.refuses(["--image", image, "--vcpu", "3", "maps"], "vCPU 3",
                     "info")

    def test_modes(self):
        """error: registers that no processor pages with"""
        image = self.file(images.amd64_core())
        for options, pattern in ((["--vcpu", "2"], "paging is off"),
                                 (["--cr4", "0"], "EFER.LME needs CR4.PAE"),
                                 (["--cr0", "80000000"], "needs CR0.PE")):
            for words in (["maps"], ["vtop", "0"], ["read", "0", "1"],
                          ["spaces", "--cr3", hex(A)]):
                self.refuses(["--image", image, *options, *words], pattern)

    def test_arch(self):
        """error: an architecture that is not known"""
        self.refuses(["--image", "x", "--arch", "arm64", "maps"], "'arm64'",
                     "amd64, amd64-la57, i686 or i686-pae", status=2)

    def test_rules(self):
        """error: rules that make no sense"""
        image = ["--image", self.file(images.amd64_core())]
        for words, patterns in (
                (["--vendor", "via"], ("'via'", "amd or intel")),
                (["--c-bit", "31"], ("--c-bit 31", "32 to 51")),
                (["--c-bit", "52"], ("--c-bit 52", "32 to 51")),
                (["--shared-bit", "x"], ("--shared-bit 'x'",)),
                (["--c-bit", "51", "--shared-bit", "47"],
                 ("one of --c-bit and --shared-bit",)),
                (["--pat", "y"], ("--pat 'y'",))):
            self.refuses([*image, *words, "maps"], *patterns, status=2)
        for words in (["maps"], ["vtop", "0"], ["read", "0", "1"]):
            self.refuses([*image, "--cr3", "8000000001000", *words],
                         "no memory where CR3 points", "--c-bit")
        note = images.vmem_note(AMD64, A, [(0x111000, A)], rules=8)
        self.damaged(self.core(notes=note), "another version")
        for rules in (4, 31 << 8, 52 << 8):
            note = images.vmem_note(AMD64, A, [(0x111000, A)], rules=rules)
            self.damaged(self.core(notes=note), "damaged", "encryption")

    def test_no_efer(self):
        """error: a core whose first vCPU does not page says nothing of EFER"""
        notes = images.qemu_note(0x33, 0, 0, cs=images.CS32)
        notes += images.qemu_note(AMD64[0], A, 0x20, cs=0)
        image = self.file(self.core(notes=notes, machine=images.EM_386))
        words = ["--image", image, "--vcpu", "1"]
        self.refuses([*words, "maps"], "vCPU 1 is in long mode", "--efer",
                     "--arch")
        for options in (["--arch", "amd64"], ["--efer", "d01"]):
            self.answers(image, ["maps"], MAPS, warning=LOST,
                         options=[*words[2:], *options])
        # Its code segment may tell.
        notes = images.qemu_note(0x33, 0, 0, cs=images.CS32)
        notes += images.qemu_note(AMD64[0], A, 0x20)
        image = self.file(self.core(notes=notes, machine=images.EM_386))
        self.answers(image, ["maps"], MAPS, warning=LOST,
                     options=["--vcpu", "1"])

    def test_cr3(self):
        """error: CR3 points outside of the image"""
        image = self.file(images.amd64_core())
        for words in (["maps"], ["vtop", "0"], ["read", "0", "1"]):
            self.refuses(["--image", image, "--cr3", "b000", *words],
                         "no memory where CR3 points", "b000")


class Greed(Case):
    """Small files that ask for much. What is kept is bounded."""

    MEMORY = 64 << 20

    def few(self, *words, cut=None, memory=MEMORY):
        """Runs vmemctl with little memory; after @cut bytes nobody reads on."""
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        with subprocess.Popen([VMEMCTL, *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=limit) as process:
            out = process.stdout.read(cut or -1)
            process.stdout.close()
            err = process.stderr.read().decode()
            return process.wait(timeout=SECONDS), out, err

    def unfolding(self):
        """Four tables, of which each names the next 512 times: 2^36 pages, none
        of which goes on where the one before ended."""
        memory = images.Memory("<Q")
        for gpa in (0x1000, 0x2000, 0x3000):
            memory.table(gpa, dict.fromkeys(range(512), gpa + 0x1000 | 7))
        memory.table(0x4000, {i: 0x5000 | 5 | i % 2 << 1 for i in range(512)})
        return self.file(memory.raw(), "unfolding")

    def test_rows(self):
        """2^36 rows of JSON take no more memory than one"""
        image = self.unfolding()
        for words in (["-j", "maps"], ["maps"]):
            status, out, err = self.few("--image", image, "--arch", "amd64",
                                        "--cr3", "1000", *words, cut=32 << 20)
            self.assertEqual(len(out), 32 << 20, err)
            self.assertNotIn("memory", err)
            tap.diagnostic("%s: status %d, %s" % (" ".join(words), status,
                                                  err.strip()))

    def records(self, nr=16384):
        """8,388,608 references to one PT, of which no two neighbours are alike."""
        data = bytearray((64 + nr) * 4096)
        pdpts = range(0x2000, 0x2000 + 33 * 4096, 4096)
        first = 64 * 4096
        struct.pack_into("<33Q", data, 0x1000, *(gpa | 7 for gpa in pdpts))
        for i in range(nr):
            struct.pack_into("<Q", data, pdpts[i // 512] + i % 512 * 8,
                             first + i * 4096 | 7)
        data[first:] = struct.pack("<2Q", 63 * 4096 | 7,
                                   63 * 4096 | 5) * 256 * nr
        struct.pack_into("<512Q", data, 63 * 4096,
                         *(0x1000 * i | 5 for i in range(512)))
        return ["--image", self.file(data, "records"), "--arch", "amd64",
                "--cr3", "1000"]

    def test_records(self):
        """what has to be kept of many spaces is bounded, and the bound is told"""
        done = run(VMEMCTL, [*self.records(), "aliases"])
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr.decode(),
                         "vmemctl: the spaces have more rows than can be kept, "
                         "after 8388608: give fewer roots, or a range\n")

    def test_no_room(self):
        """JSON of spaces is whole where there is no memory for more"""
        status, out, err = self.few(*self.records(), "-j", "spaces",
                                    memory=128 << 20)
        said = re.fullmatch(r"vmemctl: (out of memory for the rows, after "
                            r"(\d+)): (give fewer roots, or a range)\n", err)
        self.assertTrue(said, err)
        self.assertEqual(status, 1)
        found = answers.broken(out)
        self.assertEqual(found["error"],
                         {"message": said[1], "advice": said[3]})
        # A heading is a record, too.
        self.assertEqual(len(found["spaces"][0]["rows"]), int(said[2]) - 1)

    def test_little_room(self):
        """JSON of spaces is whole where there is no memory after the last record"""
        image = self.records(300)
        seen = 0
        for memory in range(20 << 20, 40 << 20, 300 << 10):
            status, out, err = self.few(*image, "-j", "spaces", memory=memory)
            if not status:
                break
            self.assertEqual(status, 1)
            found = re.search(r"rows, after (\d+): give fewer", err)
            self.assertTrue(found, err)
            if int(found[1]) > 300 * 512:
                self.assertTrue(answers.broken(out)["error"])
                seen += 1
        self.assertEqual(status, 0)
        self.assertGreater(seen, 0)

    def test_reader_leaves(self):
        """rows of spaces come while the walk goes on, which ends with its reader"""
        for words in (["spaces"], ["-j", "spaces"]):
            status, out, err = self.few(*self.records(), *words, cut=4096,
                                        memory=128 << 20)
            self.assertEqual((status, err), (1, ""))
            self.assertEqual(len(out), 4096)

    def slots(self, nr):
        """A core with so many pieces of memory, of a page each."""
        header = struct.Struct("<IIQQQQQQ")
        at = 64 + 64 + header.size * nr
        data = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0,
                           128, 64, 0, 64, header.size, 0xffff, 64, 1, 0)
        data += struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, nr, 0, 0)
        data += b"".join(header.pack(1, 7, at, 0, 2 * PAGE * i, PAGE, PAGE, 0)
                         for i in range(nr)) + bytes(PAGE)
        return self.file(data, "slots")

    def test_slots(self):
        """100,000 pieces of memory are listed, as JSON too, in little memory"""
        nr = 100000
        image = self.slots(nr)
        status, out, err = self.few("--image", image, "-j", "info")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual([slot["gpa"]
                          for slot in answers.whole(out)["memslots"]],
                         [hex(2 * PAGE * i) for i in range(nr)])
        status, out, err = self.few("--image", image, "info")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.count(b"\n"), nr + 4)

    def most(self, words, end):
        """The most memory that vmemctl had, in MiB, and no less than what a small
        Python has, which starts it; after @end bytes nobody reads on."""
        counter = "import resource, subprocess, sys; subprocess.run(sys.argv" \
            "[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN)" \
            ".ru_maxrss >> 10, file=sys.stderr)"
        with subprocess.Popen(
                [sys.executable, "-SE", "-c", counter, VMEMCTL, *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True) as process:
            while end > 0 and (read := os.read(process.stdout.fileno(), 1 << 20)):
                end -= len(read)
            process.stdout.close()
            *said, most = process.stderr.read().splitlines()
        self.assertEqual(said, [])
        return int(most)

    def test_memory(self):
        """no command takes more memory than docs/limits.md says"""
        unfolding = ["--image", self.unfolding(), "--arch", "amd64", "--cr3"]
        roots = ",".join(["1000"] * 4096)
        records = self.records(16383)
        out = os.path.join(self.folder, "out")
        asked = {
            "info": ["--image", self.slots(1000000), "info"],
            "info -j": ["--image", self.slots(1000000), "-j", "info"],
            "maps": [*unfolding, "1000", "maps"],
            "maps -j": [*unfolding, "1000", "-j", "maps"],
            "vtop": [*unfolding, roots, "vtop", *["0"] * 4096],
            "vtop -j": [*unfolding, roots, "-j", "vtop", *["0"] * 4096],
            "read": [*records, "read", "0", "0x40000000"],
            "read -j": [*records, "-j", "read", "0", "0x40000000"],
            "spaces": [*records, "spaces"],
            "aliases": [*records, "aliases"],
            "graph": [*records, "--cr3", "1000", "graph"],
            "who": [*records, "who", "0x5000"],
            "snapshot": [*records, "snapshot", "-o", out],
            "snapshot --virtual": [
                "--image", self.file(images.alternating(2048), "two pages"),
                "--arch", "amd64", "--cr3", "1000", "snapshot", "--virtual", "-o",
                out],
        }
        limits = {name: float(row["MiB"].replace(",", ""))
                  for row in promises.rows_with(promises.LIMITS, "command",
                                                "MiB")
                  if "`image.py/test_memory`" in row["tests"]
                  for name in row["command"].replace("`", "").split(", ")}
        self.assertEqual(set(limits), set(asked))
        for name, words in asked.items():
            with self.subTest(command=name):
                few = name in ("info", "info -j", "spaces", "aliases", "graph")
                most = self.most(words, 1 << 40 if few else 32 << 20)
                tap.diagnostic("%s: %d MiB" % (name, most))
                self.assertLessEqual(most, limits[name])

    def test_second_root(self):
        """JSON is whole, too, where the second root cannot be read"""
        raw = self.file(images.amd64().raw(), "raw")
        done = self.ask(["--image", raw, "--arch", "amd64", "--cr3",
                         "%x,%x,%x" % (A, 1 << 40, B), "-j", "maps"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"no memory where CR3 points", done.stderr)
        found = answers.broken(done.stdout)
        self.assertIn("no memory where CR3 points", found["error"]["advice"])
        first, second = found["spaces"]
        self.assertEqual(first["anomalies"], 2)
        self.assertTrue(first["rows"])
        self.assertEqual(second, {"type": "space", "space": 1,
                                  "root": hex(1 << 40), "rows": []})

    def test_socket(self):
        """error: a socket, and a FIFO that nobody writes"""
        path = os.path.join(self.folder, "socket")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            self.refuses(["--image", path, "info"], "a socket", "give a file")
        os.mkfifo(os.path.join(self.folder, "fifo"))
        self.refuses(["--image", os.path.join(self.folder, "fifo"), "info"],
                     "fifo")

    def test_cut(self):
        """error: a file that is cut while it is read"""
        image = self.unfolding()
        with subprocess.Popen(
                [VMEMCTL, "--image", image, "--arch", "amd64", "--cr3", "1000",
                 "maps"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE) as process:
            self.assertTrue(process.stdout.read(1))
            os.truncate(image, 0)
            _, said = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"shorter meanwhile: ask a copy", said)

    @contextlib.contextmanager
    def answering(self):
        """A process that answers, and whose answer nobody takes."""
        with subprocess.Popen(
                [VMEMCTL, "--image", self.unfolding(), "--arch", "amd64",
                 "--cr3", "1000", "maps"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE) as process:
            self.assertTrue(process.stdout.read(1))
            yield process.pid
            process.kill()

    def test_rights(self):
        """what answers has no capability, and gets none"""
        with self.answering() as pid:
            with open("/proc/%d/status" % pid) as file:
                status = dict(re.findall(r"^(\w+):\t(.*)$", file.read(), re.M))
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")

    def test_system_calls(self):
        """what answers can start nothing, open nothing, and make no memory code"""
        calls = {"execve": "59, 0, 0, 0", "socket": "41, 1, 1, 0",
                 "open": "2, \"/\", 0", "openat": "257, -100, \"/\", 0",
                 "kill": "62, 1, 0", "clone": "56, 0, 0, 0, 0, 0",
                 "ptrace": "101, 0, 0, 0, 0",
                 "mmap": "9, 0, 4096, 7, 0x22, -1, 0",
                 "ioctl": "16, 1, 0x5412, \"x\""}
        allowed = {"mmap of data": "9, 0, 4096, 3, 0x22, -1, 0",
                   "getpid": "39"}
        with self.answering() as pid:
            for name, words in {**calls, **allowed}.items():
                done = subprocess.run(
                    ["gdb", "-nx", "-batch", "-p", str(pid), "-ex",
                     "print (long)syscall(%s)" % words, "-ex",
                     "print *(int *)__errno_location()"],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True,
                    timeout=SECONDS, check=False)
                found = re.findall(r"^\$\d = (-?\d+)$", done.stdout, re.M)
                self.assertEqual(len(found), 2, done.stdout + done.stderr)
                if name in calls:
                    self.assertEqual(found, ["-1", str(errno.EPERM)], name)
                else:
                    self.assertGreater(int(found[0]), 0, name)

    def test_not_confined(self):
        """where the kernel refuses seccomp that is told, and all is answered"""
        image = self.file(images.amd64_core())
        done = run("strace", ["-f", "-o", "/dev/null", "-e",
                              "inject=seccomp:error=ENOMEM:when=2+", VMEMCTL,
                              "--image", image, "maps"])
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"warning: not confined by seccomp", done.stderr)
        self.assertIn(b"total: ", done.stdout)

    def test_nothing_is_missed(self):
        """no command asks for a system call that it gave up"""
        image = self.file(images.amd64_core())
        log = os.path.join(self.folder, "log")
        used = set()
        for words in (*COMMANDS, ["-j", "info"], ["-j", "spaces"],
                      ["-j", "aliases"], ["-j", "maps"], ["-j", "vtop", "0"]):
            words = [os.path.join(self.folder, "new") if word == NEW else word
                     for word in words]
            done = run("strace", ["-o", log, VMEMCTL, "--image", image, *words])
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(log) as file:
                calls = file.read().rpartition("\nseccomp(SECCOMP_SET_MODE_FILTER")
            self.assertTrue(calls[1])
            self.assertNotIn("EPERM", calls[2])
            used |= set(re.findall(r"^(\w+)\(", calls[2], re.M))
        self.assertIn("write", used)
        tap.diagnostic(" ".join(sorted(used)))

    def test_notes(self):
        """thousands of segments of notes are as much as one"""
        notes = images.note("none", 7, bytes(1 << 20))
        nr = 65000
        core = bytearray(images.elf([Segment(0, b"", kind=images.PT_NOTE)] * nr +
                                    [Segment(0x1000, bytes(4096))],
                                    phnum=nr + 1))
        at = len(core)
        for i in range(nr):
            core[64 + 56 * i:64 + 56 * (i + 1)] = struct.pack(
                "<IIQQQQQQ", images.PT_NOTE, 4, at, 0, 0, len(notes), len(notes),
                4)
        self.damaged(bytes(core) + notes, "64 MiB of notes")


class SnapshotErrors(Case):
    """After an error there is no file, or the old one as it was."""

    def refused(self, options, *patterns, path=None, **others):
        image = self.file(images.amd64_snapshot())
        old = self.file(b"old", "old")
        before = set(os.listdir(self.folder))
        self.refuses(["--image", image, "snapshot", "-o", path or old,
                      *options], *patterns, **others)
        self.assertEqual(set(os.listdir(self.folder)), before)
        with open(old, "rb") as file:
            self.assertEqual(file.read(), b"old")

    def test_folder(self):
        """root's snapshot in a folder that is another user's"""
        folder = os.path.join(self.folder, "nobody")
        os.mkdir(folder, 0o700)
        os.chown(folder, NOBODY, NOBODY)
        path = os.path.join(folder, "new")
        words = ["--image", self.file(images.amd64_snapshot()), "snapshot", "-o",
                 path]
        for _ in range(2):      # and over one that is there
            done = run(VMEMCTL, words)
            self.assertEqual((done.returncode, done.stderr.decode()),
                             (0, LEFT_OUT))
            self.assertEqual(os.listdir(folder), ["new"])
            os.chown(path, NOBODY, NOBODY)
            os.chmod(folder, 0o1777)

    def without_unnamed_files(self):
        """The environment of a vmemctl that finds no O_TMPFILE."""
        library = os.path.join(self.folder, "library.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, "-x", "c", "-"],
                       input=UNNAMED_FILES, text=True, check=True)
        return {**os.environ, "LD_PRELOAD": library}

    def test_cut(self):
        """a snapshot of a file that is cut leaves nothing, by whatever name"""
        memory = images.Memory("<Q")
        memory.table(0x1000, {0: 0x2007})
        memory.table(0x2000, {0: 0x3007})
        memory.table(0x3000, {i: i << 21 | 0x87 for i in range(128)})
        environment = self.without_unnamed_files()
        image = self.file(memory.raw(), "guest")
        before = set(os.listdir(self.folder))
        os.truncate(image, 256 << 20)
        with subprocess.Popen(
                [DYNAMIC, "--image", image, "--arch", "amd64", "--cr3", "1000",
                 "snapshot", "-o", os.path.join(self.folder, "new")],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=environment) as process:
            while set(os.listdir(self.folder)) == before:
                self.assertIsNone(process.poll())
            os.truncate(image, 0x4000)
            _, said = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"shorter meanwhile", said)
        self.assertEqual(set(os.listdir(self.folder)), before)

    def test_no_proc(self):
        """a snapshot where /proc is not mounted"""
        new = os.path.join(self.folder, "new")
        done = run("unshare", ["-m", "sh", "-c", "mount -t tmpfs none /proc && "
                               'exec "$@"', "sh", VMEMCTL, "--image",
                               self.file(images.amd64_snapshot()), "snapshot",
                               "-o", new])
        self.assertEqual((done.returncode, done.stderr.decode()), (0, LEFT_OUT))
        self.assertTrue(os.path.getsize(new))

    def test_killed(self):
        """a snapshot that is killed leaves nothing behind"""
        memory = images.Memory("<Q")
        memory.table(0x1000, {0: 0x2007})
        memory.table(0x2000, {0: 0x3007})
        memory.table(0x3000, {i: i << 21 | 0x87 for i in range(64)})
        image = self.file(memory.raw(), "guest")
        os.truncate(image, 128 << 20)
        before = set(os.listdir(self.folder))
        killed = 0
        for i in range(30):
            with subprocess.Popen(
                    [VMEMCTL, "--image", image, "--arch", "amd64", "--cr3",
                     "1000", "snapshot", "-o",
                     os.path.join(self.folder, "new")],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
                time.sleep(0.002 * i)
                process.kill()
            killed += process.returncode < 0
            # It may have been complete by then.
            self.assertLessEqual(set(os.listdir(self.folder)) - before, {"new"})
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, "new"))
        self.assertGreater(killed, 5)
        tap.diagnostic("killed %d times" % killed)

    def test_usage(self):
        """error: command lines of snapshot that make no sense"""
        image = self.file(images.amd64_snapshot())
        self.refuses(["--image", image, "snapshot"], "-o FILE", status=2)
        for options in (["-o", "x"], ["--base", "1000"], ["--strict"]):
            self.refuses(["--image", image, "maps", *options],
                         "maps: --(output|base|strict) has no effect here", status=2)
        for options, pattern in (
                (["--base", "800"], "800"),
                (["--base", "10000000000000"], "10000000000000"),
                (["0"], "snapshot"), (["1", "fff"], "VA 0x1 "),
                (["0", "1000"], "LAST_VA 0x1000"),
                (["--exclude", "0-ffe"], "LAST_VA 0xffe")):
            self.refused(options, pattern, status=2)

    def test_base(self):
        """error: places where a snapshot cannot be"""
        self.refused(["--base", "3ffff000"], "device", "another .*base")
        self.refused(["--base", "ffffffffff000"], "cannot name",
                     "lower .*base")

    def test_pae_base(self):
        """error: CR3 of a PAE guest names no root above 4 GiB"""
        memory = images.Memory("<Q")
        memory.table(0x1000, {0: 0x2001})
        memory.table(0x2000, {0: 0x3007})
        memory.table(0x3000, {0: 0x4007})
        memory.fill(0x4000, b"page")
        image = self.file(memory.raw())
        new = os.path.join(self.folder, "new")
        words = ["--image", image, "--arch", "i686-pae", "--cr3", "1000",
                 "snapshot", "-o", new, "--base"]
        self.refuses([*words, "100000000"], "cannot name", "lower .*base")
        self.assertFalse(os.path.exists(new))
        self.assertEqual(self.ask([*words, "ffffc000"]).returncode, 0)
        row, = self.rows(new, "vtop", "123")
        self.assertEqual(row["gpa"], "0xfffff123")

    def test_not_a_file(self):
        """error: what is to be replaced is not a file"""
        for path in (self.folder, "/dev/null"):
            self.refused([], "not a regular file", path=path)
        self.refused([], "names no file", path=self.folder + "/new/")
        self.refused([], "no such folder", path=self.folder + "/no/such")

    def test_too_long(self):
        """error: the file would be longer than it may"""
        path = os.path.join(self.folder, "new")
        self.refused([], "cannot write " + re.escape(path), "too long",
                     "ulimit -f", path=path, preexec_fn=limit_files)


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, PAGE))


def drop_override():
    """A child without the right to read what it may not."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


# --- whatever the file holds -------------------------------------------------

# What a command is to write takes this one's place
NEW = "NEW"

COMMANDS = (["info"], ["spaces"], ["aliases", "-j"], ["vtop", hex(DATA)],
            ["roots"], ["roots", "--arch", "amd64"], ["vcpus"],
            ["who", hex(A), "-j"], ["access", hex(DATA)], ["spaces", "--all"],
            ["maps", "0", "ffffffff", "--attributes"],
            ["read", hex(DATA), "5000"],
            ["info", "-j"], ["spaces", "--arch", "amd64"],
            ["vtop", "--cr3", "%x,%x" % (A, B), hex(HIGH)],
            ["read", "--phys", hex(A), "5000"], ["snapshot", "-o", NEW],
            ["graph"], ["graph", "--cr3", "%x,%x" % (A, B)])


def complaint(path, words):
    """What is wrong with how vmemctl takes a file; None if nothing is."""
    new = path + ".new"
    words = [new if word == NEW else word for word in words]
    try:
        done = run(SANITIZED, ["--image", path, *words])
    except subprocess.TimeoutExpired:
        return "no end after %d s" % SECONDS
    text = done.stderr.decode(errors="replace")
    said = errors(text)
    if done.returncode not in (0, 1, 2):
        return "status %d: %s" % (done.returncode, text)
    if len(said) != (done.returncode > 0):
        return "status %d, and says: %s" % (done.returncode, text)
    if not all(line.startswith("vmemctl: ") for line in said):
        return text
    return None


def tables_end(data):
    """Where in an image of ours the headers and notes end."""
    return data.index(images.amd64().segments()[0][1][:8]) \
        if len(data) > 0x8000 else 0x300


def mutate(data, rng):
    """A few bytes, or whole numbers, of the headers and now and then of the
    tables are something else."""
    data = bytearray(data)
    headers = tables_end(data)
    for _ in range(rng.randint(1, 6)):
        end = headers if rng.random() < 0.8 else len(data)
        kind = rng.randrange(4)
        at = rng.randrange(end)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        else:
            size = rng.choice((2, 4, 8))
            at -= at % size
            value = rng.choice((0, 1, 2, 0x1000, 1 << 31, (1 << 32) - 1,
                                1 << 52, 1 << 63, (1 << 64) - 1,
                                len(data), rng.getrandbits(64)))
            data[at:at + size] = (value & (1 << 8 * size) - 1).to_bytes(
                size, "little")
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)):]
    return bytes(data)


class Hostile(Case):
    """No file makes vmemctl crash, hang or say more than a line."""

    def check(self, files):
        """Asks about each of (name, data, words), several at a time."""
        def one(item):
            number, (name, data, words) = item
            path = self.file(data, str(number))
            said = complaint(path, words)
            for left in (path, path + ".new"):
                if os.path.exists(left):
                    os.unlink(left)
            return said and "%s, %s: %s" % (name, " ".join(words), said)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            said = [line for line in pool.map(one, enumerate(files)) if line]
        self.assertEqual(said[:3], [], "%d of these" % len(said))

    def bases(self):
        return (("core", images.amd64_core()),
                ("snapshot", images.amd64_snapshot()),
                ("core of 32 bits", images.i686_core()),
                ("core of PAE", images.pae_core()))

    def test_truncated(self):
        """files cut at every 64th byte of their headers, and behind"""
        self.check((("%s cut at %d" % (name, at), data[:at], words)
                    for name, data in self.bases()
                    for at in [*range(0, tables_end(data) + 128, 64),
                               *range(0x2000, len(data), 0x1234)]
                    for words in (["info"], ["spaces"])))

    def test_cut_is_seen(self):
        """a file that is cut anywhere is refused"""
        for name, data in self.bases():
            for at in range(64, len(data), 1999):
                done = self.ask(["--image", self.file(data[:at]), "info"])
                self.assertEqual(done.returncode, 1, "%s at %d" % (name, at))

    def test_mutants(self):
        """thousands of files that were changed at random"""
        rng = random.Random(SEED)
        bases = self.bases()
        tap.diagnostic("%d files, seed %d" % (MUTANTS, SEED))

        def mutants():
            for i in range(MUTANTS):
                name, data = rng.choice(bases)
                yield ("%s %d" % (name, i), mutate(data, rng),
                       rng.choice(COMMANDS))

        self.check(mutants())

    def test_noise(self):
        """random tables behind good registers"""
        rng = random.Random(SEED)

        def noise():
            for i in range(100):
                memory = images.Memory("<Q")
                for gpa in range(A, 0x8000, PAGE):
                    memory.table(gpa, {
                        index: rng.choice((rng.getrandbits(64),
                                           rng.randrange(12) << 12 |
                                           rng.getrandbits(8)))
                        for index in rng.sample(range(512), 3)})
                data = images.elf([Segment(*p) for p in memory.segments()],
                                  images.qemu_note(AMD64[0], A, AMD64[1]))
                for words in (["spaces"], ["aliases"], ["vtop", "0"],
                              ["snapshot", "-o", NEW]):
                    yield "noise %d" % i, data, words

        self.check(noise())


# --- the documents -----------------------------------------------------------

class Examples(docs.Examples):
    """The examples on images, with images of ours."""

    def __init__(self, name, commands):
        super().__init__(name, [command for command in commands
                                if docs.is_offline(command)], None, {})

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        memory = images.amd64()
        memory.table(0x2000, {1: 0})    # all that gets a warning
        memory.table(0x3000, {5: 0})
        core = images.elf([Segment(*piece) for piece in memory.segments()],
                          images.qemu_note(AMD64[0], A, AMD64[1]))
        for name, data in (("guest.elf", core), ("guest.raw", memory.raw())):
            path = os.path.join(folder.name, name)
            with open(path, "wb") as file:
                file.write(data)
            self.names[name] = path
        self.names["1a4e000"] = "%x" % A
        self.names["ffffffff81000000"] = "%x" % HIGH


def build():
    """Both builds of vmemctl; what is up to date stays."""
    for target in ("all", "san"):
        subprocess.run(["make", "-s", "--no-print-directory", "-C",
                        os.path.join(TOP, "tools/vmemctl"), target,
                        "O=" + os.path.abspath(BUILD)], check=True,
                       stdout=sys.stderr)


def main():
    build()
    os.environ["PATH"] = os.path.dirname(VMEMCTL) + ":" + os.environ["PATH"]
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(
        load(case) for case in (Answers, Snapshot, Info, Memory, Modes,
                                Attributes, Errors, Greed, SnapshotErrors,
                                Hostile))
    suite.addTest(Examples("README.md", docs.readme_examples()))
    suite.addTest(Examples("vmemctl.8", docs.man_page_examples()))
    return tap.run(suite)


if __name__ == "__main__":
    sys.exit(main())
