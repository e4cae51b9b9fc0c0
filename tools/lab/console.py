#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the lab kernel's console says about a run.

The kernel's reports are found by their first lines, and each is given to whom
it belongs: to the emulation under the lab, or to what was being tested.

usage: console.py FILE    prints the first report in a console's log, and fails
"""

import re
import sys

# The processor was sent astray, or nowhere: emulated SVM does that to the lab
# now and then, and a bug of ours may.
DEATH = re.compile(r"BUG: unable to handle|BUG: kernel NULL pointer|"
                   r"BUG: .* stack guard page was hit|Oops: |"
                   r"general protection fault|PANIC: double fault|Kernel panic")

# Something took too long, which is what a machine does that was not run.
STALL = re.compile(r"BUG: soft lockup|BUG: workqueue lockup|"
                   r"INFO: rcu_\w+ .*\bstalls?\b|"
                   r"INFO: task .* blocked for more than")

# An assertion did not hold, or a sanitizer found something.
COMPLAINT = re.compile(r"WARNING: |BUG: |kernel BUG at|UBSAN: |"
                       r"kmemleak: \d+ new suspected|INFO: trying to register")

# What an NMI brings about, which the lab sends when no task runs any more
HUNG = re.compile(r"Kernel panic - not syncing: NMI: Not continuing")

# Where a report does not end before the next one begins
REPORT_LINES = 100

TASK = re.compile(r"\bComm: (.+?) (?:Not tainted|Tainted)|"
                  r"stuck for \d+s! \[(.+):\d+\]|"
                  r"INFO: task (.+):\d+ blocked")

# Where the run's own begins: lab-main says it before it loads vmem.
BEGIN = "vmem-lab: loading vmem"

NOTHING = "nothing"             # no report, or none that counts
EMULATION = "emulation"         # the emulation died, what ran says nothing
FAILURE = "failure"


class Report:
    """One report: what begins it, and the lines that belong to it."""

    def __init__(self, lines):
        self.title = lines[0].strip()
        self.lines = lines
        self.stall = bool(STALL.search(lines[0]))
        self.death = not self.stall and bool(DEATH.search(lines[0]))

    def tasks(self):
        return [next(filter(None, match.groups()))
                for match in map(TASK.search, self.lines) if match]

    def has(self, word):
        return any(word in line for line in self.lines)

    def of_vmem(self):
        return self.has("[vmem]")

    def asleep(self):
        """It is of processors that had nothing to do."""
        tasks = self.tasks()
        return not self.of_vmem() and bool(tasks) and all(
            task.startswith("swapper/") for task in tasks)

    def idle(self):
        """A processor that had nothing to do and was late at it: the emulation
        did not run it, or the machine was paused."""
        return self.stall and self.asleep()

    def lost_clock(self):
        """Nothing runs and nothing is to run: no timer comes any more. Had a
        processor been busy, another one's timer would have told."""
        return bool(HUNG.search(self.title)) and self.asleep()

    def in_guest(self):
        return self.has("svm_vcpu_run") or "qemu-system-x86" in self.tasks()


def reports(lines):
    """The reports in a console's lines, in order."""
    starts = [number for number, line in enumerate(lines)
              if STALL.search(line) or DEATH.search(line)
              or COMPLAINT.search(line)]
    ends = starts[1:] + [len(lines)]
    return [Report(lines[start:min(end, start + REPORT_LINES)])
            for start, end in zip(starts, ends)]


def judge(found):
    """Whose fault the reports are. The first decides, as the others may follow
    from it; but none may have vmem in its trace if it is to be the emulation's:
    a death in a guest's vCPU, something that was not run for long, or a clock that
    stands still.
    """
    counted = [report for report in found if not report.idle()]
    if not counted:
        return NOTHING
    if any(report.of_vmem() for report in counted):
        return FAILURE
    first = counted[0]
    if first.stall or first.lost_clock():
        return EMULATION
    # An oops begins with several such lines, and the last has the trace.
    if first.death and any(report.in_guest() for report in counted):
        return EMULATION
    return FAILURE


def excerpt(found, count=40):
    """From the first report that counts on, as the console has it."""
    lines = []
    for report in found:
        if lines or not report.idle():
            lines += report.lines
    return lines[:count]


class Console:
    """The console's log, read as it grows."""

    def __init__(self, path):
        open(path, "ab").close()        # QEMU has yet to make it
        self.file = open(path, "rb", buffering=0)
        self.lines = []
        self.rest = b""         # a line that has no end yet

    def read(self):
        """Returns the lines that are new."""
        data = self.rest + b"".join(iter(lambda: self.file.read(1 << 20), b""))
        *lines, self.rest = data.split(b"\n")
        new = [line.decode(errors="replace").rstrip("\r") for line in lines]
        self.lines += new
        return new

    def begin(self):
        """Where vmem was loaded, or 0 if it never was."""
        return next((number for number, line in enumerate(self.lines)
                     if BEGIN in line), 0)

    def reports(self):
        return reports(self.lines[self.begin():])

    def boot_reports(self):
        return reports(self.lines[:self.begin()])


def main():
    log = Console(sys.argv[1])
    log.read()
    found = log.reports()
    for line in excerpt(found):
        print("# " + line)
    return judge(found) != NOTHING


if __name__ == "__main__":
    sys.exit(main())
