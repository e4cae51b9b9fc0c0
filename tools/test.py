#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run all tests, pass their output on, and count what really ran.

usage: test.py [--sanitize | STEP...]

Without arguments, all steps but those on the kernel with sanitizers, whose names
begin with "sanitize-"; but la57 and pae, which are all tests on live guests of
these modes, and roots, on guests that isolate their page tables. With --sanitize,
those on that kernel.

Where there are two processors, two steps run at once, the long ones first, and then
those that need both. What the later one of two says is held back until the earlier one
has ended.

Every step prints KTAP, or is kunit.py, which prints a summary of its own. A program
that does not report as many results as it planned counts as one failure, and so
does a step that ends with an error although no test in it failed, or in which no
test ran.

Where the emulation under the lab let a guest or the lab die, by the lab's own
verdict, the step is run once more: a test that had failed before has failed all the
same, unless it failed for want of the guest. That may happen as often as BUDGET
says, in all steps together, and is told at the end, beside how guests fared
without vmem in the lab. Then each failure is said again, with the end of what was
said before it. The last line is "N passed, N failed", with ", N skipped" where that
is so.
"""

import concurrent.futures
import contextlib
import os
import re
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

LAB = ["tools/lab/lab", "run"]
# Beside another lab: a step takes half of it on a quiet machine.
LONG = ["--timeout", "3600"]
GUESTS = ["--guest", "amd64", "--guest", "i686"]
SANITIZER = ["--kernel", "build/sanitizer/arch/x86/boot/bzImage"]

DEVICE = ["tools/selftest/run", "build/bin/vmm", "build/bin/uapi",
          "build/bin/fields", "build/bin/edges", "build/bin/spaces",
          "build/bin/debugfs", "build/bin/snapshot", "build/bin/restore",
          "build/bin/pages", "build/bin/untouched",
          "build/bin/signals", "build/bin/trace", "build/bin/limits",
          "build/bin/torn", "build/bin/hostile", "build/bin/sessions",
          "build/bin/fuzz-ioctl", "build/bin/events", "build/bin/rules",
          "build/bin/modes", "build/bin/judge", "build/bin/private",
          "build/bin/vcpus"]
# vmemctl where the lab has no guest
TOOL = ["tools/selftest/own_vmm.py", "tools/selftest/live_mount.py"]
# Debian 12's other kernel
NEWER = ["--kernel", "6.12"]
# How often, where all is nine times as slow, or has been run before
FEWER = ["env", "VMEM_STATES=1000", "VMEM_TRANSLATIONS=10000",
         "VMEM_SECONDS=2", "VMEM_CALLS=1000", "VMEM_TIMES=2",
         "VMEM_JUDGE_CASES=1000", "VMEM_SAMPLES=1000"]
# On its own: it locks the kernel down.
ACCESS = ["--", "env", "VMEM_LOCKDOWN=1", "tools/selftest/run",
          "build/bin/access"]
LIVE = ["--", "tools/selftest/run", "tools/selftest/live.py",
        "tools/selftest/live_spaces.py", "tools/selftest/live_snapshot.py",
        "tools/selftest/live_mount.py", "tools/selftest/live_linux.py",
        "tools/selftest/samples.py"]
# A thousand processes come and go, which takes where all is slow, and a hundred stay,
# which takes whoever looks at all of them.
ROOTS = ["tools/selftest/live_roots.py"]
# What one guest is enough for, or i686 has none of: its kernel runs one vCPU.
ONCE = ["tools/selftest/live_memory.py", "tools/selftest/docs.py",
        "tools/selftest/live_vcpus.py"]

# image_mount.py runs in the lab if this machine has no FUSE.
FUSE = [] if os.path.exists("/dev/fuse") else [*LAB, "--", "tools/selftest/run"]

STEPS = {
    "style": ["tools/style.sh"],
    "kunit": ["kunit/run"],
    "promises": ["tools/selftest/promises.py"],
    "libvmem": ["tools/selftest/libvmem.py"],
    "python": ["tools/selftest/python.py"],
    "python-linux": ["tools/selftest/python_linux.py"],
    "python-gdb": ["tools/selftest/python_gdb.py"],
    "python-boots": ["tools/selftest/python_boots.py"],
    "image": ["tools/selftest/image.py"],
    "image-files": ["tools/selftest/image_files.py"],
    "image-kdump": ["tools/selftest/image_kdump.py"],
    "image-access": ["tools/selftest/image_access.py"],
    "image-batch": ["tools/selftest/image_batch.py"],
    "image-debugger": ["tools/selftest/image_debugger.py"],
    "image-json": ["tools/selftest/image_json.py"],
    "image-roots": ["tools/selftest/image_roots.py"],
    "image-usage": ["tools/selftest/image_usage.py"],
    "image-graph": ["tools/selftest/image_graph.py"],
    "image-mount": [*FUSE, "tools/selftest/image_mount.py"],
    "qmp": ["tools/selftest/qmp.py"],
    "packaging": ["tools/selftest/packaging.py"],
    "harness": ["tools/selftest/harness.py"],
    "budget": ["tools/bench/budget.py"],
    "fuzz": ["tools/fuzz/fuzz"],
    "device": [*LAB, *LONG, "--", *DEVICE, *TOOL],
    "access": [*LAB, *ACCESS],
    "live-amd64": [*LAB, *LONG, "--guest", "amd64", *LIVE, *ONCE, *ROOTS],
    "live-i686": [*LAB, *LONG, "--guest", "i686", *LIVE, *ROOTS],
    "newer-device": [*LAB, *LONG, *NEWER, "--", *FEWER, *DEVICE],
    "newer-live": [*LAB, *NEWER, "--guest", "amd64-la57", "--",
                   "tools/selftest/run", "tools/selftest/live_spaces.py",
                   "tools/selftest/samples.py", "tools/selftest/live_linux.py"],
    "debuggers": [*LAB, "--guest", "amd64-debug", "--", "tools/selftest/run",
                  "tools/selftest/live_debuggers.py"],
    "la57": [*LAB, *LONG, "--guest", "amd64-la57", *LIVE, *ONCE, *ROOTS],
    "pae": [*LAB, *LONG, "--guest", "i686-pae", *LIVE, *ONCE, *ROOTS],
    "roots": [*LAB, *LONG, "--guest", "amd64-pti", "--guest", "i686-pae-pti", "--",
              "tools/selftest/run", *ROOTS],
    "intel": ["tools/lab/intel", "--", "tools/selftest/run", "build/bin/vmm",
              "build/bin/uapi"],
    "sanitize-kunit": ["kunit/run", "--sanitizer"],
    "sanitize-device": [*LAB, *SANITIZER, "--timeout", "7200", "--", *FEWER,
                        *DEVICE, *TOOL, "build/bin/fail"],
    "sanitize-access": [*LAB, *SANITIZER, *ACCESS],
    "sanitize-live-amd64": [*LAB, *SANITIZER, "--timeout", "7200", "--guest",
                            "amd64", *LIVE, *ONCE],
    "sanitize-live-i686": [*LAB, *SANITIZER, "--timeout", "7200", "--guest",
                           "i686", *LIVE],
}

# The first ones to begin: what takes longest, behind what ends soon and is often wrong
FIRST = ("style", "live-amd64", "live-i686", "kunit", "debuggers", "newer-live",
         "image", "intel", "sanitize-live-amd64", "sanitize-live-i686")
# With nothing beside them: a lab without guests has two processors, which wait for each
# other where they share one of the machine's.
ALONE = ("device", "newer-device", "sanitize-device")

# Only when they are named: make test has no time for them, and parts in other steps
NAMED = ("la57", "pae", "roots")

# How often the emulation may die, in all steps together
BUDGET = 1
CONTROL = [*LAB, *GUESTS, "--without-vmem", "--", "tools/selftest/control.py"]
VERDICT = os.path.join(TOP, "build/lab/verdict")

# Of what was said before a failure: how many lines, and of what length
SAID = 4
LINE = 120

PLAN = re.compile(r"1\.\.(\d+)$")
RESULT = re.compile(r"(not )?ok \d+(?:.*# (SKIP|LOST)\b)?")
SUMMARY = re.compile(r"Testing complete\. Ran \d+ tests: (.*)$")
NOT_OK = re.compile(r"(?:not ok|\S* ?\[FAILED\]) (?:\d+ )?(?:- )?(.*)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Count:
    """What a step's output reports. @lost are those of the failed tests that
    say that it was for want of a guest."""

    def __init__(self):
        self.passed = self.failed = self.skipped = self.lost = 0
        self.planned = None     # results of the program at hand
        self.seen = 0
        self.broken = 0         # plans that were not kept
        self.failures = []      # name, and the lines before it
        self.said = []          # by the test at hand

    def fail(self, name):
        self.failures.append((name.strip(), self.said[-SAID:]))

    def line(self, line):
        line = COLOUR.sub("", line)
        if match := NOT_OK.match(line):
            self.fail(match[1])
        if line.startswith("# "):
            self.said.append(line[:LINE])
        else:
            self.said = []
        if match := PLAN.match(line):
            self.end_plan()
            self.planned, self.seen = int(match[1]), 0
        elif match := RESULT.match(line):
            self.seen += 1
            self.failed += bool(match[1])
            self.lost += bool(match[1] and match[2] == "LOST")
            self.skipped += not match[1] and match[2] == "SKIP"
            self.passed += not match[1] and match[2] != "SKIP"
        elif match := SUMMARY.search(line):
            for what, number in re.findall(r"(\w+): (\d+)", match[1]):
                self.kunit(what, int(number))

    def kunit(self, what, number):
        if what == "passed":
            self.passed += number
        elif what == "skipped":
            self.skipped += number
        else:
            self.failed += number

    def end_plan(self):
        """The program's output is over: are all of its results there?"""
        if self.seen != (self.planned or 0):
            self.broken += 1
            self.fail(f"plan not kept: {self.seen} results, not "
                      f"{self.planned or 'any'}")
        self.planned, self.seen = None, 0

    def ran(self):
        return self.passed + self.failed

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


class Tests:
    """All steps of a run, and how often the emulation died in them."""

    def __init__(self, steps, control=None, verdict=VERDICT):
        self.steps = steps
        self.control = control
        self.verdict = verdict
        self.total = Count()
        self.died = []          # in which steps
        self.controls = []      # what a control run says
        self.failures = []      # step, name, the lines before it
        self.lock = threading.Lock()
        self.held = {}          # what each step has said that is not shown yet
        self.ended = set()      # steps that say nothing more

    def say(self, step, text):
        """Show what a step says, or hold it back."""
        with self.lock:
            if step in self.held and step != next(iter(self.held)):
                self.held[step].append(text)
            else:
                print(text, flush=True)

    def end(self, step):
        """It says nothing more: what later ones have said is shown, up to the first one
        that has not ended, which goes on."""
        with self.lock:
            self.ended.add(step)
            while self.held and next(iter(self.held)) in self.ended:
                del self.held[next(iter(self.held))]
                for front in [*self.held][:1]:
                    for text in self.held[front]:
                        print(text, flush=True)
                    self.held[front] = []

    def attempt(self, name):
        """Run one step; its output goes through, counted. Returns the count, and
        how the step ended: "ended" with a status, or the lab's verdict."""
        command = self.steps[name]
        is_lab = command[:2] == LAB
        verdict = self.verdict + "-" + name
        if is_lab:
            command = [*LAB, "--verdict", verdict, *command[2:]]
            with contextlib.suppress(FileNotFoundError):
                os.remove(verdict)
        self.say(name, f"# {name}: {' '.join(self.steps[name])}")
        count = Count()
        step = subprocess.Popen(command, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, cwd=TOP,
                                stdin=subprocess.DEVNULL, text=True,
                                errors="replace")
        for line in step.stdout:
            line = line.rstrip("\n")
            count.line(line)
            self.say(name, line)
        status = step.wait()
        count.end_plan()
        if not is_lab:
            return count, "ended", str(status)
        try:
            with open(verdict) as file:
                how, _, why = file.read().strip().partition(" ")
        except FileNotFoundError:
            how, why = "failed", f"no verdict of the lab's, exit status {status}"
        return count, how, why

    def run_control(self, name):
        """The same guests without vmem: do they die there, too?"""
        if not self.control:
            return
        self.say(name, "# control: " + " ".join(self.control))
        done = subprocess.run([*self.control], cwd=TOP, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        said = done.stdout.strip().splitlines()[-1:] or ["# nothing said"]
        self.controls.append(f"{said[0].removeprefix('# ')}, status "
                             f"{done.returncode}")

    def may_die(self, name):
        with self.lock:
            if len(self.died) == BUDGET:
                return False
            self.died.append(name)
            return True

    def judge(self, name):
        """Run one step, and judge it as a whole. Returns its count."""
        before, failures = 0, []
        count, how, why = self.attempt(name)
        while how == "emulation" and self.may_die(name):
            before += count.failed - count.lost
            failures += [failure for failure in count.failures
                         if not failure[0].endswith("# LOST")]
            self.say(name, f"# {name}: the emulation died after {count}: {why}")
            self.run_control(name)
            count, how, why = self.attempt(name)
        count.failed += before
        count.failures = failures + count.failures
        if how != "ended":
            count.fail(f"{name}: {how}: {why}")
            count.failed += 1
        elif count.broken or why != "0" and not count.failed:
            count.fail(f"{name}: exit status {why}, {count.broken} plans not kept")
            count.failed += max(count.broken, 1)
        if not count.ran():
            count.fail(f"{name}: no test ran")
            count.failed += 1
        return count

    def run(self, name):
        with self.lock:
            self.held[name] = []
            self.ended.discard(name)
        begin = time.monotonic()
        count = self.judge(name)
        self.say(name, f"# {name}: {count} ({time.monotonic() - begin:.0f} s)")
        self.end(name)
        with self.lock:
            self.total.add(count)
            self.failures += [(name, *failure) for failure in count.failures]
        return count

    def run_all(self, names, lanes):
        with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
            for step in [pool.submit(self.run, name) for name in names
                         if name not in ALONE]:
                step.result()
        for name in names:
            if name in ALONE:
                self.run(name)

    def tell(self):
        if self.died:
            print(f"# the emulation died {len(self.died)} times of {BUDGET} that are "
                  f"allowed, in {', '.join(self.died)}; without vmem: "
                  f"{'; '.join(self.controls) or 'not tried'}")
        for step, name, said in self.failures:
            print(*said, f"# failed in {step}: {name}", sep="\n")
        print(self.total)


def main():
    names = sys.argv[1:]
    lanes = 1
    if names in ([], ["--sanitize"]):
        names = [name for name in STEPS
                 if name.startswith("sanitize-") == bool(names)
                 and name not in NAMED]
        names.sort(key=lambda name: (*FIRST, name).index(name))
        lanes = min(os.cpu_count(), 2)
    if unknown := set(names) - set(STEPS):
        sys.exit(f"test.py: no step {', '.join(unknown)}: "
                 f"there are {', '.join(STEPS)}")
    tests = Tests(STEPS, CONTROL)
    tests.run_all(names, lanes)
    tests.tell()
    sys.exit(tests.total.failed > 0)


if __name__ == "__main__":
    main()
