#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Python package: what its documentation says, and that its answers are vmemctl's."""

import doctest
import enum
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest

import answers
import image_roots
import images
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
VMEMCTL = os.path.join(TOP, "build/bin/vmemctl")

os.environ["VMEM_LIBRARY"] = os.path.join(TOP, "build/lib/libvmem.so.0")
sys.path.insert(0, os.path.join(TOP, "tools/python"))

import vmem                                     # noqa: E402
from vmem import _abi                           # noqa: E402

# Where C has the names of an enum's members
ENUMS = {vmem.Code: "LIBVMEM_", vmem.Status: "VMEM_", vmem.Table: "VMEM_LEVEL_",
         vmem.RootClass: "LIBVMEM_ROOT_"}


def in_c(expressions):
    """The values of expressions, by the compiler"""
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "values")
        source = "#include <stdio.h>\n#include <libvmem.h>\nint main(void)\n{\n" + \
            "".join("printf(\"%%ld\\n\", (long)(%s));\n" % text
                    for text in expressions) + "return 0;\n}\n"
        subprocess.run(
            ["gcc", "-x", "c", "-", "-o", program,
             "-I", os.path.join(TOP, "tools/libvmem/include"),
             "-I", os.path.join(TOP, "include/uapi")],
            input=source, text=True, check=True)
        return list(map(int, subprocess.run(
            [program], stdout=subprocess.PIPE, check=True).stdout.split()))


class Python(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, data, name="guest.elf"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def rows(self, *words):
        done = subprocess.run([VMEMCTL, "-j", *words], check=True,
                              stdout=subprocess.PIPE)
        return answers.rows(done.stdout)

    def test_abi(self):
        """its structs and constants are those of the headers"""
        asked, want = [], []
        for name, struct in _abi.STRUCTS.items():
            asked.append("sizeof(struct %s)" % name)
            want.append(_abi.ctypes.sizeof(struct))
            for field, _ in struct._fields_:
                if field == "what":
                    continue
                asked.append("__builtin_offsetof(struct %s, %s)" % (name, field))
                want.append(getattr(struct, field).offset)
        for numbers, prefix in ENUMS.items():
            for member in numbers:
                asked.append(prefix + member.name)
                want.append(member.value)
        self.assertEqual(dict(zip(asked, in_c(asked))), dict(zip(asked, want)))

    def test_functions(self):
        """the functions that it calls have as many arguments as the header says"""
        with open(os.path.join(TOP, "tools/libvmem/include/libvmem.h"),
                  encoding="utf-8") as file:
            header = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
        for name, (_, arguments) in _abi.FUNCTIONS.items():
            declared = re.search(r"\b%s\((.*?)\);" % name, header, re.S)[1]
            while "(" in declared:              # of a callback
                declared = re.sub(r"\([^()]*\)", "", declared)
            self.assertEqual(0 if declared == "void" else
                             declared.count(",") + 1, len(arguments), name)

    def test_documentation(self):
        """its examples"""
        self.file(images.amd64_core())
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        with vmem.open(image="guest.elf") as guest:
            result = doctest.testmod(vmem, extraglobs={
                "vmem": vmem, "guest": guest, "space": guest.space()})
        self.assertGreater(result.attempted, 10)
        self.assertEqual(result.failed, 0)

    def test_maps(self):
        """maps and translate are vmemctl's"""
        path = self.file(images.amd64_core())
        number = image_roots.functools.partial(int, base=16)
        with vmem.open(image=path) as guest:
            space = guest.space()
            got = list(space.maps())
            want = self.rows("--image", path, "maps")
            self.assertEqual(
                [(row.va, row.last_va, row.gpa, row.page_size, row.writable,
                  row.user, row.executable) for row in got],
                [(number(row["va"]), number(row["last_va"]), number(row["gpa"]),
                  row["page_size"], row["writable"], row["user"],
                  row["executable"]) for row in want])
            vas = [0, *(row.va + 5 for row in got)]
            results = self.rows("--image", path, "vtop", *(
                "%x" % va for va in vas))
            for answer, want in zip(space.translate_all(vas), results):
                self.assertEqual(
                    (answer.status.name.lower().replace("_", "-"),
                     answer.gpa and "%#x" % answer.gpa, len(answer.trace)),
                    (want["status"], want["gpa"], len(want["trace"])))

    def test_many_rows(self):
        """maps of more rows than come at once"""
        memory = images.Memory("<Q")
        memory.table(0x1000, {0: 0x2007})
        memory.table(0x2000, {0: 0x3007})
        memory.table(0x3000, {i: 0x100000 + i * 0x1000 | 7 for i in range(12)})
        for i in range(12):
            memory.table(0x100000 + i * 0x1000, {
                j: j * 2 << 12 | 7 for j in range(512)})
        path = self.file(memory.raw())
        with vmem.open(image=path) as guest:
            space = guest.space(0x1000, arch="amd64")
            rows = list(space.maps())
            self.assertEqual(len(rows), 12 * 512)
            self.assertEqual([row.va for row in rows],
                             [i << 12 for i in range(12 * 512)])
            self.assertEqual(list(space.maps(5 << 12, (2000 << 12) - 1)),
                             rows[5:2000])

    def test_roots(self):
        """roots and spaces are those of a kernel made up, in every mode"""
        for arch in image_roots.MODES:
            with self.subTest(arch=arch):
                kernel = image_roots.Kernel(arch)
                processes = {kernel.process() for _ in range(4)}
                freed = kernel.process(0)
                path = self.file(kernel.image())
                with vmem.open(image=path) as guest:
                    known = min(processes)
                    found = {root.root: root.kind for root in
                             guest.roots(known, arch=arch)}
                    self.assertEqual(found[known], vmem.RootClass.VCPU)
                    self.assertEqual(found[freed], vmem.RootClass.KERNEL)
                    self.assertEqual({space.root for space in
                                      guest.spaces(known, arch=arch)},
                                     processes)

    def test_who(self):
        """who is the inversion of the maps of every space"""
        kernel = image_roots.Kernel("amd64")
        roots = [kernel.process(pages) for pages in (3, 5, 40)]
        shared = kernel.user_page(roots[0])
        kernel.map(roots[1], 0x900000, shared | images.P | images.U)
        kernel.entry(roots[2], 1, kernel.entry(roots[1], 0))    # a PDPT, once more
        path = self.file(kernel.image())
        with vmem.open(image=path) as guest:
            spaces = guest.spaces(roots[0], arch="amd64")
            for gpa in (shared + 9, kernel.user_page(roots[1]), 1 << 40):
                want = {(space, row.va + gpa - row.gpa, row.rights)
                        for space in spaces for row in space.maps()
                        if row.gpa <= gpa < row.gpa + row.len}
                got = [(place.space, place.va, place.rights)
                       for place in guest.who(gpa, spaces)]
                self.assertEqual(set(got), want)
                self.assertEqual(len(got), len(want))

    def test_walk_that_is_left(self):
        """a walk whose reader goes away ends, and the guest can be asked on"""
        path = self.file(images.amd64_core())
        before = threading.active_count()
        with vmem.open(image=path) as guest:
            spaces = [guest.space(0x1000), guest.space(0x5000)]
            for _ in range(20):
                for _ in guest.walk(spaces):
                    break
            self.assertEqual(threading.active_count(), before)
            self.assertEqual(len(list(guest.walk(spaces))), 2 + 5 + 3 + 2)

    def test_errors(self):
        """what cannot be answered is an error with a text"""
        path = self.file(images.amd64().raw())
        with vmem.open(image=path) as guest:
            with self.assertRaisesRegex(vmem.Error, "no registers") as caught:
                guest.space()
            self.assertEqual(caught.exception.code, vmem.Code.NO_REGISTERS)
            with self.assertRaisesRegex(vmem.Error, "no such architecture"):
                guest.space(0x1000, arch="arm")
            with self.assertRaisesRegex(vmem.Error, "no memory where CR3"):
                guest.space(0x7fff000, arch="amd64").translate(0)
            with self.assertRaises(vmem.Error):
                list(guest.walk([guest.space(0x7fff000, arch="amd64")] * 5000))
            self.assertEqual(guest.read(0x10000, 5), b"\x7fcode")
            self.assertEqual(guest.read(1 << 40, 5), b"")
        with self.assertRaisesRegex(vmem.Error, "not raw memory, but qcow2|qcow2"):
            vmem.open(image=self.file(b"QFI\xfb" * 4096))
        with self.assertRaises(vmem.Error):
            vmem.open(pid=os.getpid())
        for words in ({}, {"pid": 1, "image": path}):
            self.assertRaises(TypeError, vmem.open, **words)

    def test_closed(self):
        """a guest that was closed is an error, and its spaces are, too"""
        with vmem.open(image=self.file(images.amd64_core())) as guest:
            space = guest.space()
        for ask in (guest.memslots, guest.roots, guest.space, lambda: guest.read(0, 1),
                    lambda: list(guest.vcpus()), lambda: list(space.maps()),
                    lambda: space.read(0, 1), lambda: space.translate(0)):
            with self.assertRaisesRegex(vmem.Error, "guest.elf is closed: open it again"):
                ask()
        guest.close()

    def test_regions(self):
        """regions say where memory is"""
        path = self.file(b"head" + images.amd64().raw())
        with vmem.open(image=path, regions=[vmem.Region(0, 0, 4)]) as guest:
            self.assertEqual(guest.read(0x10000, 5), b"\x7fcode")

    def test_readme(self):
        """the README has the sample as it is"""
        with open(os.path.join(TOP, "samples/wx.py"), encoding="utf-8") as file:
            sample = file.read().split('"""\n', 1)[1]
        with open(os.path.join(TOP, "README.md"), encoding="utf-8") as file:
            self.assertIn("```python\n" + sample + "```\n", file.read())

    def test_names(self):
        """what it exports is there, and has a documentation"""
        for name in vmem.__all__:
            what = getattr(vmem, name)
            if isinstance(what, (type, type(vmem.open))) and \
                    not issubclass(type(what), enum.EnumMeta):
                self.assertTrue(what.__doc__, name)


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Python))


if __name__ == "__main__":
    sys.exit(main())
