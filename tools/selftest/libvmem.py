#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""libvmem as people get it: its symbols, what is installed, and what can be
built on that alone.

Needs no lab, no module and no root; VMEM_CC is the compiler, cc by default.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import images
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
BUILD = os.environ.get("O") or os.path.join(TOP, "build")
SOURCE = os.path.join(TOP, "tools/libvmem")
HEADER = os.path.join(SOURCE, "include/libvmem.h")
MAP = os.path.join(SOURCE, "libvmem.map")
LIB = os.path.join(BUILD, "lib")
OBJECTS = os.path.join(BUILD, "obj/libvmem/pic")
CC = os.environ.get("VMEM_CC", "cc")
PREFIX = "/usr/test"

# What ends a process, writes to its streams, or takes its signals
FORBIDDEN = re.compile(
    r"^(_?_?(exit|_exit|_Exit|quick_exit|abort|raise|kill|atexit|on_exit"
    r"|assert_fail\w*)|(__)?v?f?printf(_chk)?|(__)?v?dprintf(_chk)?|puts"
    r"|putchar|fputs|fputc|fwrite|putc|perror|err|errx|warn|warnx|syslog"
    r"|stdout|stderr|signal|sigaction|sigprocmask|pthread_sigmask)$")


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        raise AssertionError("%s: status %d: %s%s" % (
            " ".join(words), done.returncode, done.stdout, done.stderr))
    return done.stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def nm(path, *options):
    """Symbols by their names; a version of symbols is one of type A."""
    lines = map(str.split, run("nm", "-P", *options, path).splitlines())
    return {line[0].split("@")[0] for line in lines
            if len(line) > 1 and line[1] != "A"}


def listed():
    """The names in the symbol map."""
    return set(re.findall(r"^\t(libvmem_\w+);$", read(MAP), re.M))


def declared():
    """The functions that the header declares."""
    text = re.sub(r"/\*.*?\*/", "", read(HEADER), flags=re.S)
    return set(re.findall(r"^[a-z_][\w *]*?\b(libvmem_\w+)\(", text, re.M))


def objects():
    return {os.path.splitext(name)[0]: os.path.join(OBJECTS, name)
            for name in sorted(os.listdir(OBJECTS)) if name.endswith(".o")}


def writable(path):
    """Symbols in sections that stay writable once the library is loaded."""
    found = set()
    for line in run("objdump", "-t", path).splitlines():
        match = re.match(r"^[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ +(?:\.\w+ )?(\S+)$",
                         line)
        if not match or "d" in match[1]:
            continue
        if re.match(r"\.(t?bss|t?data)\b(?!\.rel\.ro)|\*COM\*", match[2]):
            found.add(match[3])
    return found


class Symbols(unittest.TestCase):
    """What a user can link with, and what that brings along."""

    def test_shared(self):
        """libvmem.so: it exports what the map lists, and nothing else"""
        names = nm(os.path.join(LIB, "libvmem.so"), "-D", "--defined-only")
        self.assertEqual(names, listed())
        tap.diagnostic("%d functions" % len(names))

    def test_hardened(self):
        """what root runs is built with what compiler and linker have against bugs"""
        for path in ("bin/vmemctl", "lib/libvmem.so"):
            with self.subTest(path):
                said = run("readelf", "-W", "-h", "-l", "-d",
                           os.path.join(BUILD, path))
                self.assertRegex(said, r"Type: +DYN")
                self.assertIn("GNU_RELRO", said)
                self.assertRegex(said, r"\bNOW\b")
                self.assertRegex(said, r"GNU_STACK .* RW ")
                self.assertRegex(
                    run("objdump", "-d", os.path.join(BUILD, path)),
                    "__stack_chk_fail")

    def test_header(self):
        """libvmem.h: it declares what the map lists, and nothing else"""
        self.assertEqual(declared(), listed())

    def test_static(self):
        """libvmem.a: it defines what the map lists, and nothing else"""
        names = nm(os.path.join(LIB, "libvmem.a"), "-g", "--defined-only")
        self.assertEqual(names, listed())

    def test_extra(self):
        """a function that is not in the map does not pass unnoticed"""
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "vmem")
            shutil.copytree(TOP, copy, symlinks=True,
                            ignore=shutil.ignore_patterns("build", ".git"))
            header = os.path.join(copy, "tools/libvmem/include/libvmem.h")
            text = read(header)
            last = "#pragma GCC visibility pop"
            self.assertIn(last, text)
            with open(header, "w", encoding="utf-8") as file:
                file.write(text.replace(
                    last, "int libvmem_extra(void);\n\n" + last))
            with open(os.path.join(copy, "tools/libvmem/error.c"), "a",
                      encoding="utf-8") as file:
                file.write("\nint libvmem_extra(void)\n{\n\treturn 0;\n}\n")
            done = subprocess.run(
                [sys.executable,
                 os.path.join(copy, "tools/selftest/libvmem.py"), "Symbols"],
                env=dict(os.environ, O=os.path.join(folder, "build"),
                         VMEM_NESTED="1"),
                capture_output=True, text=True, check=False)
        self.assertRegex(done.stdout, r"(?m)^not ok \d+ libvmem\.h: it decl",
                         done.stderr)
        self.assertIn("libvmem_extra", done.stdout)

    def test_manners(self):
        """the library's objects end nothing, print nothing, take no signal"""
        for name, path in objects().items():
            with self.subTest(object=name):
                wrong = {symbol for symbol in nm(path, "-u")
                         if FORBIDDEN.match(symbol)}
                self.assertFalse(wrong)
        tap.diagnostic("%d objects" % len(objects()))

    def test_state(self):
        """the library's objects have no variables"""
        for name, path in objects().items():
            with self.subTest(object=name):
                self.assertEqual(writable(path), set())

    def test_soname(self):
        """libvmem.so: its name, its version, and how it is hardened"""
        path = os.path.join(LIB, "libvmem.so")
        text = run("readelf", "-dlW", path)
        self.assertIn("Library soname: [libvmem.so.0]", text)
        self.assertRegex(text, r"FLAGS_1.*NOW")
        self.assertIn("GNU_RELRO", text)
        self.assertNotIn("TEXTREL", text)
        self.assertIn("__stack_chk_fail", nm(path, "-D", "-u"))


class Installed(unittest.TestCase):
    """What `make install` puts into an empty folder, and nothing besides."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dest = os.path.join(cls.folder.name, "dest")
        run("make", "-s", "-C", TOP, "install", "PREFIX=" + PREFIX,
            "DESTDIR=" + cls.dest)
        cls.root = cls.dest + PREFIX

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def image(self):
        path = self.path("image")
        with open(path, "wb") as file:
            file.write(images.amd64_core())
        return path

    def flags(self, *options):
        """As a user gets them, who has the tree at another place."""
        folder = os.path.join(self.root, "lib/pkgconfig")
        env = dict(os.environ, PKG_CONFIG_PATH=folder,
                   PKG_CONFIG_SYSROOT_DIR=self.dest)
        return run("pkg-config", *options, "--cflags", "--libs", "libvmem",
                   env=env).split()

    def compile(self, source, *flags, cc=CC):
        """A program from a source in a folder that holds nothing else."""
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            copy = os.path.join(folder, os.path.basename(source))
            shutil.copyfile(source, copy)
            program = self.path("program")
            run(cc, "-Wall", "-Wextra", "-Werror", copy, *flags, "-o", program,
                cwd=folder)
        return program

    def ask(self, program, *words):
        return run(program, *words, env=dict(
            os.environ, LD_LIBRARY_PATH=os.path.join(self.root, "lib")))

    def test_files(self):
        """make install: the files that it installs"""
        files = {re.sub(r"/python3\.\d+/", "/python3/", os.path.relpath(
            os.path.join(folder, name), self.root))
                 for folder, _, names in os.walk(self.dest) for name in names}
        version = self.version()
        package = "lib/python3/dist-packages/vmem/"
        self.assertEqual(files, {
            "bin/vmemctl", "include/libvmem.h", "include/linux/vmem.h",
            "lib/libvmem.a", "lib/libvmem.so", "lib/libvmem.so.0",
            "lib/libvmem.so." + version, "lib/pkgconfig/libvmem.pc",
            "share/man/man3/libvmem.3", "share/man/man7/vmem-gdb.7",
            "share/man/man8/vmemctl.8",
            "share/vmemctl/vmemctl.schema.json",
            "share/bash-completion/completions/vmemctl",
            "share/zsh/site-functions/_vmemctl", package + "__init__.py",
            package + "_abi.py", package + "_error.py", package + "_rows.py",
            package + "gdb.py", package + "linux.py", package + "py.typed"})
        for name in ("lib/libvmem.so", "lib/libvmem.so.0"):
            self.assertEqual(
                os.path.realpath(os.path.join(self.root, name)),
                os.path.realpath(os.path.join(
                    self.root, "lib/libvmem.so." + version)))

    def make(self, target, dest, umask=0o22):
        return subprocess.run(
            ["make", "-s", "-C", TOP, target, "PREFIX=" + PREFIX,
             "DESTDIR=" + dest], capture_output=True, text=True, check=False,
            umask=umask)

    def files(self, dest):
        return [name for _, _, names in os.walk(dest) for name in names]

    def test_uninstall(self):
        """make uninstall: no file is left, and none of others is gone"""
        dest = self.path("an other")
        lib = dest + PREFIX + "/lib"
        os.makedirs(lib)
        for name in (self.path("an"), self.path("other"), lib + "/libvmem.so.9"):
            open(name, "w", encoding="utf-8").close()
        self.assertEqual(self.make("install", dest).returncode, 0)
        self.assertIn("vmemctl", self.files(dest))
        self.assertEqual(self.make("uninstall", dest).returncode, 0)
        self.assertTrue(os.path.isdir(dest + PREFIX))
        self.assertEqual(self.files(dest), ["libvmem.so.9"])
        self.assertTrue(os.path.exists(self.path("an")))

    def test_destdir(self):
        """make install: DESTDIR may be relative, and the umask is nothing to it"""
        dest = self.path("relative")
        done = self.make("install", os.path.relpath(dest, TOP), umask=0o77)
        self.assertEqual(done.returncode, 0, done.stderr)
        modes = {os.stat(os.path.join(folder, name)).st_mode & 0o777
                 for folder, _, names in os.walk(dest) for name in names}
        self.assertEqual(modes, {0o644, 0o755})

    def test_other_library(self):
        """make install, uninstall: another library of that name stays"""
        dest = self.path("others")
        lib = dest + PREFIX + "/lib"
        os.makedirs(lib)
        os.symlink("libvmem.so.1", lib + "/libvmem.so")
        for target in ("install", "uninstall"):
            done = self.make(target, dest)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("has another libvmem", done.stderr)
        self.assertEqual(self.files(dest), ["libvmem.so"])

    def version(self):
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(
            self.root, "lib/pkgconfig"))
        return run("pkg-config", "--modversion", "libvmem", env=env).strip()

    def test_version(self):
        """the library, the tool and libvmem.pc are of one version"""
        source = self.path("version.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write("#include <libvmem.h>\n#include <stdio.h>\n"
                       "int main(void)\n{\n"
                       "\treturn puts(libvmem_version()) < 0;\n}\n")
        said = self.ask(self.compile(source, *self.flags())).strip()
        self.assertEqual(said, self.version())
        tool = run(os.path.join(self.root, "bin/vmemctl"), "--version")
        self.assertRegex(tool, r"\b%s\b" % re.escape(self.version()))

    def check_walk(self, program):
        self.assertIn("va 0x401000 = gpa 0x11000, page of 4096 bytes\n",
                      self.ask(program, self.image(), "401000"))

    def test_sample(self):
        """samples/walk.c builds against the installed tree, and answers"""
        self.check_walk(self.compile(os.path.join(TOP, "samples/walk.c"),
                                     *self.flags()))

    def test_static(self):
        """samples/walk.c builds with the static library, and answers"""
        program = self.compile(
            os.path.join(TOP, "samples/walk.c"),
            "-I" + os.path.join(self.root, "include"),
            os.path.join(self.root, "lib/libvmem.a"),
            *run("pkg-config", "--libs", "libelf", "jansson", "zlib", "lzo2",
                 "libzstd").split())
        self.assertNotIn("libvmem", run("readelf", "-d", program))
        self.check_walk(program)

    def test_manual(self):
        """the manual's example builds against the installed tree, and answers"""
        page = read(os.path.join(self.root, "share/man/man3/libvmem.3"))
        code = re.search(r"^\.EX\n(.*?)^\.EE$", page, re.M | re.S)[1]
        source = self.path("example.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(code.replace("\\e", "\\"))
        program = self.compile(source, *self.flags(), "-Wno-unused-parameter")
        self.assertEqual(self.ask(program, self.image(), "401000"),
                         "0x401000 is at 0x11000\n")
        self.assertEqual(self.ask(program, self.image(), "1000"),
                         "0x1000 is not mapped\n")

    def test_threads(self):
        """threads with handles of their own do not get in each other's way"""
        folder = self.path("threads")
        archive = os.path.join(folder, "libvmem.a")
        flags = "-O1 -g -fsanitize=thread"
        run("make", "-s", "-C", SOURCE, "O=" + folder, "LIB=" + folder,
            "CFLAGS=" + flags, "HARDEN=", archive)
        program = self.compile(
            os.path.join(TOP, "tools/selftest/libvmem_threads.c"),
            "-I" + os.path.join(self.root, "include"), *flags.split(), archive,
            "-lelf", "-ljansson", "-lz", "-llzo2", "-lzstd", "-pthread")
        run(program, self.image(), "401000", "11000")

    def test_cplusplus(self):
        """libvmem.h is a header for C++ too"""
        source = self.path("program.cc")
        with open(source, "w", encoding="utf-8") as file:
            file.write("#include <libvmem.h>\n#include <cstdio>\n"
                       "int main()\n{\n\tlibvmem *vm;\n"
                       "\tlibvmem_error error;\n"
                       "\treturn -libvmem_open_image(&vm, \"/\", &error) != "
                       "LIBVMEM_BAD_IMAGE;\n}\n")
        self.ask(self.compile(source, *self.flags(), cc=os.environ.get(
            "VMEM_CXX", "c++")))


def main():
    run("make", "-s", "-C", SOURCE, "O=" + BUILD)
    loader = unittest.TestLoader()
    words = sys.argv[1:]
    tests = [test for case in (Symbols, Installed)
             if not words or case.__name__ in words
             for test in loader.loadTestsFromTestCase(case)
             if not (os.environ.get("VMEM_NESTED") and
                     test._testMethodName == "test_extra")]
    return tap.run(unittest.TestSuite(tests))


if __name__ == "__main__":
    sys.exit(main())
