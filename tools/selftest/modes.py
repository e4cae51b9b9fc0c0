# SPDX-License-Identifier: GPL-2.0-only
"""Paging in every mode, once more, as plainly as the manuals have it (Intel SDM
vol. 3, 4.3 to 4.5): a reference for the answers of others, and guests with random
tables to ask about."""

import dataclasses

import images
from images import PAGE

P, W, U, PWT, PCD, A, D, PS, G = (1 << bit for bit in range(9))
NX = 1 << 63
LARGE_PAT = 1 << 12

TABLES = ("PT", "PD", "PDPT", "PML4", "PML5")   # level 1 first

PGE, PKE = 1 << 7, 1 << 22                      # in CR4
NXE = 1 << 11                                   # in EFER

WP_PG = 0x80050033

# Memory types by what the PAT has after a reset
AFTER_RESET = ("WB", "WT", "UC-", "UC") * 2


@dataclasses.dataclass(frozen=True)
class Mode:
    """A paging mode, and the rules of a model."""

    name: str
    arch: str
    top: int
    cr4: int
    efer: int
    width: int = 52
    index_bits: int = 9
    entry_size: int = 8
    amd: bool = False
    no_1g: bool = False
    c_bit: int = None
    shared_bit: int = None

    @property
    def long_mode(self):
        return self.top >= 4

    @property
    def pae(self):
        return self.entry_size == 8 and not self.long_mode

    @property
    def encryption(self):
        bit = self.c_bit if self.c_bit is not None else self.shared_bit
        return 0 if bit is None or self.entry_size == 4 else 1 << bit

    @property
    def encrypted_where(self):
        """What the bit is where a page is encrypted"""
        return self.encryption if self.shared_bit is None else 0

    @property
    def keys(self):
        return self.long_mode and bool(self.cr4 & PKE)

    def entries(self, level):
        return 4 if self.pae and level == 3 else 1 << self.index_bits

    def shift(self, level):
        return 12 + self.index_bits * (level - 1)

    def regs(self):
        return WP_PG, self.cr4, self.efer, self.width

    def options(self):
        words = ["--cr0", hex(WP_PG), "--cr4", hex(self.cr4), "--efer",
                 hex(self.efer), "--maxphyaddr", str(self.width)]
        if self.amd:
            words += ["--vendor", "amd"]
        return words + ["--no-1g"] * self.no_1g + [
            word for name, bit in (("--c-bit", self.c_bit),
                                   ("--shared-bit", self.shared_bit))
            if bit is not None for word in (name, str(bit))]

    @property
    def va_bits(self):
        return self.shift(self.top + 1) if self.long_mode else 32

    def canonical(self, va):
        bits = self.va_bits
        if self.long_mode and va >> (bits - 1):
            va |= (1 << 64) - (1 << bits)
        return va

    def is_page(self, level, raw):
        if level == 1:
            return True
        if level == 2:
            return bool(raw & PS) and (self.entry_size == 8 or self.cr4 & 0x10)
        return level == 3 and self.long_mode and bool(raw & PS)

    def reserved(self, level, raw):
        """The reserved bits of a present entry"""
        if self.entry_size == 4:
            if level != 2 or not self.is_page(2, raw):
                return 0
            width = min(self.width, 40)
            return 1 << 21 | sum(1 << bit for bit in range(13, 21)
                                 if bit - 13 + 32 >= width)
        bits = sum(1 << bit for bit in range(self.width, 52))
        if self.pae:
            bits |= 0x7ff << 52             # left to software in long mode
        if not self.efer & NXE:
            bits |= NX
        bits &= ~self.encryption
        if self.pae and level == 3:
            return bits | NX | W | U | A | D | PS | G
        if self.is_page(level, raw):
            if level > 1:
                bits |= (1 << self.shift(level)) - (1 << 13)
            return bits & ~self.encryption | PS * (level == 3 and self.no_1g)
        if level >= 4:
            return bits | PS | G * self.amd
        return bits

    def address(self, level, raw):
        if self.entry_size == 4:
            if level == 2 and self.is_page(2, raw):
                return raw & 0xffc00000 | (raw >> 13 & 0xff) << 32
            return raw & 0xfffff000
        mask = (1 << 52) - PAGE & ~self.encryption
        if self.is_page(level, raw):
            mask &= -1 << self.shift(level)
        return raw & mask

    def rights(self, level, raw):
        """Writable, user, executable"""
        if self.pae and level == 3:
            return True, True, True
        return (bool(raw & W), bool(raw & U),
                self.entry_size == 4 or not raw & NX)

    def attributes(self, level, raw):
        """As `maps -j --attributes` has them, with the PAT as after a reset"""
        pat = bool(raw & PWT) + 2 * bool(raw & PCD) + 4 * bool(
            raw & (PS if level == 1 else LARGE_PAT))
        return {
            "accessed": bool(raw & A), "dirty": bool(raw & D),
            "global": bool(raw & G and self.cr4 & PGE),
            "memory_type": AFTER_RESET[pat], "pat_entry": pat,
            "key": raw >> 59 & 15 if self.keys else None,
            "encrypted": raw & self.encryption == self.encrypted_where
            if self.encryption else None}

    def flags(self, level, raw):
        """Names of what is set in an entry, as a set"""
        if not raw & P:
            return set()
        page = self.is_page(level, raw)
        raw &= ~self.reserved(level, raw)
        names = {"PRESENT": P, "RW": W, "USER": U, "PWT": PWT, "PCD": PCD,
                 "ACCESSED": A}
        if self.entry_size == 8:
            names["NX"] = NX
        if page:
            names |= {"DIRTY": D, "PAT": PS if level == 1 else LARGE_PAT}
            names |= {"GLOBAL": G} if self.cr4 & PGE else {}
            names |= {"PSE": PS} if level > 1 else {}
        found = {name for name, bit in names.items() if raw & bit}
        if self.encryption and raw & self.encryption == self.encrypted_where:
            found.add("ENCRYPTED")
        return found

    def entry(self, table, gpa, raw):
        """What vmemctl says of an entry of a table, but its flags as a set"""
        level = TABLES.index(table) + 1
        reserved = raw & self.reserved(level, raw) if raw & P else 0
        kind = "not-present" if not raw & P else \
            "page" if self.is_page(level, raw) else "table"
        return {"type": "entry", "level": table, "entry_gpa": hex(gpa),
                "raw": hex(raw), "kind": kind,
                "reserved": hex(reserved) if reserved else None,
                "flags": self.flags(level, raw)}


TWO_LEVEL = Mode("2-level", "i686", 2, 0x10 | PGE, 0, 40, 10, 4)
PAE = Mode("pae", "i686-pae", 3, 0x30 | PGE, 0x800)
FOUR_LEVEL = Mode("4-level", "amd64", 4, 0x20 | PGE, 0xd01)
FIVE_LEVEL = Mode("5-level", "amd64-la57", 5, 0x1020 | PGE, 0xd01)

REPLACE = dataclasses.replace

# Those of images, and what rules and registers change in them
MODES = (
    TWO_LEVEL, PAE, FOUR_LEVEL, FIVE_LEVEL,
    REPLACE(TWO_LEVEL, name="2-level, 36 bits", width=36),
    REPLACE(TWO_LEVEL, name="2-level, no PSE", cr4=0),
    REPLACE(PAE, name="pae, no NX, 36 bits", efer=0, width=36),
    REPLACE(PAE, name="pae, C-bit", c_bit=47),
    REPLACE(FOUR_LEVEL, name="4-level, AMD, no 1G", amd=True, no_1g=True,
            cr4=0x20 | PKE),
    REPLACE(FOUR_LEVEL, name="4-level, C-bit", c_bit=51, width=48),
    REPLACE(FOUR_LEVEL, name="4-level, no NX", efer=0x501, width=46),
    REPLACE(FIVE_LEVEL, name="5-level, AMD, keys", amd=True,
            cr4=0x1020 | PGE | PKE),
    REPLACE(FIVE_LEVEL, name="5-level, shared bit", shared_bit=51),
)


@dataclasses.dataclass(frozen=True)
class Leaf:
    gpa: int
    size: int
    rights: tuple
    attributes: dict


class Guest:
    """Memory, and spaces in it by their roots."""

    def __init__(self, mode, memory, roots):
        self.mode, self.memory, self.roots = mode, memory, roots

    def raw(self, gpa):
        """The entry at an address; None where there is no memory"""
        page = self.memory.pages.get(gpa & -PAGE)
        size = self.mode.entry_size
        return page and int.from_bytes(
            page[gpa % PAGE:gpa % PAGE + size], "little")

    def leaves(self, root):
        """{va: Leaf} of a space, and the number of entries that lead nowhere"""
        found, lost = {}, 0
        todo = [(self.mode.top, root, 0, (True, True, True))]
        while todo:
            level, table, va, above = todo.pop()
            for index in range(self.mode.entries(level)):
                raw = self.raw(table + index * self.mode.entry_size)
                if not raw & P:
                    continue
                at = va | index << self.mode.shift(level)
                gpa = self.mode.address(level, raw)
                rights = tuple(map(min, above, self.mode.rights(level, raw)))
                if raw & self.mode.reserved(level, raw):
                    lost += 1
                elif self.mode.is_page(level, raw):
                    found[self.mode.canonical(at)] = Leaf(
                        gpa, 1 << self.mode.shift(level), rights,
                        self.mode.attributes(level, raw))
                elif gpa in self.memory.pages:
                    todo.append((level - 1, gpa, at, rights))
                else:
                    lost += 1
        return found, lost

    def path(self, root, va):
        """Status, level of the end, address, and the entries on the way, as
        (level, address, entry)"""
        mode, table, path = self.mode, root, []
        if mode.canonical(va & (1 << mode.va_bits) - 1) != va:
            return "non-canonical", None, None, path
        for level in range(mode.top, 0, -1):
            if table & -PAGE not in self.memory.pages:
                return "unbacked", TABLES[level - 1], None, path
            index = va >> mode.shift(level) & (1 << mode.index_bits) - 1
            entry = table + index * mode.entry_size
            raw = self.raw(entry)
            path.append((TABLES[level - 1], entry, raw))
            if not raw & P:
                return "not-present", TABLES[level - 1], None, path
            if raw & mode.reserved(level, raw):
                return "reserved", TABLES[level - 1], None, path
            table = mode.address(level, raw)
            if mode.is_page(level, raw):
                gpa = table | va & (1 << mode.shift(level)) - 1
                return "mapped", TABLES[level - 1], gpa, path
        raise AssertionError("a page table names no table")

    def parents(self):
        """{(level, table): how many entries name it, each table read once}"""
        found, todo, seen = {}, [(self.mode.top, root) for root in
                                 dict.fromkeys(self.roots)], set()
        while todo:
            level, table = todo.pop()
            if (level, table) in seen:
                continue
            seen.add((level, table))
            for index in range(self.mode.entries(level)):
                raw = self.raw(table + index * self.mode.entry_size)
                gpa = self.mode.address(level, raw)
                if raw & P and not raw & self.mode.reserved(level, raw) and \
                        not self.mode.is_page(level, raw) and \
                        gpa in self.memory.pages:
                    key = TABLES[level - 2], gpa
                    found[key] = found.get(key, 0) + 1
                    todo.append((level - 1, gpa))
        return found


# Where random guests have things: roots, tables, pages, and what is a device's
ROOTS, LOWER, PAGES, DEVICE = 0x1000, 0x10000, 0x80000, 0xe0000000


def random_guest(mode, rng):
    """Two spaces over three tables of each level, which are shared at random."""
    memory = images.Memory("<I" if mode.entry_size == 4 else "<Q")
    step = 0x20 if mode.pae else PAGE
    roots = [ROOTS, ROOTS + step * rng.randint(1, 3)]
    if mode.pae and rng.random() < 0.5:
        roots[1] = ROOTS + PAGE - step      # the last one of the page
    tables = {level: [LOWER + (level * 4 + i) * PAGE for i in range(3)]
              for level in range(1, mode.top)}
    tables[mode.top] = roots
    pages = [PAGES + i * PAGE for i in range(8)]
    for gpa in pages:
        memory.fill(gpa, rng.randbytes(64))

    def extra(level, page):
        """Bits that are neither its address nor Present"""
        if mode.pae and level == 3:
            raw = rng.choice((0, 0, PWT, PCD, 1 << 9, W, NX, PS))
        else:
            raw = rng.getrandbits(7) & ~P | rng.choice((0, W | U))
            raw |= rng.choice((0, G)) if page or rng.random() < 0.1 else 0
            raw |= rng.choice((0, 1 << 9, 1 << 11))
        if page and level == 1:
            raw |= rng.choice((0, PS))
        if mode.entry_size == 8 and not (mode.pae and level == 3):
            raw |= rng.choice((0, 0, NX if mode.efer & NXE or
                               rng.random() < 0.1 else 0))
        if mode.long_mode and page:
            raw |= rng.getrandbits(4) << 59
        if mode.encryption and rng.random() < 0.5:
            raw |= mode.encryption
        if rng.random() < 0.05:
            raw |= 1 << rng.randrange(12, 8 * mode.entry_size)
        return raw

    def entry(level):
        page = level == 1 or level < 4 and rng.random() < 0.2 and \
            not (mode.pae and level == 3)
        if page and level > 1:
            size = 1 << mode.shift(level)
            gpa = DEVICE if level == 2 else 1 << 38
            if mode.entry_size == 4 and rng.random() < 0.5:
                gpa |= rng.randrange(1, 4) << 13
            return gpa + size * rng.randrange(8) | PS | P | extra(level, True) | \
                rng.choice((0, LARGE_PAT))
        if page:
            return rng.choice(pages) | P | extra(level, True)
        if rng.random() < 0.05:
            return DEVICE - PAGE | P | extra(level, False) & ~PS
        raw = rng.choice(tables[level - 1]) | P | extra(level, False)
        return raw if rng.random() < 0.95 else raw & ~P

    for level, addresses in tables.items():
        last = mode.entries(level) - 1
        for gpa in addresses:
            indices = {0, last} | set(rng.sample(range(last + 1), 2))
            for index in indices:
                at = gpa + index * mode.entry_size
                memory.page(at & -PAGE)
                memory.table(at & -PAGE, {
                    at % PAGE // mode.entry_size: entry(level)})
    return Guest(mode, memory, roots)
