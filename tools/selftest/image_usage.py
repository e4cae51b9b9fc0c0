#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl and who types in haste: options that mean nothing to a command, and what
is said of them.

Needs no lab, no module and no root. As in image.py, everything is asked twice: of
vmemctl as it is built, and of one that the compiler's sanitizers watch.
"""

import re
import sys
import unittest

import image
import images
import tap
from images import P, U, W

# Values that options take
VALUES = {"--region": "0:1000:0", "--exclude": "0-fff", "--arch": "amd64",
          "--vendor": "amd", "--cow": "200:200", "--c-bit": "40", "--hole": "c0000000",
          "--shared-bit": "40", "--maxphyaddr": "40", "--output": "/"}

COMMANDS = {"info": [], "vcpus": [], "roots": [], "vtop": ["0"], "access": ["0"],
            "maps": [], "spaces": [], "aliases": [], "who": ["0"],
            "read": ["0", "1"], "snapshot": ["-o", "/"], "graph": [],
            "debugfs": [], "mount": ["/"], "batch": []}

GUEST = {"--pid", "--vm-fd", "--image", "--region", "--hole", "--help", "--version"}
ROOT = {"--vcpu", "--cr3", "--cr0", "--cr4", "--efer", "--maxphyaddr", "--arch",
        "--vendor", "--no-1g", "--c-bit", "--shared-bit", "--cow"}
SPACE = ROOT | {"--qmp", "--json"}
SPACES = SPACE | {"--all", "--fetch"}
ACCESS = {"-r", "-w", "-x", "--user", "--supervisor", "--rflags", "--pkru", "--pkrs"}

# What means something to each, besides GUEST
TAKES = {
    "info": {"--qmp", "--json"},
    "vcpus": {"--watch", "--json"},
    "roots": SPACE | {"--fetch"},
    "vtop": SPACES | {"--pat"},
    "access": SPACES | ACCESS,
    "maps": SPACES | {"--pat", "--attributes"},
    "spaces": SPACES | {"--exclude"},
    "aliases": SPACES | {"--exclude"},
    "who": SPACES | {"--exclude"},
    "read": SPACE | {"-r", "--raw", "--phys"},
    "snapshot": SPACES | {"--exclude", "--output", "--base", "--strict", "--virtual"},
    "graph": SPACES - {"--json"} | {"--exclude", "--output"},
    "debugfs": SPACES | {"--exclude"},
    "mount": ROOT | {"--json"},
    "batch": SPACES | ACCESS | {"--exclude", "--pat", "--attributes", "--raw",
                                "--phys", "--watch"},
}


def options_in(text):
    """{option: whether it takes a value} of a help"""
    return {name: bool(value) for name, value in re.findall(
        r"^  (?:-\w, |    )?(--[a-z0-9-]+|-\w)(=?)", text, re.M)}


class Usage(image.Case):
    def setUp(self):
        super().setUp()
        self.image = self.file(images.amd64_core())

    def test_help(self):
        """a command's help has the options that it takes, the overall one all"""
        every = options_in(self.ask(["--help"]).stdout.decode())
        self.assertEqual(set(every), set().union(GUEST, *TAKES.values()))
        for command, takes in TAKES.items():
            text = self.ask(["help", command]).stdout.decode()
            self.assertEqual(set(options_in(text)), takes | GUEST, command)
            self.assertEqual("Accesses (" in text, bool(ACCESS & takes), command)

    def test_no_effect(self):
        """an option that a command would not look at is an error that names both"""
        every = options_in(self.ask(["--help"]).stdout.decode())
        for command, words in COMMANDS.items():
            for option in set(every) - TAKES[command] - GUEST:
                value = [VALUES.get(option, "1")] * every[option]
                self.refuses([option, *value, "--image", self.image, command, *words],
                             "^vmemctl: %s: %s has no effect here: .*help %s" % (
                                 command, option, command), status=2)

    def test_no_effect_without(self):
        """nor is one taken that means something only beside another"""
        for words, said in (
                (["read", "--phys", "--cr3", "1", "0", "1"], "--cr3.* with --phys"),
                (["read", "--phys", "--qmp", "x", "0", "1"], "--qmp.* with --phys"),
                (["maps", "--pat", "0"], "--pat.* without --attributes"),
                (["maps", "--fetch"], "--fetch.* without --all"),
                (["vtop", "--fetch", "0"], "--fetch.* without --all"),
                (["who", "--fetch", "--cr3", "1000", "10000"],
                 "--fetch.* without --all")):
            self.refuses(["--image", self.image, *words],
                         "%s: %s" % (words[0], said.replace(".*", " has no effect")),
                         status=2)
        for words in (["read", "--phys", "10000", "1"], ["roots", "--fetch"],
                      ["who", "--fetch", "10000"], ["maps", "--all", "--fetch"],
                      ["maps", "--pat", "0", "--attributes"]):
            self.assertEqual(self.ask(["--image", self.image, *words]).returncode, 0)

    def test_messages(self):
        """error: what is wrong, and what to do next"""
        raw = self.file(images.amd64().raw(), "raw")
        for words, *said in (
                ([self.image, "info"], "no command", "--image " + self.image),
                (["info", "--cr3"], "requires an argument"),
                (["--image", self.image, "maps", "400000", "1000"],
                 "LAST_VA 0x1000 is below VA 0x400000", "no length"),
                (["--image", raw, "maps"], "give --arch, or .*; and --cr3, of which"),
                (["--image", raw, "--arch", "amd64", "maps"],
                 "raw: give --cr3, of which `vmemctl roots'"),
                (["--image", raw, "--cr0", "80050033", "--cr4", "20", "--efer", "d01",
                  "--maxphyaddr", "52", "maps"], "raw: give --cr3, of which"),
                (["--image", raw, "--cr3", "1000", "maps"], "give --arch, [^;]*$"),
                (["--image", raw, "vcpus"], "there is no vCPU: raw memory has none")):
            self.refuses(words, *said, status=1 if "vcpus" in words else 2)
        self.refuses(["--image", self.image, "--cr3", "30408704", "maps"],
                     "give the CR3 of this guest, in hex")

    def one_of_each(self):
        """A space with one leaf, one entry that leads nowhere, and no more"""
        memory = images.Memory("<Q")
        memory.table(0x1000, {0: 0x2000 | P | W | U})
        memory.table(0x2000, {0: 0x3000 | P | W | U, 1: 0x7fff000 | P})
        memory.table(0x3000, {0: 0x4000 | P | W | U})
        memory.table(0x4000, {0: 0x5000 | P | W | U})
        memory.page(0x5000)
        return memory

    def test_one(self):
        """one is one: the words for it, and what is said of it"""
        memory = self.one_of_each()
        raw = self.file(memory.raw(), "raw")
        root = ["--arch", "amd64", "--cr3", "1000"]
        dump = self.file(images.kdump(memory, left_out=[0x5000]), "dump")
        new = ["-o", self.folder + "/new"]
        for words, *said in (
                ([raw, *root, "maps"], "1 entry leads nowhere: ", "total: 1 mapping,"),
                ([raw, "read", "--phys", "5fff", "2"], "0x6000, 1 byte short: unbacked"),
                ([raw, *root, "read", "fff", "2"], "0x1000, 1 byte short: not-present"),
                ([raw, *root, "who", "1000"], "none of 1 space maps it"),
                ([raw, *root, "spaces"], "would show 1 leaf\n"),
                ([raw, *root, "graph"], ": 1 mapping, "),
                ([raw, *root, "snapshot", *new], "1 entry leads nowhere, and is left out",
                 "0 links to shared ones, 1 leaf\n"),
                ([dump, *root, "snapshot", *new],
                 "1 page or table is unreadable, and is left out"),
                ([self.file(images.elf([], images.note("QEMU", 0, b"x")), "note"),
                  "info"], "note of vCPU 0 has 1 byte instead")):
            done = self.ask(["--image", *words])
            for text in said:
                self.assertIn(text, (done.stdout + done.stderr).decode(), words)


def main():
    image.build()
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Usage))


if __name__ == "__main__":
    sys.exit(main())
