# SPDX-License-Identifier: GPL-2.0-only
"""What answers are made of. Members have the names that they have in vmemctl's JSON;
tools/selftest/python.py lists the few that have not, and why."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import TYPE_CHECKING, Optional, Union

from . import _abi
from ._abi import lib
from ._error import check, text

if TYPE_CHECKING:
    from . import Space

_CR4_KEYS = 1 << 22 | 1 << 24           # PKE and PKS


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


class Level(enum.IntEnum):
    """Levels of tables"""
    PT = 1
    PD = 2
    PDPT = 3
    PML4 = 4
    PML5 = 5

    @classmethod
    def _of(cls, level: int) -> Optional[Level]:
        return cls(level) if level else None


class Known(enum.IntEnum):
    """How a vCPU's registers are known: see vmemctl(8), vcpus"""
    UNKNOWN = 0
    ENTRY = 1
    EXIT = 2
    HALTED = 3


class EntryKind(enum.IntEnum):
    """What an entry of a table is"""
    NOT_PRESENT = 0
    TABLE = 1
    PAGE = 2


class AccessKind(enum.IntEnum):
    """What an access does"""
    READ = 0
    WRITE = 1
    FETCH = 2


class Reason(enum.IntEnum):
    """Why an access faults: see vmemctl(8), access"""
    NONE = 0
    NON_CANONICAL = 1
    NOT_PRESENT = 2
    RESERVED = 3
    UNKNOWN = 4
    SUPERVISOR = 5
    READ_ONLY = 6
    NO_EXECUTE = 7
    SMEP = 8
    SMAP = 9
    KEY = 10


class Inputs(enum.IntFlag):
    """What an answer about an access can rest on"""
    CR0 = 0x1
    CR4 = 0x4
    VENDOR = 0x20
    RFLAGS = 0x100
    PKRU = 0x200
    PKRS = 0x400


class RootClass(enum.IntEnum):
    """What a root that was found is: see vmemctl(8), WHICH SPACES"""
    VCPU = 0
    USER = 1
    KERNEL = 2
    TWIN = 3
    COPY = 4
    UNCLEAR = 5


class _Rights:
    """What a page or a table may be used for; None where nothing is mapped"""
    _perms: Optional[int]

    def _has(self, right: int) -> Optional[bool]:
        return None if self._perms is None else bool(self._perms & right)

    @property
    def writable(self) -> Optional[bool]:
        return self._has(1)

    @property
    def user(self) -> Optional[bool]:
        """User mode reaches it"""
        return self._has(2)

    @property
    def executable(self) -> Optional[bool]:
        return self._has(4)

    @property
    def rights(self) -> str:
        """As vmemctl shows them: rwxu"""
        return "r%s%s%s" % ("w" if self.writable else "-",
                            "x" if self.executable else "-",
                            "u" if self.user else "s")


@dataclasses.dataclass(frozen=True)
class Registers:
    """What says how a vCPU pages

    @rules: VMEM_RULES_* of <linux/vmem.h>
    @cow_mask, @cow_value: as vmemctl's --cow
    """
    cr0: int
    cr3: int
    cr4: int
    efer: int
    maxphyaddr: int
    rules: int = 0
    cow_mask: int = 0
    cow_value: int = 0

    @classmethod
    def _of(cls, regs: _abi.Regs) -> Registers:
        return cls(*(getattr(regs, field.name) for field in dataclasses.fields(cls)))

    def _abi(self) -> _abi.Regs:
        return _abi.Regs(*vars(self).values())

    @property
    def mode(self) -> str:
        """'4-level', '5-level', 'pae', '2-level', or 'off'"""
        return text(lib.libvmem_mode_name(lib.libvmem_mode(self._abi())))

    @property
    def root(self) -> int:
        """Guest-physical address of the root table"""
        return lib.libvmem_root(self._abi())

    @property
    def _top(self) -> int:
        """The root table's level, 0 if paging is off"""
        return lib.libvmem_top_level(self._abi())


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
    """Guest memory in one piece

    @hva: where the VMM has it; None of an image
    @file, @offset: where it is in a file; None of a guest that runs, and @offset where it
        is packed
    """
    id: int
    gpa: int
    len: int
    hva: Optional[int]
    offset: Optional[int]
    file: Optional[str]
    readonly: bool


@dataclasses.dataclass(frozen=True)
class SnapshotSpace:
    """A space of a snapshot. @old_root is where its root table was in the guest."""
    space: Space
    old_root: int

    @property
    def root(self) -> int:
        return self.space.root


@dataclasses.dataclass(frozen=True)
class Image:
    """The file that a guest is

    @rules: those of a snapshot
    @spaces: those of a snapshot
    """
    file: str
    format: str
    file_bytes: int
    rules: Optional[int]
    spaces: tuple[SnapshotSpace, ...]


@dataclasses.dataclass(frozen=True)
class Vcpu:
    """A vCPU. What is not known is None: all but @vcpu where @withheld, CR3 and RIP where
    KVM does not hold them.

    @vcpu: its index
    @withheld: the guest keeps its registers from the host
    @id: its APIC ID
    @root: guest-physical address of its root table, if it pages by one that is the guest's
        own: neither in system management mode (@smm) nor in a guest of the guest (@nested)
    @rules: VMEM_RULES_* of <linux/vmem.h>; None of an image
    @pat: the PAT; None of an image
    """
    vcpu: int
    withheld: bool = False
    id: Optional[int] = None
    known: Optional[Known] = None
    mode: Optional[str] = None
    cr0: Optional[int] = None
    cr3: Optional[int] = None
    cr4: Optional[int] = None
    efer: Optional[int] = None
    maxphyaddr: Optional[int] = None
    rules: Optional[int] = None
    pat: Optional[int] = None
    root: Optional[int] = None
    rip: Optional[int] = None
    smm: Optional[bool] = None
    nested: Optional[bool] = None

    @classmethod
    def _of(cls, index: int, args: _abi.VcpuArgs, is_image: bool) -> Vcpu:
        registers, state = Registers._of(args.out_regs), args.out_state
        own = lib.libvmem_has_own_root(args) and registers._top
        return cls(
            index, False, args.out_id, Known(args.out_known), registers.mode, registers.cr0,
            None if state & 4 else registers.cr3, registers.cr4, registers.efer,
            registers.maxphyaddr, None if is_image else registers.rules,
            None if is_image else args.out_pat or None, registers.root if own else None,
            None if state & 8 else args.out_rip, bool(state & 1), bool(state & 2))


@dataclasses.dataclass(frozen=True)
class Root:
    """A table that looks like a root

    @of_root: the root that a twin or a copy belongs to
    @kernel_shared, @kernel_entries: entries of the kernel half that name the same tables
        as the known root's, of all that this has
    @user_bytes: bytes that it maps to user mode
    @pointers: words of memory that hold its address, where they were looked for
    @vcpu_seen: a vCPU had it
    @in_user_memory: a copy that is mapped to user mode
    """
    root: int
    kind: RootClass
    of_root: Optional[int]
    kernel_shared: int
    kernel_entries: int
    user_bytes: int
    pointers: int
    vcpu_seen: bool
    in_user_memory: bool

    @classmethod
    def _of(cls, row: _abi.RootFound) -> Root:
        return cls(row.root, RootClass(row.kind), row.of or None, row.shared, row.kernel,
                   row.user, row.pointers, row.vcpu_seen, row.in_user_memory)


@dataclasses.dataclass(frozen=True)
class Attributes:
    """What the last entry says of a page, besides rights

    @memory_type: by entry @pat_entry of the PAT; the MTRRs may make it a stricter one
    @key: protection key; None if the guest does not use them
    @encrypted: None if nothing says which bit tells
    """
    accessed: bool
    dirty: bool
    is_global: bool
    memory_type: str
    pat_entry: int
    key: Optional[int]
    encrypted: Optional[bool]

    @classmethod
    def _of(cls, bits: int, space: Space, pat: int) -> Attributes:
        registers, top = space.registers, space.registers._top
        keys = top >= Level.PML4 and registers.cr4 & _CR4_KEYS
        encryption = top != Level.PD and registers.rules >> 8
        return cls(bool(bits & 1), bool(bits & 2), bool(bits & 4),
                   text(lib.libvmem_memory_type(pat, bits)), bits >> 4 & 7,
                   bits >> 8 & 15 if keys else None,
                   bool(bits & 8) if encryption else None)


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry that was read on the way

    @level: the table that it is in
    @entry_gpa: where it is
    @raw: its value
    """
    level: Level
    entry_gpa: int
    raw: int
    _registers: Registers = dataclasses.field(repr=False)

    @functools.cached_property
    def _decoded(self) -> _abi.Entry:
        decoded, error = _abi.Entry(), _abi.Error()
        check(lib.libvmem_entry(self._registers._abi(), self.level, self.raw, decoded,
                                error), error)
        return decoded

    @property
    def kind(self) -> EntryKind:
        return EntryKind(self._decoded.kind)

    @property
    def reserved(self) -> Optional[int]:
        """The reserved bits that are set"""
        return self._decoded.reserved or None


@dataclasses.dataclass(frozen=True)
class Translation(_Rights):
    """What an address leads to. @gpa and @page_size are None if it is not mapped; @level is
    the table with the entry that decided it.

    @translated_va: what was translated in place of @va, where linear-address masking (LAM)
        takes metadata out of it; else None
    """
    va: int
    translated_va: Optional[int]
    status: Status
    level: Optional[Level]
    gpa: Optional[int]
    page_size: Optional[int]
    _perms: Optional[int] = dataclasses.field(repr=False)
    _space: Space = dataclasses.field(repr=False)
    _answer: _abi.Translation = dataclasses.field(repr=False, compare=False)

    @classmethod
    def _of(cls, va: int, translated: int, answer: _abi.Translation,
            space: Space) -> Translation:
        mapped = answer.out_status == Status.MAPPED
        return cls(
            va, None if translated == va else translated, Status(answer.out_status),
            Level._of(answer.out_level), answer.out_gpa if mapped else None,
            answer.out_page_size if mapped else None, answer.out_perms if mapped else None,
            space, answer)

    @functools.cached_property
    def trace(self) -> tuple[Entry, ...]:
        """The entries that were read, from the root on"""
        answer, registers = self._answer, self._space.registers
        top = registers._top
        return tuple(Entry(Level(top - down), entry.entry_gpa, entry.raw, registers)
                     for down, entry in enumerate(answer.out_trace[:answer.out_nr_trace]))

    @property
    def attributes(self) -> Optional[Attributes]:
        """Those of its page"""
        if self.gpa is None:
            return None
        return Attributes._of(self.trace[-1]._decoded.attributes, self._space,
                              self._space.guest._pat())

    def __str__(self) -> str:
        if self.gpa is None:
            return "%#x: %s" % (self.va, self.status.name.lower().replace(
                "_", "-"))
        return "%#x -> %#x %s" % (self.va, self.gpa, self.rights)


@dataclasses.dataclass(frozen=True)
class Access:
    """What a processor would do with an access

    @passes: None where no processor has an answer
    @vector: of the exception: 14 is #PF, 13 #GP
    @error_code: of a page fault
    @reason: why it does not pass; a Status where no entry can be read
    @decides: the entry that decides
    @rests_on: with these the other way round, the answer would be another
    """
    va: int
    translated_va: Optional[int]
    access: AccessKind
    user_mode: bool
    gpa: Optional[int]
    passes: Optional[bool]
    vector: Optional[int]
    error_code: Optional[int]
    reason: Union[Reason, Status, None]
    decides: Optional[Entry]
    rests_on: Inputs

    @classmethod
    def _of(cls, at: Translation, access: _abi.Access, verdict: _abi.Verdict) -> Access:
        reason, vector = Reason(verdict.reason), verdict.vector
        return cls(
            at.va, at.translated_va, AccessKind(access.kind), access.user, at.gpa,
            not reason if vector or not reason else None, vector or None,
            verdict.error_code if vector == 14 else None,
            at.status if reason == Reason.UNKNOWN else reason or None,
            at.trace[verdict.decides] if verdict.decides >= 0 else None,
            Inputs(verdict.rests_on))


@dataclasses.dataclass(frozen=True)
class Mapping(_Rights):
    """Pages side by side that are alike

    @cow: the guest marks them copy-on-write, by the convention in the registers
    @attributes: where they were asked for
    """
    va: int
    last_va: int
    gpa: int
    page_size: int
    cow: bool
    attributes: Optional[Attributes]
    _perms: int = dataclasses.field(repr=False)

    @property
    def len(self) -> int:
        return self.last_va - self.va + 1

    @classmethod
    def _of(cls, row: _abi.Mapping, attributes: Optional[Attributes] = None) -> Mapping:
        return cls(row.va, row.last_va, row.gpa, row.page_size, row.kind == _abi.KIND_COW,
                   attributes, row.perms)

    def __str__(self) -> str:
        return "%#x-%#x %#x %s" % (self.va, self.last_va, self.gpa, self.rights)


@dataclasses.dataclass(frozen=True)
class Reference(_Rights):
    """A table that a space before, the owner, was the first to reach: what is mapped at
    @owner_va of @owner_space is mapped at @va as well.

    @wider: its rights are more than those of the owner's path, which limit the owner's rows
    """
    va: int
    len: int
    level: Optional[Level]
    table_gpa: int
    owner_space: Space
    owner_va: int
    wider: bool
    _perms: int = dataclasses.field(repr=False)

    @classmethod
    def _of(cls, row: _abi.Reference, owner: Space) -> Reference:
        return cls(row.our_va, row.len, Level._of(_abi.TABLE_LEVELS.get(row.table, 0)),
                   row.table_gpa, owner, row.their_va,
                   bool(row.perms & ~row.owner_perms), row.perms)

    @property
    def last_va(self) -> int:
        return self.va + self.len - 1

    @property
    def owner_root(self) -> int:
        return self.owner_space.root


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """An entry that leads nowhere. @table_gpa is the table that it names, and None if it is
    reserved; @level is that table's, and else the entry's own."""
    va: int
    last_va: int
    status: Status
    level: Level
    table_gpa: Optional[int]
    raw: int

    @classmethod
    def _of(cls, row: _abi.Anomaly) -> Anomaly:
        return cls(row.va, row.last_va, Status(row.status), Level(row.level),
                   None if row.status == Status.RESERVED else row.table_gpa, row.raw)


@dataclasses.dataclass(frozen=True)
class Place(_Rights):
    """Where a page is mapped: in @space, by its own tables or @by those of another space

    @status: what became of @va by now; @page_size and rights are None unless it is mapped
    """
    space: Space
    va: int
    status: Status
    page_size: Optional[int]
    by: Optional[Reference]
    _perms: Optional[int] = dataclasses.field(repr=False)

    @classmethod
    def _of(cls, space: Space, va: int, by: Optional[Reference]) -> Place:
        now = space.translate(va)
        return cls(space, va, now.status, now.page_size, by, now._perms)

    @property
    def root(self) -> int:
        return self.space.root
