#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Hold what docs/ says against the source.

A test is named as PROGRAM/CASE, where PROGRAM is one of tools/selftest (a C
program, or a script with .py), or as kunit/CASE, or as fuzz/TARGET. Numbers are
compared with the headers, and sizes with the debugging information of the module
that `make module` built.
"""

import functools
import glob
import os
import re
import subprocess
import sys
import unittest

import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
LIMITS = "docs/limits.md"
UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@functools.lru_cache(maxsize=None)
def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def sources(*patterns):
    """All that is in these files, in one text."""
    names = [name for pattern in patterns
             for name in sorted(glob.glob(os.path.join(TOP, pattern),
                                          recursive=True))]
    return "\n".join(read(name) for name in names)


def tables(path):
    """The tables of a document: rows as dicts by the words of the head."""
    for block in re.findall(r"(?:^\|.*\n)+", read(path), re.M):
        lines = [[cell.strip() for cell in line.strip("|\n ").split("|")]
                 for line in block.splitlines()]
        yield [dict(zip(lines[0], line)) for line in lines[2:]]


def rows_with(path, *heads):
    """The rows of the one table that has these columns."""
    found = [rows for rows in tables(path) if set(heads) <= set(rows[0])]
    assert len(found) == 1, "%s: %d tables with %s" % (path, len(found), heads)
    return found[0]


# ---- Tests ----

def case_exists(program, case):
    if program == "kunit":
        return re.search(r"KUNIT_CASE\w*\(%s\b" % case, sources("kunit/*.c"))
    if program == "fuzz":
        return os.path.exists(os.path.join(TOP, "tools/fuzz", case + ".c"))
    path = "tools/selftest/" + program
    if program.endswith(".py"):
        return os.path.exists(os.path.join(TOP, path)) and \
            re.search(r"def %s\(" % case, read(path))
    return os.path.exists(os.path.join(TOP, path + ".c")) and \
        re.search(r'\{ "%s",' % case, read(path + ".c"))


def named_tests(path):
    return re.findall(r"`([\w.]+)/(\w+)`", read(path))


def documents():
    return ["docs/" + name for name in sorted(os.listdir(
        os.path.join(TOP, "docs"))) if name.endswith(".md")]


# ---- Numbers ----

@functools.lru_cache(maxsize=None)
def constants():
    text = sources("include/**/*.h", "vmem_*.c")
    text = re.sub(r"\\\n", " ", text)
    found = dict(re.findall(r"^#define (\w+)[ \t]+(.+?)(?:\s*/\*.*)?$", text,
                            re.M))
    return found | {"PAGE_SIZE": "4096"}


@functools.lru_cache(maxsize=None)
def size_of(what):
    module = glob.glob(os.path.join(TOP, "build/module/*/vmem.ko"))
    assert module, "there is no module: make module"
    said = subprocess.run(
        ["gdb", "-batch", "-nx", "-ex", "print sizeof(%s)" % what, module[0]],
        capture_output=True, text=True, check=True).stdout
    return int(re.search(r"\$1 = (\d+)", said)[1])


def value(text):
    """What a C expression of numbers, constants and sizes comes to."""
    text = re.sub(r"sizeof\(([^()]*)\)", lambda m: str(size_of(m[1])), text)
    text = re.sub(r"\bBIT(?:_ULL)?\((\w+)\)", r"(1 << \1)", text)
    text = re.sub(r"\b(\d+)[uUlL]+\b", r"\1", text)
    text = re.sub(r"\b[A-Z]\w+", lambda m: "(%d)" % value(constants()[m[0]]),
                  text)
    assert re.fullmatch(r"[\d\s()+*/<-]+", text), text
    return eval(text.replace("/", "//"))  # pylint: disable=eval-used


def in_words(number):
    """The same as the documents have it: to a tenth of the largest unit."""
    name = max((name for name in UNITS if number >= UNITS[name]),
               key=UNITS.get)
    return "%s %s" % (("%.1f" % (number / UNITS[name])).removesuffix(".0"),
                      name)


class Promises(unittest.TestCase):
    def test_tests(self):
        """docs: every test that is named exists"""
        seen = 0
        for path in documents():
            for program, case in named_tests(path):
                with self.subTest(document=path, test=program + "/" + case):
                    self.assertTrue(case_exists(program, case), "no such test")
                seen += 1
        tap.diagnostic("%d names" % seen)
        self.assertGreater(seen, 50)

    def test_files(self):
        """docs: every file that is named exists"""
        for path in documents():
            for name in re.findall(r"`((?:\w+/)+[\w.]+)`", read(path)):
                if name.split("/")[0] in ("tools", "docs", "include"):
                    with self.subTest(document=path):
                        self.assertTrue(os.path.exists(
                            os.path.join(TOP, name)), name)

    def test_rows(self):
        """docs: every promise and every limit names a test"""
        for path in documents():
            for rows in tables(path):
                for row in rows:
                    if "tests" in row:
                        with self.subTest(row=row):
                            self.assertRegex(row["tests"], r"`\w|\*\w")

    def test_counts(self):
        """docs: the counts are the source's"""
        for row in rows_with(LIMITS, "at most", "in the source"):
            name = row["in the source"].strip("`")
            if name:
                with self.subTest(limit=row["what"]):
                    self.assertEqual(row["at most"],
                                     format(value(name), ","))

    def test_sizes(self):
        """docs: the sizes are the source's"""
        for row in rows_with(LIMITS, "at most", "made of"):
            with self.subTest(limit=row["what"]):
                self.assertEqual(row["at most"],
                                 in_words(value(row["made of"].strip("`"))))

    def test_no_limit_is_missing(self):
        """docs: every limit of the source is there"""
        for name in constants():
            if name.startswith("VMEM_MAX_"):
                with self.subTest(constant=name):
                    self.assertIn("`%s`" % name, read(LIMITS))

    def test_errors(self):
        """docs: every error that a limit has is in the interface's list"""
        listed = re.findall(r"^ \* (-E\w+) ", read("include/uapi/linux/vmem.h"),
                            re.M)
        for row in rows_with(LIMITS, "one more"):
            for error in re.findall(r"-E\w+", row["one more"]):
                with self.subTest(limit=row["what"]):
                    self.assertIn(error, listed)


if __name__ == "__main__":
    sys.exit(tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(
        Promises)))
