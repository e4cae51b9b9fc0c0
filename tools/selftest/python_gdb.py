#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""gdb's commands for page tables, in gdb, on images."""

import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

import docs
import images
import images_linux
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
PACKAGE = os.path.join(TOP, "tools/python")
ENV = dict(os.environ, VMEM_LIBRARY=os.path.join(TOP, "build/lib/libvmem.so.0"),
           PYTHONDONTWRITEBYTECODE="1")

PAGE = os.path.join(PACKAGE, "vmem-gdb.7")

COMMANDS = ("attach", "image", "root", "vtop", "maps", "read", "roots", "tasks")


def threads(number):
    """What QEMU writes of its vCPUs for gdb: their numbers, from 1 on"""
    return b"".join(images.note("CORE", images.NT_PRSTATUS,
                                struct.pack("<32xI300x", index + 1))
                    for index in range(number))


def core(memory, *cr3s):
    cr0, cr4 = images.AMD64[:2]
    return images.elf([images.Segment(*piece) for piece in memory.segments()],
                      threads(len(cr3s)) + b"".join(
                          images.qemu_note(cr0, cr3, cr4) for cr3 in cr3s))


def usages(page):
    """How a man page says that commands are used, as text"""
    return ["".join(re.split(r"(?<!\\) ", re.sub(r"\\f.", "", line))[1:]).replace(
        "\\-", "-").replace("\\ ", " ")
            for line in re.findall(r"^\.TP\n(.* vmem\\-.*)$", page, re.M)]


class Gdb(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.file(core(images.amd64(), images.A, images.B))

    def file(self, data, name="guest.elf"):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(data)

    def gdb(self, *commands, load="source %s/vmem/gdb.py" % PACKAGE, **env):
        """What gdb says, an error being the end"""
        words = [word for command in (load, *commands) for word in ("-ex", command)]
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch", *words], cwd=self.folder, text=True,
            env=dict(ENV, **env), stdin=subprocess.DEVNULL, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.stdout

    def ask(self, *commands):
        return self.gdb("vmem-image guest.elf", *commands)

    def test_help(self):
        """each command has a help, by which it is used, and is in the man page"""
        with open(PAGE, encoding="utf-8") as file:
            documented = usages(file.read())
        self.assertEqual([usage.split()[0] for usage in documented],
                         ["vmem-" + name for name in COMMANDS])
        for name, usage in zip(COMMANDS, documented):
            text = self.gdb("help vmem-" + name)
            self.assertRegex(text, r"\Avmem-%s.*\n\n[A-Z]" % name)
            self.assertEqual(text.partition("\n")[0], usage)
            for words, names in (("", ("attach", "image", "vtop", "read")),
                                 ("1 2 3", ("image", "maps", "read", "roots", "tasks"))):
                if name in names:
                    self.assertEqual(self.gdb("vmem-%s %s" % (name, words)),
                                     "usage: %s\n" % usage)

    def test_example(self):
        """the man page's example is what gdb says"""
        with open(PAGE, encoding="utf-8") as file:
            load, *rest = next(docs.man_blocks(file.read())).split("(gdb) ")[1:]
        self.assertEqual(load, "source /usr/lib/python3/dist-packages/vmem/gdb.py\n")
        commands = [text.partition("\n") for text in rest]
        self.assertEqual(self.gdb(*(command for command, _, _ in commands)),
                         "".join(said for _, _, said in commands))

    def test_import(self):
        """the commands can be imported too"""
        self.assertEqual(self.gdb("vmem-image guest.elf", "vmem-vtop 0x400000",
                                  load="python import vmem.gdb", PYTHONPATH=PACKAGE),
                         self.ask("vmem-vtop 0x400000"))

    def test_vtop(self):
        """an address, as an expression, with the entries on the way"""
        self.assertEqual(self.ask("vmem-vtop 0x400000 + 0x1234"), """\
0x401234 -> 0x11234 rw-u
  PML4 0x1000: 0x2007
  PDPT 0x2000: 0x3007
  PD   0x3010: 0x4007
  PT   0x4008: 0x8000000000011007
""")
        self.assertEqual(self.ask("vmem-vtop 1LL << 39"), """\
0x8000000000: not-present
  PML4 0x1008: 0x0
""")
        self.assertEqual(self.ask("vmem-vtop 1LL << 62"),
                         "0x4000000000000000: non-canonical\n")

    def test_levels(self):
        """tables have their names in another mode"""
        self.file(images.pae_core())
        self.assertEqual(self.ask("vmem-vtop 0x1ff000"), """\
0x1ff000 -> 0x7000 rw-u
  PDPT 0x1000: 0x2001
  PD   0x2000: 0x5007
  PT   0x5ff8: 0x8000000000007007
""")

    def test_maps(self):
        """rows of all, from an address on, and between two"""
        everything = self.ask("vmem-maps").splitlines()
        self.assertEqual(everything[0], "0x400000-0x400fff 0x10000 r-xu")
        self.assertEqual(everything[-1],
                         "0xffffffff81000000-0xffffffff81000fff 0x13000 r-xs")
        self.assertEqual(self.ask('vmem-maps "-1024LL * 1024 * 1024 * 2"').splitlines(),
                         everything[-1:])
        self.assertEqual(self.ask("vmem-maps 0x400000 0x402fff").splitlines(),
                         everything[:2])

    def test_read(self):
        """memory, in lines of 16 bytes, and what stops it"""
        self.assertEqual(self.ask("vmem-read 0x400ff8 20"), """\
0x400ff8: 00 00 00 00 00 00 00 00 66 69 72 73 74 66 69 72  ........firstfir
0x401008: 73 74 66 69                                      stfi
""")
        self.assertEqual(self.ask("vmem-read 0x402ffe 16"), """\
0x402ffe: 00 00                                            ..
0x403000: not-present
""")

    def test_thread(self):
        """the space is that of the current thread: its $cr3, or its vCPU's"""
        thread = "vmem-vtop 0x600000"
        want = {images.A: self.ask(thread), images.B: self.ask(
            "vmem-root 0x5000", thread)}
        self.assertNotEqual(*want.values())
        for number, root in ((1, images.A), (2, images.B)):
            self.assertIn(want[root], self.ask(
                "core-file guest.elf", "python [t.switch() for t in "
                "gdb.selected_inferior().threads() if t.ptid[1] == %d]" % number, thread))
        # A core has no such register, so gdb takes a variable of the user's.
        self.assertIn(want[images.B], self.ask("core-file guest.elf",
                                               "set $cr3 = 0x5018", thread))
        for back in ("vmem-root", "vmem-image guest.elf"):
            self.assertIn(want[images.A], self.ask(
                "core-file guest.elf", "vmem-root 0x5000", back, thread))

    def test_tasks(self):
        """processes of a Linux guest, and their roots"""
        kernel = images_linux.Linux("amd64")
        for task in ((1, b"init", True), (2, b"kthreadd", False), (70, b"sh", True)):
            kernel.task(*task)
        kernel.finish()
        roots = [root for _, _, root, _ in kernel.tasks]
        self.file(core(kernel.memory, roots[0]))
        self.assertEqual(self.ask("vmem-tasks").splitlines(), [
            "%7d %14s %s" % (pid, "%#x" % root if root else "-", name)
            for pid, name, root, _ in kernel.tasks])
        self.assertEqual(set(self.ask("vmem-roots").splitlines()), {
            "%#x vcpu" % roots[0], "%#x user" % roots[2], "%#x kernel" % kernel.root})

    def test_errors(self):
        """what cannot be answered is an error of gdb's, with vmem's text"""
        for commands, text in (
                (["vmem-maps"],
                 "no guest is known: give vmem-attach PID or vmem-image FILE\n"),
                (["vmem-root 1"],
                 "no guest is known: give vmem-attach PID or vmem-image FILE\n"),
                (["vmem-image nothing.elf"],
                 "cannot open the image nothing.elf: there is no such file\n"),
                (["vmem-image guest.elf", "vmem-vtop $nothing + 1"], None),
                (["vmem-image guest.elf", "vmem-vtop $rsp"],
                 r"^\$rsp has no value: a register takes a target, or a core\n"),
                (["vmem-image guest.elf", "vmem-vtop nothing"],
                 'No symbol table is loaded.  Use the "file" command.\n'),
                (["vmem-image guest.elf", "vmem-tasks"],
                 "no Linux kernel|has no BTF")):
            with self.subTest(commands=commands):
                got = self.gdb(*commands)
                self.assertNotIn("Python", got)
                self.assertRegex(got, text or ".")
        # One that does not open leaves the one before.
        self.assertIn("no such file\n0x400000 -> 0x10000 r-xu", self.ask(
            "vmem-image nothing.elf", "vmem-vtop 0x400000"))


def main():
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Gdb))


if __name__ == "__main__":
    sys.exit(main())
