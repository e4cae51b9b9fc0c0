#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the tests on live guests do to them, without vmem.

usage: tools/lab/lab run --guest amd64 --guest i686 --without-vmem --
       tools/selftest/control.py [SECONDS]

Stops the guests in their workers, reads their registers and tables, asks QEMU and
the guests what is mapped, and lets them go on. A guest that dies meanwhile dies of
the emulation: vmem is not there. Its last line says what it did.
"""

import os
import sys
import time

import lablib

SECONDS = 120


def disturb(guest):
    account = guest.pagemap(guest.worker)
    with guest.in_worker() as stopped:
        stopped.qmp.info_tlb()
        for va in sorted(account)[:200]:
            stopped.qmp.gva2gpa(va)
        lablib.Walk(stopped.ram, stopped.registers)


def main():
    if os.path.exists("/sys/module/vmem"):
        sys.exit("control: vmem is loaded: use lab run --without-vmem")
    end = time.monotonic() + int((sys.argv[1:] or [SECONDS])[0])
    guests = lablib.guests()
    rounds = 0
    try:
        while time.monotonic() < end:
            for guest in guests:
                disturb(guest)
            rounds += 1
    finally:
        print("# %d guests, stopped and looked at %d times" % (
            len(guests), rounds), flush=True)


if __name__ == "__main__":
    main()
