#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The samples on guests that run: samples/resolve.c is a VMM of its own, and
samples/walk.c looks at each guest of the lab.

usage: tools/lab/lab run --guest amd64 --guest i686 --
       tools/selftest/samples.py
"""

import os
import re
import subprocess
import sys
import unittest

import lablib
import tap

BIN = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__)))), "build/bin")


def run(name, *words):
    done = subprocess.run([os.path.join(BIN, name), *words], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=600, check=False)
    if done.returncode or done.stderr:
        raise AssertionError("%s: status %d: %s" % (name, done.returncode,
                                                    done.stderr))
    return done.stdout


class Resolve(unittest.TestCase):
    """A VMM and its own guest."""

    def test_resolve(self):
        """resolve finds in the VMM's memory what the guest has at an address"""
        self.assertEqual(run("resolve"), "va 0xffff888000123678 = "
                         "gpa 0x104678: hello from the guest\n")


class Walk(lablib.GuestTest):
    """A guest of another process."""

    def test_walk(self):
        """walk agrees with vmemctl on an address and on all mappings"""
        va = self.guest.banner
        with self.guest.in_worker() as stopped:
            cr3 = "%x" % stopped.registers.cr3
            options = stopped.registers.options()
            said = run("walk", "-p", str(self.guest.pid), cr3, "%x" % va)
            answer, = lablib.vtop(self.guest, options, [va])
            rows = lablib.maps(self.guest, options)
        self.assertIn("va %#x = gpa %#x, page of %d bytes\n" % (
            va, lablib.mapped_to(answer), answer["page_size"]), said)
        mappings = [tuple(int(word, 16) for word in row) for row in re.findall(
            r"(?m)^([0-9a-f]+)-([0-9a-f]+) ([0-9a-f]+) r[w-][x-][us]$", said)]
        self.assertEqual(mappings, [
            tuple(lablib.number(row[key]) for key in ("va", "last_va", "gpa"))
            for row in rows])
        self.assertIn("\n%d mappings\n" % len(rows), said)
        tap.diagnostic("%d mappings" % len(rows))


def main():
    guests = lablib.guests()
    if not guests:
        print("Bail out! no guests: tools/lab/lab run --guest amd64 -- %s"
              % sys.argv[0])
        return 1
    return tap.run(unittest.TestSuite(
        [Resolve("test_resolve"),
         *(Walk("test_walk", guest) for guest in guests)]))


if __name__ == "__main__":
    tap.main(main)
