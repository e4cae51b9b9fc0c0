#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Names of the module: each has one meaning.

No static name stands in two files of the module, so that a name in a trace or in
a search leads to one place; and no static name, struct or macro has a name that
the kernel's headers have.

usage: names.py LINUX    LINUX: a kernel's source tree
"""

import collections
import glob
import os
import re
import sys

# What the kernel wants defined under these names.
THEIRS = {"pr_fmt", "CREATE_TRACE_POINTS"}

# A macro that defines something has its name as an argument.
STATIC = re.compile(
    r"^static\b(?:\s+[A-Z_]+\(|[^;={(]*?)(\w+)\s*(?:\[[^\]]*\]\s*)*[=;({),]",
    re.M)
TYPE = re.compile(r"^((?:struct|union|enum) \w+)\s*\{", re.M)
MACRO = re.compile(r"^#\s*define\s+(\w+)", re.M)
FUNCTION = re.compile(
    r"^(?:extern|static|[a-z_][\w ]*\*?)\b[^;={()#\n]*?\b(\w+)\(", re.M)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def names(path):
    """What a file of the module keeps to itself."""
    text = read(path)
    return {match[1] for pattern in (STATIC, TYPE, MACRO)
            for match in pattern.finditer(text)} - THEIRS


def headers(linux):
    for top in ("include", "arch/x86/include"):
        for folder, folders, files in os.walk(os.path.join(linux, top)):
            folders[:] = [name for name in folders if name != "uapi"]
            for name in files:
                if name.endswith(".h"):
                    yield os.path.join(folder, name)


def taken(linux):
    """The names that the kernel's headers have, and in which of them."""
    found = {}
    for path in headers(linux):
        text = read(path)
        for pattern in (TYPE, MACRO, FUNCTION):
            for match in pattern.finditer(text):
                found.setdefault(match[1], os.path.relpath(path, linux))
    return found


def main():
    where = collections.defaultdict(list)
    for path in sorted(glob.glob("vmem_*.c") + glob.glob("arch_*.c")):
        for name in names(path):
            where[name].append(path)
    assert len(where) > 100, "names.py finds no names any more"
    theirs = taken(sys.argv[1])
    assert {"struct path", "min", "kfree"} <= set(theirs), \
        "names.py finds no names of the kernel's"

    wrong = ["%s: %s too has %s" % (*sorted(paths)[:2], name)
             for name, paths in where.items() if len(paths) > 1]
    wrong += ["%s: the kernel's %s has %s" % (paths[0], theirs[name], name)
              for name, paths in where.items() if name in theirs]
    print("\n".join(sorted(wrong)))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
