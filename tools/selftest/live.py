#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl on real KVM guests, held against what the guests and QEMU say.

usage: tools/lab/lab run --guest amd64 --guest i686 -- tools/selftest/live.py
       [WORD]...

Runs every test once for each guest; with WORDs only those whose name or guest
contains one. VMEM_SEED=N repeats a run's choice of random addresses.
"""

import os
import random
import sys
import threading
import unittest

import answers
import lablib
import live_errors
import tap
from lablib import PAGE

SEED = int(os.environ.get("VMEM_SEED") or random.randrange(1 << 32))

# Fewer than these, and a test has not shown what it is there to show.
MANY = 1000

STATUSES = ("mapped", "not-present", "reserved", "non-canonical", "unbacked",
            "unreadable", "torn")


class LiveTest(lablib.GuestTest):
    """A test of one guest."""

    def __init__(self, method, guest):
        super().__init__(method, guest)
        self.random = random.Random("%d %s" % (SEED, self.id()))

    def note(self, text, *values):
        tap.diagnostic(text % values)

    def same(self, what, got, want):
        """Two dictionaries from addresses to answers are equal."""
        wrong = sorted(va for va in got.keys() | want.keys()
                       if got.get(va, "nothing") != want.get(va, "nothing"))
        if wrong:
            self.fail("\n".join(
                ["%s: %d of %d differ" % (what, len(wrong), len(want))] +
                ["%#x is %s, must be %s" % (va, show(got.get(va, "nothing")),
                                            show(want.get(va, "nothing")))
                 for va in wrong[:8]]))

    def resolve(self, stopped, addresses):
        """{va: guest-physical address or None} by `vmemctl vtop`."""
        results = lablib.vtop(self.guest, stopped.registers.options(),
                              addresses)
        return {va: lablib.mapped_to(result)
                for va, result in zip(addresses, results)}

    def all_maps(self, stopped):
        return lablib.maps(self.guest, stopped.registers.options())

    # Choices of addresses

    def some(self, population, number):
        return self.random.sample(population, min(number, len(population)))

    def anywhere_in(self, pages):
        return [va + self.random.randrange(PAGE) for va in pages]

    def kernel_symbols(self, number):
        """Addresses of symbols inside the kernel's image."""
        return self.some(sorted({
            va for va in self.guest.symbols.values()
            if self.guest.kernel_gpa(va)}), number)

    def direct_map(self, number):
        """Random addresses at which the kernel maps RAM one to one."""
        ram = self.guest.system_ram
        segments = self.guest.segments
        weights = [segment.size for segment in segments]
        found = []
        while len(found) < number:
            segment, = self.random.choices(segments, weights)
            offset = self.random.randrange(segment.size)
            gpa = segment.gpa + offset
            if any(first <= gpa <= last for first, last in ram):
                found.append(segment.va + offset)
        return found


def differences(got, want):
    """Pages, as offsets, in which two byte strings of a length differ."""
    return [offset for offset in range(0, len(want), PAGE)
            if got[offset:offset + PAGE] != want[offset:offset + PAGE]]


def show(answer):
    return "%#x" % answer if isinstance(answer, int) else str(answer)


def account_of(before, after):
    """What a process's pagemap said before and after, where it said the same:
    {va: guest-physical address, or None where nothing is mapped}, and the
    pages that had to be left out."""
    steady, left_out = {}, []
    for va, (entry, vma) in before.items():
        if after.get(va) != (entry, vma) or vma.name == "[vvar]":
            # Changed meanwhile; or device-like pages that pagemap calls
            # absent whether they are mapped or not.
            left_out.append(va)
        elif entry & lablib.PAGEMAP_PRESENT:
            steady[va] = (entry & lablib.PAGEMAP_PFN) * PAGE
        else:
            steady[va] = None
    return steady, left_out


class AgainstTheGuest(LiveTest):
    """What vmemctl finds is what the guest itself says is there."""

    def test_user_pages(self):
        """every page of a process is where the guest's pagemap says"""
        before = self.guest.pagemap(self.guest.worker)
        addresses = sorted(before)
        with self.guest.in_worker() as stopped:
            results = lablib.vtop(self.guest, stopped.registers.options(),
                                  addresses)
            rows = lablib.maps(self.guest, stopped.registers.options(), 0,
                               max(addresses) + PAGE - 1)
        after = self.guest.pagemap(self.guest.worker)
        steady, left_out = account_of(before, after)
        present = sum(gpa is not None for gpa in steady.values())

        self.same("vtop", {va: lablib.mapped_to(result) for va, result
                           in zip(addresses, results) if va in steady}, steady)
        by_maps = {page.va + offset: page.gpa + offset
                   for page in lablib.pages_of(rows)
                   for offset in range(0, page.size, PAGE)}
        self.same("maps", {va: by_maps.get(va) for va in steady}, steady)
        self.same("outside of its regions",
                  {va: gpa for va, gpa in by_maps.items()
                   if va not in before and va not in after}, {})
        self.rights(zip(addresses, results), before)
        self.assertGreaterEqual(present, MANY)
        self.note("%d pages mapped as pagemap says, %d not mapped as it says; "
                  "left out, for they changed or are [vvar]: %d", present,
                  len(steady) - present, len(left_out))

    def rights(self, results, account):
        """The rights of its pages are within those of their regions."""
        for va, result in results:
            if result["status"] != "mapped":
                continue
            rights = account[va][1].rights
            self.assertTrue(result["user"], "%#x" % va)
            if result["writable"]:
                self.assertIn("w", rights, "%#x" % va)
            # Without NX, which 2-level paging has not, all can be executed. And a
            # 686-pae kernel has it for its own pages alone: vm_get_page_prot() of
            # 6.1 takes an unsigned long for what goes into an entry of 64 bits.
            self.assertEqual(result["executable"],
                             "x" in rights or self.guest.arch == "i686",
                             "%#x" % va)

    def test_kernel_addresses(self):
        """kernel addresses are where the guest's kcore and iomem say"""
        symbols = self.kernel_symbols(2 * MANY)
        direct = self.direct_map(2 * MANY)
        with self.guest.in_worker() as stopped:
            found = self.resolve(stopped, symbols + direct)
        self.same("vtop", found, {va: self.guest.kernel_gpa(va)
                                  for va in found})
        self.assertGreaterEqual(len(symbols), MANY)
        self.note("%d kernel symbols and %d direct-map addresses equal",
                  len(symbols), len(direct))

    def test_banner(self):
        """the kernel's banner, read by its address, is /proc/version"""
        banner = self.guest.banner
        want = self.guest.bytes("version")      # ends with a newline
        read = ["read", "--raw", "%#x" % banner, str(len(want) + 1)]
        with self.guest.in_worker() as stopped:
            got = lablib.vmemctl_ok("-p", str(self.guest.pid),
                                    *stopped.registers.options(), *read)
        self.assertEqual(got, want + b"\0")
        self.note("%d bytes at %#x", len(got), banner)

    def test_read_kernel(self):
        """read gives the bytes of the kernel that the guest reads itself"""
        # Read-only data begins with the banner; nobody changes it
        start = self.guest.banner & -PAGE
        size = 1 << 20
        want = self.guest.kernel_memory(start, size)
        with self.guest.in_worker() as stopped:
            got = lablib.vmemctl_ok(
                "-p", str(self.guest.pid), *stopped.registers.options(),
                "read", "--raw", "%#x" % start, str(size))
        self.assertEqual(len(got), size)
        self.assertEqual(differences(got, want), [])
        self.assertGreater(len(set(want)), 100)
        self.note("%d bytes from %#x", size, start)

    def test_by_pid_alone(self):
        """by its PID alone a guest's answers are those by --qmp"""
        symbols = ["%#x" % va for va in self.kernel_symbols(20)]
        told = []
        with self.guest.in_worker() as stopped, stopped.qmp.away():
            for words in (["info"], ["vtop", *symbols], ["maps"], ["spaces"]):
                alone, by_qmp = (
                    lablib.vmemctl_ok("-p", str(self.guest.pid), *options,
                                      *words)
                    for options in ([], ["--qmp", self.guest.qmp_path]))
                self.assertEqual(alone, by_qmp, words)
                told.append("%s %d" % (words[0], len(alone)))
            vcpu = lablib.json_of(self.guest, [], "vcpus")["vcpus"][0]
        self.assertEqual(lablib.number(vcpu["cr3"]), stopped.registers.cr3)
        self.assertEqual((vcpu["known"], vcpu["privilege"]), ("exit", "user"))
        self.note("bytes equal: %s", ", ".join(told))

    def test_while_running(self):
        """a guest that runs, and goes on running, resolves as a stopped one"""
        addresses = self.kernel_symbols(MANY) + self.direct_map(MANY)
        want = {va: self.guest.kernel_gpa(va) for va in addresses}
        with self.guest.in_worker() as stopped:
            self.same("stopped", self.resolve(stopped, addresses), want)
        self.assertEqual(self.status(), "running")

        # Through QEMU's account of the vCPU. Nothing else is started in the
        # guest meanwhile, or the process that it names could end.
        options = ["--qmp", self.guest.qmp_path]
        self.same("by --qmp", self.found(options, addresses), want)

        # By the root of a process that lives on, while the guest works.
        rounds = 0
        with Uptimes(self.guest) as uptimes:
            while rounds < 5 or len(uptimes.seen) < 3 and rounds < 100:
                self.same("by --cr3", self.found(stopped.registers.options(),
                                                 addresses), want)
                rounds += 1
        self.assertEqual(self.status(), "running")
        self.assertGreaterEqual(len(uptimes.seen), 3)
        self.assertEqual(uptimes.seen, sorted(set(uptimes.seen)))
        self.note("by --qmp, and %d times by --cr3, %d addresses, while the "
                  "guest told its uptime %d times, from %.2f to %.2f s",
                  rounds, len(addresses), len(uptimes.seen), uptimes.seen[0],
                  uptimes.seen[-1])

    def test_batch(self):
        """batch of a guest that runs: each line asks QEMU, after an error too"""
        addresses = self.kernel_symbols(100)
        vtop = "vtop " + " ".join("%#x" % va for va in addresses)
        lines = [vtop, "--cr3 1 info", "info", vtop] * 3
        done = lablib.vmemctl(*self.target, "--qmp", self.guest.qmp_path, "-j", "batch",
                              input="\n".join(lines).encode())
        self.assertEqual(self.status(), "running")
        self.assertEqual((done.returncode, done.stderr.decode()), (1, "".join(
            "vmemctl: line %d: info: --cr3 has no effect here: `vmemctl help info' "
            "lists what has\n" % line for line in (2, 6, 10))))
        told = done.stdout.splitlines()
        self.assertEqual(len(told), len(lines))
        for line, text in zip(lines, told):
            if line == vtop:
                self.same(line, {
                    lablib.number(row["va"]): lablib.mapped_to(row)
                    for row in answers.rows(text)},
                    {va: self.guest.kernel_gpa(va) for va in addresses})
            elif line == "info":
                for vcpu in answers.whole(text)["vcpus"]:
                    self.assertTrue(lablib.number(vcpu["cr3"]))
        self.note("%d lines answered", len(told))

    def found(self, options, addresses):
        results = lablib.vtop(self.guest, options, addresses)
        return dict(zip(addresses, map(lablib.mapped_to, results)))

    def status(self):
        with self.guest.qmp() as qmp:
            return qmp.status()


class Uptimes:
    """Has the guest tell its uptime over and over; the times are `seen`."""

    def __init__(self, guest):
        self.guest = guest
        self.seen = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def _ask(self):
        while not self.done.is_set():
            self.seen.append(float(self.guest.run(
                "cat /proc/uptime; usleep 20000").split()[0]))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


class AgainstQemu(LiveTest):
    """What vmemctl finds is what QEMU finds in the stopped guest."""

    def test_gva2gpa(self):
        """random addresses resolve as by QEMU's gva2gpa"""
        user = self.guest.pagemap(self.guest.worker)
        with self.guest.in_worker() as stopped:
            kinds = {
                "kernel symbols": self.kernel_symbols(200),
                "direct map": self.direct_map(200),
                "user pages": self.anywhere_in(self.some(sorted(user), 300)),
                "anywhere": self.anywhere(200),
                "not canonical": self.not_canonical(200),
                "ends": self.ends(),
                "edges of regions": self.edges(self.all_maps(stopped), 200),
            }
            addresses = sorted(set().union(*kinds.values()))
            found = self.resolve(stopped, addresses)
            told = {va: stopped.qmp.gva2gpa(va) for va in addresses}
        self.same("vtop", found, told)
        mapped = sum(gpa is not None for gpa in told.values())
        self.assertGreaterEqual(len(addresses), MANY)
        self.assertGreaterEqual(mapped, MANY // 2)
        self.assertGreaterEqual(len(addresses) - mapped, MANY // 10)
        self.note("%d addresses equal, %d of them not mapped: %s",
                  len(addresses), len(addresses) - mapped,
                  ", ".join("%d %s" % (len(set(found)), kind)
                            for kind, found in kinds.items()))

    def anywhere(self, number):
        form = self.guest.format
        return [form.canonical(self.random.getrandbits(form.bits))
                for _ in range(number)]

    def not_canonical(self, number):
        if self.guest.arch == "i686":
            return []
        half = 1 << self.guest.format.bits - 1
        hole = (half, (1 << 64) - half - 1)
        return [*hole, *(self.random.randint(*hole) for _ in range(number))]

    def ends(self):
        half = 1 << self.guest.format.bits - 1
        low = [0, 1, PAGE - 1, PAGE, half - PAGE, half - 1]
        top = 1 << (64 if self.guest.arch == "amd64" else 32)
        return low + [top - 1 - va for va in low]

    def edges(self, rows, number):
        top = 1 << (64 if self.guest.arch == "amd64" else 32)
        return [va for row in self.some(rows, number)
                for first, last in [(lablib.number(row["va"]),
                                     lablib.number(row["last_va"]))]
                for va in (first - 1, first, last, last + 1) if 0 <= va < top]

    def test_info_tlb(self):
        """maps is, page by page, what QEMU's info tlb shows"""
        with self.guest.in_worker() as stopped:
            told = stopped.qmp.info_tlb()
            pages = lablib.pages_of(self.all_maps(stopped))
        self.assertEqual(len({va for va, _, _ in told}), len(told))
        self.assertEqual(len({page.va for page in pages}), len(pages))
        self.same("maps",
                  {page.va: (hex(page.gpa), page.size > PAGE)
                   for page in pages},
                  {va: (hex(gpa), flags[2] == "P") for va, gpa, flags in told})
        leaf = {va: flags for va, _, flags in told}
        for page in pages:
            self.leaf_rights(page, leaf[page.va])
        self.assertGreaterEqual(len(pages), MANY)
        large = sum(page.size > PAGE for page in pages)
        self.note("%d pages equal, %d of them large", len(pages), large)

    def leaf_rights(self, page, flags):
        """The last entry alone, whose flags QEMU shows (X for no-execute),
        grants at least what the whole path does."""
        told = "%r shown by QEMU as %s" % (page, flags)
        if page.writable:
            self.assertEqual(flags[8], "W", told)
        if page.user:
            self.assertEqual(flags[7], "U", told)
        if page.executable and self.guest.mode != "2-level":
            self.assertEqual(flags[0], "-", told)

    def test_attributes(self):
        """attributes are the bits that QEMU's info tlb shows"""
        # So that not every page is accessed: this clears Accessed in each of these
        self.guest.run("echo 1 >/proc/%d/clear_refs" % self.guest.worker)
        with self.guest.in_worker() as stopped:
            told = stopped.qmp.info_tlb()
            rows = lablib.rows_of(self.guest, stopped.registers.options(),
                                  "maps", "--attributes")
        found = {}
        for row in rows:
            bits = self.bits(row["attributes"])
            for va in range(lablib.number(row["va"]),
                            lablib.number(row["last_va"]), row["page_size"]):
                found[va] = bits
        # Of XGPDACTUW: G, D, A, C (PCD) and T (PWT)
        want = {va: [flags[at] != "-" for at in (1, 3, 4, 5, 6)]
                for va, _, flags in told}
        self.same("attributes", found, want)
        for number, name in enumerate("GDA"):
            self.assertEqual({bits[number] for bits in want.values()},
                             {True, False}, name)
        self.note("%d pages equal, of %d kinds", len(want),
                  len(set(map(tuple, want.values()))))

    def bits(self, attributes):
        return [attributes["global"], attributes["dirty"],
                attributes["accessed"], bool(attributes["pat_entry"] & 2),
                bool(attributes["pat_entry"] & 1)]

    def test_rows(self):
        """rows of maps are in order, apart, and merged as far as can be"""
        with self.guest.in_worker() as stopped:
            shown = len(stopped.qmp.info_tlb())
            rows = self.all_maps(stopped)
        self.assertEqual(len(lablib.pages_of(rows)), shown)
        self.row_order(rows)
        running = lablib.maps(self.guest, stopped.registers.options())
        self.row_order(running)
        self.note("%d rows, %d pages; while running %d rows", len(rows),
                  shown, len(running))

    def row_order(self, rows):
        spans = [(lablib.number(row["va"]), lablib.number(row["last_va"]) + 1)
                 for row in rows]
        wrong = [row for row, (start, end) in zip(rows, spans) if start + 1 >= end]
        wrong += [(row, following) for row, following, (_, end), (start, _)
                  in zip(rows, rows[1:], spans, spans[1:])
                  if end > start or end == start and self.one_piece(row, following)]
        self.assertEqual(wrong[:4], [])

    def one_piece(self, row, following):
        """Two rows, side by side, that should have been one."""
        length = lablib.number(following["va"]) - lablib.number(row["va"])
        alike = ("page_size", "cow", "writable", "user", "executable")
        return (all(row[key] == following[key] for key in alike) and
                lablib.number(row["gpa"]) + length ==
                lablib.number(following["gpa"]))


class AgainstTheTables(LiveTest):
    """What vmemctl finds is what a plain walk finds in the guest's RAM."""

    def test_walk(self):
        """maps is, with sizes and rights, what a plain walk finds"""
        with self.guest.in_worker() as stopped:
            walk = lablib.Walk(stopped.ram, stopped.registers)
            pages = lablib.pages_of(self.all_maps(stopped))
        self.same("maps", {page.va: page for page in pages},
                  {page.va: page for page in walk.pages})
        self.assertEqual(pages, walk.pages)
        data = sum(not page.executable for page in pages)
        self.assertEqual(data > 0, self.guest.mode != "2-level")
        self.note("%d pages equal, %d of them not to be executed, in %d tables",
                  len(pages), data, len(walk.tables))

    def test_trace(self):
        """vtop shows each entry on the path, as it stands in RAM"""
        user = sorted(self.guest.pagemap(self.guest.worker))
        addresses = (self.some(user, 500) + self.kernel_symbols(200) +
                     self.direct_map(300))
        with self.guest.in_worker() as stopped:
            results = lablib.vtop(self.guest, stopped.registers.options(),
                                  addresses)
            walk = lablib.Walk(stopped.ram, stopped.registers)
            paths = {va: walk.path(va) for va in addresses}
        self.same("trace", {
            va: [(step["level"], lablib.number(step["entry_gpa"]),
                  lablib.number(step["raw"])) for step in result["trace"]]
            for va, result in zip(addresses, results)}, paths)
        self.note("%d paths, %d entries equal", len(paths),
                  sum(map(len, paths.values())))

    def test_large_pages(self):
        """a large page is one row and resolves as one page"""
        with self.guest.in_worker() as stopped:
            walk = lablib.Walk(stopped.ram, stopped.registers)
            large = [page for page in walk.pages
                     if page.size > PAGE and self.guest.kernel_gpa(page.va)]
            self.assertTrue(large, "the guest's direct map has none")
            options = stopped.registers.options()
            chosen = self.some(large, 16)
            for page in chosen:
                self.one_row(options, page)
            self.one_page(options, chosen)
        sizes = {page.size for page in chosen}
        self.assertIn(1 << dict(self.guest.format.levels)["PD"], sizes)
        self.note("%d of %d large pages, of %s bytes", len(chosen),
                  len(large), " and ".join(map(str, sorted(sizes))))

    def one_row(self, options, page):
        want = {"type": "mapping", "va": "%#x" % page.va,
                "last_va": "%#x" % (page.va + page.size - 1),
                "len": page.size, "gpa": "%#x" % page.gpa,
                "page_size": page.size, "writable": page.writable,
                "user": page.user, "executable": page.executable,
                "cow": False}
        self.assertEqual(lablib.maps(self.guest, options, page.va,
                                     page.va + page.size - 1), [want])
        # A view of a part of it is that part, of a page of the same size.
        inside = page.va + page.size // 2
        want.update(va="%#x" % inside, last_va="%#x" % (inside + PAGE - 1),
                    len=PAGE, gpa="%#x" % (page.gpa + page.size // 2))
        self.assertEqual(lablib.maps(self.guest, options, inside,
                                     inside + PAGE - 1), [want])

    def one_page(self, options, pages):
        asked = [(page, offset) for page in pages
                 for offset in (0, page.size // 2, page.size - 1)]
        results = lablib.vtop(self.guest, options,
                              [page.va + offset for page, offset in asked])
        for (page, offset), result in zip(asked, results):
            self.assertEqual(lablib.mapped_to(result), page.gpa + offset)
            self.assertEqual(result["page_size"], page.size)
            self.assertEqual(result["level"], "PD")

    def test_accessed_and_dirty(self):
        """translating leaves the guest's tables as they were"""
        user = sorted(self.guest.pagemap(self.guest.worker))
        addresses = user + self.kernel_symbols(1000)
        addresses += self.direct_map(4 * MANY - len(addresses))
        # Or all entries had their Accessed bit set already.
        self.guest.run("echo 1 >/proc/%d/clear_refs" % self.guest.worker)
        with self.guest.in_worker() as stopped:
            options = stopped.registers.options()
            before = lablib.Walk(stopped.ram, stopped.registers)
            ends = [before.path(va)[-1][2] for va in addresses]
            self.resolve(stopped, addresses)
            for words in (["maps"], ["read", "--raw", "%#x" % self.guest.banner,
                                     "4096"]):
                lablib.vmemctl_ok(*self.target, *options, *words)
            changed = [hex(gpa) for gpa, data in before.tables.items()
                       if stopped.ram.page(gpa, len(data)) != data]
        self.assertEqual(changed, [], "tables written to")
        self.assertGreaterEqual(len(addresses), 4 * MANY)
        idle = sum(entry & lablib.PRESENT and not entry & lablib.ACCESSED
                   for entry in ends)
        clean = sum(entry & lablib.PRESENT and not entry & lablib.DIRTY
                    for entry in ends)
        self.assertGreaterEqual(idle, MANY)
        self.note("%d tables unchanged by %d translations, %d of them by "
                  "entries without Accessed, %d without Dirty",
                  len(before.tables), len(addresses), idle, clean)


class Json(LiveTest):
    """vmemctl's JSON has the members that it is documented with."""

    def test_vtop(self):
        """JSON of vtop: members, types, names of levels and statuses"""
        user = sorted(self.guest.pagemap(self.guest.worker))
        addresses = self.some(user, 100) + self.kernel_symbols(100)
        addresses += [0, 1 << 31]
        if self.guest.arch == "amd64":
            addresses.append(1 << self.guest.format.bits - 1)
        with self.guest.in_worker() as stopped:
            out = lablib.json_of(self.guest, stopped.registers.options(),
                                 "vtop", *map(hex, addresses))
        lablib.number(out["pat"])
        self.assertEqual(out["pat_source"], "vcpu")
        space, = out["spaces"]
        self.assertEqual(lablib.number(space["root"]), stopped.registers.root)
        self.assertEqual(len(space["rows"]), len(addresses))
        for result in space["rows"]:
            self.result(result)
        found = {result["status"] for result in space["rows"]}
        self.assertLessEqual({"mapped", "not-present"}, found)
        self.assertEqual("non-canonical" in found,
                         self.guest.arch == "amd64")
        self.note("%d results, %s", len(addresses), ", ".join(sorted(found)))

    def result(self, result):
        self.assertIn(result["status"], STATUSES)
        self.assertIsNone(result["owner_space"])
        lablib.number(result["va"])
        if result["status"] == "mapped":
            lablib.number(result["gpa"])
            self.assertIs(type(result["page_size"]), int)
            for right in ("writable", "user", "executable"):
                self.assertIs(type(result[right]), bool)
            self.attributes(result["attributes"])
        else:
            self.assertIsNone(result["attributes"])
        if result["status"] == "non-canonical":
            self.assertEqual(result["trace"], [])
            return
        self.assertEqual([step["level"] for step in result["trace"]],
                         self.levels(result["level"]))
        for step in result["trace"]:
            lablib.number(step["entry_gpa"])
            self.assertEqual("PRESENT" in step["flags"], bool(
                lablib.number(step["raw"]) & lablib.PRESENT))

    def attributes(self, attributes):
        for name in ("accessed", "dirty", "global"):
            self.assertIs(type(attributes[name]), bool)
        self.assertIs(type(attributes["memory_type"]), str)

    def levels(self, last):
        """The names of the levels down to one."""
        levels = [level for level, _ in self.guest.format.levels]
        return levels[:levels.index(last) + 1]

    def test_maps(self):
        """JSON of maps: members and types"""
        with self.guest.in_worker() as stopped:
            out = lablib.json_of(self.guest, stopped.registers.options(),
                                 "maps")
        space, = out["spaces"]
        self.assertEqual(lablib.number(space["root"]), stopped.registers.root)
        for row in space["rows"]:
            self.assertEqual(row["len"], lablib.number(row["last_va"]) + 1 -
                             lablib.number(row["va"]))
            for key in ("va", "last_va", "gpa"):
                lablib.number(row[key])
            self.assertIs(type(row["page_size"]), int)
            self.assertFalse(row["cow"])
            for right in ("writable", "user", "executable"):
                self.assertIs(type(row[right]), bool)
        self.note("%d rows", len(space["rows"]))


def suite(guests, words):
    loader = unittest.TestLoader()
    cases = (AgainstTheGuest, AgainstQemu, AgainstTheTables, Json)
    tests = [case(name, guest) for guest in guests for case in cases
             for name in loader.getTestCaseNames(case)]
    tests += live_errors.tests(guests)
    return unittest.TestSuite(
        test for test in tests
        if not words or any(word in test.id() for word in words))


def main():
    guests = lablib.guests()
    if not guests:
        print("Bail out! no guests: tools/lab/lab run --guest amd64 -- %s"
              % sys.argv[0])
        return 1
    tap.diagnostic("VMEM_SEED=%d" % SEED)
    return tap.run(suite(guests, sys.argv[1:]))


if __name__ == "__main__":
    tap.main(main)
