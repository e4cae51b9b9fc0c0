#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What comes with vmem for a host of one's own: the completions of two shells, which
kernels it is for, and what the build says where something is missing.

Needs no lab, no module and no root.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
BIN = os.path.join(TOP, "build/bin")
COMPLETION = os.path.join(TOP, "tools/vmemctl/completion")
ENV = dict(os.environ, PATH=BIN + ":" + os.environ["PATH"], LC_ALL="C")

# What the shell itself would do when Tab is pressed
BASH = r"""
. /usr/share/bash-completion/bash_completion
. "$1/vmemctl.bash"
compopt() { :; }
find() { printf '/proc/%s/fd/9\n' 4242 815 4242; }
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
COMP_LINE=${COMP_LINE/ = /=} COMP_LINE=${COMP_LINE/ =/=} COMP_LINE=${COMP_LINE// : /:}
COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
_vmemctl vmemctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def read(*names):
    with open(os.path.join(TOP, *names), encoding="utf-8") as file:
        return file.read()


def run(*words, **options):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, **options)


def help_text():
    return run(os.path.join(BIN, "vmemctl"), "--help", env=ENV).stdout


def commands():
    listed = help_text().split("Commands:\n")[1].split("\n\n")[0]
    return set(re.findall(r"^  ([a-z]+) ", listed, re.M))


def long_options():
    return set(re.findall(r"^ .{,5}(--[a-z0-9-]+=?)", help_text(), re.M))


class Zsh:
    """An interactive zsh on a terminal, with the completion loaded."""

    def __init__(self, folder):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"],
                       dict(ENV, TERM="dumb", HOME=folder))
        self.type("PROMPT=; unsetopt beep zle_bracketed_paste; "
                  "fpath=(%s $fpath); autoload -U compinit; compinit -u -D; "
                  "find() { print /proc/815/fd/9 }; "
                  "show() { print -r -- \"<$BUFFER>\"; BUFFER= }; "
                  "zle -N show; bindkey '^T' show; print 'it is''ready'\n"
                  % COMPLETION)
        self.wait("itisready|it isready")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait(self, pattern, seconds=60):
        said, end = "", time.monotonic() + seconds
        while not (match := re.search(pattern, said)):
            if not select.select([self.terminal], [], [],
                                 end - time.monotonic())[0]:
                raise AssertionError("zsh said %r" % said)
            said += os.read(self.terminal, 4096).decode(errors="replace")
        return match

    def complete(self, line):
        """What becomes of the line when Tab is pressed at its end"""
        self.type(line + "\t\x14")
        return self.wait(r"<(vmemctl [^>]*)>")[1]

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


class Completion(unittest.TestCase):
    """The words that a shell proposes are those that vmemctl knows."""

    def bash(self, *words):
        done = run("bash", "--norc", "-c", BASH, "-", COMPLETION, "vmemctl",
                   *words, env=ENV)
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_bash_commands(self):
        """bash: every command of --help, and none behind one"""
        self.assertGreater(len(commands()), 12)
        self.assertEqual(self.bash(""), commands())
        self.assertEqual(self.bash("-p", "1", "sp"), {"spaces"})
        self.assertEqual(self.bash("spaces", ""), set())

    def test_bash_options(self):
        """bash: every option of --help"""
        self.assertGreater(len(long_options()), 15)
        self.assertEqual(
            {word for word in self.bash("-") if word.startswith("--")},
            long_options())
        self.assertEqual(self.bash("maps", "--maxp"), {"--maxphyaddr="})

    def test_bash_option_of_command(self):
        """bash: behind a command, the options that it takes"""
        self.assertEqual(self.bash("-p", "1", "info", "--qm"), {"--qmp="})
        self.assertEqual(self.bash("-p", "1", "info", "--cr"), set())
        self.assertEqual(self.bash("vcpus", "--watch", "1", "--j"), {"--json"})

    def test_bash_values(self):
        """bash: processes that hold a VM, architectures, vendors, files"""
        self.assertEqual(self.bash("-p", ""), {"815", "4242"})
        self.assertEqual(self.bash("--arch", "="),
                         {"amd64", "amd64-la57", "i686", "i686-pae"})
        self.assertEqual(self.bash("--vendor", ""), {"amd", "intel"})
        self.assertEqual(self.bash("--image", os.path.join(TOP, "READ")),
                         {os.path.join(TOP, "README.md")})
        for words in (["--region"], ["--region", "="]):     # as bash divides them
            region = [*words, "0", ":", "1000", ":", "0", ":"]
            self.assertEqual(self.bash(*region, os.path.join(TOP, "READ")),
                             {os.path.join(TOP, "README.md")})
            self.assertEqual(self.bash(*region[:-2], TOP), set())
        self.assertEqual(self.bash("mount", os.path.join(TOP, "READ")), set())
        self.assertEqual(self.bash("mount", os.path.join(TOP, "too")),
                         {os.path.join(TOP, "tools")})

    def test_zsh(self):
        """zsh: commands, options, values"""
        with tempfile.TemporaryDirectory() as folder:
            zsh = Zsh(folder)
            for line, whole in (
                    ("vmemctl al", "vmemctl aliases "),
                    ("vmemctl -p 1 sp", "vmemctl -p 1 spaces "),
                    ("vmemctl --maxp", "vmemctl --maxphyaddr="),
                    ("vmemctl --arch=i", "vmemctl --arch=i686 "),
                    ("vmemctl --vendor=i", "vmemctl --vendor=intel "),
                    ("vmemctl -p 8", "vmemctl -p 815 "),
                    ("vmemctl --image=%s/READ" % TOP,
                     "vmemctl --image=%s/README.md " % TOP),
                    ("vmemctl --region=0:1000:0:%s/READ" % TOP,
                     "vmemctl --region=0:1000:0:%s/README.md " % TOP),
                    ("vmemctl mount %s/too" % TOP, "vmemctl mount %s/tools/" % TOP),
                    *((line, line) for line in (
                        "vmemctl mount %s/READ" % TOP, "vmemctl vtop %s/too" % TOP))):
                with self.subTest(line):
                    self.assertEqual(zsh.complete(line).rstrip(),
                                     whole.rstrip())
            zsh.close()


class Installed(unittest.TestCase):
    """What `make install` puts on a machine."""

    def make(self, folder, target):
        done = run("make", "-s", "-C", os.path.join(TOP, "tools/vmemctl"), target,
                   "O=" + os.path.join(TOP, "build"), "PREFIX=/usr",
                   "DESTDIR=" + folder, "ZSHDIR=vendor-completions")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return {os.path.relpath(os.path.join(at, name), folder)
                for at, _, names in os.walk(folder) for name in names}

    def test_vmemctl(self):
        """the tool: what its package has, schema included; and uninstall takes it away"""
        with tempfile.TemporaryDirectory() as folder:
            listed = set(read("packaging/debian/vmemctl.install").split())
            self.assertIn("usr/share/vmemctl/vmemctl.schema.json", listed)
            self.assertEqual(self.make(folder, "install"), listed)
            self.assertEqual(self.make(folder, "uninstall"), set())
            self.assertFalse(os.path.exists(folder + "/usr/share/vmemctl"))


class Kernels(unittest.TestCase):
    """Which kernels vmem is for is said in several places, and alike."""

    def versions(self):
        return re.findall(r"^[0-9].*$", read("tools/kernels"), re.M)

    def numbers(self):
        return {version.split("@")[0] for version in self.versions()}

    def test_table(self):
        """docs/kernels.md has each kernel that is tried, and no other"""
        table = read("docs/kernels.md").split("| release |")[1].split("\n## ")[0]
        rows = re.findall(r"^\| ([0-9][^ ]*) \|", table, re.M)
        self.assertEqual(rows, self.versions())
        for gap in ("not run", "does not build"):
            self.assertNotIn(gap, table)

    def test_readme(self):
        """README.md names them"""
        said = re.search(r"Linux (\d[\d., and]*\d) are tried", read("README.md"))
        self.assertEqual(set(re.findall(r"\d+\.\d+", said[1])), self.numbers())

    def test_dkms(self):
        """dkms.conf: DKMS builds for each of them, and for none that is too old"""
        rule = re.search(r'^BUILD_EXCLUSIVE_KERNEL="(.*)"$',
                         read("packaging/debian/vmem-dkms.dkms"), re.M)[1]
        for version in self.numbers():
            self.assertRegex(version + ".0-1-amd64", rule)
        for version in ("4.19.0-27-amd64", "5.10.0-32-amd64", "6.0.0-6-amd64"):
            self.assertNotRegex(version, rule)


class Missing(unittest.TestCase):
    """What the build says where it cannot succeed."""

    def kbuild(self, *given, mm="vmas", kvm="kvm_memslot_iter_start(slots);"):
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(os.path.join(folder, "include/linux"))
            for name, text in (
                    ("mm.h", "long get_user_pages_remote(%s);\n" % mm),
                    ("kvm_host.h", "void %s\n" % kvm)):
                with open(os.path.join(folder, "include/linux", name), "w",
                          encoding="utf-8") as file:
                    file.write(text)
            with open(os.path.join(folder, "Makefile"), "w",
                      encoding="utf-8") as file:
                file.write("include %s/Kbuild\nall:;@echo $(ccflags-y)\n" % TOP)
            return run("make", "-s", "-C", folder, "srctree=" + folder,
                       "KBUILD_EXTMOD=" + folder, "CONFIG_MODULES=y", *given)

    def test_kernel(self):
        """a kernel without what vmem needs is refused in a line"""
        good = ("CONFIG_X86_64=y", "CONFIG_KVM=m", "CONFIG_TRACEPOINTS=y")
        self.assertEqual(self.kbuild(*good).returncode, 0)
        for what, done in (
                ("CONFIG_KVM", self.kbuild("CONFIG_X86_64=y")),
                ("CONFIG_X86_64", self.kbuild("CONFIG_KVM=m")),
                ("CONFIG_TRACEPOINTS", self.kbuild(*good[:2])),
                ("kvm_memslot_iter_start()", self.kbuild(*good, kvm="x();"))):
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("vmem: no %s in this kernel: vmem is for Linux 6.1"
                          % what, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_headers(self):
        """what a kernel declares decides how vmem calls it"""
        good = ("CONFIG_X86_64=y", "CONFIG_KVM=m", "CONFIG_TRACEPOINTS=y")
        self.assertIn("-DVMEM_GUP_HAS_VMAS", self.kbuild(*good).stdout)
        for mm in ("locked",
                   "locked);\nlong pin_user_pages_remote(vmas",
                   "locked);\n/* get_user_pages_remote() takes no vmas any more"):
            self.assertNotIn("-DVMEM_GUP_HAS_VMAS",
                             self.kbuild(*good, mm=mm).stdout, mm)
        self.assertIn("-DVMEM_GUP_HAS_VMAS",
                      self.kbuild(*good, mm="pages,\n\tvmas").stdout)

    def module(self, *words, path=None):
        with tempfile.TemporaryDirectory() as folder:
            return run(os.path.join(TOP, "tools/module.sh"), *words, folder,
                       env=dict(ENV, PATH=path or ENV["PATH"]))

    def test_no_headers(self):
        """no headers: it says which, and how they are had"""
        done = self.module("/lib/modules/9.9.9/build")
        self.assertEqual(done.returncode, 1)
        self.assertIn("in /lib/modules/9.9.9/build: install its headers "
                      "(linux-headers-9.9.9,", done.stderr)

    def test_not_built(self):
        """a kernel's source where nothing was built: it says so"""
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "Makefile"), "w").close()
            done = self.module(folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("nothing was built in " + folder, done.stderr)

    def test_blanks(self):
        """a path with blanks: make refuses it, whatever the target is"""
        with tempfile.TemporaryDirectory() as folder:
            there = os.path.join(folder, "a b")
            os.mkdir(there)
            done = run("make", "-C", there, "-f", os.path.join(TOP, "Makefile"),
                       "-n", "clean")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("a path with blanks", done.stderr)

    def tools(self, folder, *names):
        for tool in names:
            os.symlink(run("which", tool).stdout.strip(),
                       os.path.join(folder, tool))
        return folder

    def test_no_compiler(self):
        """no compiler: it says which"""
        with tempfile.TemporaryDirectory() as folder:
            done = self.module("", path=self.tools(
                folder, "bash", "dirname", "readlink", "sed", "realpath",
                "mkdir", "basename", "ln", "make", "grep", "sh", "uname"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"module\.sh: no gcc-\d+: install it")

    def test_no_library(self):
        """no library to build the tool with: it says which"""
        for what in ("libvmem", "vmemctl"):
            done = run("make", "-C", os.path.join(TOP, "tools", what),
                       "PKG_CONFIG=false")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(what + " needs libelf", done.stderr)

    def test_no_apt(self):
        """no apt: setup.sh goes on with what is there, and says what it takes"""
        for more in (), ("dpkg-query",):
            with tempfile.TemporaryDirectory() as folder:
                done = run(os.path.join(TOP, "tools/setup.sh"), "user",
                           env=dict(ENV, PATH=self.tools(
                               folder, "bash", "dirname", "readlink", "sed",
                               "mkdir", "flock", *more)))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stderr, r"no apt here.*\blibelf-dev\b")

    def test_no_kernel(self):
        """no apt, and no kernel fetched: it says how to build without"""
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "tools"))
            for file in "setup.sh", "kernels":
                shutil.copy(os.path.join(TOP, "tools", file),
                            os.path.join(folder, "tools"))
            done = run(os.path.join(folder, "tools/setup.sh"), "module",
                       env=dict(ENV, PATH=self.tools(
                           folder, "bash", "dirname", "readlink", "sed",
                           "mkdir", "flock", "sort", "head", "cat", "chmod")))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"no apt here to fetch .* KDIR=/lib/mod")


def main():
    loader = unittest.TestLoader()
    return tap.run(unittest.TestSuite(
        loader.loadTestsFromTestCase(case)
        for case in (Completion, Installed, Kernels, Missing)))


if __name__ == "__main__":
    sys.exit(main())
