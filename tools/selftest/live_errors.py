# SPDX-License-Identifier: GPL-2.0-only
"""What vmemctl says when a question cannot be asked.

Each failure is one line that names the thing and says what to do about it,
with exit status 1; a command line that makes no sense is exit status 2.
"""

import contextlib
import ctypes
import os
import re
import stat
import subprocess
import unittest

import lablib
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))

NOBODY = 65534
SYS_PTRACE = 19                         # linux/capability.h
PR_CAPBSET_DROP = 24                    # linux/prctl.h

# Well formed, and yet none of these guests'
NOT_MEMORY = "0x7ffffff000"
VA = "0x1000"


def without(capability):
    """Makes a program that is started lack a capability, root or not."""
    def drop():
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    return drop


@contextlib.contextmanager
def installed():
    """As if the module was where modprobe finds it"""
    path = "/lib/modules/%s/modules.dep" % os.uname().release
    # A kernel that has all built in has none. The folder is the lab's own.
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab") as file:
        length = file.tell()
        file.write(b"updates/dkms/vmem.ko: kernel/arch/x86/kvm/kvm.ko\n")
    try:
        yield
    finally:
        os.truncate(path, length)


class Refusals(lablib.GuestTest):
    """Of any one guest."""

    def registers(self):
        """Registers that name the guest's tables."""
        with self.guest.qmp() as qmp:
            return self.guest.read_registers(qmp)[1]

    def refused(self, words, *patterns, status=1, **options):
        """vmemctl fails so, and its one line matches all the patterns."""
        with self.subTest(command="vmemctl " + " ".join(words)):
            done = lablib.vmemctl(*words, **options)
            text = done.stderr.decode()
            tap.diagnostic(text.rstrip("\n"))
            self.assertEqual(done.returncode, status, text)
            self.assertEqual(done.stdout, b"")
            self.assertEqual(text.count("\n"), 1, "more or less than a line")
            self.assertTrue(text.endswith("\n"))
            self.assertTrue(text.startswith("vmemctl: "))
            for pattern in patterns:
                self.assertRegex(text, pattern)


class Errors(Refusals):
    """Of every command."""

    # The process

    def test_no_vm(self):
        """error: a process without a VM"""
        me = str(os.getpid())
        self.refused(["-p", me, "info"], r"\b%s\b" % me, "give the PID")

    def test_no_process(self):
        """error: a process that does not exist"""
        with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
            pid = file.read().strip()           # PIDs end below it
        self.refused(["-p", pid, "info"], r"\b%s\b" % pid,
                     "no such process")

    # Permission

    def test_nobody(self):
        """error: a user who may not do this"""
        self.refused([*self.target, "info"], r"/dev/vmem|\b%d\b" %
                     self.guest.pid, "root", user=NOBODY, group=NOBODY,
                     extra_groups=[])

    def test_no_ptrace(self):
        """error: the VM of another process, without CAP_SYS_PTRACE"""
        self.refused([*self.target, "info"], r"\b%d\b" % self.guest.pid,
                     "CAP_SYS_PTRACE", preexec_fn=without(SYS_PTRACE))

    # The module

    def test_not_loaded(self):
        """error: the module is not loaded"""
        subprocess.run(["rmmod", "vmem"], check=True)
        try:
            self.refused([*self.target, "info"], "/dev/vmem", "not loaded",
                         "not installed for Linux "
                         + re.escape(os.uname().release),
                         "insmod vmem.ko")
            # As DKMS and depmod leave it
            with installed():
                self.refused([*self.target, "info"], "/dev/vmem",
                             "not loaded: modprobe vmem")
            # As in a container that was given the device, and keeps its node
            os.mknod("/dev/vmem", 0o600 | stat.S_IFCHR, os.makedev(10, 254))
            self.refused([*self.target, "info"], "/dev/vmem", "not loaded",
                         "not installed for Linux ")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove("/dev/vmem")
            subprocess.run(["insmod", module_file()], check=True)
        done = lablib.vmemctl(*self.target, "info")
        self.assertEqual(done.returncode, 0, done.stderr)

    # The address space

    def test_cr3(self):
        """error: CR3 points outside of guest memory"""
        registers = self.registers()
        if self.guest.arch == "i686":
            # The widest that a 32-bit CR3 can say: the flash is at the end
            options = registers.options(cr3=0xe0000000)
            cr3 = "e0000000"
        else:
            options = registers.options(cr3=int(NOT_MEMORY, 16))
            cr3 = NOT_MEMORY[2:]
        for words in (["vtop", VA], ["maps"], ["read", VA, "8"]):
            self.refused([*self.target, *options, *words], cr3,
                         "no memory where CR3 points", "give the CR3")

    def test_off(self):
        """error: paging is off"""
        registers = self.registers()
        off = registers.options(cr0=registers.cr0 & ~(1 << 31))
        for words in (["vtop", VA], ["maps"], ["read", VA, "8"]):
            self.refused([*self.target, *off, *words], "paging is off",
                         "CR0.PG")

    def test_no_vcpu(self):
        """error: the vCPU that is to tell the address space is not there"""
        for words in (["vtop", VA], ["maps"], ["read", VA, "8"]):
            self.refused([*self.target, "--vcpu", "7", *words], "vCPU 7",
                         "info")

    # The command line

    def test_range(self):
        """error: a range that wraps"""
        options = self.registers().options()
        self.refused([*self.target, *options, "maps", "0x2000", "0x1000"],
                     "2000", "1000", "give|must", status=2)
        self.refused([*self.target, *options, "read", "0xfffffffffffff000",
                      "4097"], "4097|fffffffffffff000", "give", status=2)

    def test_usage(self):
        """error: command lines that make no sense"""
        root = [*self.target, "--cr3", "0x1000"]
        cases = [
            ([*root, "vtop", "banana"], "banana"),
            ([*root, "vtop", "0x10000000000000000"], "0x10000000000000000"),
            ([*root, "vtop"], "vtop"),
            ([*root, "maps", "0"], "maps"),
            ([*root, "maps", "0", "x"], "'x'"),
            ([*root, "read", "0"], "read"),
            ([*root, "read", "0", "-1"], "'1'"),
            ([*root, "read", "0", "0"], "LEN"),
            ([*self.target, "read", "--phys", "x", "1"], "GPA 'x'"),
            ([*self.target, "info", "--phys"], "info: --phys has no effect here"),
            ([*root, "fly"], "fly"),
            ([*self.target, "--cr3", "12q", "maps"], "12q"),
            ([*self.target, "--cr3", "1", "--maxphyaddr", "99", "maps"],
             "99"),
            ([*self.target, "--cr3", "1", "--arch", "vax", "maps"], "vax"),
            (["-p", "abc", "info"], "abc"),
            (["info"], "-p|PID"),
            ([*self.target], "command"),
            ([*self.target, "--no-such-option", "info"], "no-such-option"),
            ([*self.target, "info", "more"], "more"),
        ]
        for words, pattern in cases:
            self.refused(words, pattern, status=2)


def module_file():
    """The module that the lab has loaded."""
    release = os.uname().release
    return os.environ.get("VMEM_KO") or os.path.join(
        TOP, "build/module", release, "vmem.ko")


def tests(guests):
    names = unittest.TestLoader().getTestCaseNames(Errors)
    return [Errors(name, guest) for guest in guests for name in names]
