# SPDX-License-Identifier: GPL-2.0-only
"""Images of guests that never ran: memory with tables made by hand, in the
formats that vmemctl reads."""

import dataclasses
import struct
import zlib

PAGE = 4096

ELF32, ELF64 = 1, 2                     # e_ident[EI_CLASS]
EM_386, EM_X86_64 = 3, 62
ET_EXEC, ET_CORE = 2, 4
PT_LOAD, PT_NOTE = 1, 4
VMEM_NOTE = 0x564d454d
NT_PRSTATUS = 1

# Entries of tables
P, W, U, PS = 1, 2, 4, 0x80
NX = 1 << 63

# CR0, CR4, EFER and MAXPHYADDR as --arch has them
AMD64 = (0x80050033, 0x20, 0xd01, 52)
LA57 = (0x80050033, 0x1020, 0xd01, 52)
I686 = (0x80050033, 0x10, 0, 40)
PAE = (0x80050033, 0x30, 0x800, 52)

# Attributes of a code segment, as QEMU's note has them: of 64 bits, and of 32
CS64, CS32 = 0xa09b00, 0xc09b00


class Memory:
    """Guest-physical memory: pages by their address."""

    def __init__(self, entry):
        self.entry = struct.Struct(entry)
        self.pages = {}

    def page(self, gpa):
        return self.pages.setdefault(gpa, bytearray(PAGE))

    def table(self, gpa, entries):
        for index, raw in entries.items():
            self.entry.pack_into(self.page(gpa), index * self.entry.size, raw)

    def fill(self, gpa, data):
        self.page(gpa)[:len(data)] = data

    def segments(self):
        """Its pieces, as (gpa, bytes), by rising address."""
        pieces = []
        for gpa in sorted(self.pages):
            if pieces and pieces[-1][0] + len(pieces[-1][1]) == gpa:
                pieces[-1][1].extend(self.pages[gpa])
            else:
                pieces.append((gpa, bytearray(self.pages[gpa])))
        return pieces

    def raw(self):
        data = bytearray(max(self.pages) + PAGE)
        for gpa, page in self.pages.items():
            data[gpa:gpa + PAGE] = page
        return bytes(data)


@dataclasses.dataclass
class Segment:
    """A program header, and what it stands for."""

    gpa: int
    data: bytes
    memsz: int = None                   # as long as the data
    filesz: int = None                  # likewise
    offset: int = None                  # where it is put
    kind: int = PT_LOAD
    va: int = 0

    def header(self, fmt, offset):
        size = len(self.data)
        filesz = size if self.filesz is None else self.filesz
        memsz = size if self.memsz is None else self.memsz
        if self.kind == PT_NOTE:
            memsz = filesz
        if self.offset is not None:
            offset = self.offset
        if fmt == ELF64:
            return struct.pack("<IIQQQQQQ", self.kind, 0, offset, self.va,
                               self.gpa, filesz, memsz, 0)
        return struct.pack("<IIIIIIII", self.kind, offset, self.va, self.gpa,
                           filesz, memsz, 0, 0)


def note(name, kind, desc):
    def padded(data):
        return data + bytes(-len(data) % 4)
    name = name.encode() + b"\0"
    return (struct.pack("<III", len(name), len(desc), kind) + padded(name) +
            padded(desc))


def prstatus(fmt):
    """What QEMU writes of a vCPU for debuggers; vmemctl passes over it."""
    return note("CORE", NT_PRSTATUS, bytes(336 if fmt == ELF64 else 144))


def qemu_note(cr0, cr3, cr4, version=1, size=440, cs=CS64, rip=16):
    """QEMU's registers of a vCPU, with kernel_gs_base at the end."""
    desc = struct.pack("<II18Q", version, size, *range(16), rip, 17)
    desc += struct.pack("<IIIIQ", 8, 0xffffffff, cs, 0, 0) * 10
    desc += struct.pack("<5Q", cr0, 0, 0xdead, cr3, cr4)
    return note("QEMU", 0, desc + bytes(8))


def vmem_note(regs, cr3, spaces, *, version=1, size=None, nr=None,
              maxphyaddr=None, more_regs=b"", reserved=0, rules=0):
    """The note of a snapshot, of spaces as (identity, root)."""
    cr0, cr4, efer, width = regs
    width = width if maxphyaddr is None else maxphyaddr
    head = struct.pack("<QQQQII", cr0, cr3, cr4, efer, width, rules) + more_regs
    size = 16 + len(head) if size is None else size
    nr = len(spaces) if nr is None else nr
    desc = struct.pack("<II", version, size) + head
    desc += struct.pack("<II", nr, reserved)
    for space, root in spaces:
        desc += struct.pack("<QQ", space, root)
    return note("VMEM", VMEM_NOTE, desc)


def elf(segments, notes=b"", fmt=ELF64, machine=EM_X86_64, kind=ET_CORE,
        data=1, shift=4, phnum=None):
    """An ELF core. QEMU aligns the memory in it to 4 bytes and no more, which
    @shift makes so."""
    segments = [Segment(0, notes, kind=PT_NOTE)] * bool(notes) + list(segments)
    ehsize, phsize = (64, 56) if fmt == ELF64 else (52, 32)
    offset = ehsize + phsize * len(segments)
    headers = []
    for i, segment in enumerate(segments):
        if segment.kind == PT_LOAD and shift is not None:
            offset += (shift - offset) % 8
            shift = None
        headers.append((segment, offset))
        offset += len(segment.data)
    ident = b"\x7fELF" + bytes([fmt, data, 1]) + bytes(9)
    pack = "<HHIQQQIHHHHHH" if fmt == ELF64 else "<HHIIIIIHHHHHH"
    out = bytearray(ident + struct.pack(
        pack, kind, machine, 1, 0, ehsize, 0, 0, ehsize, phsize,
        len(segments) if phnum is None else phnum, 0, 0, 0))
    for segment, offset in headers:
        out += segment.header(fmt, offset)
    for segment, offset in headers:
        out += bytes(offset - len(out)) + segment.data
    return bytes(out)


# --- kdump-compressed dumps --------------------------------------------------

ZLIB, LZO, SNAPPY, ZSTD = 1, 2, 4, 0x20

ZSTD_PAGE = b"\x28\xb5\x2f\xfd\x60\0\x0f"      # what is in front of a page's blocks
LZO_END = b"\x11\0\0"


def lzo(page):
    """The beginning as it is, and a copy of its last byte, a zero, for the rest"""
    def long(size):
        zeros, last = divmod(size - 1, 255)
        return bytes(1 + zeros) + bytes([last + 1])

    head = page.rstrip(b"\0") + bytes(4)
    rest = len(page) - len(head) - 33
    if rest <= 0:
        return page
    begin = bytes([17 + len(head)]) if len(head) < 239 else long(len(head) - 18)
    rest = long(rest)
    return begin + head + b"\x20" + rest[1:] + bytes(2) + LZO_END


def snappy(page):
    """With all that the format has: literals of each length, and copies of each kind."""
    out = bytearray(b"\x80\x20")
    at = literal = 0

    def put_literal():
        last = at - literal - 1
        if last < 0:
            return
        size = 0 if last < 60 else 1 if last < 256 else 2
        out.append((59 + size if size else last) << 2)
        out.extend(last.to_bytes(size, "little") if size else b"")
        out.extend(page[literal:at])

    while at < len(page):
        before = page.rfind(page[at:at + 4], 0, at + 3) if at + 4 <= len(page) else -1
        if before < 0:
            at += 1
            continue
        size, back = 4, at - before
        while size < 64 and at + size < len(page) and \
                page[at + size] == page[before + size]:
            size += 1
        put_literal()
        if size < 12 and back < 2048:
            out += bytes([(back >> 8) << 5 | (size - 4) << 2 | 1, back & 0xff])
        elif size % 2:
            out += struct.pack("<BH", (size - 1) << 2 | 2, back)
        else:
            out += struct.pack("<BI", (size - 1) << 2 | 3, back)
        at += size
        literal = at
    put_literal()
    return bytes(out)


def zstd(page):
    """The beginning as it is, and a zero many times"""
    head = page.rstrip(b"\0")
    return (ZSTD_PAGE + (len(head) << 3).to_bytes(3, "little") + head +
            (len(page) - len(head) << 3 | 3).to_bytes(3, "little") + b"\0")


PACKERS = {0: bytes, ZLIB: zlib.compress, LZO: lzo, SNAPPY: snappy, ZSTD: zstd}


def kdump(memory, notes=b"", flags=ZLIB, *, wide=True, machine=None, version=6,
          level=0, split=0, status=0, block=PAGE, left_out=(), pages=None,
          page_flags=None):
    """@left_out are pages that are memory, and not in the file."""
    there = sorted(set(memory.pages) - set(left_out))
    nr = max(memory.pages) // PAGE + 1
    bits = (nr + 8 * PAGE - 1) // (8 * PAGE) * PAGE

    def bitmap(gpas):
        out = bytearray(bits)
        for gpa in gpas:
            out[gpa // PAGE // 8] |= 1 << gpa // PAGE % 8
        return bytes(out)

    machine = machine or (b"x86_64" if wide else b"i686")
    head = struct.pack("<8si390s", b"KDUMP   ", version,
                       bytes(260) + machine.ljust(65, b"\0"))
    head = head.ljust(424 if wide else 412, b"\0")
    sub = struct.pack("<QIIQQQQQQ" if wide else "<IIIIIQIQI", 0, level, split, 0, 0,
                      0, 0, PAGE + (104 if wide else 80), len(notes))
    sub = sub.ljust(96 if wide else 72, b"\0")
    sub += struct.pack("<Q", nr if pages is None else pages) + notes
    sub += bytes(-len(sub) % PAGE)
    head += struct.pack("<5I", status, block, len(sub) // PAGE, 2 * bits // PAGE, nr)
    out = head.ljust(PAGE, b"\0") + sub + bitmap(memory.pages) + bitmap(there)
    # All pages of zeros are the first one.
    begin, descriptors, packed = len(out) + 24 * len(there), b"", bytes(PAGE)
    for gpa in there:
        page = bytes(memory.pages[gpa])
        data, at = PACKERS[flags](page), begin + len(packed)
        if len(data) >= PAGE or not any(page):
            data = page
        how = page_flags or (flags if len(data) < PAGE else 0)
        if any(page):
            packed += data
        else:
            at = begin
        descriptors += struct.pack("<QIIQ", at, len(data), how, 0)
    return out + descriptors + packed


def flattened(data, size, order=lambda pieces: None, end=b"\xff" * 16):
    """In pieces, without those that are all zeros, as QEMU writes it"""
    pieces = [struct.pack(">QQ", at, len(piece)) + piece
              for at in range(0, len(data), size)
              if any(piece := data[at:at + size]) or at + size >= len(data)]
    order(pieces)
    return (struct.pack(">16sQQ", b"makedumpfile", 1, 1).ljust(PAGE, b"\0") +
            b"".join(pieces) + end)


# --- two guests --------------------------------------------------------------

# Spaces A and B of the amd64 guest, and where they have things
A, B = 0x1000, 0x5000
CODE, DATA = 0x400000, 0x401000
HIGH = 0xffffffff81000000
TEXT = b"Linux version 0.0.0 (nobody@nowhere)\n"


def amd64():
    """Two spaces that share a PT, which A has twice, and a PDPT for the upper
    half; A has a large page without memory, a table without memory, and an
    entry with a reserved bit besides."""
    memory = Memory("<Q")
    memory.table(A, {0: 0x2000 | P | W | U, 511: 0x8000 | P | W})
    memory.table(0x2000, {0: 0x3000 | P | W | U, 1: 0x7fff000 | P | W | U})
    memory.table(0x3000, {2: 0x4000 | P | W | U, 3: 0x4000 | P | U,
                          4: 0x40000000 | P | W | U | PS | NX,
                          5: 0x2000 | P | PS})
    memory.table(0x4000, {0: 0x10000 | P | U, 1: 0x11000 | P | W | U | NX,
                          2: 0x12000 | P | W | U | NX,
                          511: 0x10000 | P | U})
    memory.table(B, {0: 0x6000 | P | W | U, 511: 0x8000 | P | W})
    memory.table(0x6000, {0: 0x7000 | P | W | U})
    memory.table(0x7000, {2: 0x4000 | P | W | U})
    memory.table(0x8000, {510: 0x9000 | P | W})
    memory.table(0x9000, {8: 0xa000 | P | W})
    memory.table(0xa000, {0: 0x13000 | P})
    memory.fill(0x10000, b"\x7fcode" + bytes(range(256)))
    memory.fill(0x11000, b"first" * 819 + b"!")
    memory.fill(0x12000, b"second page")
    memory.fill(0x13000, TEXT)
    return memory


def amd64_notes():
    cr0, cr4 = AMD64[:2]
    return (prstatus(ELF64) * 3 + qemu_note(cr0, A | 0x18, cr4) +
            qemu_note(cr0, B, cr4) + qemu_note(0x60000010, 0, 0))


def amd64_core(**changed):
    """As QEMU dumps it, with one vCPU in each space, and one that is parked."""
    return elf([Segment(*piece) for piece in amd64().segments()], amd64_notes(),
               **changed)


def amd64_snapshot(**changed):
    """As a snapshot has it, which knows A and B by other names, A twice."""
    notes = vmem_note(AMD64, A, [(0x111000, A), (0x222000, B), (0x333000, A)],
                      **changed)
    return elf([Segment(*piece) for piece in amd64().segments()], notes)


def alternating(nr):
    """Raw memory, where @nr tables of root 1000 are one, of 512 pages that are two
    in turn."""
    memory = Memory("<Q")
    memory.table(0x1000, {0: 0x2000 | P | W | U})
    memory.table(0x2000, {i: 0x3000 | P | W | U for i in range((nr + 511) // 512)})
    memory.table(0x3000, {i: 0x5000 | P | W | U for i in range(min(nr, 512))})
    memory.table(0x5000, {i: 0x8000 | P | W | U if i & 1 else 0x4000 | P | U
                          for i in range(512)})
    memory.fill(0x4000, b"even")
    memory.fill(0x8000, b"odd")
    return memory.raw()


# The one space of the i686 guest
R = 0x1000


def i686():
    """A PT that is there twice, a 4 MiB page, and one above 4 GiB."""
    memory = Memory("<I")
    memory.table(R, {0: 0x2000 | P | W | U, 1: 0x2000 | P | W,
                     768: 0 | P | W | PS, 769: 0x400000 | 3 << 13 | P | W | PS,
                     770: 0x400000 | 1 << 21 | P | PS})
    memory.table(0x2000, {0: 0x3000 | P | U, 1023: 0x4000 | P | W | U})
    memory.fill(0x3000, b"text of 32 bits")
    memory.fill(0x4000, b"data of 32 bits")
    return memory


def pae():
    """Three roots in a page, the first and the last of which share a PD."""
    memory = Memory("<Q")
    memory.table(R, {0: 0x2001, 3: 0x3001, 4: 0x4001, 508: 0x2001})
    memory.table(0x2000, {0: 0x5000 | P | W | U, 1: 0x40000000 | P | W | PS})
    memory.table(0x3000, {511: 0x140000000 | P | W | PS | NX})
    memory.table(0x4000, {0: 0x5000 | P | U})
    memory.table(0x5000, {0: 0x6000 | P | U, 511: 0x7000 | P | W | U | NX})
    memory.fill(0x6000, b"text of PAE")
    memory.fill(0x7000, b"data of PAE")
    return memory


def pae_notes():
    return prstatus(ELF32) + b"".join(
        qemu_note(PAE[0], R + root, PAE[1], cs=CS32)
        for root in (0, 0x20, 0xfe0))


def pae_core(**changed):
    return elf([Segment(*piece) for piece in pae().segments()], pae_notes(),
               ELF32, EM_386, **changed)


def i686_notes():
    return prstatus(ELF32) + qemu_note(I686[0], R, I686[1], size=432)


def i686_core(fmt=ELF32, **changed):
    return elf([Segment(*piece) for piece in i686().segments()], i686_notes(),
               fmt, EM_386, **changed)
