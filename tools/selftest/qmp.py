#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl and libvmem against a QMP server that is none, or means harm; and so
under the compiler's sanitizers.

Needs no lab, no module and no root: QEMU is asked before the device is opened.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import image
import promises
import tap

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
BUILD = os.environ.get("O") or os.path.join(TOP, "build")
VMEMCTL = os.path.join(BUILD, "bin/vmemctl")
SANITIZED = os.path.join(BUILD, "obj/san/vmemctl")
LIBVMEM = os.path.join(BUILD, "lib/libvmem.so")

GREETING = {"QMP": {"version": {}, "capabilities": []}}
REGISTERS = "RAX=0000000000000001 RBX=0\r\nCR0=80050033 CR2=0 CR3=%s CR4=20\r\n"
LIBVMEM_QMP = 12

# No answer takes as long as this, and what never ends ends before it.
PATIENCE = 60


class Server:
    """Serves one client. What @answers has for a command is sent: an answer, bytes
    as they are, or what a function of the connection sends itself."""

    def __init__(self, folder, greeting=None, **answers):
        self.path = os.path.join(folder, "qmp")
        self.greeting = greeting or GREETING
        self.answers = {
            "qmp_capabilities": {"return": {}},
            "query-cpus-fast": {"return": [vcpu(0)]},
            "qom-get": {"return": 0},
            **{name.replace("_", "-") if name != "qmp_capabilities" else name:
               answer for name, answer in answers.items()}}
        self.sent = 0
        self.socket = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.socket.bind(self.path)
        self.socket.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def send(self, connection, data):
        if callable(data):
            data(self, connection)
            return
        if isinstance(data, dict):
            data = json.dumps(data).encode() + b"\r\n"
        connection.sendall(data)
        self.sent += len(data)

    def _serve(self):
        connection, _ = self.socket.accept()
        with connection, contextlib.suppress(OSError):
            self.send(connection, self.greeting)
            decoder, text = json.JSONDecoder(), ""
            while data := connection.recv(65536):
                text += data.decode()
                while text:
                    message, end = decoder.raw_decode(text)
                    text = text[end:].lstrip()
                    answer = self.answers[message["execute"]]
                    if isinstance(answer, list):
                        answer = answer.pop(0)
                    self.send(connection, answer)


def vcpu(index, tid=None):
    return {"cpu-index": index, "thread-id": tid or os.getpid(),
            "qom-path": "/machine/unattached/device[%d]" % index}


def drip(server, connection):
    """An answer that comes byte by byte, and never ends."""
    server.send(connection, b'{"')
    while True:
        server.send(connection, b"x")
        time.sleep(0.2)


def flood(what):
    """Sends something again and again."""
    def send(server, connection):
        while server.sent < 64 << 20:
            server.send(connection, what)
    return send


class Regs(ctypes.Structure):
    _fields_ = [("cr", ctypes.c_uint64 * 16), ("have", ctypes.c_uint)]


class Error(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 4096)]


class Vcpu(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("apic_id", ctypes.c_uint32)]


class Library:
    """libvmem's connection to a server."""

    def __init__(self, server):
        self.lib = ctypes.CDLL(LIBVMEM)
        self.qmp = ctypes.c_void_p()
        self.error = Error()
        self.status = self.lib.libvmem_qmp_open(
            ctypes.byref(self.qmp), server.path.encode(), 0,
            ctypes.byref(self.error))

    def regs(self, index):
        regs = Regs()
        return self.lib.libvmem_qmp_regs(self.qmp, index, ctypes.byref(regs),
                                         ctypes.byref(self.error))

    def vcpus(self):
        found = ctypes.POINTER(Vcpu)()
        nr = self.lib.libvmem_qmp_vcpus(self.qmp, ctypes.byref(found))
        return [(found[i].index, found[i].apic_id) for i in range(nr)]

    def close(self):
        self.lib.libvmem_qmp_close(self.qmp)


class Words(unittest.TestCase):
    """What a server says, to vmemctl."""

    TOOL = VMEMCTL

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def server(self, *args, **answers):
        return Server(self.folder, *args, **answers)

    def start(self, server, pid=None):
        return subprocess.Popen(
            [self.TOOL, "-p", str(pid or os.getpid()), "--qmp", server.path,
             "info"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def said(self, process):
        """Its message: one line, which does nothing to a terminal."""
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out), (1, b""))
        self.assertTrue(err.startswith(b"vmemctl: "), err)
        text = err.decode().removesuffix("\n")
        self.assertTrue(text.isprintable(), ascii(text))
        return text

    def refused(self, server, *words, pid=None):
        text = self.said(self.start(server, pid))
        for word in (server.path, *words):
            self.assertIn(word, text)

    def accepted(self, server, process):
        """QEMU was asked, and what is wrong is this process: it has no VM."""
        text = self.said(process)
        self.assertNotIn(server.path, text)
        self.assertIn(str(os.getpid()), text)

    def test_good(self):
        """qmp: a server whose vCPU is a thread of the process is taken"""
        server = self.server()
        self.accepted(server, self.start(server))

    def test_another_process(self):
        """qmp: the socket of another process's QEMU is refused"""
        with subprocess.Popen(["sleep", "100"]) as other:
            try:
                self.refused(self.server(), "is not process %d's" % other.pid,
                             "--pid", pid=other.pid)
            finally:
                other.kill()
        self.refused(self.server(query_cpus_fast={
            "return": [vcpu(0), vcpu(1, 1)]}), "vCPU 1", "--pid")

    def test_words(self):
        """qmp: what QEMU says does nothing to the terminal"""
        for text in ("\x1b]0;title\x07", "\x9b31m", "a\nb\rc", "\x7f\x08",
                     "\u202egpj.exe", "\u2066x"):
            for command in ("qmp_capabilities", "query_cpus_fast"):
                with self.subTest(text=ascii(text), command=command):
                    self.refused(self.server(**{command: {
                        "error": {"class": "GenericError", "desc": text}}}))

    def test_harmless_words(self):
        """qmp: what QEMU says in other alphabets is shown"""
        self.refused(self.server(qmp_capabilities={
            "error": {"desc": "не \u00fc\u4e2d"}}), "не \u00fc\u4e2d")

    def test_lists(self):
        """qmp: a list of vCPUs that is none is refused"""
        for answer in ([], {}, "x", 7, [7], [{}], [{"cpu-index": 0}],
                       [{**vcpu(0), "cpu-index": -1}],
                       [{**vcpu(0), "qom-path": 7}], [vcpu(0), vcpu(0)]):
            with self.subTest(answer=answer):
                self.refused(self.server(query_cpus_fast={"return": answer}),
                             "vCPU")

    def test_flood(self):
        """qmp: an answer without end is cut off, whatever it is made of"""
        for what in (b'"' + b"x" * 65536, b"[" * 4096, b" " * 65536,
                     b'{"event": "SPAM"}\r\n' * 100):
            with self.subTest(what=what[:20]):
                server = self.server(query_cpus_fast=flood(what))
                self.refused(server)
                self.assertLess(server.sent, 8 << 20)


class SanitizedWords(Words):
    """The same under the compiler's sanitizers."""

    TOOL = SANITIZED

    def shortDescription(self):
        return super().shortDescription().replace("qmp:", "qmp, sanitized:")


class Hostile(Words):
    """Its manners besides, and the library."""

    def test_drip(self):
        """qmp: an answer that comes byte by byte ends"""
        self.refused(self.server(drip), "in time")
        self.refused(self.server(query_cpus_fast=drip), "in time")
        # One limit for all vCPUs
        vcpus = {"return": [vcpu(i) for i in range(100)]}

        def late(server, connection):
            time.sleep(1)
            server.send(connection, {"return": 0})

        self.refused(self.server(query_cpus_fast=vcpus, qom_get=late), "in time")

    def test_late(self):
        """qmp: answers that are each in time, and late, end in all"""
        def late(server, connection):
            time.sleep(3)
            server.send(connection, {"return": REGISTERS % "1000"})

        library = Library(self.server(human_monitor_command=late))
        begun = time.monotonic()
        statuses = [library.regs(0) for _ in range(9)]
        self.assertEqual(statuses[:6], [0] * 6)
        # Nor is the answer that comes yet taken for that to another question.
        self.assertTrue(all(statuses[6:]), statuses)
        self.assertLess(time.monotonic() - begun, 60)
        library.close()

    def test_memory(self):
        """qmp: an answer that is all lists and objects takes no more memory than
        docs/limits.md says"""
        limit, = (float(row["MiB"]) for row in promises.rows_with(
            promises.LIMITS, "command", "MiB") if row["command"] == "`--qmp`")
        counter = "import resource, subprocess, sys; subprocess.run(sys.argv" \
            "[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN)" \
            ".ru_maxrss >> 10)"
        size = (1 << 20) - 1000
        for answer in ("[%s0]" % ("{}," * (size // 3)),
                       "[%s0]" % ("[]," * (size // 3)),
                       '[%s0]' % ('"",' * (size // 3)),
                       '{%s"":0}' % "".join('"%x":{},' % i
                                            for i in range(size // 11))):
            server = self.server(query_cpus_fast=b'{"return":%s}\r\n' %
                                 answer.encode())
            done = subprocess.run(
                [sys.executable, "-SE", "-c", counter, VMEMCTL, "-p",
                 str(os.getpid()), "--qmp", server.path, "info"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=PATIENCE, check=False)
            self.assertIn("vCPU", done.stderr)
            tap.diagnostic("%s...: %s MiB" % (answer[:9], done.stdout.strip()))
            self.assertLessEqual(int(done.stdout), limit)

    def test_stopped(self):
        """qmp: to be stopped and continued in the middle is no failure"""
        answers = threading.Event()

        def wait(server, connection):
            answers.wait()
            server.send(connection, {"return": {}})

        server = self.server(qmp_capabilities=wait)
        process = self.start(server)
        time.sleep(0.5)
        for seconds in (0.1, 6):
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            if seconds > 1:
                answers.set()
                time.sleep(0.5)
            process.send_signal(signal.SIGCONT)
        self.accepted(server, process)

    def test_digits(self):
        """qmp: a register is a number of hexadecimal digits, or none"""
        for digits, good in (("1000", True), ("ffffffffffffffff", True),
                             ("-1", False), ("0x1000", False), ("", False),
                             ("10000000000000000", False), ("1g", False),
                             ("+1", False), ("1,2", False)):
            with self.subTest(digits=digits):
                library = Library(self.server(human_monitor_command={
                    "return": REGISTERS % digits}))
                self.assertEqual(library.status, 0)
                self.assertEqual(library.regs(0), 0 if good else -LIBVMEM_QMP)
                library.close()

    def test_vcpus(self):
        """qmp: vCPUs have QEMU's numbers and their APIC IDs"""
        library = Library(self.server(
            query_cpus_fast={"return": [vcpu(0), vcpu(3), vcpu(7)]},
            qom_get=[{"return": 0}, {"return": 6}, {"error": {"desc": "no"}}]))
        self.assertEqual(library.vcpus(), [(0, 0), (3, 6), (7, 7)])
        library.close()


def main():
    image.build()
    os.environ["ASAN_OPTIONS"] = "exitcode=%d:detect_leaks=0" % \
        image.SANITIZER_STATUS
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite((load(Hostile), load(SanitizedWords))))


if __name__ == "__main__":
    sys.exit(main())
