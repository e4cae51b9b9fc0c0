#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the examples of the README and of the man page on a running guest.

An example is a line that begins with "# vmemctl", or with "# echo" and goes on to
it, in a literal block, with the lines that continue it. What stands there for a
reader's own guest is replaced by the lab's; every command must succeed and print something, and what is said
to be redirected must be there afterwards. Examples on images are run by
image.py, where there is no guest.
"""

import contextlib
import os
import re
import subprocess
import tempfile
import unittest

import lablib
import live_spaces
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
README = os.path.join(TOP, "README.md")
MAN_PAGE = os.path.join(TOP, "tools/vmemctl/vmemctl.8")

ROFF = {r"\-": "-", r"\(aq": "'", r"\(dq": '"', r"\e": "\\"}


def man_blocks(text):
    """The literal blocks of a man page, as a reader sees them."""
    for block in re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.M | re.S):
        for escape, sign in ROFF.items():
            block = block.replace(escape, sign)
        yield block


def readme_blocks(text):
    """The fenced blocks of a Markdown file."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)


def examples(blocks):
    """Commands, each with the lines behind it up to one that ends it."""
    for block in blocks:
        lines = iter(block.splitlines())
        for line in lines:
            if not line.startswith(("# vmemctl", "# echo")):
                continue
            command = line[2:]
            while command.rstrip().endswith(("\\", "|")):
                command = command.rstrip().rstrip("\\") + " " + next(lines)
            yield command


def man_page_examples():
    with open(MAN_PAGE, encoding="utf-8") as man_page:
        return list(examples(man_blocks(man_page.read())))


def readme_examples():
    with open(README, encoding="utf-8") as readme:
        return list(examples(readme_blocks(readme.read())))


def is_offline(command):
    """It is about an image, and needs no guest."""
    return "--image" in command


def made_up(guest):
    """What the documents say for a guest, and what it is here. The CR3s are
    those of processes that stay."""
    told = list(live_spaces.stacks(guest))
    with guest.in_worker() as stopped:
        cr3 = stopped.registers.cr3
        roots = live_spaces.Roots(guest, stopped, told).cr3
    # Started by init, and asleep since. Init's own stack may have moved.
    sleeper = min(pid for pid in roots if roots[pid] != cr3)
    banner = "%x" % guest.banner
    return {"4242": str(guest.pid), "/run/vm.qmp": guest.qmp_path,
            "1a4e000": "%x" % cr3, "2b5f000": "%x" % roots[sleeper],
            "ffffffff81000000": banner,
            "ffffffff82000000": banner}


@contextlib.contextmanager
def as_wanted(command, guest):
    """The guest stands still, with the root that made_up() found on its vCPU, for
    commands that want one that does."""
    if " snapshot " not in command or is_offline(command):
        yield
        return
    with guest.in_worker() as stopped, stopped.qmp.away():
        yield


class Examples(unittest.TestCase):
    def __init__(self, name, commands, guest, names):
        super().__init__("examples_run")
        self.name = name
        self.guest = guest
        self.commands = commands
        self.names = names

    def shortDescription(self):
        return "docs: the examples of %s run" % self.name

    def run_example(self, command):
        for sign, real in self.names.items():
            command = command.replace(sign, real)
        with tempfile.TemporaryDirectory() as folder, \
                as_wanted(command, self.guest):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=folder,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""), command)
            left = [os.path.getsize(os.path.join(folder, name))
                    for name in os.listdir(folder)]
            self.assertTrue(done.stdout or any(left), command)

    def examples_run(self):
        ran = 0
        for command in self.commands:
            with self.subTest(example=command):
                self.run_example(command)
            ran += 1
        tap.diagnostic("%d examples" % ran)
        self.assertGreater(ran, 0)


def main():
    guest = lablib.guests()[0]
    names = made_up(guest)
    return tap.run(unittest.TestSuite(
        Examples(name, [command for command in commands
                        if not is_offline(command)],
                 guest, names)
        for name, commands in (("README.md", readme_examples()),
                               ("vmemctl.8", man_page_examples()))))


if __name__ == "__main__":
    tap.main(main)
