#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run all tests, pass their output on, and count what really ran.

usage: test.py [--sanitize | STEP...]

Without arguments, all steps but those on the kernel with sanitizers, whose names
begin with "sanitize-"; with --sanitize, those.

Every step prints KTAP, or is kunit.py, which prints a summary of its own. A
step that ends with an error although no test in it failed, or in which no test
ran, counts as one failure. If the emulation under the lab let a guest die, the
step is run once more, twice at most, and that is said. The last line is
"N passed, N failed", with ", N skipped" where that is so.
"""

import os
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

LAB = ["tools/lab/lab", "run"]
GUESTS = ["--guest", "amd64", "--guest", "i686"]
SANITIZER = ["--kernel", "build/sanitizer/arch/x86/boot/bzImage"]

DEVICE = ["tools/selftest/run", "build/bin/vmm", "build/bin/uapi",
          "build/bin/fields", "build/bin/edges", "build/bin/spaces",
          "build/bin/debugfs", "build/bin/snapshot", "build/bin/restore",
          "build/bin/pages", "build/bin/untouched",
          "build/bin/signals", "build/bin/trace", "build/bin/limits",
          "build/bin/torn", "build/bin/hostile", "build/bin/sessions",
          "build/bin/fuzz-ioctl", "build/bin/events"]
# How often, where all is nine times as slow
FEWER = ["env", "VMEM_STATES=1000", "VMEM_TRANSLATIONS=10000",
         "VMEM_SECONDS=2", "VMEM_CALLS=1000", "VMEM_TIMES=2"]
# On its own: it locks the kernel down.
ACCESS = ["--", "env", "VMEM_LOCKDOWN=1", "tools/selftest/run",
          "build/bin/access"]
LIVE = ["--", "tools/selftest/run", "tools/selftest/live.py",
        "tools/selftest/live_spaces.py", "tools/selftest/live_snapshot.py",
        "tools/selftest/live_memory.py", "tools/selftest/samples.py",
        "tools/selftest/docs.py"]

STEPS = {
    "style": ["tools/style.sh"],
    "kunit": ["kunit/run"],
    "promises": ["tools/selftest/promises.py"],
    "libvmem": ["tools/selftest/libvmem.py"],
    "image": ["tools/selftest/image.py"],
    "console": ["tools/selftest/lab_console.py"],
    "budget": ["tools/bench/budget.py"],
    "fuzz": ["tools/fuzz/fuzz"],
    "device": [*LAB, "--", *DEVICE],
    "access": [*LAB, *ACCESS],
    "live": [*LAB, *GUESTS, *LIVE],
    "sanitize-kunit": ["kunit/run", "--sanitizer"],
    "sanitize-device": [*LAB, *SANITIZER, "--timeout", "3600", "--", *FEWER,
                        *DEVICE, "build/bin/fail"],
    "sanitize-access": [*LAB, *SANITIZER, *ACCESS],
    "sanitize-live": [*LAB, *SANITIZER, *GUESTS, *LIVE],
}

RESULT = re.compile(r"^(not )?ok \d+(?:.*# (SKIP)\b)?")
SUMMARY = re.compile(r"Testing complete\. Ran \d+ tests: (.*)$")
# The lab's exit status where a guest died, or the lab in a guest's vCPU, without
# a trace of vmem. What failed because of that says nothing.
EMULATION_DIED = 126

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def line(self, line):
        """Count what one line of a step's output reports."""
        line = COLOUR.sub("", line)
        if match := RESULT.match(line):
            if match[1]:
                self.failed += 1
            elif match[2]:
                self.skipped += 1
            else:
                self.passed += 1
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

    def ran(self):
        return self.passed + self.failed

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def attempt(name):
    """Run one step; its output goes through, counted."""
    count = Count()
    print(f"# {name}: {' '.join(STEPS[name])}", flush=True)
    step = subprocess.Popen(STEPS[name], stdout=subprocess.PIPE, cwd=TOP,
                            stdin=subprocess.DEVNULL, text=True,
                            errors="replace")
    for line in step.stdout:
        count.line(line.rstrip("\n"))
        sys.stdout.write(line)
        sys.stdout.flush()
    return step.wait(), count


def run(name):
    """Run one step, and judge it as a whole."""
    begin = time.monotonic()
    status, count = attempt(name)
    for _ in range(2):
        if status != EMULATION_DIED:
            break
        print(f"# {name}: the emulation died after {count}: once more",
              flush=True)
        status, count = attempt(name)
    if status and not count.failed:
        print(f"not ok - {name}: exit status {status}, no test says why")
        count.failed += 1
    if not count.ran():
        print(f"not ok - {name}: no test ran")
        count.failed += 1
    print(f"# {name}: {count} ({time.monotonic() - begin:.0f} s)", flush=True)
    return count


def main():
    names = sys.argv[1:]
    if names in ([], ["--sanitize"]):
        names = [name for name in STEPS
                 if name.startswith("sanitize-") == bool(names)]
    if unknown := set(names) - set(STEPS):
        sys.exit(f"test.py: no step {', '.join(unknown)}: "
                 f"there are {', '.join(STEPS)}")
    total = Count()
    for name in names:
        total.add(run(name))
    print(total)
    sys.exit(total.failed > 0)


if __name__ == "__main__":
    main()
