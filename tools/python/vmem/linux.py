# SPDX-License-Identifier: GPL-2.0-only
"""Processes of a Linux guest. All that is needed is in the guest's memory.

>>> from vmem import linux
>>> for task in linux.tasks(guest):
...     print(task.pid, task.comm, task.root and hex(task.root))
1 init 0x3b000
2 kthreadd None
70 sh 0x47000

BTF, the kernel's own description of its structs, gives the offsets of their members. So
the kernel must be built with CONFIG_DEBUG_INFO_BTF, as distributions' 64-bit kernels are.
The module searches the kernel's image for it, so it needs no symbols, and KASLR does not
matter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import re
import struct
from typing import Iterator, NamedTuple, Optional

from . import LAST, Code, Error, Guest, RootClass, Space

__all__ = ["Kernel", "Task", "tasks"]

# Where a kernel's image, and its modules, are: of 64 bits, and of 32
IMAGE_64 = (0xffffffff80000000, LAST)
IMAGE_32 = (0x80000000, 0xffffffff)

PAGE = 4096
PIECE = 1 << 20                 # bytes that are read at once
TRIES = 8                       # for a list that the guest changes meanwhile
MOST_TASKS = 1 << 22            # PID_MAX_LIMIT
MOST_SPACES = 16                # to look for a kernel in
MOST_PLACES = 1024              # where a pattern may be
MOST_KERNELS = 8                # of which types are looked at
MOST_STRUCT = 1 << 16           # bytes
MOST_BTF = 1 << 25
COMM = 16                       # TASK_COMM_LEN

BTF_MAGIC = b"\x9f\xeb\x01\x00"         # with its version and flags
BANNER = b"Linux version "
FIRST_COMM = b"swapper"                 # of init_task, "/0" behind it with SMP
BANNER_TEXT = re.compile(rb"Linux version \d[ -~]+ #\d[ -~]*")


class _Changed(Exception):
    """The guest changed what was read, or it never was consistent"""


@dataclasses.dataclass(frozen=True)
class Task:
    """A process.

    @comm: name, cut to 15 bytes; `ps` may show longer names of kernel threads
    @root: guest-physical address of the root table; with isolated page tables, of the
        kernel's one of the two. None for a kernel thread or a process that has ended.
    @address: virtual address of its task_struct
    """
    pid: int
    comm: str
    root: Optional[int]
    address: int


class Kernel:
    """The kernel of a Linux guest: searched for once, asked often

    >>> kernel = vmem.linux.Kernel(guest)
    >>> kernel.release
    '6.1.0-doc'
    >>> len(kernel.tasks())
    3
    """

    space: Space        # one that maps it
    banner: str         # as in /proc/version

    def __init__(self, guest: Guest, space: Optional[Space] = None):
        failures: list[Error] = []
        for spaces in [[space]] if space else [_of_vcpus(guest), _of_roots(guest)]:
            for space in spaces:
                try:
                    self._open(space)
                    return
                except Error as error:
                    failures.append(error)
            # Not that of a space that has no kernel, where another has one
            if found := [error for error in failures if error.code != Code.NO_ROOT]:
                raise found[0]
        raise failures[0]

    def _open(self, space: Space) -> None:
        found = _Found(space)
        if not found.banner:
            raise Error(Code.NO_ROOT, "no Linux kernel is mapped by %r" % space,
                        "the guest may not have booted yet, or run something else")
        self.space, self.banner = space, found.banner
        self._word = struct.Struct("<I" if found.is_32 else "<Q")
        self._layout, behind = self._read_layout(found)
        self._first = self._find_first(found, behind)

    @property
    def release(self) -> str:
        """As `uname -r` says it"""
        return self.banner.split()[2]

    def tasks(self) -> list[Task]:
        """All processes but the idle ones, from a list that was consistent"""
        for _ in range(TRIES):
            try:
                return self._roots_of(list(self._list()))
            except _Changed as changed:
                why = str(changed)
        raise Error(Code.UNREADABLE, "the kernel's list of processes is inconsistent: " +
                    why, "ask again if the guest runs; an image that was taken while the "
                    "guest ran may stay so")

    def _read_layout(self, found: _Found) -> tuple[_Layout, int]:
        """It, and where the kernel has its types"""
        found_all = (_Btf(self.space, va) for va in found.places[BTF_MAGIC])
        kernels = (btf for btf in found_all if b"\0task_struct\0" in btf.strings)
        for btf in itertools.islice(kernels, MOST_KERNELS):
            with contextlib.suppress(LookupError):
                return _Layout(*btf.offsets("task_struct", "pid", "comm", "tasks", "mm"),
                               *btf.offsets("mm_struct", "pgd")), btf.va
        raise Error(Code.UNREADABLE, "the guest's kernel, %s, has no BTF in memory that "
                    "names task_struct and mm_struct" % self.release,
                    "it must be built with CONFIG_DEBUG_INFO_BTF, which Debian's for i686 "
                    "are not")

    def _find_first(self, found: _Found, behind: int) -> int:
        """In a kernel's image data follow types, so no process's memory is between them."""
        for va in found.places[FIRST_COMM]:
            task = va - self._layout.comm
            if task < behind:
                continue
            with contextlib.suppress(_Changed):
                row = self._row(task)
                head = task + self._layout.tasks
                if not (row.pid or row.mm or task % self._word.size) and \
                        self._row(row.next - self._layout.tasks).prev == head:
                    return task
        raise Error(Code.UNREADABLE, "the first task of the guest's kernel, %s, is not in "
                    "its image" % self.release, "the image may lack parts of its memory")

    def _read(self, va: int, length: int) -> bytes:
        va &= LAST
        data = self.space.read(va, length) if va <= LAST - length else b""
        if len(data) != length:
            raise _Changed("%#x cannot be read" % va)
        return data

    def _pointer(self, va: int) -> int:
        return self._word.unpack(self._read(va, self._word.size))[0]

    def _row(self, task: int) -> _Row:
        layout, word = self._layout, self._word
        first = min(layout.pid, layout.comm, layout.tasks, layout.mm)
        data = self._read(task + first, max(
            layout.pid + 4, layout.comm + COMM, layout.tasks + 2 * word.size,
            layout.mm + word.size) - first)
        comm = data[layout.comm - first:][:COMM]
        at = layout.tasks - first
        return _Row(task & LAST, struct.unpack_from("<i", data, layout.pid - first)[0],
                    _printable(comm.partition(b"\0")[0]),
                    word.unpack_from(data, layout.mm - first)[0],
                    word.unpack_from(data, at)[0],
                    word.unpack_from(data, at + word.size)[0])

    def _list(self) -> Iterator[_Row]:
        """Each element must point back to the one before, which rules out loops."""
        head = before = self._first + self._layout.tasks
        row = self._row(self._first)
        for _ in range(MOST_TASKS):
            if row.next == head:
                return
            here = row.next
            row = self._row(here - self._layout.tasks)
            if row.prev != before:
                raise _Changed("the task at %#x does not point back to the one before" %
                               row.task)
            before = here
            yield row
        raise Error(Code.TOO_MUCH, "the kernel's list of processes has more than %d" %
                    MOST_TASKS, "no kernel has: the guest made it up")

    def _roots_of(self, rows: list[_Row]) -> list[Task]:
        users = [row for row in rows if row.mm]
        pgds = [self._pointer(row.mm + self._layout.pgd) for row in users]
        answers = self.space.translate_all(pgds) if pgds else []
        roots = {}
        for row, answer in zip(users, answers):
            mm = self._pointer(row.task + self._layout.mm)
            if not mm:
                continue                # it ended meanwhile
            if mm != row.mm:
                raise _Changed("process %d began another program" % row.pid)
            if answer.gpa is None:
                raise _Changed("the root of process %d is %s" % (row.pid, answer))
            roots[row.task] = answer.gpa
        return [Task(row.pid, row.comm, roots.get(row.task), row.task) for row in rows]


def tasks(guest: Guest, space: Optional[Space] = None) -> list[Task]:
    """All processes of a Linux guest. @space: one that maps its kernel, where those of the
    vCPUs do not. To ask repeatedly, keep a Kernel."""
    return Kernel(guest, space).tasks()


class _Layout(NamedTuple):
    """Offsets in task_struct, and that of mm_struct's pgd"""
    pid: int
    comm: int
    tasks: int
    mm: int
    pgd: int


class _Row(NamedTuple):
    """Members of a task_struct"""
    task: int
    pid: int
    comm: str
    mm: int
    next: int
    prev: int


def _printable(raw: bytes) -> str:
    """Without control characters: the guest chooses the name, and callers print it"""
    return "".join(char if char.isprintable() else "\\x%02x" % ord(char)
                   for char in raw.decode(errors="replace"))


def _of_vcpus(guest: Guest) -> Iterator[Space]:
    for index, _ in zip(range(MOST_SPACES), guest.vcpus()):
        with contextlib.suppress(Error):
            space = guest.space(vcpu=index)
            if space.registers.mode == "off":
                continue
            yield space
            # Where page tables are isolated CR3 has this bit in user mode, and what it
            # leads to maps little of the kernel.
            cr3 = space.registers.cr3
            if cr3 & PAGE:
                yield Space(guest, dataclasses.replace(space.registers, cr3=cr3 & ~PAGE))


def _of_roots(guest: Guest) -> Iterator[Space]:
    roots, registers = guest._search(None, 0, None)
    kinds = (RootClass.VCPU, RootClass.USER, RootClass.KERNEL)
    for root in [root for root in roots if root.kind in kinds][:MOST_SPACES]:
        yield Space(guest, dataclasses.replace(registers, cr3=root.root))


class _Found:
    """What is in the image of the kernel that a space maps"""

    def __init__(self, space: Space):
        self.space = space
        self.is_32 = space.registers.mode not in ("4-level", "5-level")
        self.banner = ""
        self.places: dict[bytes, dict[int, None]] = {
            pattern: {} for pattern in (BTF_MAGIC, BANNER, FIRST_COMM)}
        for va, data, writable in self._pieces():
            for pattern, places in self.places.items():
                # Kernels of 32 bits map the memory of processes there, too.
                if self.is_32 and writable and pattern != FIRST_COMM:
                    continue
                at = data.find(pattern)
                while at >= 0 and len(places) < MOST_PLACES:
                    places[va + at] = None
                    at = data.find(pattern, at + 1)
        for va in self.places[BANNER]:
            if match := BANNER_TEXT.match(space.read(va, 512)):
                self.banner = match[0].decode()
                break

    def _pieces(self) -> Iterator[tuple[int, bytes, bool]]:
        """All that can be read, with the end of the piece before in front of each"""
        before = b""
        for va, end, writable in self._runs():
            while va < end:
                data = self.space.read(va, min(PIECE, end - va))
                if data:
                    yield va - len(before), before + data, writable
                    before = data[-len(BANNER):]
                    va += len(data)
                else:
                    before = b""
                    va = (va | PAGE - 1) + 1
            before = b""

    def _runs(self) -> Iterator[tuple[int, int, bool]]:
        """(first, end, writable) of what is mapped to the kernel alone"""
        first, end, writable = 0, 0, False
        for row in self.space.maps(*(IMAGE_32 if self.is_32 else IMAGE_64)):
            if row.user:
                continue
            if (row.va, row.writable) != (end, writable):
                yield first, end, writable
                first, writable = row.va, row.writable
            end = row.last_va + 1
        yield first, end, writable


class _Btf:
    """Types of a kernel (Documentation/bpf/btf.rst); none if there are none at @va"""

    STRUCT, UNION = 4, 5
    # Words behind a type of a kind, and for each of its members; others have none.
    MORE = {1: 1, 3: 3, 14: 1, 17: 1}
    EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
    LAST_KIND = 19

    def __init__(self, space: Space, va: int):
        self.va = va
        self.strings = b""
        self.words: tuple[int, ...] = ()
        head = space.read(va, 24)
        if len(head) < 24:
            return
        size, type_at, type_len, string_at, string_len = struct.unpack_from("<5I", head, 4)
        if 24 <= size <= PAGE and type_len <= MOST_BTF and string_len <= MOST_BTF:
            self.strings = space.read(va + size + string_at, string_len)
            data = space.read(va + size + type_at, type_len)
            self.words = struct.unpack("<%dI" % (len(data) // 4), data[:len(data) & -4])

    @functools.cached_property
    def types(self) -> list[int]:
        """Words at which they begin. The first one's number is 1."""
        types, at = [], 0
        while at + 3 <= len(self.words):
            kind, members, _ = self._info(at)
            if kind > self.LAST_KIND:
                break
            types.append(at)
            at += 3 + self.MORE.get(kind, 0) + self.EACH.get(kind, 0) * members
        return types

    def _info(self, at: int) -> tuple[int, int, bool]:
        """(kind, members, kind_flag) of the type at a word"""
        info = self.words[at + 1]
        return info >> 24 & 0x1f, info & 0xffff, bool(info >> 31)

    def offsets(self, name: str, *members: str) -> list[int]:
        """Where a struct has its members, in bytes"""
        names = self.strings.find(b"\0%s\0" % name.encode()) + 1
        for at in self.types:
            if self.words[at] == names and self._info(at)[0] == self.STRUCT:
                found = self._members(at)
                if all(found.get(member, MOST_STRUCT) < MOST_STRUCT for member in members):
                    return [found[member] for member in members]
        raise LookupError(name)

    def _name(self, at: int) -> str:
        return self.strings[at:self.strings.find(b"\0", at)].decode(errors="replace")

    def _members(self, at: int) -> dict[str, int]:
        """Also those of structs and unions in it that have no name, each once"""
        found: dict[str, int] = {}
        todo, seen = [(at, 0)], {at}
        while todo:
            at, base = todo.pop()
            _, count, flag = self._info(at)
            for place in range(at + 3, min(at + 3 + 3 * count, len(self.words) - 2), 3):
                name, kind, bits = self.words[place:place + 3]
                offset = base + ((bits & 0xffffff if flag else bits) >> 3)
                if name:
                    found.setdefault(self._name(name), offset)
                    continue
                inner = self.types[kind - 1] if 0 < kind <= len(self.types) else at
                if inner not in seen and self._info(inner)[0] in (self.STRUCT, self.UNION):
                    seen.add(inner)
                    todo.append((inner, offset))
        return found
