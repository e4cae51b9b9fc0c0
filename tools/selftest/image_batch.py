#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl batch on images: many questions to one process, and their answers.

Needs no lab, no module and no root. As in image.py, everything is asked twice: of
vmemctl as it is built, and of one that the compiler's sanitizers watch.
"""

import os
import random
import re
import subprocess
import sys
import unittest

import answers
import image
import images
import mounted
import tap
from image import VMEMCTL
from images import A, B, CODE, DATA, HIGH, P

SEED = 20261129
LINES = 1000

# Questions of each command, one of them with a warning
GOOD = ["info", "vcpus", "roots", "vtop 400000 401123", "access 400000 -w --user",
        "maps", "maps 400000 402fff --attributes", "spaces", "spaces",
        "aliases", "who 10000", "read 401000 16", "read --phys 10000 8",
        "--cr3 5000 maps", "maps --all", "vtop ffffffff81000000"]

# What is wrong, and what is said of it
BAD = {
    "nonsense": "no command 'nonsense'",
    "maps 1": "maps takes no argument, or two",
    "maps --nonsense": "unrecognized option '--nonsense'",
    "vtop": "vtop needs an address",
    "vtop zz": "VA 'zz' is not a number",
    "vtop -": "the batch reads standard input",
    "-p 1 maps": "which guest is not for a line",
    "--image x maps": "which guest is not for a line",
    "--region 0:1000:0 maps": "which guest is not for a line",
    "--hole 1000 maps": "which guest is not for a line",
    "--qmp x maps": "which guest is not for a line",
    "--vm-fd 3 maps": "which guest is not for a line",
    "snapshot -o x": "snapshot is not for a line",
    "debugfs": "debugfs is not for a line",
    "graph": "graph is not for a line",
    "mount /mnt": "mount is not for a line",
    "batch": "batch is not for a line",
    "maps --help": "help and version are not for a line",
    "-V": "help and version are not for a line",
    "help": "no command 'help'",
    "--cr3 99999999000 maps": "no memory where CR3 points",
    "--cr3 1000": "no command given",
    "--cr3 1000 info": "info: --cr3 has no effect here",
    "read --phys --vcpu 1 0 1": "read: --vcpu has no effect with --phys",
}


class Batch(image.Case):
    def setUp(self):
        super().setUp()
        self.image = self.file(images.amd64_core())

    def batch(self, lines, *options, status=0):
        """What a batch says to these lines"""
        done = self.ask(["--image", self.image, *options, "batch"],
                        input="".join(line + "\n" for line in lines).encode())
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout, done.stderr.decode()

    def alone(self, line, *options):
        return self.ask(["--image", self.image, *options, *line.split()])

    def test_text(self):
        """each answer is what is said without a batch, and warnings name the line"""
        out, err = self.batch(GOOD)
        done = [self.alone(line) for line in GOOD]
        self.assertEqual(out, b"".join(one.stdout for one in done))
        self.assertEqual(err, "".join(
            line.replace("vmemctl: ", "vmemctl: line %d: " % number)
            for number, one in enumerate(done, 1)
            for line in one.stderr.decode().splitlines(True)))
        self.assertIn("line 6: warning: 2 entries lead nowhere", err)

    def test_json(self):
        """and with -j it is one line"""
        out, _ = self.batch(GOOD, "-j")
        self.assertEqual(out.splitlines(True),
                         [self.alone(line, "-j").stdout for line in GOOD])

    def test_defaults(self):
        """options of the batch hold for all lines, but for --cr3 that a line gives"""
        lines = ["maps", "--cr3 %x maps" % B, "maps", "--cr3 %x --cr3 %x maps" % (
            A, B)]
        out, _ = self.batch(lines, "--cr3", "%x,%x" % (B, A), "--cow", "200:200")
        self.assertEqual(out, b"".join(
            self.alone(line, *options, "--cow", "200:200").stdout for line, options in zip(
                lines, (["--cr3", "%x,%x" % (B, A)], [],
                        ["--cr3", "%x,%x" % (B, A)], []), strict=True)))

    def test_shared(self):
        """an option of the batch need not mean something to each line"""
        options = ["--cr3", "%x" % B, "--all", "--attributes", "--watch", "1", "-w",
                   "--exclude", "0-fff"]
        alone = ["info", "read 401000 16", "read --phys 10000 8"]
        out, _ = self.batch(alone, *options)
        self.assertEqual(out, b"".join(
            self.alone(line, *options[:2] * (line[:6] == "read 4")).stdout
            for line in alone))
        out, _ = self.batch(["access 401000"], "-r", "-j")
        self.assertEqual(out, self.alone("access 401000", "-r", "-j").stdout)

    def test_errors(self):
        """after an error, which names its line, the next one is answered"""
        lines = [line for bad in BAD for line in (bad, "", " # maps", "vtop 400000")]
        out, err = self.batch(lines, status=1)
        self.assertEqual(out, len(BAD) * self.alone("vtop 400000").stdout)
        said = err.splitlines()
        self.assertEqual(len(said), len(BAD), err)
        for i, (line, want) in enumerate(zip(said, BAD.values(), strict=True)):
            self.assertRegex(line, r"^vmemctl: line %d: .*%s" % (
                4 * i + 1, re.escape(want)))

    def test_json_errors(self):
        """with -j they are answers"""
        lines = [line for bad in BAD for line in (bad, "vtop 400000")]
        out, err = self.batch(lines, "-j", status=1)
        found = out.splitlines()
        self.assertEqual(len(found), len(lines))
        self.assertEqual(set(found[1::2]),
                         {self.alone("vtop 400000", "-j").stdout.rstrip()})
        for text, want, said in zip(found[::2], BAD.values(), err.splitlines(),
                                    strict=True):
            answer = answers.broken(text)
            self.assertEqual(answer["command"], "batch")
            self.assertIn(want, said)
            if "unrecognized" not in want:      # which getopt says
                self.assertIn(want, "%(message)s: %(advice)s" % answer["error"])

    def test_cut(self):
        """an answer that has begun ends with its error"""
        out, _ = self.batch(["--cr3 %x,99999999000 maps" % A, "vtop 0"], "-j",
                            status=1)
        first, second = map(answers.broken, out.splitlines())
        self.assertEqual(first["command"], "maps")
        self.assertIn("99999999000", first["error"]["message"])
        self.assertIsNone(second["error"])

    def test_coprocess(self):
        """a program talks to it: each answer comes before the next question"""
        draw = random.Random(SEED)
        vas = [draw.choice((CODE, DATA, HIGH, 0)) + draw.randrange(0x8000)
               for _ in range(LINES)]
        want = self.alone("vtop " + " ".join("%x" % va for va in vas)).stdout
        with subprocess.Popen([VMEMCTL, "--image", self.image, "batch"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              bufsize=0) as process:
            out = b""
            reader = os.fdopen(process.stdout.fileno(), "rb", closefd=False)
            for va in vas:
                process.stdin.write(b"vtop %x\n" % va)
                while (line := reader.readline()) != b"\n":
                    self.assertTrue(line)
                    out += line
                out += line
            process.stdin.close()
            self.assertEqual((reader.read(), process.wait()), (b"", 0))
        self.assertEqual(out, want)

    def test_file(self):
        """lines of a file are answered once, the last one without an end as well"""
        lines = ["vtop 400000", "nonsense", "vtop 0"] * 20
        path = self.file("\n".join(lines).encode(), "lines")
        with open(path, encoding="utf-8") as file:
            done = image.run(VMEMCTL, ["--image", self.image, "batch"],
                             input=None, stdin=file)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, 20 * (self.alone("vtop 400000").stdout +
                                            self.alone("vtop 0").stdout))

    def test_usage(self):
        """error: batches that make no sense"""
        self.refuses(["--image", self.image, "batch", "maps"],
                     "batch takes no argument", status=2)
        self.refuses(["--image", self.image, "batch", "--strict"],
                     "batch: --strict has no effect here", status=2)
        self.refuses(["--image", self.image, "batch"], "line 1 has a NUL",
                     input=b"maps\0\n")
        self.assertEqual(self.batch([]), (b"", ""))

    def test_reader_leaves(self):
        """it ends when nobody reads its answers, however much is asked"""
        with subprocess.Popen(
                ["sh", "-c", "yes vtop 0 | head -n 100000 | %s --image %s batch" % (
                    VMEMCTL, self.image)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            self.assertNotEqual(process.wait(timeout=image.SECONDS), 0)

    def test_killed(self):
        """if it is killed, the line that is being answered ends with it"""
        memory = images.Memory("<Q")
        memory.table(A, {i: 0x2000 | P for i in range(256)})
        memory.table(0x2000, {i: 0x2000 | P for i in range(512)})
        path = self.file(memory.raw(), "hostile")
        with subprocess.Popen([VMEMCTL, "--image", path, "--arch", "amd64", "--cr3",
                               "%x" % A, "batch"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, bufsize=0) as process:
            process.stdin.write(b"maps\n")
            self.assertTrue(process.stdout.readline())
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid),
                      encoding="utf-8") as file:
                line = int(file.read())
            process.kill()
            process.wait()
            self.assertTrue(mounted.wait_until(lambda: self.has_ended(line)))

    def has_ended(self, pid):
        """Or waits for nobody but its new parent"""
        try:
            with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    def test_cut_image(self):
        """it ends when its image is cut"""
        with subprocess.Popen([VMEMCTL, "--image", self.image, "-j", "batch"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, bufsize=0) as process:
            process.stdin.write(b"vtop 0\n")
            self.assertTrue(process.stdout.readline())
            os.truncate(self.image, 0)
            process.stdin.write(b"vtop 0\n")
            self.assertEqual(process.wait(timeout=image.SECONDS), 1)
            self.assertEqual(process.stdout.read(), b"")
            self.assertIn(b"the image has become shorter", process.stderr.read())

    def test_system_calls(self):
        """each line gives up system calls, and asks for none of them"""
        log = os.path.join(self.folder, "log")
        done = image.run("strace", ["-f", "-o", log, VMEMCTL, "--image", self.image,
                                    "batch"], input="\n".join(GOOD).encode())
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(log, encoding="utf-8") as file:
            calls = file.read()
        batch, *lines = dict.fromkeys(re.findall(r"^(\d+) ", calls, re.M))
        self.assertEqual(len(lines), len(GOOD))
        for line in (batch, *lines):
            confined = "\n".join(re.findall(r"^%s (.*)" % line, calls, re.M)
                                 ).partition("seccomp(SECCOMP_SET_MODE_FILTER")
            self.assertEqual(bool(confined[1]), line != batch)
            self.assertNotIn("EPERM", confined[2])



def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite([load(Batch)]))


if __name__ == "__main__":
    sys.exit(main())
