#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl graph on images: the numbers in its pictures are those of random tables,
counted once more here, and what it draws has its bounds.

Needs no lab, no module and no root, but Graphviz. As in image.py, everything is asked
twice: of vmemctl as it is built, and of one that the compiler's sanitizers watch.
"""

import collections
import json
import os
import random
import re
import resource
import subprocess
import sys
import unittest
import unittest.mock
import xml.etree.ElementTree

import image
import image_roots
import images
import tap
from images import NX, P, PAGE, PS, U, W

SEED = 20261129
FORESTS = 12                            # of each mode
MAX_NODES = 8                           # as in graph_nodes.h

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}title"

# By --arch: entry, levels from the root down, bits of an index
MODES = {"amd64": ("<Q", 4, 9), "i686": ("<I", 2, 10)}


class Forest:
    """Spaces with tables that are shared at random, and who shares what"""

    def __init__(self, arch, rng, spaces=8, tables=4, entries=5):
        entry, self.levels, self.bits = MODES[arch]
        self.memory = images.Memory(entry)
        self.arch, self.next = arch, PAGE
        self.below = {}                 # of each table: {index: table or None}
        lower = []
        for level in range(1, self.levels):
            lower = [self.table(level, lower, rng, entries)
                     for _ in range(tables)]
        self.roots = [self.table(self.levels, lower, rng, entries)
                      for _ in range(spaces)]
        self.count()

    def table(self, level, lower, rng, entries):
        gpa, self.next = self.next, self.next + PAGE
        self.below[gpa] = {}
        for _ in range(rng.randrange(1, entries + 1)):
            self.put(gpa, rng.randrange(1 << self.bits), rng.choice(lower) if
                     level > 1 else None, rng.choice((0, W)) | P | U)
        return gpa

    def put(self, gpa, index, below, rights):
        self.memory.table(gpa, {index: rights | (below or 0x40000000)})
        self.below[gpa][index] = below

    def count(self):
        """As the walk goes: owners, references, and what is below"""
        self.refs = collections.Counter()
        self.above, self.users = {}, collections.defaultdict(set)
        for root in self.roots:
            self.visit(root, ())
        self.shared = set(self.refs)
        for root in self.roots:
            for table in self.reach(root):
                self.users[table].add(root)

    def visit(self, table, path):
        if table in self.above:
            self.refs[table] += 1
            return
        self.above[table] = path
        for _, below in sorted(self.below[table].items()):
            if below:
                self.visit(below, (*path, table))

    def reach(self, table):
        below = {table}
        for other in set(self.below[table].values()) - {None}:
            below |= self.reach(other)
        return below

    def pages(self, table, stop=frozenset()):
        """How many are mapped, but for those by the tables where it is to stop"""
        return sum(1 if below is None else 0 if below in stop else
                   self.pages(below, stop)
                   for below in self.below[table].values())

    def nodes(self):
        """{users: (tables, references, bytes)}"""
        nodes = collections.defaultdict(lambda: [0, 0, 0])
        for table in self.shared:
            users = frozenset(self.users[table])
            above = [other for other in self.above[table] if other in self.shared]
            nodes[users][0] += 1
            nodes[users][1] += self.refs[table]
            if not above or self.users[above[-1]] != users:
                nodes[users][2] += self.pages(table) * PAGE
        return nodes

    def stacks(self):
        """{what they use: (spaces, bytes)}"""
        stacks = collections.defaultdict(lambda: [0, 0])
        for root in self.roots:
            uses = frozenset(users for users in self.nodes() if root in users)
            stacks[uses][0] += 1
            stacks[uses][1] += self.pages(root, self.shared) * PAGE
        return stacks


def number(row, name):
    return int(row[name])


def title_of(element):
    return element.findtext(SVG + "title") or ""


class Graph(image.Case):
    def options(self, forest):
        path = self.file(forest.memory.raw(), "forest")
        return ["--image", path, "--arch", forest.arch, "--cr3",
                ",".join("%x" % root for root in forest.roots)]

    def dot(self, options, *words):
        """What is drawn of spaces: nodes of tables, of spaces, edges"""
        done = self.ask([*options, "graph", *words])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertLess(len(done.stdout), 200000)
        parsed = subprocess.run(["dot", "-Tjson"], input=done.stdout, check=True,
                                capture_output=True, timeout=image.SECONDS)
        self.assertEqual(parsed.stderr, b"")
        answer = json.loads(parsed.stdout)
        rows = answer["objects"]
        return ([row for row in rows if row["name"][0] == "t"],
                [row for row in rows if row["name"][0] == "s"],
                answer.get("edges", []))

    def svg(self, options, *words):
        """The SVG in a file"""
        path = os.path.join(self.folder, "picture.svg")
        done = self.ask([*options, "graph", "-o", path, *words])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        return xml.etree.ElementTree.parse(path).getroot()

    def check_sums(self, forest, nodes, stacks, edges):
        self.assertEqual(sum(number(row, "tables") for row in nodes),
                         len(forest.shared))
        self.assertEqual(sum(number(row, "spaces") for row in stacks),
                         len(forest.roots))
        for rows in nodes, edges:
            self.assertEqual(sum(number(row, "references") for row in rows),
                             sum(forest.refs.values()))
        self.assertLessEqual(max(len(nodes), len(stacks)), MAX_NODES)

    def check_told(self, options, forest):
        """spaces and aliases count the same."""
        text = self.ask([*options, "aliases"]).stdout.decode()
        self.assertIn("\n%d shared table" % len(forest.shared), "\n" + text)
        self.assertRegex(text, r"total: %d space.* %d reference" % (
            len(forest.roots), sum(forest.refs.values())))

    def test_forests(self):
        """spaces that use the same tables are one node, and the tables another"""
        rng = random.Random(SEED)
        kinds = 0
        for index in range(FORESTS * len(MODES)):
            arch = list(MODES)[index % len(MODES)]
            forest = Forest(arch, rng, rng.randrange(2, 9), rng.randrange(1, 5))
            if not forest.shared:
                continue
            with self.subTest(forest=index):
                options = self.options(forest)
                nodes, stacks, edges = self.dot(options)
                self.check_sums(forest, nodes, stacks, edges)
                self.check_told(options, forest)
                want, kinds = forest.nodes(), kinds + len(nodes)
                if max(len(want), len(forest.stacks())) > MAX_NODES:
                    continue
                self.assertEqual(
                    sorted((number(row, "users"), number(row, "tables"),
                            number(row, "references"), number(row, "bytes"))
                           for row in nodes),
                    sorted((len(users), *row) for users, row in want.items()))
                self.assertEqual(
                    sorted((number(row, "spaces"), number(row, "bytes"))
                           for row in stacks),
                    sorted(map(tuple, forest.stacks().values())))
                self.assertEqual(len(edges), sum(map(len, forest.stacks())))
        self.assertGreater(kinds, 4 * FORESTS)

    def test_processes(self):
        """processes of a kernel are one node, and so are the kernel's tables"""
        forest = Forest("amd64", random.Random(SEED), 0, 1)
        kernel = [forest.table(3, [2 * PAGE], random.Random(SEED), 3)
                  for _ in range(9)]
        for index in range(100):
            root, table, lower, lowest = (forest.next + i * PAGE
                                          for i in range(4))
            forest.next += 4 * PAGE
            forest.roots.append(root)
            forest.below.update({root: {}, table: {}, lower: {}, lowest: {}})
            for slot, shared in enumerate(kernel):
                forest.put(root, 300 + slot, shared, P | W)
            forest.put(root, 1, table, P | W | U)
            forest.put(table, 0, lower, P | W | U)
            forest.put(lower, 0, lowest, P | W | U)
            for page in range(index + 1):
                forest.put(lowest, page, None, P | U)
        forest.count()
        nodes, stacks, edges = self.dot(self.options(forest))
        self.check_sums(forest, nodes, stacks, edges)
        self.assertEqual((len(nodes), len(stacks), len(edges)), (1, 1, 1))
        text = " ".join(
            title_of(element) + element.get(LINK, "") for element in
            self.svg(self.options(forest)).iter())
        for root in forest.roots:
            self.assertRegex(text, r"root %x\b" % root)

    def test_thousands(self):
        """thousands of spaces that all differ are a picture of the same size"""
        forest = Forest("i686", random.Random(SEED), 4096, 60, 9)
        nodes, stacks, edges = self.dot(self.options(forest))
        self.check_sums(forest, nodes, stacks, edges)
        self.assertEqual((len(nodes), len(stacks)), (MAX_NODES, MAX_NODES))
        self.assertGreater(number(nodes[-1], "kinds"), 1)

    def test_bounds(self):
        """more than a picture shows is refused, and no matter of hours"""
        memory = images.Memory("<Q")        # 2^36 pages
        for gpa in (0x1000, 0x2000, 0x3000):
            memory.table(gpa, dict.fromkeys(range(512), gpa + PAGE | P | W | U))
        memory.table(0x4000, {i: 0x5000 | P | U | i % 2 * W for i in range(512)})
        path = self.file(memory.raw())
        options = ["--image", path, "--arch", "amd64"]
        self.refuses([*options, "--cr3", "1000", "graph"], "more rows than")
        count = 33 * 512                    # PTs, which two spaces use
        memory = images.Memory("<Q")
        for root in (0x1000, 0x2000):
            memory.table(root, {0: (root + 0x2000) | P | W | U})
            memory.table(root + 0x2000, {
                i: (root << 8) + i * PAGE | P | W | U for i in range(33)})
            for i in range(count):
                memory.table((root << 8) + i // 512 * PAGE, {
                    i % 512: 0x300000 + i * PAGE | P | W | U})
        path = self.file(memory.raw())
        os.truncate(path, 0x300000 + count * PAGE)
        self.refuses([*options, "--cr3", "1000,2000", "graph"],
                     "%d tables are shared, too many" % count)

    def test_all(self):
        """--all draws the processes, in each mode"""
        for arch in image_roots.MODES:
            kernel = image_roots.Kernel(arch)
            known = [kernel.process() for _ in range(5)][0]
            nodes, stacks, _ = self.dot(
                ["--image", self.file(kernel.image()), "--arch", arch, "--cr3",
                 "%x" % known, "--all"])
            self.assertEqual([number(row, "spaces") for row in stacks], [5])
            self.assertTrue(all(number(row, "users") == 5 for row in nodes))

    def test_vcpus(self):
        """spaces in which vCPUs are say so"""
        path = self.file(images.amd64_core())
        text = " ".join(self.svg(["--image", path, "--cr3", "1000,5000"]
                                 ).itertext())
        self.assertRegex(text, r"(?s)1000\s+vCPU 0\s.*5000\s+vCPU 1\s")

    # --- maps of one space ---

    def rows(self, svg):
        return [row for row in svg.iter(SVG + "g") if row.get("data-bytes")]

    def check_map(self, image_file, *options):
        svg = self.svg(["--image", image_file, *options])
        text = self.ask(["--image", image_file, *options, "maps"]
                        ).stdout.decode()
        lines = [re.match(r"(\w+)-(\w+) \w+ +\w+ (\S+)", line).groups()
                 for line in text.splitlines()[:-1]]
        sizes = collections.Counter()
        for va, last_va, rights in lines:
            sizes[rights] += int(last_va, 16) - int(va, 16) + 1
        rows = self.rows(svg)
        self.assertEqual(sum(int(row.get("data-bytes")) for row in rows),
                         sum(sizes.values()))
        self.assertEqual(sum(int(row.get("data-mappings")) for row in rows),
                         len(lines))
        for row in rows:
            parts = [title_of(rect) for rect in row.iter(SVG + "rect")]
            self.assertEqual(
                sum(int(re.search(r"mappings: (\d+)", part)[1])
                    for part in parts if part), int(row.get("data-mappings")))
        self.assertLess(int(svg.get("height")), 1000)
        return svg, sizes

    def test_maps(self):
        """what a map shows is what maps lists"""
        for data, options in ((images.amd64_core(), ()),
                              (images.amd64_core(), ("--vcpu", "1")),
                              (images.i686_core(), ()), (images.pae_core(), ())):
            svg, sizes = self.check_map(self.file(data), *options)
            text = " ".join(svg.itertext())
            self.assertEqual("nothing is writable and executable" in text,
                             not sizes.keys() & {"rwxu", "rwxs"})

    def test_map_of_much(self):
        """thousands of mappings, of pages of all sizes, fit a screen"""
        rng = random.Random(SEED)
        memory = images.Memory("<Q")
        top, middle, low = 0x1000, range(0x2000, 0x2a000, PAGE), 0x40000
        memory.table(top, {rng.randrange(512): table | P | W | U
                           for table in middle})
        for table in middle:
            memory.table(table, {rng.randrange(512): low | P | W | U,
                                 rng.randrange(512): 1 << 30 | PS | P | NX})
            memory.table(low, {
                rng.randrange(512): rng.choice((low + PAGE, PS)) |
                rng.choice((0, W)) | P | U for _ in range(3)})
            memory.table(low + PAGE, {
                rng.randrange(512): 0x10000 | P | rng.choice((0, W)) |
                rng.choice((0, NX)) | rng.choice((0, U)) for _ in range(120)})
            low += 2 * PAGE
        path = self.file(memory.raw())
        svg, sizes = self.check_map(path, "--arch", "amd64", "--cr3", "1000")
        self.assertGreaterEqual(len(sizes), 7)
        self.assertGreater(len(self.rows(svg)), 20)
        self.assertLess(os.stat(os.path.join(self.folder, "picture.svg")).st_size,
                        3 << 20)

    def test_map_of_nothing(self):
        """a space or a range without a mapping"""
        memory = images.Memory("<Q")
        memory.page(0x1000)
        path = self.file(memory.raw())
        svg = self.svg(["--image", path, "--arch", "amd64", "--cr3", "1000"])
        self.assertEqual(" ".join(svg.itertext()).count("nothing is mapped"), 2)
        svg = self.svg(["--image", self.file(images.amd64_core())],
                       "400000", "400fff")
        self.assertEqual([row.get("data-bytes") for row in self.rows(svg)],
                         [str(PAGE)])

    # --- files ---

    def test_names(self):
        """a path that is no text for XML stands in the picture all the same"""
        for name, shown in (("a&b<c>\"d'$(e)\\n", "a&b<c>\"d'$(e)\\n"),
                            ("\x01\x7f\n\x1b[0m", "????[0m"),
                            ("grün", "grün"), (b"\xff\xfe\xc3", "???"),
                            ("a\ufffe\uffff", "a??????"), ("<!--]]>", "<!--]]>")):
            path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
            with open(path, "wb") as file:
                file.write(images.amd64_core())
            for roots in ("1000", "1000,5000"):
                svg = self.svg(["--image", os.fsdecode(path), "--cr3", roots])
                self.assertIn("/" + shown + ", 4-level", "".join(svg.itertext()))

    def with_path(self, path):
        return unittest.mock.patch.dict(os.environ, PATH=path)

    def with_dot(self, script):
        """Another dot in its place"""
        path = os.path.join(self.folder, "dot")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)
        return self.with_path(self.folder + ":/usr/bin:/bin")

    def test_dot(self):
        """dot has no rights that are more than nobody's"""
        core = self.file(images.amd64_core())
        with self.with_dot(
                "cat >/dev/null; echo \"<x>$(id -u) $(id -g) $(id -G)"
                "$(grep -hE 'Cap...|NoNew' /proc/self/status | tr -d '\\n')</x>\""):
            svg = self.svg(["--image", core, "--cr3", "1000,5000"])
        self.assertRegex(svg.text, r"NoNewPrivs:\s*1$")
        if os.geteuid():
            self.assertEqual(svg.text.split()[0], str(os.geteuid()))
            return
        self.assertEqual(svg.text.split("Cap")[0], "65534 65534 65534")
        self.assertRegex(svg.text, r"CapPrm:\s*0+CapEff:\s*0+Cap")

    def test_written(self):
        """what is in a file is what goes to stdout, and an error leaves none"""
        core = ["--image", self.file(images.amd64_core()), "--cr3"]
        path = os.path.join(self.folder, "picture")
        for roots, suffix in (("1000", ".svg"), ("1000,5000", ".dot")):
            self.ask([*core, roots, "graph", "-o", path + suffix])
            with open(path + suffix, "rb") as file:
                self.assertEqual(file.read(),
                                 self.ask([*core, roots, "graph"]).stdout)
            os.remove(path + suffix)
            self.refuses(
                [*core, roots, "graph", "-o", path + suffix], "too long",
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                      (1000, 1000)))
            self.assertFalse(os.path.exists(path + suffix))

    def test_nothing_is_missed(self):
        """with Graphviz, too, no system call is asked for that was given up"""
        log = os.path.join(self.folder, "log")
        done = image.run("strace", [
            "-o", log, image.VMEMCTL, "--image", self.file(images.amd64_core()),
            "--cr3", "1000,5000", "graph", "-o",
            os.path.join(self.folder, "picture.svg")])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        with open(log) as file:
            calls = file.read().rpartition("\nseccomp(SECCOMP_SET_MODE_FILTER")
        self.assertIn("wait4", calls[2])
        self.assertNotIn("EPERM", calls[2])

    def test_refused(self):
        """what is not to be drawn, and dot that is not there or fails"""
        core = self.file(images.amd64_core())
        path = os.path.join(self.folder, "picture.svg")
        one, two = ["--image", core], ["--image", core, "--cr3", "1000,5000"]
        for words, *patterns in (
                ([*one, "-j", "graph"], "graph: --json has no effect here"),
                ([*one, "--base", "0", "-o", path, "graph"],
                 "graph: --base has no effect here"),
                ([*one, "--strict", "-o", path, "graph"],
                 "graph: --strict has no effect here"),
                ([*one, "-o", path[:-3] + "dot", "graph"], "FILE.svg"),
                ([*two, "-o", path[:-3] + "png", "graph"], "FILE.svg", "FILE.dot"),
                ([*two, "-o", ".svg", "graph"], "FILE.svg"),
                ([*one, "--exclude", "0-fff", "graph"], "--all"),
                ([*one, "graph", "5"], "two addresses|VA")):
            self.refuses(words, *patterns, status=2)
        for script, pattern in (("exit 3", "status 3"), ("kill -9 $$", "signal 9"),
                                ("cat >/dev/null; exit 1", "status 1")):
            with self.with_dot(script):
                self.refuses([*two, "-o", path, "graph"], "dot failed", pattern)
        with self.with_path("/nonexistent"):
            self.refuses([*two, "-o", path, "graph"], "package graphviz")
        self.refuses([*two, "-o", "/nonexistent/a.svg", "graph"], "no such folder")
        self.assertFalse(os.path.exists(path))


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Graph))


if __name__ == "__main__":
    sys.exit(main())
