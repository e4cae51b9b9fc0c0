#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmem.linux, and gdb's commands on QEMU's gdbstub, with Debian's kernels.

They boot in QEMU's own emulation on this machine, without KVM and without vmem.ko, and
are dumped. Each has told before what its processes are.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import lablib
import python_gdb
import tap

sys.path.insert(0, os.path.join(python_gdb.TOP, "tools/lab"))
sys.path.insert(0, python_gdb.PACKAGE)
os.environ["VMEM_LIBRARY"] = python_gdb.ENV["VMEM_LIBRARY"]

import kernels                                  # noqa: E402
import vmem                                     # noqa: E402
import vmem.linux                               # noqa: E402

MB = 256
SECONDS = 500                   # for a boot that takes five on a machine of its own
USED = (vmem.RootClass.VCPU, vmem.RootClass.USER)


def die_with_parent():
    """Even if the parent is killed; PR_SET_PDEATHSIG is 1."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Boot:
    """A guest that has told what its processes are, and stands still"""

    def __init__(self, folder, name, version, cpu, options):
        self.folder = folder
        kernel = kernels.Kernel.debian(name, version)
        initramfs = kernel.initramfs(name.partition("-")[0], (), {
            "init": "guest/alone", "bin/truth": "guest/truth"})
        self.release = kernel.release
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "pc",
             "-accel", "tcg", "-cpu", cpu, "-m", str(MB), "-display", "none",
             "-no-reboot", "-kernel", kernel.image, "-initrd", initramfs, "-append",
             "console=ttyS0 quiet panic=-1 no_timer_check " + options,
             "-serial", "file:" + self.path("console"),
             "-serial", "file:" + self.path("told"),
             "-qmp", "unix:%s,server=on,wait=off" % self.path("qmp"),
             "-chardev", "socket,path=%s,server=on,wait=off,id=gdb" % self.path("gdb"),
             "-gdb", "chardev:gdb"], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        try:
            self.told = self.wait()
            self.qmp = lablib.Qmp(self.path("qmp"))
            self.qmp.execute("stop")
            self.qmp.execute("dump-guest-memory", paging=False,
                             protocol="file:" + self.path("dump"))
        except Exception:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait(self):
        """{PID: name} of all processes"""
        end = time.monotonic() + SECONDS
        while not os.path.exists(self.path("told")) or \
                "ready" not in self.text("told").split():
            if self.qemu.poll() is not None or time.monotonic() > end:
                raise AssertionError("%s did not boot: %s" % (
                    self.release, self.text("console")))
            time.sleep(0.1)
        lines = self.text("told").partition("ready")[0].splitlines()
        return {int(pid): name for pid, _, name in (
            line.partition(" ") for line in lines)}

    def close(self):
        self.qemu.kill()
        self.qemu.wait()


class Boots(unittest.TestCase):
    def boot(self, name, version, cpu="max", options=""):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        boot = Boot(folder.name, name, version, cpu, options)
        self.addCleanup(boot.close)
        guest = vmem.open(image=boot.path("dump"))
        self.addCleanup(guest.close)
        return boot, guest

    def check(self, boot, guest):
        kernel = vmem.linux.Kernel(guest)
        self.assertEqual(kernel.release, boot.release)
        tasks = kernel.tasks()
        users = {task.pid: task.comm for task in tasks if task.root is not None}
        # It told of the shell that looked, and of workers that come and go.
        lasting = {pid: name for pid, name in boot.told.items()
                   if name != "truth" and not name.startswith("kworker/")}
        self.assertEqual(sorted(users.values()), ["init"] + ["sleep"] * 3)
        self.assertLessEqual(users.items(), lasting.items())
        threads = {task.pid: task.comm for task in tasks if task.root is None and
                   not task.comm.startswith("kworker/")}
        self.assertGreater(len(threads), 10)
        self.assertEqual(threads, {pid: name[:vmem.linux.COMM - 1]
                                   for pid, name in lasting.items() if pid not in users})
        roots = {task.root for task in tasks if task.root is not None}
        used = {root.root for root in guest.roots() if root.kind in USED}
        self.assertEqual(len(roots), 4)
        # Whose tables an idle vCPU has is for the kernel to choose.
        self.assertLessEqual(used - roots, {guest.space().root})
        self.assertLessEqual(roots, used)
        tap.diagnostic("%s, %s: %d processes, %d of them in user mode" % (
            kernel.release, kernel.space.registers.mode, len(tasks), len(roots)))
        return kernel

    def test_isolated(self):
        """the processes of a kernel with isolated page tables; gdb on its gdbstub"""
        boot, guest = self.boot("amd64", None, "max,la57=off", "pti=on")
        self.check(boot, guest)
        self.gdb(boot, guest)

    def test_newer(self):
        """those of a newer kernel with 5 levels"""
        boot, guest = self.boot("amd64", "6.12")
        kernel = self.check(boot, guest)
        self.assertEqual(kernel.space.registers.mode, "5-level")

    def test_no_types(self):
        """a kernel that does not carry its types is refused by name"""
        boot, guest = self.boot("i686-pae", None)
        with self.assertRaisesRegex(
                vmem.Error, "the guest's kernel, %s, has no BTF" % boot.release):
            vmem.linux.tasks(guest)

    def gdb(self, boot, guest):
        """The space is the one in gdb's $cr3, and no other that the image names."""
        here = guest.space()
        other = next(task.root for task in vmem.linux.tasks(guest)
                     if task.root not in (None, here.root))
        cr3 = here.registers.cr3.to_bytes(8, "little")
        with open(boot.path("dump"), "r+b") as file:
            head = file.read(1 << 14)
            self.assertEqual(head.count(cr3), 1)
            file.seek(head.index(cr3))
            file.write(other.to_bytes(8, "little"))

        def said(*commands):
            done = subprocess.run(
                ["gdb", "-nx", "-q", "-batch",
                 "-ex", "source %s/vmem/gdb.py" % python_gdb.PACKAGE,
                 *(word for command in commands for word in ("-ex", command))],
                cwd=boot.folder, env=python_gdb.ENV, stdin=subprocess.DEVNULL, text=True,
                timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            return done.stdout.partition("begin\n")[2].partition("[Inferior")[0]

        rip = boot.qmp.registers()["RIP"]
        last = (1 << 47) - 1
        ask = ("vmem-image dump", "echo begin\\n", "vmem-maps 0 %#x" % last)
        want = {space: "".join("%s\n" % row for row in space.maps(0, last))
                for space in (here, guest.space(other))}
        self.assertNotEqual(*want.values())
        self.assertEqual(said("target remote gdb", *ask), want[here])
        self.assertEqual(said(*ask), want[guest.space(other)])
        self.assertEqual(
            said("target remote gdb", *ask[:-1], "vmem-vtop $rip").splitlines()[0],
            "%#x -> %#x r-xs" % (rip, boot.qmp.gva2gpa(rip)))


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Boots))


if __name__ == "__main__":
    sys.exit(main())
