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
why and what to do next. Members of answers have the names that they have in the JSON of
vmemctl(8), but where those are words of Python's: `kind` is class, `is_global` is global.

vmem.linux lists the processes of a Linux guest. vmem.gdb, which only gdb can import, has
commands for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import queue
import threading
from typing import Iterable, Iterator, Optional, Union

from . import _abi
from ._abi import lib
from ._error import Code, Error, check as _check, text as _text
from ._rows import (Access, AccessKind, Anomaly, Attributes, Entry, EntryKind, Image,
                    Inputs, Known, Level, Mapping, Memslot, Place, Reason, Reference, Region,
                    Registers, Root, RootClass, SnapshotSpace, Status, Translation, Vcpu)

__all__ = [
    "Access", "AccessKind", "Anomaly", "Attributes", "Code", "Entry", "EntryKind", "Error",
    "Guest", "Image", "Inputs", "Known", "Level", "Mapping", "Memslot", "Place", "Reason",
    "Reference", "Region", "Registers", "Root", "RootClass", "SnapshotSpace", "Space",
    "Status", "Translation", "Vcpu", "open", "version",
]

LAST = (1 << 64) - 1


def version() -> str:
    """The library's version"""
    return _text(lib.libvmem_version())


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
        """What one address of data leads to: without the metadata that LAM takes out of it"""
        return next(iter(self.translate_all([va])))

    def translate_all(self, vas: Iterable[int]) -> list[Translation]:
        """What many addresses lead to, asked at once"""
        vas, registers = list(vas), self.registers._abi()
        at = [lib.libvmem_data_address(registers, va) for va in vas]
        return [Translation._of(va, answer_va, answer, self)
                for va, (answer_va, answer) in zip(vas, self._ask(at))]

    def _ask(self, vas: list[int]) -> list[tuple[int, _abi.Translation]]:
        out = []

        @_abi.TranslationRow
        def row(va, answer, _):
            out.append((va, _abi.Translation.from_buffer_copy(answer.contents)))
            return 0

        error = _abi.Error()
        _check(lib.libvmem_translate(
            self.guest.handle, self.registers._abi(), (ctypes.c_uint64 * len(vas))(*vas),
            len(vas), row, None, error), error)
        return out

    def access(self, va: int, kind: AccessKind = AccessKind.READ, user_mode: bool = False, *,
               rflags: int = 0, pkru: int = 0, pkrs: int = 0) -> Access:
        """What a processor would do with an access

        >>> fault = space.access(0x400000, vmem.AccessKind.WRITE, True)
        >>> fault.reason.name, fault.vector, fault.error_code, fault.decides.level.name
        ('READ_ONLY', 14, 7, 'PT')
        """
        registers, error = self.registers._abi(), _abi.Error()
        is_data = kind != AccessKind.FETCH          # of which LAM takes metadata out
        (at, answer), = self._ask([lib.libvmem_data_address(registers, va) if is_data
                                   else va])
        access, verdict = _abi.Access(kind, user_mode, rflags, pkru, pkrs), _abi.Verdict()
        _check(lib.libvmem_access(registers, access, answer, verdict, error), error)
        return Access._of(Translation._of(va, at, answer, self), access, verdict)

    def maps(self, va: int = 0, last_va: int = LAST,
             attributes: bool = False) -> Iterator[Mapping]:
        """What is mapped from @va to @last_va, inclusive, by rising address. Comes as it is
        read: a guest that runs may change meanwhile."""
        at_once = 1024
        pat = self.guest._pat() if attributes else 0
        while va <= last_va:
            rows: list[Mapping] = []

            @_abi.MappingRow
            def row(mapping, _, rows=rows):
                mapping = mapping.contents
                rows.append(Mapping._of(mapping, Attributes._of(
                    mapping.attributes, self, pat) if attributes else None))
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
        """Memory, up to the first byte that cannot be read. LAM applies as it does to
        translate().

        >>> space.read(0x400ffe, 6)
        b'\\x00\\x00firs'
        """
        registers = self.registers._abi()
        data = ctypes.create_string_buffer(length)
        done, error = _abi.Read(), _abi.Error()
        _check(lib.libvmem_read(
            self.guest.handle, registers, lib.libvmem_data_address(registers, va), data,
            length, done, error), error)
        return data.raw[:done.len]


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

    @property
    def image(self) -> Optional[Image]:
        """The file that it is; None if it runs

        >>> guest.image.format
        'elf64'
        """
        about = lib.libvmem_image(self.handle)
        if not about:
            return None
        about = about.contents
        regs, saved = Registers._of(about.regs), about.nr_spaces > 0
        return Image(
            os.fsdecode(about.path), _text(about.format), about.size,
            regs.rules if saved else None, tuple(
                SnapshotSpace(Space(self, dataclasses.replace(regs, cr3=row.root)),
                              row.space)
                for row in about.spaces[:about.nr_spaces]))

    def memslots(self) -> list[Memslot]:
        """The guest's memory, by rising address

        >>> [hex(slot.gpa) for slot in guest.memslots()]
        ['0x1000', '0x10000']
        """
        image = self.image
        packed = image and image.format == "kdump"
        out: list[Memslot] = []

        @_abi.MemslotRow
        def row(slot, _):
            slot = slot.contents
            file = lib.libvmem_image_file(self.handle, slot.id)
            out.append(Memslot(
                slot.id, slot.gpa, slot.len, None if image else slot.hva,
                slot.hva if image and not packed else None, file and os.fsdecode(file),
                bool(slot.flags & 1)))
            return 0

        error = _abi.Error()
        _check(lib.libvmem_memslots(self.handle, row, None, error), error)
        return out

    def vcpus(self, timeout: float = 0.1) -> Iterator[Vcpu]:
        """Each vCPU, as KVM has it. One that runs is waited for so many seconds at most."""
        is_image = bool(lib.libvmem_image(self.handle))
        info, error = _abi.InfoArgs(), _abi.Error()
        _check(lib.libvmem_info(self.handle, info, error), error)
        for index in range(info.out_nr_vcpus):
            args = _abi.VcpuArgs()
            ret = lib.libvmem_vcpu(self.handle, index, int(timeout * 1e6), args, error)
            if ret == -Code.UNREADABLE:
                yield Vcpu(index, withheld=True)
                continue
            _check(ret, error)
            yield Vcpu._of(index, args, is_image)

    def _pat(self) -> int:
        """The first vCPU's, or as after a reset"""
        pat = ctypes.c_uint64()
        lib.libvmem_find_pat(self.handle, _abi.Source(), pat)
        return pat.value

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
            return [Root._of(root) for root in search.roots[:search.nr]], \
                Registers._of(search.regs)
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
        ...         print(hex(record.va), record.owner_space, hex(record.owner_va))
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
        """Where a guest-physical page is mapped, in all spaces or in these: at each address,
        where vmemctl(8) lists a shared table once.

        >>> for place in guest.who(0x13000, [guest.space(0x1000), guest.space(0x5000)]):
        ...     print(place.space, hex(place.va), place.rights, place.by and "shared")
        <vmem.Space 0x1000 of guest.elf> 0xffffffff81000000 r-xs None
        <vmem.Space 0x5000 of guest.elf> 0xffffffff81000000 r-xs shared
        """
        at: dict[Space, list[int]] = {}
        space = None
        for record in self.walk(self.spaces() if spaces is None else spaces):
            if isinstance(record, Space):
                space = record
                at.setdefault(space, [])
            elif isinstance(record, Mapping):
                offset = gpa - record.gpa
                if 0 <= offset < record.len:
                    at[space].append(record.va + offset)
                    yield Place._of(space, record.va + offset, None)
            elif isinstance(record, Reference):
                for va in list(at[record.owner_space]):
                    if record.owner_va <= va < record.owner_va + record.len:
                        here = record.va + va - record.owner_va
                        at[space].append(here)
                        yield Place._of(space, here, record)


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
            return Reference._of(row, self.spaces[row.owner_root])
        return Anomaly._of(record.anomaly)


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


for _name in __all__:                           # where users find it
    globals()[_name].__module__ = __name__
