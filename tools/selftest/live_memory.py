#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl on a VM that has the memory of an image: one answer for both.

The VM is this process's own, with memory from images.py and no vCPU. Then parts
of that memory are made unreadable, as no image's can be.
"""

import ctypes
import fcntl
import mmap
import os
import random
import struct
import tempfile
import unittest

import answers
import images
import lablib
import modes
import tap
from images import A, B, CODE, DATA, HIGH, PAGE, TEXT, Segment

SEED = int(os.environ.get("VMEM_SEED") or random.randrange(1 << 32))

# linux/kvm.h
KVM_CREATE_VM = 0xae01
KVM_SET_USER_MEMORY_REGION = 0x4020ae46

PROT_NONE = 0                           # mmap has no name for it

ROOTS = ["--cr3", "%x,%x" % (A, B), "--arch", "amd64"]
ROOT = ["--cr3", "%x" % A, "--arch", "amd64"]

LEFT_OUT = "vmemctl: warning: 2 entries lead nowhere, and are left out\n"
UNREADABLE = "vmemctl: warning: 1 page or table is unreadable, and is left out\n"


class Vm:
    """A KVM VM with this memory in slots of its own."""

    def __init__(self, memory):
        with open("/dev/kvm", "rb") as kvm:
            self.fd = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        self.slots = [self.add(slot, gpa, data) for slot, (gpa, data)
                      in enumerate(memory.segments())]

    def add(self, slot, gpa, data):
        memory = mmap.mmap(-1, len(data))
        memory[:] = bytes(data)
        hva = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        fcntl.ioctl(self.fd, KVM_SET_USER_MEMORY_REGION, struct.pack(
            "<IIQQQ", slot, 0, gpa, len(data), hva))
        return gpa, len(data), hva, memory

    def protect(self, gpa):
        """The VMM itself may not read this page any more."""
        hva, = [hva + gpa - start for start, size, hva, _ in self.slots
                if start <= gpa < start + size]
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(hva), PAGE, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def close(self):
        os.close(self.fd)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.new = os.path.join(self.folder, "new")
        self.vm = Vm(images.amd64())
        self.addCleanup(self.vm.close)
        self.target = ["-p", str(os.getpid()), "--vm-fd", str(self.vm.fd)]

    def ask(self, *words, status=0, warning=""):
        """What vmemctl prints of the VM."""
        done = lablib.vmemctl(*self.target, *words)
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (status, warning), words)
        return done.stdout

    def json(self, *words, **options):
        return answers.whole(self.ask("-j", *words, **options))

    def rows(self, *words):
        """Those of an answer about one space"""
        return answers.rows(self.ask("-j", *words))


class AsImage(Case):
    """The VM and the image agree."""

    def setUp(self):
        super().setUp()
        self.image = os.path.join(self.folder, "image")
        self.write(images.amd64())

    def write(self, memory):
        """The image has this memory."""
        with open(self.image, "wb") as file:
            file.write(images.elf([Segment(*piece) for piece in
                                   memory.segments()]))

    def same(self, *words):
        """vmemctl says one and the same of both."""
        live = lablib.vmemctl(*self.target, *words)
        image = lablib.vmemctl("--image", self.image, *words)
        self.assertEqual((live.returncode, live.stdout, live.stderr),
                         (image.returncode, image.stdout, image.stderr), words)
        self.assertTrue(live.stdout or live.returncode)

    def test_answers(self):
        """all commands answer as they do of an image"""
        for form in ([], ["-j"]):
            for words in (["maps"], ["spaces"], ["aliases"],
                          ["vtop", "%x" % DATA, "40200000", "812345",
                           "800000000000", "%x" % HIGH]):
                self.same(*ROOTS, *form, *words)
            for words in (["maps"], ["read", "%x" % (DATA + PAGE - 10), "99"],
                          ["read", "%x" % (DATA + 2 * PAGE - 4), "8"],
                          ["read", "800000", "1"]):
                self.same(*ROOT, *form, *words)
            for words in (["11ff6", "23"], ["13ffc", "8"]):
                self.same(*form, "read", "--phys", *words)
        self.same("read", "--phys", "--raw", "1000", str(10 * PAGE))

    def test_snapshot(self):
        """a snapshot of the VM is that of the image, to the byte"""
        told, files = [], []
        for target in self.target, ["--image", self.image]:
            done = lablib.vmemctl(*target, *ROOTS, "-j", "snapshot", "-o",
                                  self.new)
            self.assertEqual((done.returncode, done.stderr.decode()),
                             (0, LEFT_OUT))
            told.append(answers.whole(done.stdout))
            with open(self.new, "rb") as file:
                files.append(file.read())
            os.unlink(self.new)
        self.assertEqual(told[0], told[1])
        self.assertTrue(files[0] == files[1])
        self.assertEqual(told[0]["file_bytes"], len(files[0]))

    def test_modes(self):
        """all commands answer so in every mode, and by every rule"""
        rng = random.Random(SEED)
        for mode in modes.MODES:
            guest = modes.random_guest(mode, rng)
            self.write(guest.memory)
            vm = Vm(guest.memory)
            self.target = ["-p", str(os.getpid()), "--vm-fd", str(vm.fd)]
            with self.subTest(mode=mode.name, seed=SEED):
                self.same_space(guest, rng)
            vm.close()

    def same_space(self, guest, rng):
        mapped = sorted(guest.leaves(guest.roots[0])[0])
        addresses = rng.sample(mapped, min(len(mapped), 30)) + [
            guest.mode.canonical(rng.getrandbits(guest.mode.va_bits))
            for _ in range(30)] + [rng.getrandbits(64)]
        roots = ["--cr3", ",".join(map(hex, guest.roots)),
                 *guest.mode.options(), "-j"]
        for words in (["maps", "--attributes"], ["spaces"], ["aliases"],
                      ["vtop", *map(hex, addresses)]):
            self.same(*roots, *words)

    def test_several(self):
        """error: a process with two VMs, and no --vm-fd"""
        other = Vm(images.i686())
        self.addCleanup(other.close)
        done = lablib.vmemctl("-p", str(os.getpid()), "info")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(),
                         r"\Avmemctl: [^\n]*--vm-fd: %d %d\n\Z" %
                         tuple(sorted((self.vm.fd, other.fd))))
        self.assertEqual(lablib.vmemctl(*self.target, "info").returncode, 0)


class Unreadable(Case):
    """Memory that the VMM itself may not read is never zeros."""

    def test_page_read(self):
        """a read ends at a page that is unreadable"""
        self.vm.protect(0x12000)
        for words, at in ((["--phys", "11ffe", "8"], "0x12000"),
                          ([*ROOT, "%x" % (DATA + PAGE - 2), "8"],
                           hex(DATA + PAGE))):
            done = lablib.vmemctl(*self.target, "-j", "read", *words)
            self.assertEqual(done.returncode, 1)
            self.assertIn("cannot read on at %s, 6 bytes short: unreadable" %
                          at, done.stderr.decode())
            answer = answers.broken(done.stdout)
            self.assertIn("6 bytes short", answer["error"]["message"])
            row, = answer["rows"] if "--phys" in words else \
                answer["spaces"][0]["rows"]
            self.assertEqual((row["data"], row["len"], row["status"]),
                             ("7421", 2, "unreadable"))
        row, = self.rows(*ROOT, "vtop", "%x" % (DATA + PAGE))
        self.assertEqual((row["status"], row["gpa"]), ("mapped", "0x12000"))

    def test_table(self):
        """a table that is unreadable is named so"""
        self.vm.protect(0x9000)
        text = self.ask(*ROOT, "vtop", "%x" % HIGH).decode()
        self.assertIn("         unreadable at PD\n", text)
        row, = self.rows(*ROOT, "vtop", "%x" % HIGH)
        self.assertEqual((row["status"], row["level"], row["gpa"]),
                         ("unreadable", "PD", None))
        text = self.ask(*ROOTS, "spaces").decode()
        self.assertIn("ffffffff80000000-ffffffffbfffffff !! unreadable: "
                      "0000000009000 as a PD, raw 9003\n", text)
        space = self.json(*ROOTS, "spaces")["spaces"][0]
        self.assertIn("unreadable", [
            row["status"] for row in lablib.of_type("anomaly", space["rows"])])
        text = self.ask(*ROOT, "maps", warning="vmemctl: warning: 3 entries "
                        "lead nowhere: reserved, unbacked, unreadable, "
                        "withheld\n")
        self.assertNotIn(b"%x" % HIGH, text)

    def test_root(self):
        """error: a root that is unreadable"""
        self.vm.protect(A)
        for words in (["maps"], ["vtop", "0"], ["read", "0", "1"]):
            done = lablib.vmemctl(*self.target, *ROOT, *words)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertIn("where CR3 points", done.stderr.decode())

    def test_snapshot(self):
        """a snapshot leaves out a page that is unreadable, and says so"""
        self.vm.protect(0x12000)
        told = self.json(*ROOTS, "snapshot", "-o", self.new,
                         warning=LEFT_OUT + UNREADABLE)
        self.assertEqual((told["unreadable"], told["leaves"]), (1, 5))
        done = lablib.vmemctl("--image", self.new, "-j", "vtop",
                              *("%x" % va for va in (CODE, DATA, DATA + PAGE,
                                                     HIGH)))
        self.assertEqual([row["status"] for row in answers.rows(done.stdout)],
                         ["mapped", "mapped", "not-present", "mapped"])
        done = lablib.vmemctl("--image", self.new, "read", "-r", "%x" % HIGH,
                              str(len(TEXT)))
        self.assertEqual(done.stdout, TEXT)

    def test_snapshot_table(self):
        """a snapshot leaves out a table that is unreadable, and says so"""
        self.vm.protect(0x9000)
        told = self.json(*ROOTS, "snapshot", "-o", self.new,
                         warning=LEFT_OUT + UNREADABLE)
        self.assertEqual((told["unreadable"], told["leaves"]), (1, 5))
        done = lablib.vmemctl("--image", self.new, "-j", "vtop", "%x" % HIGH)
        row, = answers.rows(done.stdout)
        self.assertEqual(row["status"], "not-present")

    def strict(self, gpa):
        self.vm.protect(gpa)
        done = lablib.vmemctl(*self.target, *ROOTS, "snapshot", "--strict",
                              "-o", self.new)
        text = done.stderr.decode()
        tap.diagnostic(text.rstrip("\n"))
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(text, r"\Avmemctl: [^\n]*cannot be read[^\n]*\n\Z")
        self.assertEqual(os.listdir(self.folder), [])

    def test_strict(self):
        """error: snapshot --strict of a page that is unreadable"""
        self.strict(0x12000)

    def test_strict_table(self):
        """error: snapshot --strict of a table that is unreadable"""
        self.strict(0x9000)


def main():
    tap.diagnostic("VMEM_SEED=%d" % SEED)
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite(load(case) for case in (AsImage,
                                                              Unreadable)))


if __name__ == "__main__":
    tap.main(main)
