#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl on a guest whose vCPUs come and go, the last thing that is done to it.

KVM keeps a vCPU that is plugged out, and QEMU knows it no more.
"""

import time
import unittest

import lablib
import tap

NAME = "another"

# The guest takes as long as it wants.
SECONDS = 100


class Vcpus(lablib.GuestTest):
    def setUp(self):
        with self.guest.qmp() as qmp:
            free = [slot for slot in qmp.execute("query-hotpluggable-cpus")
                    if "qom-path" not in slot]
        self.assertTrue(free, "the guest's QEMU has no place for a vCPU")
        self.slot = free[0]

    def online(self):
        """vCPUs by the guest's own word, such as 0-1."""
        return self.guest.run("cat /sys/devices/system/cpu/online").strip()

    def wait(self, what, condition):
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise lablib.LabError("never: " + what)
            time.sleep(0.5)

    def qmp_vcpus(self):
        with self.guest.qmp() as qmp:
            return len(qmp.execute("query-cpus-fast"))

    def info(self):
        return lablib.json_of(self.guest, ["--qmp", self.guest.qmp_path],
                              "info")["vcpus"]

    def spaces(self):
        """Roots that are told of the guest's vCPUs, and the warnings."""
        done = lablib.vmemctl("-p", str(self.guest.pid), "--qmp",
                              self.guest.qmp_path, "spaces", "0", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.count(b": root "), done.stderr.decode()

    def test_plugged(self):
        """vCPUs that are plugged in, brought online, and plugged out"""
        with self.guest.qmp() as qmp:
            qmp.execute("device_add", id=NAME, driver=self.slot["type"],
                        **self.slot["props"])
        self.wait("plugged in", lambda: self.qmp_vcpus() == 2)
        first, second = self.info()
        self.assertEqual(first["mode"], self.guest.mode)
        self.assertIsNotNone(second["cr3"])
        tap.diagnostic("plugged in: %s" % second)
        if second["mode"] == "off":
            self.assertIn("vCPU 1 is left out", self.spaces()[1])

        self.guest.run("echo 1 >/sys/devices/system/cpu/cpu1/online 2>/dev/null;"
                       " true")
        self.wait("online", lambda: self.online() == "0-1")
        vcpus = self.info()
        tap.diagnostic("online: %s" % vcpus[1])
        self.assertEqual([vcpu["mode"] for vcpu in vcpus],
                         [self.guest.mode] * 2)
        self.assertTrue(all(int(vcpu["cr3"], 16) for vcpu in vcpus))
        self.assertEqual(self.spaces(), (2, ""))

        with self.guest.qmp() as qmp:
            qmp.execute("device_del", id=NAME)
        self.wait("plugged out", lambda: self.qmp_vcpus() == 1)
        first, second = self.info()
        tap.diagnostic("plugged out: %s" % second)
        self.assertIsNotNone(first["cr3"])
        # KVM's copy: QEMU has none any more
        self.assertIsNotNone(second["cr3"])
        self.assertEqual(self.spaces()[0], 1)


def main():
    return tap.run(unittest.TestSuite(
        Vcpus("test_plugged", guest) for guest in lablib.guests()
        # Debian's 686 kernel is for one processor
        if guest.name != "i686"))


if __name__ == "__main__":
    tap.main(main)
