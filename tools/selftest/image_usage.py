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
                (["vtop", "--fetch", "0"], "--fetch.* without --all")):
            self.refuses(["--image", self.image, *words],
                         "%s: %s" % (words[0], said.replace(".*", " has no effect")),
                         status=2)
        for words in (["read", "--phys", "10000", "1"], ["roots", "--fetch"],
                      ["who", "--fetch", "10000"], ["maps", "--all", "--fetch"],
                      ["maps", "--pat", "0", "--attributes"]):
            self.assertEqual(self.ask(["--image", self.image, *words]).returncode, 0)


def main():
    image.build()
    return tap.run(unittest.defaultTestLoader.loadTestsFromTestCase(Usage))


if __name__ == "__main__":
    sys.exit(main())
