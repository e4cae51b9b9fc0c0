# SPDX-License-Identifier: GPL-2.0-only
"""What the live-guest tests and the demo know about the lab.

Three parties speak here, and none of them trusts another: vmemctl, which is
looked at; the guest, through what its kernel says about itself; and QEMU,
through its monitor and through the guest's RAM as QEMU has it mapped.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import socket
import struct
import subprocess
import time
import typing
import unittest

import answers

# The lab's guests, and how they page
GUESTS = {"amd64": "4-level", "amd64-la57": "5-level", "i686": "2-level",
          "i686-pae": "pae", "amd64-pti": "4-level", "i686-pae-pti": "pae",
          "amd64-debug": "4-level"}
PAGE = 4096

# How far behind a 32-bit kernel's text its banner is at most
BANNER_WITHIN = 8 << 20

# Bytes of a process's name that the kernel keeps, but for some of its own threads'
COMM = 15

# Bits of /proc/PID/pagemap's entries (Documentation/admin-guide/mm/pagemap)
PAGEMAP_PFN = (1 << 55) - 1
PAGEMAP_PRESENT = 1 << 63


class LabError(Exception):
    """The lab did not do what it must do before anything can be tested."""


# --- QEMU --------------------------------------------------------------------

class Qmp:
    """A connection to QEMU's machine protocol; QEMU serves one at a time."""

    def __init__(self, path):
        self.path = path
        self._connect()

    def _connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(300)
        self.socket.connect(self.path)
        self.stream = self.socket.makefile("rwb")
        self._receive()     # QEMU's greeting
        self.execute("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    @contextlib.contextmanager
    def away(self):
        """Leaves QEMU to another client meanwhile."""
        self.__exit__()
        try:
            yield
        finally:
            self._connect()

    def _receive(self):
        try:
            line = self.stream.readline()
        except TimeoutError:
            raise LabError("QEMU does not answer by QMP") from None
        if not line:
            raise LabError("QEMU closed its QMP connection")
        return json.loads(line)

    def execute(self, command, **arguments):
        message = {"execute": command, "arguments": arguments}
        self.stream.write(json.dumps(message).encode() + b"\n")
        self.stream.flush()
        while "event" in (reply := self._receive()):
            pass
        if "error" in reply:
            raise LabError("QMP %s: %s" % (command, reply["error"]["desc"]))
        return reply["return"]

    def monitor(self, line):
        """What a line typed into the human monitor gives."""
        return self.execute("human-monitor-command",
                            **{"command-line": line})

    def status(self):
        return self.execute("query-status")["status"]

    def registers(self):
        """Registers of the vCPU by name, and its privilege level as CPL."""
        text = self.monitor("info registers")
        return {name: int(value, 16) for name, value in
                re.findall(r"\b([A-Z][A-Z0-9]+)=([0-9a-f]+)", text)}

    def gva2gpa(self, va):
        """The guest-physical address, or None where nothing is mapped."""
        text = self.monitor("gva2gpa %#x" % va).strip()
        if text == "Unmapped":
            return None
        return int(text.removeprefix("gpa: "), 0)

    def info_tlb(self):
        """Pages as (va, gpa, flags), flags a string like XG-DA---W."""
        pages = []
        for line in self.monitor("info tlb").splitlines():
            va, gpa, flags = line.split()
            # Of entries of PAE paging bit 63 is shown, too
            pages.append((int(va.rstrip(":"), 16),
                          int(gpa, 16) & ~NO_EXECUTE, flags))
        return pages


class Ram:
    """The guest's memory, read where QEMU has it mapped; vmem has no part
    in it. Serves tables, which are in RAM below 3 GB."""

    def __init__(self, qmp, pid):
        text = qmp.monitor("gpa2hva 0")
        self.base = int(text.split()[-1], 16)
        self.memory = open("/proc/%d/mem" % pid, "rb", buffering=0)

    def close(self):
        self.memory.close()

    def page(self, gpa, size=PAGE):
        data = os.pread(self.memory.fileno(), size, self.base + gpa)
        if len(data) != size:
            raise LabError("QEMU has no RAM at %#x" % gpa)
        return data


# --- registers, and a walk of our own ----------------------------------------

@dataclasses.dataclass(frozen=True)
class Registers:
    """What says where the tables are and how to read them."""

    arch: str
    cr0: int
    cr3: int
    cr4: int
    efer: int
    maxphyaddr: int

    def options(self, **changed):
        """As options of vmemctl, some of them changed."""
        words = ["--arch", self.arch]
        for name in ("cr0", "cr3", "cr4", "efer"):
            words += ["--" + name, "%#x" % changed.get(name,
                                                       getattr(self, name))]
        return words + ["--maxphyaddr", str(self.maxphyaddr)]

    @property
    def mode(self):
        """How the processor pages with them (SDM vol. 3, 4.1.1)."""
        if not self.cr4 & CR4_PAE:
            return "2-level"
        if not self.efer & EFER_LMA:
            return "pae"
        return "5-level" if self.cr4 & CR4_LA57 else "4-level"

    @property
    def format(self):
        return FORMATS[self.mode]

    @property
    def root(self):
        return self.cr3 & self.format.root


CR4_PAE, CR4_LA57 = 1 << 5, 1 << 12
EFER_LMA, EFER_NXE = 1 << 10, 1 << 11

PRESENT, WRITE, USER = 1 << 0, 1 << 1, 1 << 2
ACCESSED, DIRTY, LARGE = 1 << 5, 1 << 6, 1 << 7
NO_EXECUTE = 1 << 63


@dataclasses.dataclass(frozen=True)
class Format:
    """A paging format: entry size, each level's name and lowest bit, the bits of an
    entry and of CR3 that are an address, and how wide a virtual one is."""

    entry: str
    levels: tuple
    address: int
    root: int
    bits: int

    def entries(self, shift):
        """How many a table of a level has."""
        size = struct.calcsize(self.entry)
        return min(PAGE // size, 1 << self.bits - shift)

    def table_size(self, shift):
        return self.entries(shift) * struct.calcsize(self.entry)

    def canonical(self, va):
        """The address that one of so many bits stands for."""
        if self.bits > 32 and va >> self.bits - 1:
            return va | (1 << 64) - (1 << self.bits)
        return va

    def is_leaf(self, entry, shift):
        """A present entry of a level is a page, not a table. All guests run with
        CR4.PSE set, or bit 7 would have no meaning in 2-level paging."""
        return shift == 12 or bool(entry & LARGE) and shift < (
            39 if self.bits > 32 else 30)

    def rights(self, entry, shift):
        """Those that an entry grants: of PAE's upper four there are none in it."""
        return WRITE | USER if self.bits - shift == 2 else entry


LONG = (("PML5", 48), ("PML4", 39), ("PDPT", 30), ("PD", 21), ("PT", 12))
ADDRESS = (1 << 52) - PAGE
FORMATS = {
    "4-level": Format("<Q", LONG[1:], ADDRESS, ADDRESS, 48),
    "5-level": Format("<Q", LONG, ADDRESS, ADDRESS, 57),
    "2-level": Format("<I", (("PD", 22), ("PT", 12)), (1 << 32) - PAGE,
                      (1 << 32) - PAGE, 32),
    "pae": Format("<Q", LONG[2:], ADDRESS, (1 << 32) - 32, 32),
}


class Page(typing.NamedTuple):
    """A page, or the part of a `maps` row that is one page. A space has many, and a
    tuple is made in a fraction of the time that a frozen dataclass takes."""

    va: int
    gpa: int
    size: int
    writable: bool
    user: bool
    executable: bool


class Walk:
    """Every page of an address space by the plainest of walks, and the
    contents of every table that it met, by address."""

    def __init__(self, ram, registers):
        self.ram = ram
        self.registers = registers
        self.format = registers.format
        self.no_execute = registers.efer & EFER_NXE
        self.tables = {}
        self.pages = []
        self._table(registers.root, 0, 0, WRITE | USER)

    def _entries(self, gpa, shift):
        if gpa not in self.tables:
            self.tables[gpa] = self.ram.page(gpa, self.format.table_size(shift))
        return struct.unpack(self.format.entry[0] + "%d%s" % (
            self.format.entries(shift), self.format.entry[1]), self.tables[gpa])

    def _table(self, gpa, depth, base, rights):
        shift = self.format.levels[depth][1]
        for index, entry in enumerate(self._entries(gpa, shift)):
            if not entry & PRESENT:
                continue
            va = base | index << shift
            own = self.format.rights(entry, shift)
            granted = rights & own | (rights | own) & NO_EXECUTE
            if self.format.is_leaf(entry, shift):
                self._leaf(va, entry, shift, granted)
            else:
                self._table(entry & self.format.address, depth + 1, va,
                            granted)

    def path(self, va):
        """(level, address, value) of each entry on the way to an address."""
        steps = []
        gpa = self.registers.root
        for level, shift in self.format.levels:
            index = (va >> shift) % self.format.entries(shift)
            entry = self._entries(gpa, shift)[index]
            steps.append((level, gpa + index * struct.calcsize(
                self.format.entry), entry))
            if not entry & PRESENT or self.format.is_leaf(entry, shift):
                break
            gpa = entry & self.format.address
        return steps

    def _leaf(self, va, entry, shift, rights):
        gpa = entry & self.format.address >> shift << shift
        if shift == 22:
            gpa |= (entry >> 13 & 0xff) << 32       # PSE-36
        self.pages.append(Page(
            self.format.canonical(va), gpa, 1 << shift, bool(rights & WRITE),
            bool(rights & USER),
            not (self.no_execute and rights & NO_EXECUTE)))


# --- vmemctl -----------------------------------------------------------------

VTOP_BATCH = 2000
ADDRESS_TEXT = re.compile("0x[0-9a-f]+")


def vmemctl(*words, **options):
    """Runs vmemctl; gives the finished process, its output as bytes."""
    return subprocess.run(["vmemctl", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=600,
                          **{"input": b"", **options})


def vmemctl_ok(*words):
    """The output of a vmemctl that must succeed, and say nothing else."""
    done = vmemctl(*words)
    if done.returncode or done.stderr:
        raise AssertionError("vmemctl %s: status %d: %s" % (
            " ".join(words)[:200], done.returncode,
            done.stderr.decode(errors="replace").strip()))
    return done.stdout


def json_of(guest, options, *words):
    """What a command of vmemctl's prints as JSON."""
    return answers.whole(vmemctl_ok("-p", str(guest.pid), *options, "-j",
                                    *words))


def rows_of(guest, options, *words):
    """The rows of an answer about one space."""
    space, = json_of(guest, options, *words)["spaces"]
    return space["rows"]


def of_type(name, rows):
    """Those of the rows that are of a type."""
    return [row for row in rows if row["type"] == name]


def number(text):
    """An address of vmemctl's JSON: a string of hexadecimal digits."""
    if not isinstance(text, str) or not ADDRESS_TEXT.fullmatch(text):
        raise AssertionError("%r is not an address in hexadecimal" % (text,))
    return int(text, 16)


def vtop(guest, options, addresses):
    """vmemctl's results for the addresses, in their order."""
    results = []
    for first in range(0, len(addresses), VTOP_BATCH):
        batch = ["%#x" % va for va in addresses[first:first + VTOP_BATCH]]
        results += rows_of(guest, options, "vtop", *batch)
    asked = [result["va"] for result in results]
    if list(map(number, asked)) != list(addresses):
        raise AssertionError("vtop answered other addresses than asked")
    return results


def mapped_to(result):
    """The guest-physical address of a result of vtop, None if not mapped."""
    if result["status"] == "mapped":
        return number(result["gpa"])
    if result.get("gpa") is not None:
        raise AssertionError("not mapped, and yet a gpa: %r" % result)
    return None


def maps(guest, options, *span):
    """vmemctl's rows of an address space or of a part of it."""
    return rows_of(guest, options, "maps", *("%#x" % va for va in span))


def pages_of(rows):
    """The pages that rows of `maps` stand for; rows must be of whole ones."""
    pages = []
    for row in rows:
        va, last, gpa = (number(row[key]) for key in ("va", "last_va", "gpa"))
        size = row["page_size"]
        if va % size or gpa % size or (last + 1) % size:
            raise AssertionError("a row that is not of whole pages: %r" % row)
        pages += [Page(va + offset, gpa + offset, size, row["writable"],
                       row["user"], row["executable"])
                  for offset in range(0, last + 1 - va, size)]
    return pages


# --- the guest ---------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Vma:
    """A line of /proc/PID/maps."""

    start: int
    end: int
    rights: str
    name: str


def vma_of(line):
    span, rights, _, _, _, *name = line.split(maxsplit=5)
    start, end = (int(word, 16) for word in span.split("-"))
    return Vma(start, end, rights, "".join(name).strip())


@dataclasses.dataclass(frozen=True)
class Segment:
    """Kernel addresses that lie in physical memory in one piece, and where
    /proc/kcore has them."""

    va: int
    gpa: int
    size: int
    offset: int

    def __contains__(self, va):
        return self.va <= va < self.va + self.size


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A guest that stands still in its worker, in user mode."""

    qmp: Qmp
    registers: Registers
    ram: Ram


def load_segments(head):
    """The loadable segments of an ELF file, from its first bytes."""
    if head[4] == 2:                            # EI_CLASS: ELFCLASS64
        table, size, count = struct.unpack_from("<Q14xHH", head, 32)
        form = struct.Struct("<I4xQQQ8xQ8x")    # type offset va pa memsz
    else:
        table, size, count = struct.unpack_from("<I10xHH", head, 28)
        form = struct.Struct("<IIII4xI8x")
    for number in range(count):
        kind, offset, va, pa, length = form.unpack_from(
            head, table + size * number)
        if kind == 1:                           # PT_LOAD
            yield Segment(va, pa, length, offset)


class Guest:
    """One of the lab's guests."""

    def __init__(self, name):
        def variable(what):
            return os.environ[variable_of(what, name)]

        self.name = name
        self.arch = name.partition("-")[0]
        self.mode = GUESTS[name]
        self.format = FORMATS[self.mode]
        self.pid = int(variable("PID"))
        self.qmp_path = variable("QMP")
        self.share = os.path.join(variable("DIR"), "share")
        self.worker = int(self.text("worker.pid"))
        self.physical_bits = self._physical_bits()
        # What it tells of its kernel stays true, for the next program, too.
        if not os.path.exists(os.path.join(self.share, "kcore.head")):
            self.run("truth symbols")

    def qmp(self):
        return Qmp(self.qmp_path)

    def run(self, command):
        """The output of a shell command inside the guest."""
        done = subprocess.run(["lab-guest", self.name, command], text=True,
                              stdin=subprocess.DEVNULL, timeout=400,
                              capture_output=True)
        if done.returncode:
            raise LabError("%s in guest %s: status %d: %s" % (
                command, self.name, done.returncode, done.stderr.strip()))
        return done.stdout

    def bytes(self, name):
        with open(os.path.join(self.share, name), "rb") as file:
            return file.read()

    def text(self, name):
        return self.bytes(name).decode()

    def _physical_bits(self):
        info = self.run("cat /proc/cpuinfo")
        return int(re.search(r"address sizes\s*: (\d+) bits physical",
                             info)[1])

    # Truth about its kernel

    @functools.cached_property
    def symbols(self):
        """The kernel's own symbols, without its modules', by name."""
        return {fields[2]: int(fields[0], 16)
                for fields in map(str.split, self.text("kallsyms").splitlines())
                if len(fields) == 3}

    @functools.cached_property
    def segments(self):
        """Where the kernel has mapped memory by its own account: those parts
        of /proc/kcore that have a physical address."""
        unknown = (1 << (64 if self.arch == "amd64" else 32)) - 1
        return [segment for segment in load_segments(self.bytes("kcore.head"))
                if segment.gpa != unknown and segment.size]

    def kernel_gpa(self, va):
        """Where a kernel address is by the guest's account, None if it says
        nothing about it."""
        for segment in self.segments:
            if va in segment:
                return va - segment.va + segment.gpa
        return None

    def kernel_memory(self, va, size):
        """Kernel memory as the guest reads it itself; whole pages."""
        segment, = [segment for segment in self.segments if va in segment]
        self.run("dd if=/proc/kcore of=/share/kernel bs=%d skip=%d count=%d "
                 "2>/dev/null" % (PAGE, (va - segment.va + segment.offset) //
                                  PAGE, size // PAGE))
        return self.bytes("kernel")

    @functools.cached_property
    def banner(self):
        """The address of linux_banner. Where kallsyms has no data symbols,
        the guest is asked for the read-only data behind its text."""
        if (va := self.symbols.get("linux_banner")):
            return va
        start = self.symbols["_etext"] & -PAGE
        data = self.kernel_memory(start, BANNER_WITHIN)
        at = data.find(self.bytes("version") + b"\0")
        if at < 0:
            raise LabError("no banner in the kernel of guest %s" % self.name)
        return start + at

    @functools.cached_property
    def system_ram(self):
        """Physical memory that is RAM, as (first, last) addresses."""
        pattern = r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$"
        return [(int(first, 16), int(last, 16)) for first, last in
                re.findall(pattern, self.text("iomem"), re.MULTILINE)]

    # Truth about processes

    def processes(self):
        """{PID: name} by a fresh account"""
        self.run("truth processes")
        return {int(pid): name[:COMM] for pid, _, name in (
            line.partition(" ") for line in self.text("processes").splitlines())}

    def pagemap(self, pid):
        """A fresh account of a process: {va: (pagemap's entry, its VMA)}."""
        self.run("truth process %d" % pid)
        vmas = map(vma_of, self.text("%d.maps" % pid).splitlines())
        addresses = [(va, vma) for vma in vmas
                     for va in range(vma.start, vma.end, PAGE)]
        raw = self.bytes("%d.pagemap" % pid)
        if len(raw) != 8 * len(addresses):
            raise LabError("the pagemap of %d has %d bytes for %d pages" % (
                pid, len(raw), len(addresses)))
        entries = struct.unpack("<%dQ" % len(addresses), raw)
        return {va: (entry, vma)
                for (va, vma), entry in zip(addresses, entries)}

    # Standing still

    def read_registers(self, qmp):
        """The vCPU's registers, and those that say how it pages."""
        raw = qmp.registers()
        paging = Registers(self.arch, raw["CR0"], raw["CR3"], raw["CR4"],
                           raw["EFER"], self.physical_bits)
        if paging.mode != self.mode:
            raise LabError("guest %s has %s paging" % (self.name, paging.mode))
        return raw, paging

    @contextlib.contextmanager
    def in_worker(self, settled=None):
        """The guest, stopped while its worker runs in user mode, so that the
        vCPU's CR3 is the worker's. With @settled, not before this file of its
        has stood still."""
        stack = vma_of(self.run("kill -USR1 %d; grep -F '[stack]' /proc/%d/maps"
                                % (self.worker, self.worker)))
        if settled:
            self._settle(settled)
        try:
            with self.qmp() as qmp:
                registers = self._stop_on(qmp, stack)
                ram = Ram(qmp, self.pid)
                try:
                    yield Stopped(qmp, registers, ram)
                finally:
                    ram.close()
                    qmp.execute("cont")
        finally:
            self.run("kill -USR2 %d" % self.worker)

    def _settle(self, name):
        """Waits until a file of the guest's has not grown for a while."""
        before = None
        while before != (before := self.bytes(name)):
            time.sleep(2)

    def _stop_on(self, qmp, stack):
        """Stops the vCPU in user mode and on the given stack. No two of the
        guest's processes have theirs at the same place, so it tells whose
        tables CR3 points at."""
        for _ in range(200):
            qmp.execute("stop")
            raw, paging = self.read_registers(qmp)
            pointer = raw.get("RSP", raw.get("ESP"))
            if raw["CPL"] == 3 and stack.start <= pointer < stack.end:
                return paging
            qmp.execute("cont")
            time.sleep(0.05)
        raise LabError("guest %s never stopped in its worker" % self.name)


class GuestTest(unittest.TestCase):
    """A test of one guest, which is named by it."""

    def __init__(self, method, guest):
        super().__init__(method)
        self.guest = guest

    def id(self):
        return "%s.%s" % (self.guest.name, super().id())

    def shortDescription(self):
        return "%s: %s" % (self.guest.name, super().shortDescription())

    @property
    def target(self):
        return ["-p", str(self.guest.pid)]


def variable_of(what, name):
    """The environment's variable for a guest of this name."""
    return "VMEM_GUEST_%s_%s" % (what, name.upper().replace("-", "_"))


def guests():
    """The guests that this lab runs."""
    return [Guest(name) for name in GUESTS
            if variable_of("PID", name) in os.environ]
