#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmem.linux on kernels made up, in every mode, and on such as no kernel would be."""

import doctest
import os
import sys
import tempfile
import unittest

import images
import images_linux
import tap
from images_linux import COMM, MM, PGD, PID, TASKS, Linux

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))

os.environ["VMEM_LIBRARY"] = os.path.join(TOP, "build/lib/libvmem.so.0")
sys.path.insert(0, os.path.join(TOP, "tools/python"))

import vmem                                     # noqa: E402
import vmem.linux                               # noqa: E402

FEW = ((1, b"init", True), (2, b"kthreadd", False), (70, b"sh", True))
MODES = tuple(images_linux.IMAGE)


def kernel_of(arch, tasks=FEW, **changed):
    kernel = Linux(arch, **changed)
    for task in tasks:
        kernel.task(*task)
    return kernel.finish()


class OnKernels(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "guest.elf")

    def open(self, data):
        with open(self.path, "wb") as file:
            file.write(data)
        guest = vmem.open(image=self.path)
        self.addCleanup(guest.close)
        return guest

    def core(self, kernel, *cr3s):
        """A core of QEMU's, with vCPUs"""
        return self.open(images.elf(
            [images.Segment(*piece) for piece in kernel.memory.segments()],
            b"".join(images.qemu_note(images.AMD64[0], cr3, images.AMD64[1])
                     for cr3 in cr3s)))

    def tasks(self, kernel):
        guest = self.open(kernel.image())
        space = guest.space(kernel.root, arch=kernel.arch)
        return vmem.linux.tasks(guest, space)

    def same(self, got, kernel):
        self.assertEqual([(task.pid, task.comm, task.root, task.address)
                          for task in got], kernel.tasks)

    def refused(self, kernel, *patterns):
        with self.assertRaises(vmem.Error) as caught:
            self.tasks(kernel)
        for pattern in patterns:
            self.assertRegex(str(caught.exception), pattern)
        return caught.exception

    def test_tasks(self):
        """pid, name and root of each process, in every mode"""
        many = [(pid, b"task %d" % pid, pid % 3 > 0) for pid in range(1, 60)]
        for arch in MODES:
            for tasks in ((), FEW, many):
                with self.subTest(arch=arch, tasks=len(tasks)):
                    kernel = kernel_of(arch, tasks)
                    self.same(self.tasks(kernel), kernel)

    def test_one_processor(self):
        """the first task of a kernel for one processor has another name"""
        kernel = kernel_of("amd64", comm=b"swapper")
        self.same(self.tasks(kernel), kernel)

    def test_documentation(self):
        """its examples"""
        kernel = kernel_of("amd64")
        guest = self.core(kernel, kernel.tasks[0][2])
        result = doctest.testmod(vmem.linux, extraglobs={
            "vmem": vmem, "guest": guest})
        self.assertGreater(result.attempted, 4)
        self.assertEqual(result.failed, 0)

    def test_isolated(self):
        """a vCPU in user mode has a root that maps nothing of the kernel, or a part of it"""
        for pages in (0, 5):
            with self.subTest(pages=pages):
                kernel = kernel_of("amd64")
                kernel.next += kernel.next & images.PAGE
                root, twin = kernel.frame(), kernel.frame()
                kernel.process(root=root)
                for index in range(pages):
                    kernel.map(twin, kernel.image_va + index * images.PAGE,
                               kernel.pages[index] | images.P)
                guest = self.core(kernel, twin)
                self.same(vmem.linux.tasks(guest), kernel)

    def test_vcpus(self):
        """a vCPU that does not page, or has nothing of a kernel, is passed over"""
        kernel = kernel_of("amd64")
        empty = kernel.frame()
        kernel.memory.page(empty)
        guest = self.core(kernel, 0x7fff000, empty, kernel.tasks[0][2])
        self.same(vmem.linux.tasks(guest), kernel)
        kernel = kernel_of("amd64", btf=b"")
        empty = kernel.frame()
        kernel.memory.page(empty)
        with self.assertRaisesRegex(vmem.Error, "no BTF"):
            vmem.linux.tasks(self.core(kernel, empty, kernel.tasks[0][2]))
        # Two in its core page, without a kernel, and the third does not
        with self.assertRaisesRegex(vmem.Error, "no Linux kernel is mapped"):
            vmem.linux.tasks(self.open(images.amd64_core()))

    def test_pieces(self):
        """what is looked for may lie across the end of what is read at once"""
        before = vmem.linux.PIECE
        self.addCleanup(setattr, vmem.linux, "PIECE", before)
        kernel = kernel_of("amd64")
        # In the banner, in the magic of the types, and in the first task's name
        for size in (0x1000 - 18, 0x2f02, 0x6ec0 + COMM - 0x5000 + 3):
            vmem.linux.PIECE = size
            self.same(self.tasks(kernel), kernel)

    def test_no_kernel(self):
        """what is no Linux kernel, or has no types, is refused with the reason"""
        error = self.refused(Linux("amd64", banner=b"Linux version %s"),
                             "no Linux kernel is mapped by <vmem.Space 0x")
        self.assertEqual(error.code, vmem.Code.NO_ROOT)
        for btf in (b"", images_linux.Btf().blob(), images_linux.kernels_btf()[:90],
                    images_linux.kernels_btf(string_len=9),
                    images_linux.kernels_btf(type_len=9)):
            error = self.refused(
                kernel_of("i686", btf=btf),
                "the guest's kernel, 6.1.0-doc, has no BTF .*: it must be built with "
                "CONFIG_DEBUG_INFO_BTF")
            self.assertEqual(error.code, vmem.Code.UNREADABLE)
        self.refused(kernel_of("amd64", comm=b"idle"), "first task of .*6.1.0-doc")
        guest = self.open(kernel_of("amd64").image())
        with self.assertRaisesRegex(vmem.Error, "no registers"):
            vmem.linux.tasks(guest)

    def test_types(self):
        """types that contain themselves, and kinds that are not known, end"""
        btf = images_linux.Btf()
        own = btf.struct("", ("", 1, 0), ("", 2, 8), ("pid", 1, PID))
        btf.struct("", *[("", own, 0)] * 60000, kind=images_linux.UNION)
        btf.struct("task_struct", ("", 2, 0), ("", 0, 0), ("", 99999, 0))
        self.refused(kernel_of("amd64", btf=btf.blob()[:0xe00]), "no BTF")
        for kind in (20, 31):
            btf = images_linux.kernels_btf(first_kind=kind)
            self.refused(kernel_of("amd64", btf=btf), "no BTF")

    def test_order(self):
        """a list that is not in order is an error, whatever is wrong with it"""
        for arch in ("amd64", "i686-pae"):
            last = (1 << (64 if arch == "amd64" else 32)) - 1
            for where in (0, 0x1000, 1 << 47, last, last - 7, last - TASKS):
                kernel = kernel_of(arch)
                kernel.put_word(kernel.list[2] + TASKS, where & last)
                self.refused(kernel, "list of processes is inconsistent: ", "ask again")
            kernel = kernel_of(arch)
            kernel.put_word(kernel.list[3] + TASKS, kernel.list[2] + TASKS)
            self.refused(kernel, "does not point back")
            kernel.link(kernel.list[2], kernel.list[2])
            self.refused(kernel, "does not point back")

    def test_many(self):
        """more processes than any kernel has are an error"""
        self.addCleanup(setattr, vmem.linux, "MOST_TASKS", vmem.linux.MOST_TASKS)
        kernel = kernel_of("amd64")
        vmem.linux.MOST_TASKS = 4
        self.same(self.tasks(kernel), kernel)
        vmem.linux.MOST_TASKS = 2
        self.assertEqual(self.refused(kernel, "has more than 2").code, vmem.Code.TOO_MUCH)

    def test_root(self):
        """a process's root that is not mapped is an error that names it"""
        for at in (MM, PGD):
            for value in (8, 1 << 47, (1 << 64) - 1):
                kernel = kernel_of("amd64")
                mm = kernel.list[3] + MM
                if at == PGD:
                    mm = int.from_bytes(kernel.memory.page(kernel.gpa(mm) & -4096)[
                        mm % 4096:][:8], "little") + PGD
                kernel.put_word(mm, value)
                self.refused(kernel, "process 70|cannot be read")

    def test_changes(self):
        """a list that changes while it is read is read again"""
        kernel = kernel_of("amd64")
        guest = self.open(kernel.image())
        space = guest.space(kernel.root, arch="amd64")
        found = vmem.linux.Kernel(guest, space)
        first, init, _, shell = kernel.list
        read, passes = space.read, 0

        def changing(va, length):
            """In the first pass an element, in the second a process's mm, and in the
            third the page that its root is in changes."""
            nonlocal passes
            data = read(va, length)
            passes += va <= first + TASKS < va + length
            if passes == 2 and va == shell + MM:
                return b"\1" * length
            if passes == 1 and va <= init + TASKS < va + length or \
                    passes == 3 and length == 8 and va % 4096 == 0x80 + PGD:
                return bytes(length)
            return data

        space.read = changing
        self.same(found.tasks(), kernel)
        self.assertEqual(passes, 4)

        space.read = lambda va, length: read(va, length) if va != shell + MM else \
            bytes(length)
        self.assertEqual([task.pid for task in found.tasks() if task.root], [1])
        space.read = lambda va, length: read(va, length - 1)
        with self.assertRaisesRegex(vmem.Error, "inconsistent: .*cannot be read"):
            found.tasks()

    def test_user_memory(self):
        """a kernel in a process's memory is none"""
        for arch in ("i686", "i686-pae"):
            kernel = kernel_of(arch)
            page = kernel.frame()
            kernel.fill(page, images_linux.BANNER.replace(b"6.1.0", b"6.6.6"))
            kernel.map(kernel.root, 0x90000000, page | images.P | images.U)
            first = kernel.base + kernel.frame()
            kernel.put(first + COMM, b"swapper/0")
            kernel.link(first, first)
            guest = self.open(kernel.image())
            found = vmem.linux.Kernel(guest, guest.space(kernel.root, arch=arch))
            self.assertEqual(found.release, images_linux.RELEASE)
            self.same(found.tasks(), kernel)

    def test_names(self):
        """a name is shown without what a terminal would obey"""
        kernel = kernel_of("amd64", [(7, b"\x1b[2J\n\xff", True),
                                     (8, b"sixteen bytes...", False)])
        kernel.put(kernel.list[1] + PID, b"\xff\xff\xff\xff")
        self.assertEqual([(task.pid, task.comm) for task in self.tasks(kernel)],
                         [(-1, "\\x1b[2J\\x0a\ufffd"), (8, "sixteen bytes...")])

    def test_first(self):
        """what is only named as the first task is passed over"""
        kernel = kernel_of("amd64")
        decoy = kernel.first - 0xd00
        for offset in (0, 0x500, 0x900):
            kernel.put(decoy + offset + COMM, b"swapper/0")
        kernel.put_word(decoy + TASKS, kernel.list[1] + TASKS)
        kernel.put_word(decoy + 0x500 + MM, 1)
        kernel.link(decoy + 0x900, decoy + 0x900)
        kernel.put(decoy + 0x900 + PID, b"\x09")
        self.same(self.tasks(kernel), kernel)


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(OnKernels))


if __name__ == "__main__":
    sys.exit(main())
