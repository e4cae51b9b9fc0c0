#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""crash, drgn and gdb on what `vmemctl mount` shows of a guest: while it runs, by its
own account, and while it stands still, by what they say of QEMU's dump of it.

usage: tools/lab/lab run --guest amd64-debug -- tools/selftest/live_debuggers.py
"""

import dataclasses
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

import lablib
import mounted
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
# Debian 12's crash lists next to no tasks of Debian 12's kernel, in whatever dump: a
# change of struct pid in 6.5 was taken over in 6.1.
SUITE = os.path.join(TOP, "build/suites/trixie")
CRASH = [os.path.join(SUITE, "lib64/ld-linux-x86-64.so.2"), "--library-path",
         os.path.join(SUITE, "usr/lib/x86_64-linux-gnu"),
         os.path.join(SUITE, "usr/bin/crash"), "-s"]

SECONDS = 600

# What drgn is asked: prints it as JSON, and how long the list of tasks took.
DRGN = """
import json, sys, time
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import find_task, for_each_task
began = time.monotonic()
tasks = sorted((task.pid.value_(), task.comm.string_().decode())
               for task in for_each_task(prog))
seconds = time.monotonic() - began
modules = sorted(module.name.string_().decode() for module in list_for_each_entry(
    "struct module", prog["modules"].address_of_(), "list"))
jiffies = [prog["jiffies_64"].value_()]
time.sleep(float(sys.argv[2]))
jiffies.append(prog["jiffies_64"].value_())
stack = [frame.name or "?" for frame in prog.stack_trace(find_task(prog, int(sys.argv[1])))]
json.dump({"tasks": tasks, "modules": modules, "jiffies": jiffies, "stack": stack,
           "seconds": seconds}, sys.stdout)
"""

ASK = """ps
mod
bt %d
p jiffies
!sleep 1
p jiffies
quit
"""

# "> PID PPID CPU TASK ST %MEM VSZ RSS COMM" of crash's ps
CRASH_TASK = re.compile(r"^>? +(\d+) +\d+ +\d+ +[0-9a-f]{16} +\S+ +\S+ +\d+ +\d+ +(.*?) *$",
                        re.M)
CRASH_MODULE = re.compile(r"^[0-9a-f]{16} +(\w+) +[0-9a-f]{16} ", re.M)
CRASH_FRAME = re.compile(r"^ *#\d+ \[[0-9a-f]+\] (\w+) at ", re.M)
CRASH_JIFFIES = re.compile(r"^jiffies = \$\d+ = (\d+)", re.M)


def output_of(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          timeout=SECONDS, **{"stdin": subprocess.DEVNULL, **options})
    if done.returncode:
        raise AssertionError("%s: status %d: %s" % (
            " ".join(words), done.returncode, (done.stdout + done.stderr)[-2000:]))
    return done.stdout


@dataclasses.dataclass
class Said:
    """What a debugger says of a guest"""

    tasks: dict             # {PID: name}
    modules: list
    jiffies: list           # read twice
    stack: list             # functions that a process is in, innermost first
    seconds: float          # for listing the tasks
    text: str = ""          # all of it, as it was printed


class Debuggers:
    """crash, drgn and gdb, with the guest's kernel and a process of its"""

    def __init__(self, guest, folder):
        self.kernel, = glob.glob(os.path.join(
            TOP, "build/kernels/*-debug/boot/vmlinux-*"))
        # Of those that sleep for ever; later ones sleep for a moment.
        self.pid = min(map(int, guest.run("pidof sleep").split()))
        self.folder = folder
        self.offset = guest.symbols["_text"] - next(
            int(line.split()[0], 16) for line in
            output_of(["nm", self.kernel]).splitlines() if line.endswith(" T _text"))

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def drgn(self, core, wait=1.0):
        said = json.loads(output_of(
            ["drgn", "-q", "-c", core, "-s", self.kernel, self.file("ask.py", DRGN),
             str(self.pid), str(wait)]))
        said["tasks"] = dict(said["tasks"])
        return Said(**said)

    def crash(self, core):
        text = output_of([*CRASH, "-i", self.file("ask", ASK % self.pid), self.kernel,
                          core])
        return Said(
            {int(pid): name.strip("[]") for pid, name in CRASH_TASK.findall(text)},
            sorted(CRASH_MODULE.findall(text)),
            [int(value) for value in CRASH_JIFFIES.findall(text)],
            CRASH_FRAME.findall(text), 0, text)

    def gdb(self, core):
        """jiffies, twice"""
        text = output_of(
            ["gdb", "-nx", "-batch", "-ex", "symbol-file -o %#x %s" % (
                self.offset, self.kernel), "-ex", "core-file " + core,
             "-ex", "print jiffies", "-ex", "shell sleep 1", "-ex", "print jiffies"])
        return [int(value) for value in re.findall(r"^\$\d+ = (\d+)", text, re.M)]


class Running(lablib.GuestTest):
    """The guest runs."""

    def __init__(self, method, guest, debuggers, core):
        super().__init__(method, guest)
        self.debuggers = debuggers
        self.core = core

    def agrees(self, ask):
        """Its processes, modules and a stack are the guest's, and time goes on."""
        before = self.guest.processes()
        said = ask(self.core)
        lasting = dict(before.items() & self.guest.processes().items())
        self.assertGreater(len(lasting), 20)
        self.assertLessEqual({pid: name for pid, name in lasting.items()
                              if not name.startswith("kworker/")}.items(),
                             said.tasks.items())
        self.assertEqual(said.modules, sorted(
            line.split()[0] for line in
            self.guest.run("cat /proc/modules").splitlines()))
        self.assertGreater(len(said.modules), 2)
        waits = self.guest.run("cat /proc/%d/wchan" % self.debuggers.pid)
        self.assertIn(waits, said.stack)
        tap.diagnostic("%d tasks, %d modules, jiffies %s; stack: %s" % (
            len(said.tasks), len(said.modules), said.jiffies, ", ".join(said.stack)))
        self.assertEqual(len(set(said.jiffies)), 2)
        return said

    def test_drgn(self):
        """drgn lists its processes, its modules and a stack, and jiffies go on"""
        said = self.agrees(self.debuggers.drgn)
        tap.diagnostic("the tasks in %.2f s" % said.seconds)

    def test_crash(self):
        """crash lists its processes, its modules and a stack, and jiffies go on"""
        self.agrees(self.debuggers.crash)

    def test_gdb(self):
        """gdb prints jiffies twice, and they differ"""
        jiffies = self.debuggers.gdb(self.core)
        tap.diagnostic("jiffies: %s" % jiffies)
        self.assertEqual(len(set(jiffies)), 2)


class Stopped(lablib.GuestTest):
    """The guest stands still, and QEMU has written a dump of it."""

    def __init__(self, method, guest, debuggers, core, dump, seconds):
        super().__init__(method, guest)
        self.debuggers = debuggers
        self.core = core
        self.dump = dump
        self.seconds = seconds

    def test_drgn(self):
        """drgn says the same of the mount as of QEMU's dump"""
        times = []
        answers = []
        for core in (self.core, self.dump):
            began = time.monotonic()
            said = self.debuggers.drgn(core, 0)
            times.append(time.monotonic() - began)
            answers.append(dataclasses.replace(said, seconds=0))
        self.assertEqual(*answers)
        self.assertGreater(len(answers[0].tasks), 20)
        self.assertEqual(len(set(answers[0].jiffies)), 1)
        tap.diagnostic("ps in drgn over the mount: %.1f s; by QEMU's dump, which takes "
                       "%.1f s, and then %.1f s: %.1f times as long" % (
                           times[0], self.seconds, times[1],
                           (self.seconds + times[1]) / times[0]))

    def test_crash(self):
        """crash says the same of the mount as of QEMU's dump"""
        mount, dump = (self.debuggers.crash(core) for core in (self.core, self.dump))
        self.assertEqual(mount.text.splitlines(), dump.text.splitlines())
        self.assertGreater(len(mount.tasks), 20)


def run(tests):
    return tap.run(unittest.TestSuite(tests))


def main():
    subprocess.run("modprobe -q fuse; test -e /dev/fuse", shell=True, check=True)
    guests = lablib.guests()
    if [guest.name for guest in guests] != ["amd64-debug"]:
        print("Bail out! no guest with debug information: "
              "tools/lab/lab run --guest amd64-debug -- %s" % sys.argv[0])
        return 1
    guest, = guests
    # The dump is as large as the guest's memory: not in the lab's own.
    with tempfile.TemporaryDirectory(dir=os.environ["VMEM_LAB_OUT"]) as folder, \
            mounted.Mounted(["-p", str(guest.pid)]) as mount:
        core = mount.path("vmcore")
        debuggers = Debuggers(guest, folder)
        status = run(Running("test_" + name, guest, debuggers, core)
                     for name in ("drgn", "crash", "gdb"))
        dump = os.path.join(folder, "dump")
        with guest.in_worker() as stopped:
            # With virtual addresses: without, which is quicker, drgn finds nothing.
            began = time.monotonic()
            stopped.qmp.execute("dump-guest-memory", paging=True,
                                protocol="file:" + dump)
            seconds = time.monotonic() - began
            return max(status, run(
                Stopped("test_" + name, guest, debuggers, core, dump, seconds)
                for name in ("drgn", "crash")))


if __name__ == "__main__":
    tap.main(main)
