# SPDX-License-Identifier: GPL-2.0-only
"""The errors of the library, and of what loads it"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import _abi


class Code(enum.IntEnum):
    """Kinds of errors, those of <libvmem.h>"""
    NO_MEMORY = 1
    BAD_ARGUMENT = 2
    NO_PROCESS = 3
    NO_VM = 4
    SEVERAL_VMS = 5
    NO_DEVICE = 6
    DENIED = 7
    BAD_IMAGE = 8
    NO_REGISTERS = 9
    BAD_MODE = 10
    NO_ROOT = 11
    QMP = 12
    GUEST_RUNS = 13
    TOO_MUCH = 14
    UNREADABLE = 15
    OTHER_VERSION = 16
    SYSTEM = 17


class Error(Exception):
    """A question that has no answer

    >>> try:
    ...     vmem.open(image="missing.elf")
    ... except vmem.Error as error:
    ...     print(error.code.name, error, sep=": ")
    SYSTEM: cannot open the image missing.elf: there is no such file
    """

    def __init__(self, code: Code, message: str, advice: str = "",
                 address: int = 0):
        super().__init__(": ".join(filter(None, (message, advice))))
        self.code = code
        self.message = message
        self.advice = advice
        self.address = address


def text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def check(ret: int, error: _abi.Error) -> int:
    """What a function of the library returned, or its failure"""
    if ret >= 0:
        return ret
    raise Error(Code(error.code), text(error.message), text(error.advice),
                error.address)
