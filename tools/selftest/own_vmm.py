#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl on a VMM that is not QEMU, by its PID alone: the answers about a guest that runs
are those about an image of its memory."""

import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

import answers
import image_roots
import tap
from image_roots import RAM, TOP, USER_VA, VMEMCTL
from images import PAGE

HOLD = os.path.join(TOP, "build/bin/hold")

# CR0, CR4 and EFER by --arch
REGISTERS = {"amd64": (0x80010031, 0x20, 0xd00),
             "amd64-la57": (0x80010031, 0x1020, 0xd00),
             "i686": (0x80010031, 0x10, 0), "i686-pae": (0x80010031, 0x20, 0)}

# The kernel maps what lies around a page of a file along with it.
APART = 0x40000

# JMP to itself
SPIN = b"\xeb\xfe"


def has_la57():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return " la57" in file.read()


def ask(*words):
    done = subprocess.run([VMEMCTL, "-j", *words], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        raise AssertionError("%s: %s" % (" ".join(words), done.stderr))
    return answers.whole(done.stdout)


class Guest:
    """Some processes and a vCPU on one of them, and whatever looks like a process"""

    def __init__(self, arch, *how):
        kernel = image_roots.Kernel(arch)
        self.processes = []
        for pages in (5, 9, 1, 30):
            kernel.next += APART
            self.processes.append(kernel.process(pages))
        self.known = self.processes[2]
        kernel.process(0)
        kernel.copy(self.known, kernel.frame())
        kernel.copy(self.processes[0], kernel.user_page(self.known))
        code = kernel.frame()
        kernel.fill(code, SPIN)
        self.page = kernel.user_page(self.processes[1])
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(kernel.image())
        self.file.flush()
        cr0, cr4, efer = REGISTERS[arch]
        self.vmm = subprocess.Popen(
            [HOLD, self.file.name, *("%x" % word for word in (
                cr0, self.known, cr4, efer, kernel.base + code)), *how],
            stdout=subprocess.PIPE, text=True)
        self.live = ["-p", str(self.vmm.pid)]
        self.image = ["--image", self.file.name, "--arch", arch]

    def __enter__(self):
        if self.vmm.stdout.readline() != "runs\n":
            raise AssertionError("the VMM does not run")
        return self

    def __exit__(self, *_):
        self.vmm.kill()
        said = self.vmm.communicate()[0]
        self.file.close()
        if said:
            raise AssertionError("the vCPU did not spin: " + said)


class OwnVmm(unittest.TestCase):
    def check(self, guest, arch):
        vcpus = ask(*guest.live, "vcpus")["vcpus"]
        self.assertEqual([int(vcpu["cr3"], 16) for vcpu in vcpus],
                         [guest.known])
        roots = ask(*guest.live, "roots")["roots"]
        self.assertEqual({int(root["root"], 16) for root in roots
                          if root["class"] in ("vcpu", "user")},
                         set(guest.processes))
        image = [*guest.image, "--cr3", "%x" % guest.known]
        self.assertEqual(roots, ask(*image, "roots")["roots"])
        last = "%x" % (USER_VA + 40 * PAGE - 1)
        for words in (["--all", "spaces"], ["--all", "maps"], ["spaces"],
                      ["--pat", "7040600070406", "vtop", "%x" % USER_VA, "0"],
                      ["maps", "0", last], ["--all", "aliases"],
                      ["--all", "who", "%x" % guest.page]):
            with self.subTest(arch=arch, words=words):
                self.assertEqual(ask(*guest.live, *words),
                                 ask(*image, *words))
        info = ask(*guest.live, "info")
        self.assertEqual(int(info["vcpus"][0]["cr3"], 16), guest.known)
        self.check_sample(guest)
        self.check_debugfs(guest)

    def check_sample(self, guest):
        """samples/wx.py finds what --all maps shows as writable and executable."""
        done = subprocess.run(
            [os.path.join(TOP, "samples/wx.py"), str(guest.vmm.pid)],
            capture_output=True, text=True, check=False, env=dict(
                os.environ, PYTHONPATH=os.path.join(TOP, "tools/python"),
                VMEM_LIBRARY=os.path.join(TOP, "build/lib/libvmem.so.0")))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        want = {"%s %s-%s %s" % (space["root"], row["va"], row["last_va"], row["gpa"])
                for space in ask(*guest.live, "--all", "maps")["spaces"]
                for row in space["rows"]
                if row["writable"] and row["executable"]}
        self.assertGreater(len(want), len(guest.processes))
        self.assertEqual({line.rpartition(" ")[0]
                          for line in done.stdout.splitlines()}, want)

    def check_debugfs(self, guest):
        """Its file of spaces is there until vmemctl ends, or the guest."""
        with subprocess.Popen([VMEMCTL, *guest.live, "--all", "debugfs"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            folder, = glob.glob(process.stdout.readline().strip())
            with open(os.path.join(folder, "spaces"), encoding="utf-8") as file:
                text = file.read()
            guest.vmm.kill()
            said = process.stderr.read()
        self.assertEqual({int(root, 16) for root in
                          re.findall(r"^space \d+ 0x([0-9a-f]+)", text, re.M)},
                         set(guest.processes))
        self.assertEqual(process.returncode, 1)
        self.assertRegex(said, "vmemctl: .*exited")
        self.assertFalse(os.path.exists(folder))


    def test_restored(self):
        """what is in a file that the VMM maps is looked at if that is asked for"""
        def found(*words):
            answer = ask(*guest.live, "roots", *words)
            return {int(root["root"], 16) for root in answer["roots"]
                    if root["class"] in ("vcpu", "user")}, answer["untouched_bytes"]

        with Guest("amd64", "unread") as guest:
            roots, untouched = found()
            self.assertEqual(roots, {guest.known})
            self.assertGreater(untouched, RAM / 2)
            self.assertEqual(found("--fetch"), (set(guest.processes), 0))


def case(arch):
    def test(self):
        if arch == "amd64-la57" and not has_la57():
            self.skipTest("this processor has no 5-level paging")
        with Guest(arch) as guest:
            self.check(guest, arch)

    test.__doc__ = arch + ": answers about a guest of another VMM's are the image's"
    return test


for name in REGISTERS:
    setattr(OwnVmm, "test_" + name, case(name))


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(OwnVmm))


if __name__ == "__main__":
    sys.exit(main())
