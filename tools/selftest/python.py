#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Python package: what its documentation says, and that its answers are vmemctl's."""

import dataclasses
import doctest
import enum
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

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
ENUMS = {vmem.Code: "LIBVMEM_", vmem.Status: "VMEM_", vmem.Level: "VMEM_LEVEL_",
         vmem.RootClass: "LIBVMEM_ROOT_", vmem.Known: "VMEM_KNOWN_",
         vmem.EntryKind: "LIBVMEM_ENTRY_", vmem.AccessKind: "LIBVMEM_ACCESS_",
         vmem.Reason: "LIBVMEM_REASON_", vmem.Inputs: "LIBVMEM_"}

# The level of each enum vmem_table, from 1 on
TABLES = {"I686_PT": "PT", "AMD64_PT": "PT", "AMD64_PD": "PD", "AMD64_PDPT": "PDPT",
          "AMD64_PML4": "PML4", "PAE_PT": "PT", "PAE_PD": "PD"}

# What the schema has of each class, and the names that are in one of them alone
ROWS = {
    vmem.Root: (["root"], {}),
    vmem.Vcpu: (["vcpu", "vcpu_now"], {
        "privilege": "the rights of translate(rip) are the same"}),
    vmem.Memslot: (["memslot"], {}),
    vmem.Image: (["image"], {
        "spaces": "JSON has them beside the image"}),
    vmem.SnapshotSpace: (["snapshot_space"], {}),
    vmem.Mapping: (["mapping"], {}),
    vmem.Reference: (["reference"], {}),
    vmem.Anomaly: (["anomaly"], {}),
    vmem.Attributes: (["attributes"], {}),
    vmem.Translation: (["translation"], dict.fromkeys(
        ("owner_space", "owner_root", "owner_va"), "walk() tells owners")),
    vmem.Entry: (["entry"], {"flags": "@raw has them"}),
    vmem.Access: (["access_row"], {
        "error_bits": "@error_code has them",
        "unknown": "what is known is not told apart in Registers",
        "rests_on": "in its place: what would have to be known"}),
    vmem.Place: (["place"], {}),
}

# Words of Python's, and what stands for them
KEYWORDS = {"class": "kind", "global": "is_global"}


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

    def ask(self, *words):
        return answers.whole(subprocess.run(
            [VMEMCTL, "-j", *words], check=True, stdout=subprocess.PIPE).stdout)

    def rows(self, *words):
        space, = self.ask(*words)["spaces"]
        return space["rows"]

    def same(self, got, want, spaces=()):
        """Rows are those of JSON, by their members' names. @spaces: JSON has indices"""
        if isinstance(want, dict):
            left_out = next((left_out for kind, (_, left_out) in ROWS.items()
                             if kind is type(got)), ())
            for name, value in want.items():
                if name in left_out or name == "type":
                    continue
                with self.subTest(name):
                    ours = getattr(got, KEYWORDS.get(name, name))
                    if name == "rules" and value:       # one number here
                        self.assertIsInstance(ours, int)
                    else:
                        self.same(ours, value, spaces)
        elif isinstance(want, list):
            self.assertEqual(len(got), len(want))
            for pair in zip(got, want):
                self.same(*pair, spaces)
        else:
            if isinstance(want, str) and want.startswith("0x"):
                want = int(want, 16)
            if isinstance(got, vmem.Level):
                got = got.name
            elif isinstance(got, enum.Enum):
                got = got.name.lower().replace("_", "-")
            elif isinstance(got, vmem.Space):
                got = spaces.index(got)
            self.assertEqual(got, want)

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
        for value, (name, level) in enumerate(TABLES.items(), 1):
            asked.append("VMEM_TABLE_" + name)
            want.append(value)
            self.assertEqual(_abi.TABLE_LEVELS[value], vmem.Level[level])
        asked.append("VMEM_KIND_COW")
        want.append(_abi.KIND_COW)
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

    def library(self, version, symbols=_abi.SYMBOLS, names=tuple(_abi.FUNCTIONS)):
        """One with these functions, in which only the version is what it should be"""
        path = os.path.join(self.folder, "libvmem-%d.so" % len(os.listdir(self.folder)))
        script = self.file(b"%s { libvmem_*; };" % symbols.encode(), "map")
        source = "".join("void %s(void) {}\n" % name for name in names
                         if name != "libvmem_version")
        if version:
            source += 'const char *libvmem_version(void) { return "%s"; }\n' % version
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, "-x", "c", "-",
                        *(["-Wl,--version-script=" + script] if symbols else [])],
                       input=source, text=True, check=True)
        return path

    def test_library(self):
        """a library that is not the one that is needed is refused, by what it is"""
        few = list(_abi.FUNCTIONS)[:5]
        for path, code, text in (
                (self.library("0.1.0"), None, None),
                (self.library("0.0.9"), "OTHER_VERSION", "is libvmem 0.0.9: "),
                (self.library("1.0.0", "LIBVMEM_1.0"), "OTHER_VERSION",
                 "is libvmem 1.0.0, which has another interface: "),
                (self.library("0.1.0", names=few), "OTHER_VERSION",
                 r"is libvmem 0.1.0, which has no libvmem_\w+\(\): "),
                (self.library(None, "LIBVMEM_1.0", few), "OTHER_VERSION",
                 "is another library: "),
                (self.library("", ""), "OTHER_VERSION", "is another library: "),
                (self.file(b"text"), "SYSTEM", "cannot load the library: .*guest.elf"),
                ("/missing.so", "SYSTEM", "cannot load the library: /missing.so")):
            with self.subTest(text), unittest.mock.patch.dict(
                    os.environ, VMEM_LIBRARY=path):
                if not code:
                    self.assertIn("libvmem_walk_spaces", _abi.load())
                    continue
                with self.assertRaisesRegex(vmem.Error, text + r".*libvmem\.so\.0, version "
                                            r"0\.1\.0 or later, is needed$") as caught:
                    _abi.load()
                self.assertEqual(caught.exception.code.name, code)
        with unittest.mock.patch.object(_abi, "VERSION", "0.9.0"), \
                unittest.mock.patch.dict(os.environ, VMEM_LIBRARY=self.library("0.10.0")):
            _abi.load()
        # It is an error of the first question.
        done = subprocess.run(
            [sys.executable, "-B", "-c", "import vmem\ntry: vmem.open(image='x')\n"
             "except vmem.Error as error: print(error)"], text=True, check=True,
            cwd=os.path.join(TOP, "tools/python"), stdout=subprocess.PIPE,
            env=dict(os.environ, VMEM_LIBRARY=path))
        self.assertEqual(done.stdout, "%s\n" % caught.exception)

    def test_version(self):
        """it is for the library that is built with it"""
        for name, value, pattern in (
                ("include/vmem/version.h", _abi.VERSION, r'#define VMEM_VERSION "(.*)"'),
                ("tools/libvmem/Makefile", _abi.SONAME, r"SONAME := (.*)"),
                ("tools/libvmem/libvmem.map", _abi.SYMBOLS, r"(\S+) \{")):
            with open(os.path.join(TOP, name), encoding="utf-8") as file:
                self.assertEqual(re.search("(?m)^%s$" % pattern, file.read())[1], value)

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

    def test_members(self):
        """members have the names that the schema has"""
        schema = answers.schema()
        info = schema["$defs"]["info"]["properties"]
        members = dict(schema["$defs"], image=info["image"])
        for kind, (names, left_out) in ROWS.items():
            with self.subTest(kind.__name__):
                theirs = {KEYWORDS.get(member, member) for name in names
                          for member in members[name]["properties"]} - {"type"}
                ours = {name for name in (*kind.__annotations__, *dir(kind))
                        if name[0] != "_"} - {"rights"}     # of all, as text
                self.assertEqual(ours ^ theirs, set(left_out))

    def test_maps(self):
        """maps and translate are vmemctl's, in every mode"""
        memory = images.amd64()
        memory.table(0x4000, {2: 0x12000 | images.P | 0x262 | 1 << 47 | 5 << 59})
        for data, words, changed in (
                (images.amd64_core(), (), {}), (images.i686_core(), (), {}),
                (images.pae_core(), (), {}), (
                    memory.raw(), ("--arch", "amd64", "--cr3", "1000", "--cr4", "4000a0",
                                   "--c-bit", "47", "--cow", "200:200"),
                    {"cr0": 0x80050033, "cr3": 0x1000, "cr4": 0x4000a0, "efer": 0xd01,
                     "maxphyaddr": 52, "rules": 47 << 8, "cow_mask": 0x200,
                     "cow_value": 0x200})):
            path = self.file(data)
            with self.subTest(words=words), vmem.open(image=path) as guest:
                space = guest.space(registers=changed and vmem.Registers(**changed))
                got = list(space.maps(attributes=True))
                self.same(got, self.rows("--image", path, *words, "maps", "--attributes"))
                self.assertIsNone(next(space.maps()).attributes)
                vas = [0, 5 << 21, 1 << 62, *(row.va + 5 for row in got)]
                self.same(space.translate_all(vas), self.rows(
                    "--image", path, *words, "vtop", *("%x" % va for va in vas)))
        self.assertEqual([row.va for row in got if row.cow], [0x402000, 0x602000])

    def test_vcpus(self):
        """vCPUs are vmemctl's"""
        for data in (images.amd64_core(), images.i686_core(), images.amd64_snapshot()):
            path = self.file(data)
            with vmem.open(image=path) as guest:
                got = list(guest.vcpus())
                self.same(got, self.ask("--image", path, "info")["vcpus"])
                if got:
                    self.same(got, self.ask("--image", path, "vcpus")["vcpus"])

    def test_vcpu_states(self):
        """a vCPU whose registers are another's, or withheld, or not known, says so"""
        regs = (0x80050033, 0x5000, 0x20, 0xd01, 52, 1)
        for state, changed in (
                (0, {}), (1, {"smm": True, "root": None}),
                (2, {"nested": True, "root": None}), (4, {"cr3": None, "root": None}),
                (8, {"rip": None}), (None, None)):
            def vcpu(_, index, __, args, error, state=state):
                if state is None and index == 1:
                    error.code = vmem.Code.UNREADABLE
                    return -error.code
                args.out_id, args.out_known, args.out_state = 7, 1, state or 0
                args.out_regs, args.out_rip, args.out_pat = _abi.Regs(*regs), 0x1234, 6
                return 0

            with self.subTest(state=state), vmem.open(
                    image=self.file(images.amd64_core())) as guest, \
                    unittest.mock.patch.object(vmem.lib, "libvmem_vcpu", vcpu), \
                    unittest.mock.patch.object(vmem.lib, "libvmem_image", lambda _: None):
                got = list(guest.vcpus())
                self.assertEqual([row.vcpu for row in got], [0, 1, 2])
                if state is None:
                    self.assertEqual([row.withheld for row in got], [False, True, False])
                    self.assertEqual([*vars(got[1]).values()], [1, True] + [None] * 14)
                    continue
                want = {"vcpu": 1, "withheld": False, "id": 7, "known": vmem.Known.ENTRY,
                        "mode": "4-level", "cr0": regs[0], "cr3": 0x5000, "cr4": 0x20,
                        "efer": 0xd01, "maxphyaddr": 52, "rules": 1, "pat": 6,
                        "root": 0x5000, "rip": 0x1234, "smm": False, "nested": False}
                self.assertEqual(vars(got[1]), {**want, **changed})

    def test_image(self):
        """the image and its memory are vmemctl's"""
        other = self.file(images.amd64().raw(), "other")
        for data, regions in (
                (images.amd64_core(), []), (images.amd64_snapshot(), []),
                (images.kdump(images.amd64(), images.amd64_notes()), []),
                (images.amd64().raw(), [vmem.Region(0, 0x1000, 0),
                                        vmem.Region(0x1000, 0, 0x1000, other)])):
            path = self.file(data)
            words = ["--region=%x:%s:%x%s" % (
                region.gpa, "%x" % region.len if region.len else "", region.offset,
                ":" + region.file if region.file else "") for region in regions]
            with vmem.open(image=path, regions=regions) as guest:
                want = self.ask("--image", path, *words, "info")
                self.same(guest.image, want["image"])
                self.same(guest.memslots(), want["memslots"])
                self.assertEqual({slot.hva for slot in guest.memslots()}, {None})
                self.assertEqual(
                    [("%#x" % row.root, "%#x" % row.old_root) for row in guest.image.spaces],
                    [(row["root"], row["old_root"]) for row in want["spaces"]])
                for row in guest.image.spaces:
                    self.assertEqual(row.space, guest.space(row.root))

    def test_lam(self):
        """LAM takes metadata out of addresses of data, as it does for vmemctl"""
        path = self.file(images.amd64().raw())
        for cr3, cr4, tagged, va in (
                (images.A | 1 << 61, 0x20, 0x7e00000000400001, 0x400001),
                (images.A | 1 << 62, 0x20, 0x7fff000000400001, 0x400001),
                (images.A, 0x20 | 1 << 28, 0x8000ffff81000001, 0xffffffff81000001),
                (images.A, 0x20, 0x7e00000000400001, None)):
            with self.subTest(cr3=hex(cr3), cr4=hex(cr4)), vmem.open(image=path) as guest:
                space = guest.space(registers=dataclasses.replace(
                    guest.space(cr3, arch="amd64").registers, cr4=cr4))
                got = space.translate_all([tagged, 0x400000])
                self.same(got, self.rows(
                    "--image", path, "--arch", "amd64", "--cr3", hex(cr3), "--cr4",
                    hex(cr4), "vtop", hex(tagged), "400000"))
                self.assertEqual([row.translated_va for row in got], [va, None])
                self.assertEqual(got[0].va, tagged)
                self.assertEqual(space.read(tagged, 4), space.read(va, 4) if va else b"")

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

    def test_access(self):
        """what a processor would do is vmemctl's, in every mode, with LAM and keys"""
        memory = images.amd64()
        memory.table(0x4000, {2: 0x12000 | 7 | 5 << 59})        # with a key
        a = images.A | 1 << 62                                  # LAM_U48
        for data, arch, cr3, cr4, rflags in (
                (memory.raw(), "amd64", images.A, 0x20, 0),
                (memory.raw(), "amd64", a, 0x700020, 0),
                (memory.raw(), "amd64", a, 0x700020, 1 << 18),
                (images.i686().raw(), "i686", 0x1000, 0x10, 0),
                (images.pae().raw(), "i686-pae", 0x1000, 0x30, 0)):
            path = self.file(data)
            with vmem.open(image=path) as guest, self.subTest(arch=arch, cr4=cr4):
                space = guest.space(registers=dataclasses.replace(
                    guest.space(cr3, arch=arch).registers, cr4=cr4))
                vas = [0, 5 << 21, 1 << 30, 1 << 48, 1 << 62 | 0x400001, *(
                    row.va + 5 for row in space.maps())]
                rows = self.rows(
                    "--image", path, "--arch", arch, "--cr3", "%x" % cr3, "--cr4",
                    "%x" % cr4, "--pkru", "800", "--rflags", "%x" % rflags, "--pkrs", "0", "access",
                    *("%x" % va for va in vas))
                self.assertEqual(len(rows), 6 * len(vas))
                for row in rows:
                    got = space.access(int(row["va"], 16),
                                       vmem.AccessKind[row["access"].upper()],
                                       row["user_mode"], pkru=0x800, rflags=rflags)
                    self.same(got, row)
                    self.assertLessEqual(set(row["unknown"]), {
                        "vendor" if bit.name == "VENDOR" else bit.name
                        for bit in vmem.Inputs if bit & got.rests_on})

    def test_roots(self):
        """roots are vmemctl's, and those of a kernel made up, in every mode"""
        for arch in image_roots.MODES:
            with self.subTest(arch=arch):
                kernel = image_roots.Kernel(arch)
                processes = {kernel.process() for _ in range(4)}
                freed = kernel.process(0)
                path = self.file(kernel.image())
                with vmem.open(image=path) as guest:
                    known = min(processes)
                    roots = guest.roots(known, arch=arch)
                    self.same(roots, self.ask("--image", path, "--arch", arch, "--cr3",
                                              "%x" % known, "roots")["roots"])
                    found = {root.root: root.kind for root in roots}
                    self.assertEqual(found[known], vmem.RootClass.VCPU)
                    self.assertEqual(found[freed], vmem.RootClass.KERNEL)
                    self.assertEqual({space.root for space in
                                      guest.spaces(known, arch=arch)},
                                     processes)

    def test_walk(self):
        """walk and who are vmemctl's, where rights differ by the path as well"""
        memory = images.amd64()
        memory.table(0x3000, {2: 0x4000 | images.P | images.U})
        pae = images.pae()
        pae.table(0x2000, {5: 0x5000 | images.P})
        for arch, memory, roots in (("amd64", memory, [images.A, images.B]),
                                    ("i686-pae", pae, [0x1000]),
                                    ("i686", images.i686(), [0x1000])):
            path = self.file(memory.raw())
            words = ("--image", path, "--arch", arch, "--cr3",
                     ",".join(map("{:x}".format, roots)))
            with self.subTest(arch=arch), vmem.open(image=path) as guest:
                spaces = [guest.space(root, arch=arch) for root in roots]
                got = {space: [] for space in spaces}
                for record in guest.walk(spaces):
                    if record in spaces:
                        space = record
                    else:
                        got[space].append(record)
                self.same([*got.values()], [
                    space["rows"] for space in self.ask(*words, "spaces")["spaces"]], spaces)
                for gpa in (0x10009, 0x11000, 0x12000, 0x13000, 0x7000, 1 << 40):
                    page, = self.ask(*words, "who", "%x" % gpa)["pages"]
                    # which does not tell each page of a shared table
                    got = {(place.space, place.va): place
                           for place in guest.who(gpa, spaces)}
                    self.assertEqual(bool(got), bool(page["places"]))
                    for place in page["places"]:
                        self.same(got[spaces[place["space"]], int(place["va"], 16)], place,
                                  spaces)

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
