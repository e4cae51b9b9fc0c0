# SPDX-License-Identifier: GPL-2.0-only
"""Commands for gdb that tell what a guest's page tables say.

    (gdb) source /usr/lib/python3/dist-packages/vmem/gdb.py
    (gdb) target remote :1234
    (gdb) vmem-attach 4242
    (gdb) vmem-vtop $rsp

Or `python import vmem.gdb`. `vmem-attach PID` names the VMM's process, or `vmem-image FILE`
an image. The space is that of gdb's current thread, which is a vCPU: by its $cr3 where
the target has it, as QEMU's gdbstub does, else as the vCPU of that number has it.
Arguments are expressions of gdb's; where there are two, one with blanks is to be quoted.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

import gdb

try:
    import vmem
except ImportError:                     # read by `source`, from where it is
    sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    import vmem
import vmem.linux

# What the commands ask: a guest, and a space of it that was chosen
_guest: Optional[vmem.Guest] = None
_chosen: Optional[vmem.Space] = None


def _number(expression: str) -> int:
    """An expression's value, or its address if it is a function or an array"""
    value = gdb.parse_and_eval(expression)
    if value.type.code == gdb.TYPE_CODE_VOID:
        raise gdb.GdbError("%s has no value: a register takes a target, or a core" %
                           expression)
    if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY):
        value = value.address
    return int(value) & vmem.LAST


def _the_guest() -> vmem.Guest:
    if _guest is None:
        raise gdb.GdbError("no guest is known: give vmem-attach PID or vmem-image FILE")
    return _guest


def _space() -> vmem.Space:
    guest = _the_guest()
    if _chosen is not None:
        return _chosen
    thread = gdb.selected_thread()
    if thread is None or not thread.is_valid():
        return guest.space()
    # QEMU has its vCPUs' numbers from 1 on, in its gdbstub and in its cores.
    vcpu = max(thread.ptid[1] - 1, 0)
    cr3 = gdb.parse_and_eval("$cr3")
    if cr3.type.code == gdb.TYPE_CODE_VOID:
        return guest.space(vcpu=vcpu)
    return guest.space(int(cr3), vcpu=vcpu)


def _open(**what) -> None:
    global _guest, _chosen
    guest = vmem.open(**what)
    if _guest is not None:
        _guest.close()
    _guest, _chosen = guest, None


def _whole(argument: str) -> list[str]:
    """One expression, which may have blanks in it"""
    return [argument] if argument.strip() else []


class _Command(gdb.Command):
    """Runs with its words; their number is checked by @words, (fewest, most)."""
    name: str
    words = (0, 0)
    complete_as = gdb.COMPLETE_EXPRESSION
    split = staticmethod(gdb.string_to_argv)

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_DATA, self.complete_as)

    def invoke(self, argument: str, _) -> None:
        words = self.split(argument)
        if not self.words[0] <= len(words) <= self.words[1]:
            raise gdb.GdbError("usage: " + self.__doc__.partition("\n")[0])
        try:
            self.run(*words)
        except (vmem.Error, gdb.error) as error:
            raise gdb.GdbError(str(error)) from None

    def run(self, *words: str) -> None:
        raise NotImplementedError


class Attach(_Command):
    """vmem-attach PID

    The guest that the process PID runs under KVM is the one that vmem's commands ask. That
    takes root, and the module."""
    name, words, split = "vmem-attach", (1, 1), staticmethod(_whole)

    def run(self, *words):
        _open(pid=_number(words[0]))


class Image(_Command):
    """vmem-image FILE

    The guest whose memory is in FILE, an ELF core of QEMU's or another that vmemctl(8)
    names, is the one that vmem's commands ask."""
    name, words, complete_as = "vmem-image", (1, 1), gdb.COMPLETE_FILENAME

    def run(self, *words):
        _open(image=os.path.expanduser(words[0]))


class Root(_Command):
    """vmem-root [ROOT]

    Commands that follow ask about the space with this root, or again about that of the
    current thread. What vmem-tasks and vmem-roots show are roots."""
    name, words, split = "vmem-root", (0, 1), staticmethod(_whole)

    def run(self, *words):
        global _chosen
        _chosen = _the_guest().space(_number(words[0])) if words else None


class Maps(_Command):
    """vmem-maps [VA [LAST]]

    What is mapped, from VA to LAST, which is inclusive: virtual addresses, the
    guest-physical one of the first, and rights."""
    name, words = "vmem-maps", (0, 2)

    def run(self, *words):
        for row in _space().maps(*map(_number, words)):
            print(row)


class Vtop(_Command):
    """vmem-vtop VA

    What VA leads to, and the entry of each table on the way, with its guest-physical
    address."""
    name, words, split = "vmem-vtop", (1, 1), staticmethod(_whole)

    def run(self, *words):
        space = _space()
        answer = space.translate(_number(words[0]))
        print(answer)
        for entry in answer.trace:
            print("  %-4s %#x: %#x" % (entry.level.name, entry.entry_gpa, entry.raw))


class Read(_Command):
    """vmem-read VA LENGTH

    Memory at a virtual address, read through the page tables, up to what cannot be
    read."""
    name, words = "vmem-read", (2, 2)

    def run(self, *words):
        va, length = map(_number, words)
        end = va + length
        space = _space()
        while va < end:
            data = space.read(va, min(end - va, 16))
            if not data:
                raise gdb.GdbError(str(space.translate(va)))
            print("%#x: %-47s  %s" % (va, data.hex(" "), "".join(
                chr(byte) if 32 <= byte < 127 else "." for byte in data)))
            va += len(data)


class Roots(_Command):
    """vmem-roots

    The roots of all spaces that are found in the guest's memory. Reads all of it."""
    name = "vmem-roots"

    def run(self, *words):
        registers = _space().registers
        for root in _the_guest().roots(registers.cr3):
            print("%#x %s" % (root.root, root.kind.name.lower()))


class Tasks(_Command):
    """vmem-tasks

    Processes of a Linux guest: PID, root and name. A thread of the kernel's has no
    root."""
    name = "vmem-tasks"

    def run(self, *words):
        for task in vmem.linux.tasks(_the_guest(), _space()):
            print("%7d %#14x %s" % (task.pid, task.root, task.comm) if task.root else
                  "%7d %14s %s" % (task.pid, "-", task.comm))


for _command in (Attach, Image, Root, Maps, Vtop, Read, Roots, Tasks):
    _command()
