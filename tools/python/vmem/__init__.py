# SPDX-License-Identifier: GPL-2.0-only
"""Page tables of a KVM guest that runs, or of an image of one.

>>> import vmem
>>> guest = vmem.open(image="guest.elf")
>>> [vcpu.mode for vcpu in guest.vcpus()]
['4-level', '4-level', 'off']
>>> space = guest.space()
>>> print(space.translate(0x401234))
0x401234 -> 0x11234 rw-u
>>> for row in space.maps(0x400000, 0x5fffff):
...     print(row)
0x400000-0x400fff 0x10000 r-xu
0x401000-0x402fff 0x11000 rw-u
0x5ff000-0x5fffff 0x10000 r-xu
>>> space.read(0x400000, 5)
b'\\x7fcode'

All addresses are integers. What cannot be answered is a vmem.Error, whose text says
why and what to do next.

vmem.linux lists the processes of a Linux guest. vmem.gdb, which only gdb can import, has
commands for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
import os
import queue
import threading
from typing import Iterable, Iterator, Optional, Union

from . import _abi
from ._abi import lib

__all__ = [
    "Anomaly", "Code", "Error", "Guest", "Mapping", "Memslot", "Place",
    "Reference", "Region", "Registers", "Root", "RootClass", "Space", "Status",
    "Table", "Translation", "Vcpu", "open", "version",
]

LAST = (1 << 64) - 1


class Code(enum.IntEnum):
    """Kinds of errors, those of <libvmem.h>"""
    NO_MEMORY = 1
    BAD_ARGUMENT = 2
    NO_PROCESS = 3
    NO_VM = 4
    SEVERAL_VMS = 5
    NO_DEVICE = 6
    DENIED = 7
    BAD_IMAGE = 8
    NO_REGISTERS = 9
    BAD_MODE = 10
    NO_ROOT = 11
    QMP = 12
    GUEST_RUNS = 13
    TOO_MUCH = 14
    UNREADABLE = 15
    OTHER_VERSION = 16
    SYSTEM = 17


class Status(enum.IntEnum):
    """What became of a translation or a read"""
    MAPPED = 0
    NOT_PRESENT = 1
    RESERVED = 2
    NON_CANONICAL = 3
    UNBACKED = 4
    TORN = 5
    ANCESTOR = 6
    CROSS_LEVEL = 7
    UNREADABLE = 8
    WITHHELD = 9


class Table(enum.IntEnum):
    """Levels of tables"""
    NONE = 0
    PT = 1
    PD = 2
    PDPT = 3
    PML4 = 4
    PML5 = 5


class RootClass(enum.IntEnum):
    """What a root that was found is: see vmemctl(8), WHICH SPACES"""
    VCPU = 0
    USER = 1
    KERNEL = 2
    TWIN = 3
    COPY = 4
    UNCLEAR = 5


class Error(Exception):
    """A question that has no answer

    >>> try:
    ...     vmem.open(image="missing.elf")
    ... except vmem.Error as error:
    ...     print(error.code.name, error, sep=": ")
    SYSTEM: cannot open the image missing.elf: there is no such file
    """

    def __init__(self, code: Code, message: str, advice: str = "",
                 address: int = 0):
        super().__init__(": ".join(filter(None, (message, advice))))
        self.code = code
        self.message = message
        self.advice = advice
        self.address = address


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _check(ret: int, error: _abi.Error) -> int:
    """What a function of the library returned, or its failure"""
    if ret >= 0:
        return ret
    raise Error(Code(error.code), _text(error.message), _text(error.advice),
                error.address)


def version() -> str:
    """The library's version"""
    return _text(lib.libvmem_version())


class _Rights:
    """What a page or a table may be used for"""
    _perms: int

    @property
    def writable(self) -> bool:
        return bool(self._perms & 1)

    @property
    def user(self) -> bool:
        """User mode reaches it"""
        return bool(self._perms & 2)

    @property
    def executable(self) -> bool:
        return bool(self._perms & 4)

    @property
    def rights(self) -> str:
        """As vmemctl shows them: rwxu"""
        return "r%s%s%s" % ("w" if self.writable else "-",
                            "x" if self.executable else "-",
                            "u" if self.user else "s")


@dataclasses.dataclass(frozen=True)
class Registers:
    """What says how a vCPU pages"""
    cr0: int
    cr3: int
    cr4: int
    efer: int
    maxphyaddr: int
    rules: int = 0

    @classmethod
    def _of(cls, regs: _abi.Regs) -> Registers:
        return cls(regs.cr0, regs.cr3, regs.cr4, regs.efer, regs.maxphyaddr,
                   regs.rules)

    def _abi(self) -> _abi.Regs:
        return _abi.Regs(self.cr0, self.cr3, self.cr4, self.efer,
                         self.maxphyaddr, self.rules)

    @property
    def mode(self) -> str:
        """'4-level', '5-level', 'pae', '2-level', or 'off'"""
        return _text(lib.libvmem_mode_name(lib.libvmem_mode(self._abi())))

    @property
    def root(self) -> int:
        """Guest-physical address of the root table"""
        return lib.libvmem_root(self._abi())


@dataclasses.dataclass(frozen=True)
class Region:
    """Where a part of the guest's memory is in a file

    @len: bytes; 0 for all up to the end of the file
    @file: another file than the image's own
    """
    gpa: int
    len: int
    offset: int
    file: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Memslot:
    """Guest memory in one piece; @hva is where the VMM has it, or its offset in an
    image"""
    id: int
    gpa: int
    len: int
    hva: int
    readonly: bool


@dataclasses.dataclass(frozen=True)
class Vcpu:
    """A vCPU. @cr3 and @rip are None where they are not known.

    @known: how it is known: 'entry', 'exit', 'halted' or 'unknown'
    """
    id: int
    known: str
    registers: Registers
    cr3: Optional[int]
    rip: Optional[int]
    smm: bool
    nested: bool

    @property
    def mode(self) -> str:
        return self.registers.mode


@dataclasses.dataclass(frozen=True)
class Root:
    """A table that looks like a root

    @of: the root that a twin or a copy belongs to
    @shared, @kernel: entries of the kernel half that are the known root's, of all
    @user: bytes that it maps to user mode
    @in_user_memory: a copy that is mapped to user mode
    """
    root: int
    kind: RootClass
    of: Optional[int]
    shared: int
    kernel: int
    user: int
    pointers: int
    vcpu_seen: bool
    in_user_memory: bool


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry that was read on the way: where it is, and its value"""
    gpa: int
    raw: int


@dataclasses.dataclass(frozen=True)
class Translation(_Rights):
    """What an address leads to. @gpa and @page_size are None if it is not mapped; @level is
    the table with the entry that decided it otherwise."""
    va: int
    status: Status
    gpa: Optional[int]
    page_size: Optional[int]
    level: Table
    trace: tuple[Entry, ...]
    _perms: int = dataclasses.field(repr=False)

    def __str__(self) -> str:
        if self.gpa is None:
            return "%#x: %s" % (self.va, self.status.name.lower().replace(
                "_", "-"))
        return "%#x -> %#x %s" % (self.va, self.gpa, self.rights)


@dataclasses.dataclass(frozen=True)
class Mapping(_Rights):
    """Pages side by side that are alike. @attributes are VMEM_ATTR_* of <linux/vmem.h>,
    where they were asked for."""
    va: int
    last_va: int
    gpa: int
    page_size: int
    attributes: int
    _perms: int = dataclasses.field(repr=False)

    @property
    def len(self) -> int:
        return self.last_va - self.va + 1

    @classmethod
    def _of(cls, row: _abi.Mapping) -> Mapping:
        return cls(row.va, row.last_va, row.gpa, row.page_size, row.attributes,
                   row.perms)

    def __str__(self) -> str:
        return "%#x-%#x %#x %s" % (self.va, self.last_va, self.gpa, self.rights)


@dataclasses.dataclass(frozen=True)
class Reference(_Rights):
    """A table that a space before, the owner, was the first to reach: what is mapped at
    @owner_va of @owner is mapped at @va as well."""
    va: int
    len: int
    table_gpa: int
    owner: Space
    owner_va: int
    _perms: int = dataclasses.field(repr=False)

    @property
    def last_va(self) -> int:
        return self.va + self.len - 1


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """An entry that leads nowhere"""
    va: int
    last_va: int
    status: Status
    level: Table
    table: int
    raw: int


@dataclasses.dataclass(frozen=True)
class Place(_Rights):
    """Where a page is mapped: in @space, by its own tables or by a @reference to those of
    another space"""
    space: Space
    va: int
    reference: Optional[Reference]
    _perms: int = dataclasses.field(repr=False)


class Space:
    """An address space of a guest

    >>> space = guest.space(cr3=0x5000)
    >>> space
    <vmem.Space 0x5000 of guest.elf>
    >>> space.translate(0x400000).page_size
    4096
    >>> print(space.translate(0))
    0x0: not-present
    """

    def __init__(self, guest: Guest, registers: Registers):
        self.guest = guest
        self.registers = registers

    @property
    def root(self) -> int:
        """Guest-physical address of its root table, which is its identity"""
        return self.registers.root

    def __repr__(self) -> str:
        return "<vmem.Space %#x of %s>" % (self.root, self.guest.name)

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Space) and other.root == self.root and
                other.guest is self.guest)

    def __hash__(self) -> int:
        return hash(self.root)

    def translate(self, va: int) -> Translation:
        """What one address leads to"""
        return next(iter(self.translate_all([va])))

    def translate_all(self, vas: Iterable[int]) -> list[Translation]:
        """What many addresses lead to, asked at once"""
        vas = list(vas)
        out: list[Translation] = []

        @_abi.TranslationRow
        def row(va, answer, _):
            out.append(_translation(va, answer.contents))
            return 0

        error = _abi.Error()
        _check(lib.libvmem_translate(
            self.guest.handle, self.registers._abi(),
            (ctypes.c_uint64 * len(vas))(*vas), len(vas), row, None, error), error)
        return out

    def maps(self, va: int = 0, last_va: int = LAST,
             attributes: bool = False) -> Iterator[Mapping]:
        """What is mapped from @va to @last_va, inclusive, by rising address. Comes as it is
        read: a guest that runs may change meanwhile."""
        at_once = 1024
        while va <= last_va:
            rows: list[Mapping] = []

            @_abi.MappingRow
            def row(mapping, _, rows=rows):
                rows.append(Mapping._of(mapping.contents))
                return len(rows) == at_once

            error = _abi.Error()
            more = _check(lib.libvmem_ranges_with(
                self.guest.handle, self.registers._abi(), int(attributes), va,
                last_va, row, None, None, error), error)
            yield from rows
            if not more:
                return
            va = rows[-1].last_va + 1

    def read(self, va: int, length: int) -> bytes:
        """Memory, up to the first byte that cannot be read

        >>> space.read(0x400ffe, 6)
        b'\\x00\\x00firs'
        """
        data = ctypes.create_string_buffer(length)
        done, error = _abi.Read(), _abi.Error()
        _check(lib.libvmem_read(self.guest.handle, self.registers._abi(), va,
                                data, length, done, error), error)
        return data.raw[:done.len]


def _translation(va: int, answer: _abi.Translation) -> Translation:
    status = Status(answer.out_status)
    mapped = status == Status.MAPPED
    return Translation(
        va, status, answer.out_gpa if mapped else None,
        answer.out_page_size if mapped else None, Table(answer.out_level),
        tuple(Entry(entry.entry_gpa, entry.raw)
              for entry in answer.out_trace[:answer.out_nr_trace]),
        answer.out_perms)


KNOWN = ("unknown", "entry", "exit", "halted")

Record = Union[Space, Mapping, Reference, Anomaly]


class Guest:
    """A guest that can be asked: see open(). Closes itself where it is a context."""

    def __init__(self, name: str, reopen):
        self.name = name
        self._reopen = reopen
        self._handle = reopen()

    @property
    def handle(self) -> ctypes.c_void_p:
        """The library's"""
        if self._handle is None:
            raise Error(Code.BAD_ARGUMENT, "%s is closed" % self.name, "open it again")
        return self._handle

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<vmem.Guest %s>" % self.name

    def close(self) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle:
            lib.libvmem_close(handle)

    def memslots(self) -> list[Memslot]:
        """The guest's memory, by rising address

        >>> [hex(slot.gpa) for slot in guest.memslots()]
        ['0x1000', '0x10000']
        """
        out: list[Memslot] = []

        @_abi.MemslotRow
        def row(slot, _):
            slot = slot.contents
            out.append(Memslot(slot.id, slot.gpa, slot.len, slot.hva,
                               bool(slot.flags & 1)))
            return 0

        error = _abi.Error()
        _check(lib.libvmem_memslots(self.handle, row, None, error), error)
        return out

    def vcpus(self, timeout: float = 0.1) -> Iterator[Vcpu]:
        """Each vCPU, as KVM has it. One that runs is waited for so many seconds at most."""
        info, error = _abi.InfoArgs(), _abi.Error()
        _check(lib.libvmem_info(self.handle, info, error), error)
        for index in range(info.out_nr_vcpus):
            args = _abi.VcpuArgs()
            _check(lib.libvmem_vcpu(self.handle, index, int(timeout * 1e6),
                                    args, error), error)
            known = KNOWN[args.out_known]
            no_cr3 = known == "unknown" or args.out_state & 4
            no_rip = known == "unknown" or args.out_state & 8
            yield Vcpu(args.out_id, known, Registers._of(args.out_regs),
                       None if no_cr3 else args.out_regs.cr3,
                       None if no_rip else args.out_rip,
                       bool(args.out_state & 1), bool(args.out_state & 2))

    def space(self, cr3: Optional[int] = None, *, vcpu: int = 0,
              arch: Optional[str] = None,
              registers: Optional[Registers] = None) -> Space:
        """One space: that of a vCPU, or the one that @cr3 names, with the other registers
        from @arch ('amd64', 'amd64-la57', 'i686', 'i686-pae') or the vCPU."""
        if registers:
            return Space(self, registers)
        source = self._source([] if cr3 is None else [cr3], vcpu, arch)
        regs, error = _abi.Regs(), _abi.Error()
        _check(lib.libvmem_find_regs(self.handle, source, regs, error), error)
        return Space(self, Registers._of(regs))

    def _source(self, cr3s: list[int], vcpu: int,
                arch: Optional[str]) -> _abi.Source:
        source = _abi.Source(vcpu=vcpu)
        if cr3s:
            source.given.regs.cr3 = cr3s[0]
            source.given.have = 2
            source.cr3s = (ctypes.c_uint64 * len(cr3s))(*cr3s)
            source.nr_cr3s = len(cr3s)
        if arch:
            source.arch = lib.libvmem_arch_regs(arch.encode())
            if not source.arch:
                raise Error(Code.BAD_ARGUMENT, "no such architecture: " + arch,
                            "give amd64, amd64-la57, i686 or i686-pae")
        return source

    def roots(self, cr3: Optional[int] = None, *, vcpu: int = 0,
              arch: Optional[str] = None, fetch: bool = False) -> list[Root]:
        """All that looks like a root in the guest's memory. Reads all of it; what its VMM
        does not have in memory, only with @fetch."""
        return self._search(cr3, vcpu, arch, fetch)[0]

    def _search(self, cr3, vcpu, arch,
                fetch=False) -> tuple[list[Root], Registers]:
        source = self._source([] if cr3 is None else [cr3], vcpu, arch)
        search = _abi.Search(source=ctypes.pointer(source), fetch=fetch)
        error = _abi.Error()
        try:
            _check(lib.libvmem_search_roots(self.handle, search, error), error)
            return [
                Root(root.root, RootClass(root.kind), root.of or None,
                     root.shared, root.kernel, root.user, root.pointers,
                     root.vcpu_seen, root.in_user_memory) for root in search.roots[:search.nr]
            ], Registers._of(search.regs)
        finally:
            _abi.libc.free(search.roots)

    def spaces(self, cr3: Optional[int] = None, *, vcpu: int = 0,
               arch: Optional[str] = None) -> list[Space]:
        """The spaces of all processes, as roots() finds them

        >>> guest.spaces(arch="amd64", cr3=0x1000)
        [<vmem.Space 0x1000 of guest.elf>, <vmem.Space 0x5000 of guest.elf>]
        """
        roots, registers = self._search(cr3, vcpu, arch)
        return [Space(self, dataclasses.replace(registers, cr3=root.root))
                for root in roots
                if root.kind in (RootClass.VCPU, RootClass.USER)]

    def read(self, gpa: int, length: int) -> bytes:
        """Guest-physical memory, up to the first byte that cannot be read"""
        data = ctypes.create_string_buffer(length)
        done, error = _abi.Read(), _abi.Error()
        _check(lib.libvmem_read_phys(self.handle, gpa, data, length, done,
                                     error), error)
        return data.raw[:done.len]

    def walk(self, spaces: Iterable[Space], va: int = 0,
             last_va: int = LAST) -> Iterator[Record]:
        """What is in many spaces, in one walk: each Space, and behind it its Mappings,
        References to tables that an earlier one owns, and Anomalies. Comes as it is read.

        >>> a, b = guest.space(0x1000), guest.space(0x5000)
        >>> for record in guest.walk([a, b], 0x400000, 0x7fffff):
        ...     if isinstance(record, vmem.Reference):
        ...         print(hex(record.va), record.owner, hex(record.owner_va))
        0x600000 <vmem.Space 0x1000 of guest.elf> 0x400000
        0x400000 <vmem.Space 0x1000 of guest.elf> 0x400000
        """
        spaces = list(spaces)
        if not spaces:
            return
        if len(spaces) > _abi.MAX_ROOTS:
            raise Error(Code.BAD_ARGUMENT, "there are %d spaces" % len(spaces),
                        "walk %d at most" % _abi.MAX_ROOTS)
        rows: queue.Queue = queue.Queue(64)
        walker = _Walker(self._reopen, spaces, va, last_va, rows)
        walker.start()
        try:
            while (batch := rows.get()) is not None:
                yield from batch
        finally:
            walker.stop = True
            while walker.is_alive():
                with contextlib.suppress(queue.Empty):
                    rows.get(timeout=0.01)
            walker.join()
        if walker.error:
            raise walker.error

    def who(self, gpa: int,
            spaces: Optional[Iterable[Space]] = None) -> Iterator[Place]:
        """Where a guest-physical page is mapped, in all spaces or in these. What a shared
        table maps is told once, and each reference to it.

        >>> for place in guest.who(0x13000, [guest.space(0x1000), guest.space(0x5000)]):
        ...     print(place.space, hex(place.va), place.rights, place.reference and "shared")
        <vmem.Space 0x1000 of guest.elf> 0xffffffff81000000 r-xs None
        <vmem.Space 0x5000 of guest.elf> 0xffffffff81000000 r-xs shared
        """
        at: dict[Space, list[tuple[int, int]]] = {}
        space = None
        for record in self.walk(self.spaces() if spaces is None else spaces):
            if isinstance(record, Space):
                space = record
                at.setdefault(space, [])
            elif isinstance(record, Mapping):
                offset = gpa - record.gpa
                if 0 <= offset < record.len:
                    at[space].append((record.va + offset, record._perms))
                    yield Place(space, record.va + offset, None, record._perms)
            elif isinstance(record, Reference):
                for va, perms in list(at[record.owner]):
                    if record.owner_va <= va < record.owner_va + record.len:
                        here = record.va + va - record.owner_va
                        rights = perms & record._perms
                        at[space].append((here, rights))
                        yield Place(space, here, record, rights)


class _Walker(threading.Thread):
    """A walk on a handle of its own, which fills a queue and waits when it is full"""

    BATCH = 256

    def __init__(self, reopen, spaces, va, last_va, rows):
        super().__init__(daemon=True)
        self.reopen = reopen
        self.spaces = spaces
        self.scope = _abi.Scope(va, last_va, None, 0)
        self.rows = rows
        self.batch: list[Record] = []
        self.stop = False
        self.error: Optional[Exception] = None

    def run(self) -> None:
        try:
            self.walk()
        except Exception as error:              # for the reader to raise
            self.error = error
        self.put(None)

    def put(self, what) -> None:
        while not self.stop:
            with contextlib.suppress(queue.Full):
                self.rows.put(what, timeout=0.1)
                return

    def walk(self) -> None:
        roots = _abi.Roots(regs=self.spaces[0].registers._abi(),
                           nr=len(self.spaces))
        for index, space in enumerate(self.spaces):
            roots.cr3s[index] = space.registers.cr3
        row = _abi.RecordRow(self.row)
        error = _abi.Error()
        handle = self.reopen()
        try:
            _check(lib.libvmem_walk_spaces(handle, roots, self.scope, row, None,
                                           None, error), error)
        finally:
            lib.libvmem_close(handle)
        self.put(self.batch)

    def row(self, record, _) -> int:
        record = record.contents
        self.batch.append(self.record(record))
        if len(self.batch) == self.BATCH:
            self.put(self.batch)
            self.batch = []
        return int(self.stop)

    def record(self, record) -> Record:
        if record.type == 1:
            return self.spaces[record.root]
        if record.type == 2:
            return Mapping._of(record.mapping)
        if record.type == 3:
            row = record.reference
            return Reference(row.our_va, row.len, row.table_gpa,
                             self.spaces[row.owner_root], row.their_va,
                             row.perms)
        row = record.anomaly
        return Anomaly(row.va, row.last_va, Status(row.status),
                       Table(row.level), row.table_gpa, row.raw)


def open(pid: Optional[int] = None, *, image: Union[str, os.PathLike, None] = None,
         vm_fd: int = -1, regions: Iterable[Region] = ()) -> Guest:
    """The guest of a process that runs it, or an image

    @pid: the VMM's process, as root
    @vm_fd: its descriptor of the VM, if it holds more than one
    @image: a file: see vmemctl(8), IMAGES
    @regions: where memory is in the image, if it does not say so itself
    """
    if (pid is None) == (image is None):
        raise TypeError("give pid or image, and one of them")
    regions = [_abi.Region(region.gpa, region.len, region.offset,
                           os.fsencode(region.file) if region.file else None)
               for region in regions]

    def reopen():
        handle, error = _abi.GUEST(), _abi.Error()
        if image is None:
            ret = lib.libvmem_open_pid(handle, pid, vm_fd, error)
        else:
            ret = lib.libvmem_open_regions(
                handle, os.fsencode(image),
                (_abi.Region * len(regions))(*regions), len(regions), error)
        _check(ret, error)
        return handle

    return Guest(str(pid) if image is None else os.fspath(image), reopen)
