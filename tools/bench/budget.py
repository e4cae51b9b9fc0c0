#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Count the instructions of the core's hot paths, and hold them to budgets.

usage: budget.py [--update]

Runs the core in user space under callgrind, over guests that are made up with
a fixed seed: no clock, so no noise. The budgets are in tools/bench/budgets.
--update writes what was counted there, with a tenth to spare. Prints KTAP.
"""

import math
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("O") or os.path.join(TOP, "build")
COUNTED = os.path.join(BUILD, "bin/bench-counted")
BUDGETS = os.path.join(HERE, "budgets")

sys.path.insert(0, os.path.join(TOP, "tools/selftest"))
sys.dont_write_bytecode = True

import tap                                      # noqa: E402

MARGIN = 1.1
STALE = 0.7

LINE = re.compile(r"^([\w-]+)( +)([\d.]+)(  .*)$")


def budgets():
    """The lines of the file; those that are budgets as (name, budget, unit)."""
    with open(BUDGETS, encoding="utf-8") as file:
        for line in file.read().splitlines():
            match = LINE.match(line)
            yield line, match and (match[1], float(match[3]),
                                   match[4].strip())


def instructions(path):
    """What each path took, from callgrind's dumps."""
    took, name = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("desc: Trigger: "):
                name = line.split(": ")[-1].strip()
            elif line.startswith("totals: "):
                took[name] = int(line.split()[1])
    return took


def count():
    """Instructions of each path for one of its units."""
    subprocess.run(["make", "-s", "-C", HERE, "O=" + BUILD, "counted"],
                   check=True, stdout=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        done = subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no",
             "--combine-dumps=yes", "--callgrind-out-file=" + out, COUNTED],
            check=True, stdout=subprocess.PIPE, text=True)
        took = instructions(out)
    counts = {}
    for line in done.stdout.splitlines():
        name, units, *less = line.split()
        off = took[less[1]] if less else 0
        counts[name] = (took[name] - off) / int(units)
    return counts


def three_digits(number):
    """Rounded up, so that a budget has no digits that mean nothing."""
    scale = 10 ** (math.floor(math.log10(number)) - 2)
    return "%g" % (math.ceil(number / scale) * scale)


def update(counts):
    lines = []
    for line, budget in budgets():
        if budget:
            name, _, unit = budget
            line = "%-20s %6s  %s" % (
                name, three_digits(MARGIN * counts[name]), unit)
        lines.append(line)
    with open(BUDGETS, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


class Budget(unittest.TestCase):
    def __init__(self, name, budget, unit, counted):
        super().__init__("kept")
        self.name, self.budget, self.unit = name, budget, unit
        self.counted = counted

    def shortDescription(self):
        return "budget: %s: %.1f of %g instructions for each %s" % (
            self.name, self.counted, self.budget, self.unit)

    def kept(self):
        if self.counted > self.budget:
            self.fail("over budget: %.1f instructions" % self.counted)
        if self.counted < STALE * self.budget:
            self.fail("far below its budget, which says nothing any more: "
                      "run tools/bench/budget.py --update")


def main():
    if sys.argv[1:] not in ([], ["--update"]):
        sys.exit(__doc__)
    counts = count()
    if sys.argv[1:]:
        update(counts)
    wanted = [budget for _, budget in budgets() if budget]
    if {name for name, _, _ in wanted} != set(counts):
        sys.exit("budget.py: the paths counted are not those of the budgets")
    return tap.run(unittest.TestSuite(
        Budget(*budget, counts[budget[0]]) for budget in wanted))


if __name__ == "__main__":
    sys.exit(main())
