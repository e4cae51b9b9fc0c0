#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl mount of a guest that runs: what debuggers find there, and that nobody hangs.

Without a guest of the lab's: what ends badly, and what takes two processors, on a VM of a
process of ours.
"""

import concurrent.futures
import contextlib
import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import images
import lablib
import live_spaces
import mounted
import tap
from images import A, DATA, PAGE

READERS = 100
REFERENCES = "/sys/module/vmem/refcnt"

# A VMM with the memory of an image, which gives pages back all the time, or changes an
# entry of a PD, or waits
VMM = """
import ctypes, itertools, struct, sys, time
import images, live_memory
tables = itertools.cycle((0x4007, 0x6007))
vm = live_memory.Vm(images.amd64())
libc = ctypes.CDLL(None, use_errno=True)
slots = [(hva, size) for _, size, hva, _ in vm.slots]
print(vm.fd, flush=True)
while True:
    if sys.argv[1] == "balloon":
        for hva, size in slots:
            libc.madvise(ctypes.c_void_p(hva), ctypes.c_size_t(size), 4)
    elif sys.argv[1] == "change":
        vm.slots[0][3][0x2010:0x2018] = struct.pack("<Q", next(tables))
    else:
        time.sleep(1)
"""


def references():
    with open(REFERENCES, encoding="ascii") as file:
        return int(file.read())


def gdb(*commands):
    """What gdb prints"""
    words = ["gdb", "-nx", "-batch"]
    for command in commands:
        words += ["-ex", command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=mounted.SECONDS, check=True)
    return done.stdout


class Guest(lablib.GuestTest):
    """The guest stands still in its worker."""

    def __init__(self, method, guest, mount, stopped):
        super().__init__(method, guest)
        self.mount = mount
        self.stopped = stopped
        self.head = b""

    def setUp(self):
        with open(self.mount.path("vmcore"), "rb") as file:
            self.head = file.read(1 << 16)
        self.core = mounted.Core(self.head)

    def answer(self, *words):
        return lablib.json_of(self.guest, [], *words)

    def test_said(self):
        """it says that it is there, and of this guest it lacks nothing"""
        self.assertEqual(self.mount.said,
                         "mounted at %s\n" % self.mount.folder)

    def test_memory(self):
        """vmcore and memory have the guest's memory, all of it"""
        slots = {(lablib.number(slot["gpa"]), slot["len"])
                 for slot in self.answer("info")["memslots"]}
        wide = self.guest.arch == "amd64"
        segments = [load for load in self.core.loads
                    if not (wide and load.va >= 0xffffffff80000000)]
        self.assertEqual(sum(load.size for load in segments),
                         sum(size for _, size in slots))
        ram = self.stopped.ram
        vmcore, memory = (self.mount.open(name)
                          for name in ("vmcore", "memory"))
        first, last = self.guest.system_ram[-1]
        for gpa in range(first & -PAGE, last, 16 << 20):
            load, = [load for load in segments
                     if load.gpa <= gpa < load.gpa + load.size]
            size = min(1 << 20, last + 1 - gpa)
            want = ram.page(gpa, size)
            self.assertEqual(os.pread(
                vmcore, size, load.offset + gpa - load.gpa), want)
            self.assertEqual(os.pread(memory, size, gpa), want)
        os.close(vmcore)
        os.close(memory)

    def test_registers(self):
        """the notes have the vCPU's CR3, CR0, CR4 and RIP"""
        raw = self.stopped.qmp.registers()
        note, = self.core.note("QEMU")
        status, = self.core.note("CORE")
        rip = raw.get("RIP", raw.get("EIP"))
        self.assertEqual(struct.unpack_from("<Q", note, 8 + 16 * 8)[0], rip)
        self.assertEqual(
            [struct.unpack_from("<Q", note, 392 + 8 * i)[0]
             for i in (0, 3, 4)], [raw["CR0"], raw["CR3"], raw["CR4"]])
        form, at = ("<Q", 240) if self.guest.arch == "amd64" else ("<I", 120)
        self.assertEqual(struct.unpack_from(form, status, at)[0], rip)

    def test_vmcoreinfo(self):
        """VMCOREINFO is the kernel's own, which is where the kernel says"""
        info, = self.core.note("VMCOREINFO")
        release = self.guest.text("version").split()[2]
        self.assertTrue(info.startswith(b"OSRELEASE=%s\n" % release.encode()))
        where, _ = self.guest.text("vmcoreinfo").split()
        note = self.stopped.ram.page(int(where, 16), 24 + len(info))
        self.assertEqual(note[24:], info)
        tap.diagnostic("%d bytes at %s" % (len(info), where))

    def test_addresses(self):
        """segments have the addresses that the kernel has them at"""
        loads = [load for load in self.core.loads if load.va != 0xffffffff]
        for load in loads:
            ours = self.guest.kernel_gpa(load.va + 0x1000000)
            if load.size > 0x1000000:
                self.assertEqual(ours, load.gpa + 0x1000000)
        text = self.guest.symbols["_text"]
        load = [load for load in loads
                if load.va <= text < load.va + load.size][0]
        self.assertEqual(self.guest.kernel_gpa(text),
                         load.gpa + text - load.va)

    def test_gdb(self):
        """gdb reads the kernel's banner at its address"""
        core = "core-file " + self.mount.path("vmcore")
        text = gdb(core, "x/s %#x" % self.guest.banner, "info threads")
        self.assertIn('"Linux version ', text)
        self.assertIn("LWP 1", text)

    def test_readelf(self):
        """readelf has no complaint"""
        done = subprocess.run(["readelf", "-aW", self.mount.path("vmcore")],
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")

    def test_spaces(self):
        """the spaces are those that roots finds"""
        found = self.answer("roots")["roots"]
        self.assertEqual(self.mount.roots(), {
            lablib.number(row["root"]) for row in found
            if row["class"] in ("vcpu", "user") or row["vcpu_seen"]})

    def test_maps(self):
        """a space's maps are those of vmemctl"""
        for root in {self.stopped.registers.root, max(self.mount.roots())}:
            done = lablib.vmemctl(*self.target, "--cr3", "%x" % root, "maps")
            self.assertEqual(self.mount.read("spaces", "%x" % root, "maps"),
                             mounted.maps_of(done))
            self.assertGreater(done.stdout.count(b"\n"), 10)

    def test_mem(self):
        """a space's memory is what the guest reads there"""
        root = self.stopped.registers.root
        file = self.mount.open("spaces", "%x" % root, "mem")
        banner = self.guest.banner
        self.assertEqual(os.pread(file, 14, mounted.upper(banner)),
                         b"Linux version ")
        pages = [page for page in lablib.pages_of(lablib.maps(
            self.guest, ["--cr3", "%x" % root], 0, 0x7fffffff)) if page.user]
        for page in pages[:50]:
            self.assertEqual(os.pread(file, PAGE, page.va),
                             self.stopped.ram.page(page.gpa))
        self.assertGreater(len(pages), 5)
        os.close(file)


class Running(lablib.GuestTest):
    """The guest runs."""

    def __init__(self, method, guest, mount):
        super().__init__(method, guest)
        self.mount = mount

    def test_lives(self):
        """what is read twice from one open file is what it is then"""
        va = self.guest.symbols["jiffies"]
        gpa = self.guest.kernel_gpa(va)
        file = self.mount.open("memory")
        first = os.pread(file, 8, gpa)
        self.assertTrue(mounted.wait_until(
            lambda: os.pread(file, 8, gpa) != first))
        os.close(file)
        busy = self.guest.run("yes >/dev/null 2>&1 & echo $!").strip()
        core = "core-file " + self.mount.path("vmcore")
        read = "x/gx %#x" % va
        words = re.findall(r"^%#x:\s+0x(\w+)$" % va, gdb(
            core, read, "shell sleep 1", read), re.M)
        self.guest.run("kill " + busy)
        tap.diagnostic("jiffies: %s" % words)
        self.assertEqual(len(words), 2)
        self.assertNotEqual(*words)

    def test_readers(self):
        """a hundred readers at once are served"""
        def read(number):
            names = [["vmcore"], ["spaces", "%x" % root, "maps"]][number % 2]
            file = self.mount.open(*names)
            text = os.read(file, 1 << 16)
            os.close(file)
            return text

        root = min(self.mount.roots())
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            self.assertTrue(all(pool.map(read, range(2 * READERS))))

    def test_reader_killed(self):
        """who is killed while spaces are looked for is gone before they are found"""
        time.sleep(6)                           # what was found is old then
        readers = [subprocess.Popen(["ls", self.mount.path("spaces")],
                                    stdout=subprocess.PIPE)
                   for _ in range(2)]
        for reader in readers:
            self.assertTrue(mounted.wait_until(lambda: mounted.waits(reader.pid)))
        readers[0].kill()
        self.assertEqual(readers[0].wait(mounted.SECONDS), -signal.SIGKILL)
        self.assertTrue(mounted.waits(readers[1].pid))
        self.assertTrue(readers[1].communicate(timeout=600)[0])

    def test_seconds(self):
        """how fast it is read, beside the device itself"""
        size = 64 << 20
        begin = time.monotonic()
        with open(self.mount.path("memory"), "rb", buffering=0) as file:
            while file.tell() < size:
                file.read(1 << 20)
        mount = time.monotonic() - begin
        begin = time.monotonic()
        read = lablib.vmemctl_ok(*self.target, "read", "--phys", "--raw",
                                 "100000", str(size))
        self.assertEqual(len(read), size)
        device = time.monotonic() - begin
        with self.guest.qmp() as qmp:
            ram = lablib.Ram(qmp, self.guest.pid)
        begin = time.monotonic()
        for at in range(1 << 20, size, 1 << 20):
            ram.page(at, 1 << 20)
        tap.diagnostic("64 MiB: %.2f s, by vmemctl read %.2f s, by /proc/PID/mem"
                       " %.2f s" % (mount, device, time.monotonic() - begin))
        ram.close()


class Vmm:
    """A process with a VM"""

    def __init__(self, what):
        self.process = subprocess.Popen(
            [sys.executable, "-c", VMM, what], stdout=subprocess.PIPE,
            text=True, cwd=os.path.dirname(os.path.realpath(__file__)))
        self.words = ["-p", str(self.process.pid), "--vm-fd",
                      self.process.stdout.readline().strip(),
                      "--arch", "amd64", "--cr3", "%x" % A]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Ends(unittest.TestCase):
    """However it ends, nothing hangs, and the module can be unloaded."""

    def setUp(self):
        self.before = references()
        self.vmm = Vmm("wait")
        self.addCleanup(self.vmm.kill)

    def mount(self):
        return mounted.Mounted(self.vmm.words)

    def over(self, mount, status=0):
        """It ended so, and left nothing."""
        self.assertEqual(mount.end()[0], status)
        self.assertFalse(mounted.is_mounted(mount.folder))
        self.assertTrue(mounted.wait_until(
            lambda: references() == self.before))

    def test_vmm_killed(self):
        """when the VMM is killed, what is open answers ESRCH, and it is unmounted"""
        mount = self.mount()
        files = [mount.open("memory"), mount.open("vmcore"),
                 mount.open("spaces", "%x" % A, "mem")]
        places = [0x11000, 0x2000, DATA]
        for file, place in zip(files, places):
            self.assertEqual(len(os.pread(file, 8, place)), 8)
        self.vmm.kill()
        self.assertTrue(mounted.wait_until(
            lambda: not mounted.is_mounted(mount.folder)))
        for file, place in zip(files, places):
            with self.assertRaises(OSError) as caught:
                os.pread(file, 8, place)
            self.assertEqual(caught.exception.errno, errno.ESRCH)
            with contextlib.suppress(OSError):
                os.close(file)
        self.over(mount)

    def test_vmm_killed_meanwhile(self):
        """the VMM is killed while a hundred read"""
        mount = self.mount()
        ends = []

        def read(number):
            try:
                while True:
                    if number % 2:
                        mount.read("memory")
                    else:
                        mount.read("spaces", "%x" % A, "maps")
            except OSError as error:
                return error.errno

        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            readers = [pool.submit(read, i) for i in range(READERS)]
            time.sleep(1)
            self.vmm.kill()
            ends = [reader.result(mounted.SECONDS) for reader in readers]
        self.over(mount)
        tap.diagnostic(json.dumps({errno.errorcode[end]: ends.count(end)
                                   for end in set(ends)}))
        self.assertLessEqual(set(ends), {errno.ESRCH, errno.EIO, errno.ENOENT,
                                         errno.ENOTCONN, errno.ECONNABORTED})

    def test_ballooning(self):
        """the VMM gives its pages back while a hundred read"""
        self.vmm.kill()
        self.vmm = Vmm("balloon")
        self.addCleanup(self.vmm.kill)
        mount = self.mount()

        def read(number):
            try:
                return len(mount.read(*(["memory"] if number % 2 else [
                    "spaces", "%x" % A, "maps"])))
            except OSError as error:
                return error.errno

        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            ends = set(pool.map(read, range(2 * READERS)))
        size = len(images.amd64().raw())
        tap.diagnostic("%d ways to end" % len(ends))
        self.assertIn(size, ends)
        mount.process.terminate()
        self.over(mount)

    def test_torn_maps(self):
        """maps says that the guest replaced tables while they were read"""
        self.vmm.kill()
        self.vmm = Vmm("change")
        self.addCleanup(self.vmm.kill)
        mount = self.mount()
        self.assertTrue(mounted.wait_until(
            lambda: mount.read("spaces", "%x" % A, "maps").endswith(
                b"# warning: tables were replaced meanwhile: rows may be of two "
                b"times\n")))
        mount.process.terminate()
        self.over(mount)

    def test_signal(self):
        """a signal, with files open"""
        mount = self.mount()
        file = mount.open("vmcore")
        mount.process.send_signal(signal.SIGINT)
        self.over(mount)
        self.assertRaises(OSError, os.pread, file, 8, 0)
        with contextlib.suppress(OSError):
            os.close(file)

    def test_killed(self):
        """what answers is killed, and both are"""
        mount = self.mount()
        os.kill(mount.server, signal.SIGKILL)
        self.over(mount, 1)
        mount = self.mount()
        mount.process.kill()
        mount.process.wait()
        subprocess.run(["umount", mount.folder], check=True)
        self.over(mount, -signal.SIGKILL)

    def test_vmm_gone_before(self):
        """error: a VMM that has exited"""
        self.vmm.kill()
        with tempfile.TemporaryDirectory() as folder:
            done = lablib.vmemctl(*self.vmm.words, "mount", folder)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"no such process", done.stderr)


def test_guest(guest, words):
    guest.run("cat /sys/kernel/vmcoreinfo >/share/vmcoreinfo")
    # A guest that stands still cannot be asked.
    tap.diagnostic("the banner is at %#x" % guest.banner)
    with mounted.Mounted(["-p", str(guest.pid)]) as mount:
        with guest.in_worker() as stopped:
            failed = live_spaces.run(
                live_spaces.cases(Guest, guest, mount, stopped), words)
        # Debian's 32-bit kernels tell no addresses of data.
        running = [case for case in live_spaces.cases(Running, guest, mount)
                   if guest.arch == "amd64" or "lives" not in case.id()]
        return max(failed, live_spaces.run(running, words))


def main():
    subprocess.run("modprobe -q fuse; test -e /dev/fuse", shell=True,
                   check=True)
    words = sys.argv[1:]
    guests = lablib.guests()
    if not guests:
        return live_spaces.run(live_spaces.cases(Ends), words)
    return max(test_guest(guest, words) for guest in guests)


if __name__ == "__main__":
    tap.main(main)
