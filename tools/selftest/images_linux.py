# SPDX-License-Identifier: GPL-2.0-only
"""Images of a Linux kernel made up: its banner, its BTF and its list of processes, in
every mode."""

import struct

import image_roots
from images import P, PAGE, W

RELEASE = "6.1.0-doc"
BANNER = b"Linux version 6.1.0-doc (someone@somewhere) #1 SMP\n\0"
IMAGE = {"amd64": 0xffffffff9d400000, "amd64-la57": 0xffffffff81000000,
         "i686": 0xe1000000, "i686-pae": 0xe1000000}
IMAGE_PAGES, READ_ONLY_PAGES = 24, 5

# Where task_struct and mm_struct have their members
PID, TASKS, MM, COMM, PGD = 0x2a4, 0x118, 0x168, 0x2f0, 0x68

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD = range(1, 8)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)


class Btf:
    """Types, as the kernel's .BTF has them"""

    def __init__(self):
        self.strings = bytearray(b"\0")
        self.types = []

    def string(self, text):
        if not text:
            return 0
        text = b"\0" + text.encode() + b"\0"
        at = self.strings.find(text)
        if at < 0:
            at = len(self.strings) - 1
            self.strings += text[1:]
        return at + 1

    def add(self, name, kind, *words, size=0, members=0, flag=False):
        self.types.append(struct.pack("<%dI" % (3 + len(words)), self.string(name),
                                      flag << 31 | kind << 24 | members, size, *words))
        return len(self.types)

    def struct(self, name, *members, kind=STRUCT, bitfields=False, size=0x400):
        """@members: (name, type, offset in bytes)"""
        width = 32 << 24 if bitfields else 0
        words = [word for member, what, offset in members
                 for word in (self.string(member), what, width | offset * 8)]
        return self.add(name, kind, *words, size=size, members=len(members),
                        flag=bitfields)

    def blob(self, **changed):
        types = b"".join(self.types)
        head = {"magic": 0xeb9f, "version": 1, "flags": 0, "size": 24, "type_at": 0,
                "type_len": len(types), "string_at": len(types),
                "string_len": len(self.strings)}
        return struct.pack("<HBBIIIII", *(head | changed).values()) + types + self.strings


def kernels_btf(first_kind=INT, **changed):
    """Every kind of type in front, and pgd in an anonymous struct of a union"""
    btf = Btf()
    number = btf.add("int", first_kind, 32, size=4)
    btf.add("task_struct", FWD)
    btf.add("", ENUM, btf.string("A"), 0, size=4, members=1)
    btf.add("", FUNC_PROTO, 0, number, members=1)
    btf.add("f", FUNC)
    btf.add("v", VAR, 0)
    btf.add(".data", DATASEC, 6, 0, 4, members=1)
    btf.add("double", FLOAT, size=8)
    btf.add("tag", DECL_TAG, 0)
    btf.add("tag", TYPE_TAG)
    btf.add("", ENUM64, btf.string("B"), 0, 0, size=8, members=1)
    chars = btf.add("", ARRAY, number, number, 16)
    node = btf.struct("list_head", ("next", number, 0), ("prev", number, 8))
    pointer = btf.add("", PTR)
    inner = btf.struct("", ("mmap", pointer, 0), ("pgd", pointer, PGD - 0x20))
    outer = btf.struct("", ("", inner, 8), ("padding", chars, 0), kind=UNION)
    btf.struct("mm_struct", ("", outer, 0x18), ("", outer, 0x200))
    btf.struct("task_struct", ("state", number, 0), ("tasks", node, TASKS),
               ("mm", pointer, MM), ("pid", number, PID), ("comm", chars, COMM),
               bitfields=True)
    return btf.blob(**changed)


class Linux(image_roots.Kernel):
    """Its tasks are (pid, comm, root, address), as vmem.linux has them."""

    def __init__(self, arch, btf=None, banner=BANNER, comm=b"swapper/0"):
        super().__init__(arch)
        self.image_va = IMAGE[arch]
        self.word_size = 8 if self.is_long else 4
        # Pages side by side that are not so in memory
        self.pages = [self.frame() for _ in range(IMAGE_PAGES)]
        self.pages[::2] = reversed(self.pages[::2])
        for index, gpa in enumerate(self.pages):
            self.map(self.root, self.image_va + index * PAGE,
                     gpa | P | (W if index >= READ_ONLY_PAGES else 0))
        self.put(self.image_va + PAGE - 20, banner)
        # BTF of modules, a header alone, and the kernel's
        self.put(self.image_va + 0x1800, Btf().blob() * 10)
        self.put(self.image_va + 0x1f00, kernels_btf(type_len=1 << 31))
        self.put(self.image_va + 0x2f00, kernels_btf() if btf is None else btf)
        self.put(self.image_va + 0x4ffe, b"swapper/%d\0")
        self.first = self.image_va + 0x6ec0
        self.put(self.first + COMM, comm)
        self.list = [self.first]
        self.tasks = []

    def gpa(self, va):
        if self.image_va <= va < self.image_va + IMAGE_PAGES * PAGE:
            return self.pages[va - self.image_va >> 12] + va % PAGE
        return va - self.base

    def put(self, va, data):
        """Bytes where the kernel has them"""
        for at, byte in enumerate(data, va):
            gpa = self.gpa(at)
            self.memory.page(gpa & -PAGE)[gpa % PAGE] = byte

    def put_word(self, va, value):
        self.put(va, value.to_bytes(self.word_size, "little"))

    def task(self, pid, comm, user=True):
        """One more process, or a thread of the kernel's"""
        address = self.base + self.frame() + 0x40
        root = mm = None
        if user:
            root, mm = self.process(), self.base + self.frame() + 0x80
            self.put_word(mm + PGD, self.base + root)
            self.put_word(address + MM, mm)
        self.put(address + PID, pid.to_bytes(4, "little"))
        self.put(address + COMM, comm)
        self.list.append(address)
        self.tasks.append((pid, comm.decode(errors="replace"), root, address))
        return address

    def link(self, before, after):
        """The list, from one to the next"""
        self.put_word(before + TASKS, after + TASKS)
        self.put_word(after + TASKS + self.word_size, before + TASKS)

    def finish(self):
        for before, after in zip(self.list, [*self.list[1:], self.first]):
            self.link(before, after)
        return self
