#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the lab makes of its kernel's console: made-up logs, and the verdicts.

Needs no lab.
"""

import os
import sys
import tempfile
import unittest

import tap

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lab"))

import console                                  # noqa: E402
from console import EMULATION, FAILURE, NOTHING  # noqa: E402

BOOT = """\
[    0.000000] Linux version 6.1.0
[    1.500000] WARNING: CPU: 0 PID: 1 at init/main.c:1 boot+0x1/0x2
[    2.000000] vmem-lab: loading vmem
[    2.100000] vmem: loading out-of-tree module taints kernel.
"""

MODULES = "[   85.0] Modules linked in: vmem(O) overlay 9p kvm_amd kvm\n"

IDLE_STUCK = """\
[   85.0] watchdog: BUG: soft lockup - CPU#1 stuck for 60s! [swapper/1:0]
""" + MODULES + """\
[   85.0] CPU: 1 PID: 0 Comm: swapper/1 Tainted: G           O       6.1.0
[   85.0] RIP: 0010:finish_task_switch.isra.0+0x9a/0x300
[   85.0]  schedule_idle+0x2a/0x40
[   85.0]  do_idle+0x16c/0x2e0
"""

GUEST_STUCK = """\
[   90.0] watchdog: BUG: soft lockup - CPU#0 stuck for 61s! [qemu-system-x86:77]
""" + MODULES + """\
[   90.0] CPU: 0 PID: 77 Comm: qemu-system-x86 Tainted: G           O       6.1
[   90.0]  svm_vcpu_run+0x1b/0x80 [kvm_amd]
"""

TASK_STUCK = """\
[   95.0] watchdog: BUG: soft lockup - CPU#0 stuck for 61s! [kept:78]
""" + MODULES + """\
[   95.0] CPU: 0 PID: 78 Comm: kept Tainted: G           O       6.1
[   95.0]  filemap_fault+0x1b/0x80
"""

VMEM_STUCK = TASK_STUCK + "[   95.0]  vmem_walk+0x40/0x90 [vmem]\n"

BLOCKED = """\
[  242.0] INFO: task vmemctl:79 blocked for more than 120 seconds.
[  242.0]       Tainted: G           O       6.1.0
[  242.0] task:vmemctl        state:D stack:0     pid:79
[  242.0]  __mutex_lock.constprop.0+0x3a/0x600
"""

RCU_IDLE = """\
[   60.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   60.0] \t1-...!: (0 ticks this GP) idle=0b8c/0/0x0
[   60.0] Sending NMI from CPU 0 to CPUs 1:
[   60.0] NMI backtrace for cpu 1
[   60.0] CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.0
"""

RCU_BUSY = """\
[   61.0] rcu: INFO: rcu_preempt self-detected stall on CPU
[   61.0] CPU: 0 PID: 81 Comm: spaces Not tainted 6.1.0
"""

# An oops has several such lines; the trace is under the last.
GUEST_OOPS = """\
[   99.0] BUG: unable to handle page fault for address: ffffffffffffff9d
[   99.0] Oops: 0002 [#1] PREEMPT SMP NOPTI
[   99.0] CPU: 0 PID: 77 Comm: qemu-system-x86 Tainted: G           O       6.1
[   99.0] Call Trace:
[   99.0]  kvm_arch_vcpu_ioctl_run+0x8d4/0x1700 [kvm]
[   99.1] Kernel panic - not syncing: Fatal exception
"""

VMEM_OOPS = GUEST_OOPS.replace("kvm_arch_vcpu_ioctl_run+0x8d4/0x1700 [kvm]",
                               "vmem_unpin+0x8/0x17 [vmem]")

# An NMI that the lab sent, as nothing ran any more
HUNG = """\
[   33.9] Uhhuh. NMI received for unknown reason 20 on CPU 0.
[   33.9] Kernel panic - not syncing: NMI: Not continuing
[   33.9] CPU: 0 PID: 0 Comm: swapper/0 Tainted: G           OE      6.1.0
[   33.9]  unknown_nmi_error.cold+0x3b/0x49
[   33.9]  default_idle_call+0x38/0xf0
"""

COMPLAINTS = {
    "WARN_ON": "WARNING: CPU: 0 PID: 9 at mm/gup.c:1 try_grab_folio+0x1/0x2\n"
               "[    3.0] CPU: 0 PID: 9 Comm: qemu-system-x86 Not tainted",
    "lock order": "WARNING: possible circular locking dependency detected",
    "RCU": "WARNING: suspicious RCU usage",
    "atomic sleep": "BUG: sleeping function called from invalid context at "
                    "mm/gup.c:1",
    "KASAN": "BUG: KASAN: use-after-free in vmem_walk+0x1/0x2 [vmem]",
    "UBSAN": "UBSAN: shift-out-of-bounds in vmem_core.c:1:2",
    "leak": "kmemleak: 2 new suspected memory leaks (see "
            "/sys/kernel/debug/kmemleak)",
    "page state": "BUG: Bad page state in process qemu-system-x86  pfn:1234",
    "assertion": "kernel BUG at mm/slub.c:1!",
    "the lab's own": "vmem-lab: BUG: pinned pages: 7 acquired, 6 released",
}


def read_log(log):
    """As of a run's console, which QEMU writes with its own line ends."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(log.replace("\n", "\r\n").encode())
        file.flush()
        read = console.Console(file.name)
        read.read()
        return read


def reports(log):
    return read_log(log).reports()


def verdict(*parts):
    return console.judge(reports(BOOT + "".join(parts)))


class Verdicts(unittest.TestCase):
    def test_nothing(self):
        """console: a warning from before vmem was loaded does not count"""
        self.assertEqual(verdict(), NOTHING)
        self.assertEqual(verdict(MODULES), NOTHING)

    def test_boot(self):
        """console: what was before vmem is apart, or all is one"""
        self.assertEqual(console.judge(read_log(BOOT).boot_reports()), FAILURE)
        self.assertEqual(read_log(VMEM_OOPS).boot_reports(), [])
        self.assertEqual(console.judge(reports(BOOT.partition("vmem-lab")[0])),
                         FAILURE)

    def test_idle(self):
        """console: an idle processor that is stuck is no failure"""
        for log in (IDLE_STUCK, RCU_IDLE, IDLE_STUCK + RCU_IDLE):
            with self.subTest(log=log.splitlines()[0]):
                self.assertEqual(verdict(log), NOTHING)
                self.assertTrue(reports(BOOT + log)[0].idle())

    def test_stuck(self):
        """console: what is stuck without vmem in it is the emulation's"""
        for log in (GUEST_STUCK, TASK_STUCK, BLOCKED, RCU_BUSY):
            with self.subTest(log=log.splitlines()[0]):
                self.assertEqual(verdict(log), EMULATION)
                self.assertEqual(verdict(IDLE_STUCK, log), EMULATION)

    def test_vmem(self):
        """console: what has vmem in its trace is a failure"""
        for log in (VMEM_STUCK, VMEM_OOPS, GUEST_STUCK + VMEM_STUCK,
                    IDLE_STUCK + " vmem_walk+0x40/0x90 [vmem]\n",
                    GUEST_STUCK + " vmem_walk+0x40/0x90 [vmem]\n"):
            with self.subTest(log=log.splitlines()[0]):
                self.assertEqual(verdict(log), FAILURE)

    def test_oops(self):
        """console: a death in a guest's vCPU is the emulation's"""
        self.assertEqual(verdict(GUEST_OOPS), EMULATION)
        self.assertEqual(
            verdict(GUEST_OOPS.replace("qemu-system-x86", "kept")), FAILURE)

    def test_hung(self):
        """console: a clock that stands still is the emulation's, no other hang"""
        self.assertEqual(verdict(HUNG), EMULATION)
        self.assertEqual(verdict(HUNG.replace("swapper/0", "python3")), FAILURE)
        self.assertEqual(verdict(HUNG, " vmem_walk+0x40/0x90 [vmem]\n"),
                         FAILURE)

    def test_complaints(self):
        """console: a complaint is a failure, wherever it comes from"""
        for name, line in COMPLAINTS.items():
            with self.subTest(name):
                self.assertEqual(verdict("[    3.0] %s\n" % line), FAILURE)
                self.assertEqual(
                    verdict("[    3.0] %s\n" % line, GUEST_OOPS), FAILURE)

    def test_excerpt(self):
        """console: what is shown begins with the first report that counts"""
        found = reports(BOOT + IDLE_STUCK + GUEST_OOPS + "[  100.0] last\n")
        lines = console.excerpt(found)
        self.assertIn("unable to handle", lines[0])
        self.assertEqual(lines[-1], "[  100.0] last")
        self.assertEqual(len(console.excerpt(found, 3)), 3)
        self.assertEqual(console.excerpt(reports(BOOT + IDLE_STUCK)), [])

    def test_parts(self):
        """console: a line that was written in two parts is one line"""
        with tempfile.NamedTemporaryFile() as file:
            read = console.Console(file.name)
            file.write(b"[    3.0] WARN")
            file.flush()
            self.assertEqual(read.read(), [])
            file.write(b"ING: CPU: 0\r\nrest")
            file.flush()
            self.assertEqual(read.read(), ["[    3.0] WARNING: CPU: 0"])
            self.assertEqual(console.judge(read.reports()), FAILURE)


if __name__ == "__main__":
    sys.exit(tap.run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Verdicts)))
