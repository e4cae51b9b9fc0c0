#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the tests on each kernel of tools/kernels, and write what came of it.

usage: matrix.py [VERSION[:STEP]]...

Without VERSION, on all of them. For each: builds the module, with the compiler of
the kernel's suite; runs the device's tests and those of access; and those on live
guests, whose kernels are the lab's own and 6.12. With STEP, the head of a column,
only that one. The tables of docs/kernels.md are written anew after each step: rows
of kernels that were not run stay, cells of steps that were not, and the causes that
somebody wrote beside a failure.
"""

import os
import re
import subprocess
import sys
import time

import test

sys.path.append(os.path.join(test.TOP, "tools/lab"))

from kernels import Kernel, versions            # noqa: E402

TOP = test.TOP
TABLE = os.path.join(TOP, "docs/kernels.md")
GUESTS = ("6.1", "6.12")
HEAD = ("kernel", "release", "compiler", "device", "access",
        *("guests of " + version for version in GUESTS), "when", "minutes")
FAILED = ("kernel", "step", "failed", "cause")
UNKNOWN = "not known yet"


class Table:
    """A Markdown table, and its place in a document: behind its head."""

    def __init__(self, text, head):
        self.head = head
        top = "| %s |\n|%s\n" % (" | ".join(head), "---|" * len(head))
        before, _, behind = text.partition(top)
        assert behind or text.endswith(top), "no table of " + ", ".join(head)
        lines = re.match(r"(?:\|.*\n)*", behind)[0]
        self.old = top + lines
        self.rows = [[cell.strip() for cell in line.strip("|\n").split("|")]
                     for line in lines.splitlines()]

    def text(self):
        return "| %s |\n|%s\n" % (" | ".join(self.head), "---|" * len(self.head)) \
            + "".join("| %s |\n" % " | ".join(row) for row in self.rows)


class Document:
    """docs/kernels.md"""

    def __init__(self):
        with open(TABLE, encoding="utf-8") as file:
            self.text = file.read()
        self.kernels = Table(self.text, HEAD)
        self.failures = Table(self.text, FAILED)

    def row(self, version):
        """What it has of a kernel, by column"""
        for row in self.kernels.rows:
            if row[0] == version:
                return dict(zip(HEAD, row))
        return {}

    def set_row(self, row):
        rows = {old[0]: old for old in self.kernels.rows}
        rows[row[0]] = row
        self.kernels.rows = [rows[version] for version in versions()
                             if version in rows]

    def set_failures(self, version, step, names):
        causes = {tuple(row[:3]): row[3] for row in self.failures.rows}
        others = [row for row in self.failures.rows
                  if row[:2] != [version, step] and row[0] in versions()
                  and row[1] in HEAD]
        self.failures.rows = sorted(
            others + [[version, step, name,
                       causes.get((version, step, name), UNKNOWN)]
                      for name in names],
            key=lambda row: (versions().index(row[0]), HEAD.index(row[1])))

    def write(self):
        text = self.text
        for table in (self.kernels, self.failures):
            text = text.replace(table.old, table.text())
            table.old = table.text()
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write(text)
        self.text = text


def steps(version):
    lab = [*test.LAB, "--kernel", version]
    given = {"device": [*lab, "--timeout", "5400", "--", *test.DEVICE,
                        *test.TOOL],
             "access": [*lab, *test.ACCESS]}
    for guest in GUESTS:
        given["guests of " + guest] = [
            *lab, "--guest-kernel", guest, "--timeout", "7200", *test.GUESTS,
            *test.LIVE, *test.ONCE]
    return given


def compiler(release):
    """As the module itself says"""
    said = subprocess.run(
        ["readelf", "-p", ".comment", os.path.join(
            TOP, "build/module", release, "vmem.ko")],
        stdout=subprocess.PIPE, text=True, check=True).stdout
    return "gcc " + re.search(r"GCC: \(.*\) (\d+\.\d+)", said)[1]


def run(version, only, document):
    """All steps of a kernel, or only one"""
    begin = time.monotonic()
    release = Kernel.debian("amd64", version).release
    row = dict.fromkeys(HEAD, "not run")
    built = subprocess.run(["tools/module.sh", version, "build/module",
                            "--tests"],
                           cwd=TOP, check=False).returncode == 0
    old = document.row(version)
    if only and built and old.get("release") == release:
        row.update(old)
    row.update(kernel=version, release=release,
               when=time.strftime("%Y-%m-%d"), compiler="does not build")
    if built:
        row["compiler"] = compiler(release)
    tests = test.Tests(steps(version))
    document.set_failures(version, "compiler",
                          [] if built else ["it does not build"])
    for name in tests.steps if built else ():
        if only and name != only:
            continue
        row[name] = str(tests.run(name))
        if not only:
            row["minutes"] = "%.0f" % ((time.monotonic() - begin) / 60)
        document.set_failures(version, name, dict.fromkeys(
            failed.replace("|", "/") for step, failed, _ in tests.failures
            if step == name))
        document.set_row([row[column] for column in HEAD])
        document.write()
    document.set_row([row[column] for column in HEAD])
    document.write()
    return built and not tests.total.failed


def main():
    wanted = [word.partition(":")[::2] for word in sys.argv[1:] or versions()]
    if unknown := {version for version, _ in wanted} - set(versions()):
        sys.exit("matrix.py: no kernel %s: tools/kernels has %s"
                 % (", ".join(unknown), ", ".join(versions())))
    if unknown := {only for _, only in wanted} - {"", *steps("")}:
        sys.exit("matrix.py: no step %s: there are %s"
                 % (", ".join(unknown), ", ".join(steps(""))))
    document = Document()
    good = [run(version, only, document) for version, only in wanted]
    print("%d of %d kernels without a failure" % (sum(good), len(good)))
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
