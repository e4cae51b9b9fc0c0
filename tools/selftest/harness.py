#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the lab makes of its kernel's console, and test.py of what steps print and
of the lab's verdicts. Every log and every step here is made up, with a fault in
it. Needs no lab.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import tap

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lab"), os.path.join(HERE, "..")]

import console                                  # noqa: E402
import test                                     # noqa: E402
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


# Two tests in a folder, of which each makes a file while it lasts
MADE_UP = """
import os, sys, time, unittest
sys.path.insert(0, sys.argv[1])
import tap

class Case(unittest.TestCase):
    def lasts(self):
        self.addCleanup(os.unlink, self.id())
        open(self.id(), "x").close()
        with self.subTest():
            for _ in range(6000):   # a signal just before a sleep does not end that
                time.sleep(0.1)
    test_1 = test_2 = lasts

sys.exit(tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Case)))
"""


class Ends(unittest.TestCase):
    def test_sigterm(self):
        """tap: at SIGTERM a test cleans up, and there is no other one"""
        with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
                [sys.executable, "-c", MADE_UP, HERE], cwd=folder, text=True,
                stdout=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            while not os.listdir(folder):
                self.assertIsNone(process.poll())
            process.terminate()
            said = process.communicate()[0]
            self.assertEqual((process.returncode, os.listdir(folder)), (1, []))
        self.assertIn("not ok 1", said)
        self.assertNotIn("ok 2", said)

    def test_lost_before(self):
        """tap: a program that loses its guest before a test says so, as a test does"""
        for error, status in ("lablib.LabError", tap.LOST), ("OSError", 1):
            done = subprocess.run([sys.executable, "-c", f"""
import sys
sys.path.insert(0, sys.argv[1])
import lablib, tap
def main():
    raise {error}("no answer")
tap.main(main)
""", HERE], text=True, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, status)
            self.assertIn("no answer", done.stderr)

    def test_lost(self):
        """run: after a test that lost its guest none is run"""
        with tempfile.TemporaryDirectory() as folder:
            tests = []
            for name, status in ("fails", 1), ("loses", tap.LOST), ("waits", 0):
                tests.append(os.path.join(folder, name))
                with open(tests[-1], "w") as file:
                    file.write(f"#!/bin/sh\necho {name} ran\nexit {status}\n")
                os.chmod(tests[-1], 0o755)
            done = subprocess.run([os.path.join(HERE, "run"), *tests], text=True,
                                  stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("fails ran\n", done.stdout)
        self.assertIn("loses ran\n", done.stdout)
        self.assertNotIn("waits", done.stdout)


ENDED = "ended 0"
EMULATED = "emulation guest i686 was lost while the command ran"
GOOD = "1..2\nok 1 a\nok 2 b\n"


class FakeLab:
    """In the lab's place: each attempt prints something, gives a verdict and exits.
    The last one goes for all that follow."""

    def __init__(self, folder, *attempts):
        self.path = os.path.join(folder, "lab")
        self.verdict = os.path.join(folder, "verdict")
        for number, (out, verdict, status) in enumerate(attempts):
            self.write("out", number, out)
            self.write("verdict", number, verdict)
            self.write("status", number, str(status))
        with open(self.path, "w") as file:
            file.write("""#!/bin/sh
[ "$2" = --verdict ] || exit 99
at=$(dirname "$0") n=$(cat "$(dirname "$0")/n" 2>/dev/null || echo 0)
echo $((n + 1)) >"$at/n"
[ -e "$at/out$n" ] || n=%d
cat "$at/out$n"
[ ! -s "$at/verdict$n" ] || cat "$at/verdict$n" >"$3"
exit $(cat "$at/status$n")
""" % (len(attempts) - 1))
        os.chmod(self.path, 0o755)

    def write(self, what, number, text):
        with open("%s%d" % (os.path.join(os.path.dirname(self.path), what),
                            number), "w") as file:
            file.write(text)


class Counts(unittest.TestCase):
    """test.py, by what it counts; (passed, failed, skipped)."""

    def run_steps(self, *attempts, steps=1):
        with tempfile.TemporaryDirectory() as folder, \
                contextlib.redirect_stdout(io.StringIO()) as out:
            lab = FakeLab(folder, *attempts)
            words = [lab.path, "run"]
            with unittest.mock.patch.object(test, "LAB", words):
                tests = test.Tests({str(n): [*words, "--", "tests"]
                                    for n in range(steps)},
                                   ["echo", "# control ran"], lab.verdict)
                for name in tests.steps:
                    tests.run(name)
                tests.tell()
        self.said = out.getvalue()
        return tests.total.passed, tests.total.failed, tests.total.skipped

    def command(self, *words):
        with contextlib.redirect_stdout(io.StringIO()):
            tests = test.Tests({"step": list(words)})
            tests.run("step")
        return tests.total.passed, tests.total.failed, tests.total.skipped

    def test_good(self):
        """test.py: what passed, failed and was skipped is counted"""
        self.assertEqual(self.run_steps((GOOD, ENDED, 0)), (2, 0, 0))
        self.assertEqual(self.run_steps(
            ("1..3\nok 1 a # SKIP no KSM\nnot ok 2 b\nok 3 c\n", "ended 1", 1)),
            (1, 1, 1))
        self.assertEqual(self.command("printf", GOOD), (2, 0, 0))

    def test_failures(self):
        """test.py: at the end is said what failed, in which step, and why"""
        self.run_steps(("1..2\n# of another\nok 1 a\n# why\n# 0.1 s\nnot ok 2 b\n",
                        "ended 1", 1), (GOOD, ENDED, 0), (GOOD, "late no end", 124),
                       steps=3)
        self.assertTrue(self.said.endswith(
            "# why\n# 0.1 s\n# failed in 0: b\n# failed in 2: 2: late: no end\n"
            "5 passed, 2 failed\n"), self.said)

    def test_programs(self):
        """each program that a step of ours names can be run"""
        for name, words in test.STEPS.items():
            for word in words:
                path = os.path.join(test.TOP, word)
                if word.startswith("tools/") and os.path.isfile(path):
                    self.assertTrue(os.access(path, os.X_OK), name + ": " + word)

    def test_two_at_once(self):
        """test.py: two steps run at once, and what they say is not mixed"""
        steps = {"first": "printf '1..1\\n'; until [ -e %s ]; do sleep 0.1; done;"
                          " echo ok 1 a",
                 "second": "printf '1..1\\nnot ok 1 b\\n'; echo >%s"}
        with tempfile.TemporaryDirectory() as folder, \
                contextlib.redirect_stdout(io.StringIO()) as out:
            tests = test.Tests({name: ["sh", "-c", text % (folder + "/done")]
                                for name, text in steps.items()})
            tests.run_all(steps, 2)
            tests.tell()
        said = [line for line in out.getvalue().splitlines()
                if line[0] != "#" or "failed in" in line]
        self.assertEqual(said, ["1..1", "ok 1 a", "1..1", "not ok 1 b",
                                "# failed in second: b", "1 passed, 1 failed"])

    def test_alone(self):
        """test.py: what needs both processors has nothing beside it"""
        step = "echo 1..1; mkdir %s && sleep 0.5 && rmdir %s && echo ok 1 a"
        with tempfile.TemporaryDirectory() as folder, \
                contextlib.redirect_stdout(io.StringIO()):
            path = folder + "/running"
            steps = {name: ["sh", "-c", step % (path, path)]
                     for name in (*test.ALONE, "other")}
            tests = test.Tests(steps)
            tests.run_all(steps, 2)
        self.assertEqual(str(tests.total), "%d passed, 0 failed" % len(steps))

    def test_plans(self):
        """test.py: a program that does not keep its plan is a failure"""
        for out in ("1..3\n" + GOOD[5:], "1..1\n" + GOOD[5:], GOOD[5:],
                    "1..3\nok 1 a\nok 2 b\n" + GOOD):
            with self.subTest(out=out):
                self.assertEqual(self.run_steps((out, ENDED, 0))[1], 1)
                self.assertEqual(self.command("printf", out)[1], 1)

    def test_status(self):
        """test.py: an exit status that no test explains is a failure"""
        self.assertEqual(self.run_steps((GOOD, "ended 1", 1)), (2, 1, 0))
        self.assertEqual(self.command("sh", "-c", "printf '%s'; exit 3" % GOOD),
                         (2, 1, 0))
        self.assertEqual(self.run_steps(("", ENDED, 0)), (0, 1, 0))

    def test_own_status(self):
        """test.py: a command's own exit status 126 is no verdict of the lab's"""
        self.assertEqual(self.run_steps((GOOD, "ended 126", 126), (GOOD, ENDED, 0)),
                         (2, 1, 0))
        self.assertEqual(self.command("sh", "-c", "exit 126"), (0, 1, 0))

    def test_no_verdict(self):
        """test.py: a lab that gives no verdict has failed"""
        for status in (0, 125, 126):
            self.assertEqual(self.run_steps((GOOD, "", status)), (2, 1, 0))
        for verdict in ("late it took too long", "failed the kernel complained"):
            self.assertEqual(self.run_steps((GOOD, verdict, 124)), (2, 1, 0))

    def test_lost_guest(self):
        """test.py: a lost guest is told, and what ran without it is counted once"""
        lost = "1..2\nok 1 a\nnot ok 2 b # LOST\n"
        self.assertEqual(self.run_steps((lost, EMULATED, 126), (GOOD, ENDED, 0)),
                         (2, 0, 0))
        self.assertIn("the emulation died 1 times", self.said)
        self.assertIn("control ran", self.said)

    def test_failed_before(self):
        """test.py: what failed before a guest was lost has failed"""
        self.assertEqual(self.run_steps(
            ("1..3\nnot ok 1 a\nnot ok 2 b # LOST\n", EMULATED, 126),
            (GOOD, ENDED, 0)), (2, 1, 0))
        self.assertIn("# failed in 0: a\n", self.said)
        self.assertNotIn("LOST", self.said.partition("# failed in")[2])

    def test_budget(self):
        """test.py: guests that are lost again and again are a failure"""
        lost = ("1..2\nok 1 a\n", EMULATED, 126)
        self.assertEqual(self.run_steps(lost, lost, (GOOD, ENDED, 0))[1], 1)
        self.assertEqual(self.run_steps(lost, (GOOD, ENDED, 0), lost,
                                        (GOOD, ENDED, 0), steps=2)[1], 1)

    def test_lost_and_found(self):
        """test.py: a test that missed a guest that was there has failed"""
        self.assertEqual(self.run_steps(
            ("1..1\nnot ok 1 a # LOST\n", "ended 1", 1)), (0, 1, 0))


def main():
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite(map(load, (Verdicts, Ends, Counts))))


if __name__ == "__main__":
    sys.exit(main())
