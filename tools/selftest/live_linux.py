#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmem.linux on guests that run, held against what they say of themselves.

usage: tools/lab/lab run --guest amd64 --guest i686 -- tools/selftest/live_linux.py
"""

import subprocess
import sys
import threading
import unittest

import lablib
import python_gdb
import tap

sys.path.insert(0, python_gdb.PACKAGE)
python_gdb.os.environ["VMEM_LIBRARY"] = python_gdb.ENV["VMEM_LIBRARY"]

import vmem                                     # noqa: E402
import vmem.linux                               # noqa: E402

USED = (vmem.RootClass.VCPU, vmem.RootClass.USER)
FORKS = 300


class Linux(lablib.GuestTest):
    def setUp(self):
        self.vm = vmem.open(pid=self.guest.pid)
        self.addCleanup(self.vm.close)

    def processes(self):
        """{PID: name} of those that last, by the guest's own account"""
        return {pid: name for pid, name in self.guest.processes().items()
                if not name.startswith("kworker/")}

    def same(self, tasks, before, after):
        got = {task.pid: task.comm for task in tasks}
        self.assertEqual(len(got), len(tasks))
        lasting = dict(before.items() & after.items())
        self.assertGreater(len(lasting), 20)
        self.assertLessEqual(lasting.items(), got.items())
        for pid in got.keys() - before.keys() - after.keys():
            self.assertTrue(pid > max(lasting) or got[pid].startswith("kworker/"),
                            (pid, got[pid]))

    def forks(self):
        """The guest starts processes, which end, until it has had so many."""
        thread = threading.Thread(target=self.guest.run, args=(
            "for i in $(seq %d); do (:); done" % FORKS,))
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_tasks(self):
        """processes are the guest's own, while some come and go"""
        before = self.processes()
        kernel = vmem.linux.Kernel(self.vm)
        self.assertIn(" %s " % kernel.release, self.guest.text("version"))
        forks = self.forks()
        times, most = 0, 0
        while forks.is_alive() or not times:
            tasks = kernel.tasks()
            times, most = times + 1, max(most, len(tasks))
            last = tasks
        self.same(last, before, self.processes())
        tap.diagnostic("%d times, %d processes at most" % (times, most))

    def test_roots(self):
        """their roots are the used ones, and the worker's is the vCPU's"""
        # A process on its way out has tables still, but no mm.
        with self.guest.in_worker(settled="spaces") as stopped:
            tasks = vmem.linux.tasks(self.vm)
            used = {root.root for root in self.vm.roots() if root.kind in USED}
        here = stopped.registers.root
        if self.guest.name.endswith("-pti"):
            here &= ~lablib.PAGE
        roots = {task.pid: task.root for task in tasks if task.root is not None}
        self.assertEqual(roots[self.guest.worker], here)
        self.assertEqual(set(roots.values()), used)
        self.assertGreater(len(roots), 10)

    def test_gdb(self):
        """gdb's commands on the process"""
        words = ("source %s/vmem/gdb.py" % python_gdb.PACKAGE,
                 "vmem-attach %d" % self.guest.pid, "vmem-vtop %#x" % self.guest.banner,
                 "vmem-tasks")
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch",
             *(word for command in words for word in ("-ex", command))],
            env=python_gdb.ENV, stdin=subprocess.DEVNULL, text=True, timeout=600,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertIn("%#x -> %#x r" % (
            self.guest.banner, self.guest.kernel_gpa(self.guest.banner)), done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ +1 +0x[0-9a-f]+ init$")

    def test_no_types(self):
        """a kernel that does not carry its types is refused by name"""
        release = self.guest.text("version").split()[2]
        with self.assertRaisesRegex(vmem.Error, "guest's kernel, %s, has no BTF" % release):
            vmem.linux.tasks(self.vm)


def tests(guests):
    for guest in guests:
        for name in (("test_tasks", "test_roots", "test_gdb") if guest.arch == "amd64"
                     else ("test_no_types",)):
            yield Linux(name, guest)


def main():
    guests = lablib.guests()
    if not guests:
        print("Bail out! no guests: tools/lab/lab run --guest amd64 -- %s" % sys.argv[0])
        return 1
    return tap.run(unittest.TestSuite(tests(guests)))


if __name__ == "__main__":
    tap.main(main)
