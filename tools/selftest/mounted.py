# SPDX-License-Identifier: GPL-2.0-only
"""A guest that `vmemctl mount` has mounted, and the ELF cores in there."""

import dataclasses
import os
import re
import resource
import signal
import struct
import subprocess
import tempfile
import time

import images

SECONDS = 120                           # far more than anything here takes


def is_mounted(folder):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return any(line.split()[1] == folder for line in file)


def unmount_all(folder):
    """What is left in a folder"""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        paths = [line.split()[1] for line in file]
    for path in paths:
        if path.startswith(folder + "/"):
            subprocess.run(["umount", "-l", path], check=False)


def descendants(pid):
    """The processes that a process began."""
    with open("/proc/%d/task/%d/children" % (pid, pid),
              encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def waits(pid):
    """For an answer of FUSE's"""
    with open("/proc/%d/wchan" % pid, encoding="ascii") as file:
        return "request_wait" in file.read()


def maps_of(done):
    """What a space's file says where `vmemctl maps` has said this"""
    said = re.sub(rb"^vmemctl: (warning: )\d+ ", rb"# \1", done.stderr, flags=re.M)
    return done.stdout + said.replace(b"entry leads", b"entries lead").replace(
        b"table was", b"tables were")


class Mounted:
    """Mounts in a folder of its own; `with` unmounts again by a signal."""

    def __init__(self, words, tool="vmemctl", number=signal.SIGTERM):
        self.parent = tempfile.TemporaryDirectory()
        self.folder = os.path.join(self.parent.name, "guest")
        os.mkdir(self.folder)
        self.number = number
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", tool, *words, "mount",
             self.folder], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            self.said = self.process.stdout.readline()
        except BaseException:
            self.close()
            raise
        if not self.said:
            raise AssertionError(*self.end(), is_mounted(self.folder))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(self.number)
        status, text = self.end()
        if status or is_mounted(self.folder):
            raise AssertionError("vmemctl mount: status %d, %s" % (status,
                                                                   text))

    def close(self):
        """Whatever has become of it"""
        if self.process.poll() is None:
            self.process.terminate()
        self.end()

    def end(self):
        """(exit status, what it said on stderr), once it has ended"""
        try:
            text = self.process.communicate(timeout=SECONDS)[1]
        finally:
            if self.process.poll() is None:
                self.process.kill()
                subprocess.run(["umount", "-l", self.folder], check=False)
        if not is_mounted(self.folder):
            self.parent.cleanup()
        return self.process.returncode, text

    @property
    def server(self):
        """The process that answers"""
        server, = descendants(self.process.pid)
        return server

    def memory(self, which):
        """KiB of memory of what answers"""
        with open("/proc/%d/status" % self.server, encoding="ascii") as file:
            return int(re.search(which + r":\s*(\d+) kB", file.read())[1])

    def limit(self, size):
        """How much data it may have"""
        resource.prlimit(self.server, resource.RLIMIT_DATA,
                         (size, resource.RLIM_INFINITY))

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def open(self, *names):
        return os.open(self.path(*names), os.O_RDONLY)

    def read(self, *names):
        with open(self.path(*names), "rb") as file:
            return file.read()

    def roots(self):
        return {int(name, 16) for name in os.listdir(self.path("spaces"))}


def wait_until(what):
    """Whether it comes true."""
    end = time.monotonic() + SECONDS
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def upper(va):
    """Where a space's `mem` has an address: files end at 2^63."""
    return va & (1 << 63) - 1


@dataclasses.dataclass(frozen=True)
class Load:
    """A PT_LOAD"""

    va: int
    gpa: int
    size: int
    offset: int


class Core:
    """An ELF core, parsed by the book."""

    def __init__(self, data):
        self.fmt, self.machine = data[4], struct.unpack_from("<H", data, 18)[0]
        is_64 = self.fmt == images.ELF64
        table, size, nr = struct.unpack_from(
            "<Q14xHH" if is_64 else "<I10xHH", data, 32 if is_64 else 28)
        self.loads, self.notes = [], []
        for at in range(table, table + nr * size, size):
            if is_64:
                kind, _, offset, va, gpa, filesz, memsz, _ = struct.unpack_from(
                    "<IIQQQQQQ", data, at)
            else:
                kind, offset, va, gpa, filesz, memsz, _, _ = struct.unpack_from(
                    "<IIIIIIII", data, at)
            if filesz != memsz:
                raise AssertionError("%#x in the file, %#x in memory" % (
                    filesz, memsz))
            if kind == images.PT_LOAD:
                self.loads.append(Load(va, gpa, memsz, offset))
            elif kind == images.PT_NOTE:
                self.notes += notes_in(data[offset:offset + filesz])
            else:
                raise AssertionError("a program header of type %d" % kind)

    def note(self, name):
        """The descriptions of all notes of this name"""
        return [desc for whose, _, desc in self.notes if whose == name]


def notes_in(data):
    """(name, type, description) of each"""
    while data:
        namesz, descsz, kind = struct.unpack_from("<III", data)
        desc = 12 + (namesz + 3 & -4)
        yield (data[12:12 + namesz].rstrip(b"\0").decode(), kind,
               data[desc:desc + descsz])
        data = data[desc + (descsz + 3 & -4):]
