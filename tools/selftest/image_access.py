#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl access on images: random tables of every mode, judged once more here, as
plainly as the manuals have it (Intel SDM vol. 3, 4.6 and 4.7); and what it says to
people.

Needs no lab, no module and no root. As in image.py, everything is asked twice: of
vmemctl as it is built, and of one that the compiler's sanitizers watch.
"""

import collections
import dataclasses
import random
import sys
import unittest

import image
import images
import modes
import tap
from image import table
from images import A, AMD64, B, P, PS, U, W, Segment

SEED = 20261129
GUESTS = 3                              # of each mode
DRAWS = 3                               # of registers, for each guest

WP = 1 << 16
SMEP, SMAP, PKE, PKS, LAM_SUP = (1 << bit for bit in (20, 21, 22, 24, 28))
LAM_U57, LAM_U48 = 1 << 61, 1 << 62
AC = 1 << 18

KINDS = "read", "write", "fetch"
BITS = "P", "W", "U", "RSVD", "I", "PK"

UNKNOWN = "vmemctl: warning: an answer rests on %s, which is not known: give %s\n"


@dataclasses.dataclass
class State:
    """What accesses are judged by, besides the tables."""

    mode: modes.Mode
    cr0: int
    cr3: int
    rflags: int
    pkru: int
    pkrs: int

    def options(self):
        return [*self.mode.options(), "--cr0", hex(self.cr0), "--cr3",
                hex(self.cr3), "--rflags", hex(self.rflags), "--pkru",
                hex(self.pkru), "--pkrs", hex(self.pkrs), "--vendor",
                "amd" if self.mode.amd else "intel"]

    def data_address(self, va):
        """What linear-address masking leaves"""
        if not self.mode.long_mode:
            return va
        if va >> 63:
            lam = bool(self.mode.cr4 & LAM_SUP)
            bit = self.mode.va_bits - 1
        else:
            lam = bool(self.cr3 & (LAM_U57 | LAM_U48))
            bit = 56 if self.cr3 & LAM_U57 else 47
        if not lam:
            return va
        metadata = (1 << 63) - (1 << bit + 1)
        return va | metadata if va >> bit & 1 else va & ~metadata

    def forbids(self, user, kind, raw, user_page):
        """Does the page's key forbid it?"""
        on, rights = (PKE, self.pkru) if user_page else (PKS, self.pkrs)
        if not self.mode.long_mode or not self.mode.cr4 & on or kind == "fetch":
            return False
        rights >>= 2 * (raw >> 59 & 15)
        if rights & 1:
            return True
        return kind == "write" and bool(rights & 2) and \
            (user or bool(self.cr0 & WP))

    def refusal(self, user, kind, path):
        """Why a page refuses an access, and the entry that decides"""
        rights = [self.mode.rights(modes.TABLES.index(level) + 1, raw)
                  for level, _, raw in path]
        writable, user_page, executable = map(all, zip(*rights))

        def first(right):
            return [bits[right] for bits in rights].index(False)

        last = len(path) - 1
        if user and not user_page:
            return "supervisor", first(1)
        if not user and user_page:
            if kind == "fetch" and self.mode.cr4 & SMEP:
                return "smep", last
            if kind != "fetch" and self.mode.cr4 & SMAP and \
                    not self.rflags & AC:
                return "smap", last
        if kind == "write" and not writable and (user or self.cr0 & WP):
            return "read-only", first(0)
        if kind == "fetch" and not executable:
            return "no-execute", first(2)
        if self.forbids(user, kind, path[-1][2], user_page):
            return "key", last
        return None, last

    def error_code(self, user, kind, status, path):
        mode = self.mode
        code = user << 2 | (kind == "write") << 1
        if kind == "fetch" and (mode.cr4 & SMEP or (
                mode.entry_size == 8 and mode.efer & modes.NXE)):
            code |= 1 << 4
        if status == "not-present":
            return code
        if status == "reserved":
            return code | 1 | 1 << 3
        user_page = all(mode.rights(modes.TABLES.index(level) + 1, raw)[1]
                        for level, _, raw in path)
        return code | 1 | self.forbids(user, kind, path[-1][2], user_page) << 5

    def judge(self, guest, va, user, kind):
        """The answer for one access"""
        at = va if kind == "fetch" else self.data_address(va)
        status, _, gpa, path = guest.path(guest.root, at)
        reason, decides = status, len(path) - 1
        if status == "mapped":
            reason, decides = self.refusal(user, kind, path)
        faults = reason is not None and status != "unbacked"
        gp = status == "non-canonical"
        vector = 13 if gp and self.mode.long_mode else 14
        if not faults or gp and not self.mode.long_mode:
            vector = None
        code = self.error_code(user, kind, status, path) \
            if vector == 14 else None
        entry = path[decides] if path else None
        return {
            "type": "access", "va": hex(va),
            "translated_va": None if at == va else hex(at), "access": kind,
            "user_mode": user, "gpa": None if gpa is None else hex(gpa),
            "passes": False if vector else True if reason is None else None,
            "vector": vector, "error_code": code,
            "error_bits": [name for bit, name in enumerate(BITS)
                           if (code or 0) >> bit & 1],
            "reason": reason,
            "decides": entry and self.mode.entry(*entry), "unknown": []}


class Random(image.Case):
    """Random tables and registers of every mode, against the above."""

    def draw(self, guest, rng):
        """Registers at random, and the guest with them"""
        mode, cr3 = guest.mode, rng.choice(guest.roots)
        cr4 = mode.cr4 & ~PKE | rng.getrandbits(32) & (SMEP | SMAP | PKE | PKS)
        root = cr3
        if mode.long_mode:
            cr4 |= rng.choice((0, LAM_SUP))
            cr3 |= rng.choice((0, LAM_U48, LAM_U57, LAM_U48 | LAM_U57))
        mode = dataclasses.replace(mode, cr4=cr4)
        guest = modes.Guest(mode, guest.memory, guest.roots)
        guest.root = root
        return guest, State(
            mode, modes.WP_PG & ~rng.choice((0, WP)), cr3,
            rng.getrandbits(22), rng.getrandbits(32) & rng.getrandbits(32),
            rng.getrandbits(32) & rng.getrandbits(32))

    def addresses(self, guest, rng):
        mode = guest.mode
        mapped = list(guest.leaves(guest.root)[0].items())
        vas = [va + rng.randrange(leaf.size)
               for va, leaf in rng.sample(mapped, min(24, len(mapped)))]
        for _ in range(16):
            va = 0
            for level in range(1, mode.top + 1):
                last = mode.entries(level) - 1
                index = rng.choice((0, last, rng.randint(0, last)))
                va |= index << mode.shift(level)
            vas.append(mode.canonical(va))
        if mode.long_mode:              # with metadata, or not canonical
            vas += [va ^ rng.getrandbits(15) << 48 for va in vas[:16]]
        return vas + [1 << mode.va_bits - mode.long_mode]

    def check(self, mode):
        met = collections.Counter()
        rng = random.Random("%d %s" % (SEED, mode.name))
        for _ in range(GUESTS):
            guest = modes.random_guest(mode, rng)
            path = self.file(images.elf(
                [Segment(*p) for p in guest.memory.segments()]))
            for _ in range(DRAWS):
                drawn, state = self.draw(guest, rng)
                vas = self.addresses(drawn, rng)
                space, = self.json(path, *state.options(), "access",
                                   *map(hex, vas))["spaces"]
                self.assertEqual(int(space["root"], 16), drawn.root)
                want = [state.judge(drawn, va, user, kind) for va in vas
                        for user in (True, False) for kind in KINDS]
                for row in space["rows"]:
                    if row["decides"]:
                        row["decides"]["flags"] = set(row["decides"]["flags"])
                self.assertEqual(space["rows"], want, state)
                met.update(row["reason"] for row in want)
        tap.diagnostic(", ".join("%s: %d" % (reason or "passes", nr)
                                 for reason, nr in met.most_common()))
        return met

    def test_modes(self):
        """access, in every mode: each reason, and each way to pass"""
        met = collections.Counter()
        for mode in modes.MODES:
            with self.subTest(mode=mode.name):
                met += self.check(mode)
        for reason in (None, "non-canonical", "not-present", "reserved",
                       "unbacked", "supervisor", "read-only", "no-execute",
                       "smep", "smap", "key"):
            self.assertGreater(met[reason], 40, reason)


# --- what people see ---------------------------------------------------------

# SMEP, SMAP, PKE, PGE and PAE, as a kernel of today has them
MODERN = SMEP | SMAP | PKE | 0xa0

CODE = table("""
    |VIRTUAL           PHYSICAL
    |400123            10123
    |  user       read   passes
    |  user       write  #PF 0x07 P W U      read-only     PT: 0000000004000 \
=> 0000000000010005
    |  user       fetch  passes
    |  supervisor read   #PF 0x01 P          smap          PT: 0000000004000 \
=> 0000000000010005
    |  supervisor write  #PF 0x03 P W        smap          PT: 0000000004000 \
=> 0000000000010005
    |  supervisor fetch  #PF 0x11 P I        smep          PT: 0000000004000 \
=> 0000000000010005
    |
    """)

ENDS = table("""
    |VIRTUAL           PHYSICAL
    |40200000          (not mapped)
    |  user       read   unknown             unbacked    PDPT: 0000000002008 \
=> 0000000007fff007
    |
    |VIRTUAL           PHYSICAL
    |a00000            (not mapped)
    |  user       read   #PF 0x0d P U RSVD   reserved      PD: 0000000003028 \
=> 0000000000002081
    |
    |VIRTUAL           PHYSICAL
    |0                 (not mapped)
    |  user       read   #PF 0x04 U          not-present   PD: 0000000003000 \
=> 0000000000000000
    |
    |VIRTUAL           PHYSICAL
    |800000000000      (not mapped)
    |  user       read   #GP                 non-canonical
    |
    """)

MARKED = table("""
    |VIRTUAL           PHYSICAL
    |400123            10123
    |  user       read   passes [PKRU?]
    |  user       write  #PF 0x07 P W U      read-only     PT: 0000000004000 \
=> 0000000000010005 [PKRU?]
    |  user       fetch  passes
    |  supervisor read   #PF 0x01 P          smap          PT: 0000000004000 \
=> 0000000000010005 [RFLAGS?] [PKRU?]
    |  supervisor write  #PF 0x03 P W        smap          PT: 0000000004000 \
=> 0000000000010005 [RFLAGS?] [PKRU?]
    |  supervisor fetch  #PF 0x11 P I        smep          PT: 0000000004000 \
=> 0000000000010005
    |
    """)

LAM = table("""
    |VIRTUAL           PHYSICAL
    |7e00000000401234  11234
    |    LAM: 0000000000401234 is translated
    |  user       read   passes
    |  user       fetch  #GP                 non-canonical
    |
    """)

I686 = table("""
    |VIRTUAL           PHYSICAL
    |400123            3123
    |  user       fetch  #PF 0x05 P U        supervisor    PD: 0000001004 \
=> 00002003
    |
    |VIRTUAL           PHYSICAL
    |100000000         (not mapped)
    |  user       fetch  impossible          non-canonical
    |
    """)


class Text(image.Case):
    """What it says to people, and what it warns of."""

    def core(self, cr4=MODERN, cr3=A, memory=None):
        memory = memory or images.amd64()
        return self.file(images.elf(
            [Segment(*piece) for piece in memory.segments()],
            images.qemu_note(AMD64[0], cr3, cr4)))

    def test_six(self):
        """access: all six accesses to a page"""
        self.answers(self.core(), ["access", "400123"], CODE,
                     options=["--rflags", "0", "--pkru", "0"])

    def test_ends(self):
        """access: paths that end before a page"""
        self.answers(self.core(AMD64[1]), [
            "access", "-r", "--user", "40200000", "a00000", "0",
            "800000000000"], ENDS)

    def test_i686(self):
        """access: 2-level paging has no error code for fetches"""
        self.answers(self.file(images.i686_core()), [
            "access", "-x", "--user", "400123", "100000000"], I686)

    def test_lam(self):
        """access: LAM is for data, and fetches have none"""
        self.answers(self.core(AMD64[1], A | LAM_U57), [
            "access", "-r", "-x", "--user", "7e00000000401234"], LAM)

    def test_choice(self):
        """access: -r, -w, -x, --user and --supervisor choose among the six"""
        path = self.core(AMD64[1])
        for words, rows in (
                (["-r"], [("read", True), ("read", False)]),
                (["-wx", "--user"], [("write", True), ("fetch", True)]),
                (["--supervisor", "-w"], [("write", False)]),
                (["--user", "--supervisor", "-r"],
                 [("read", True), ("read", False)]),
                ([], [(kind, user) for user in (True, False)
                      for kind in KINDS])):
            self.assertEqual(
                [(row["access"], row["user_mode"])
                 for row in self.rows(path, *words, "access", "401000")],
                rows, words)

    def test_unknown(self):
        """access: what an answer rests on and is not known is told"""
        rflags, pkru = ("RFLAGS", "--rflags"), ("PKRU", "--pkru")
        self.answers(self.core(), ["access", "400123"], MARKED,
                     warning=UNKNOWN % rflags + UNKNOWN % pkru)
        memory = images.amd64()
        memory.table(A, {0: 0x2000 | P | W | U | 1 << 8})
        cr0, cr4 = ("CR0", "--cr0"), ("CR4", "--cr4")
        raw = ["--arch", "amd64", "--cr3", hex(A)]
        for bits, options, names in (
                (SMAP, [], [rflags]),
                (SMAP, ["--rflags", "0"], []),
                (PKE, [], [pkru]),
                (PKE, ["--pkru", "4"], []),
                (PKS, [], []),
                (0, raw, [cr0, cr4]),
                (0, [*raw, "--cr4", "20"], [cr0]),
                (0, [*raw, "--cr4", "20", "--cr0", "80010001"], []),
                (None, [], [("vendor", "--vendor")]),
                (None, ["--vendor", "amd"], []),
                (None, ["--vendor", "intel"], [])):
            path = self.core((bits or 0) | 0x20,
                             memory=memory if bits is None else None)
            done = self.ask(["--image", path, *options, "access", "-rw",
                             "--user", "--supervisor", "400000"])
            self.assertEqual(done.returncode, 0)
            self.assertEqual(done.stderr.decode(), "".join(
                UNKNOWN % name for name in names), (bits, options))

    def test_vendor(self):
        """access: a snapshot knows the vendor, and QEMU's core does not"""
        memory = images.amd64()
        memory.table(A, {0: 0x2000 | P | W | U | 1 << 8})
        rows = self.rows(self.core(AMD64[1], memory=memory), "access", "400000")
        self.assertEqual([row["unknown"] for row in rows], [["vendor"]] * 6)
        for rules, passes in ((0, True), (1, False)):
            path = self.file(images.elf(
                [Segment(*piece) for piece in memory.segments()],
                images.vmem_note(AMD64, A, [(A, A)], rules=rules)))
            row, = self.rows(path, "access", "-r", "--user", "400000")
            self.assertEqual((row["passes"], row["unknown"]), (passes, []))

    def test_pkrs(self):
        """access: PKRS is of supervisor pages"""
        memory = images.amd64()
        memory.table(0x4000, {0: 0x10000 | P | W | 3 << 59})
        path = self.core(PKS | 0x20, memory=memory)
        for options, passes in ((["--pkrs", "40"], False),
                                (["--pkrs", "ffffff3f"], True),
                                (["--pkru", "ffffffff", "--pkrs", "0"], True)):
            row, = self.rows(path, *options, "access", "-r", "--supervisor",
                             "400000")
            self.assertEqual((row["passes"], row["unknown"]), (passes, []))
        row, = self.rows(path, "access", "-r", "--supervisor", "400000")
        self.assertEqual(row["unknown"], ["PKRS"])

    def test_rules(self):
        """access: the rules of vendor and model are those of vtop"""
        memory = images.amd64()
        memory.table(A, {1: 0x2000 | P | W | U | 1 << 8})
        memory.table(0x2000, {2: 0x40000000 | P | W | U | PS})
        path = self.core(0x20, memory=memory)
        for options, passes in (([], True), (["--vendor", "intel"], True),
                                (["--vendor", "amd"], False),
                                (["--no-1g"], False)):
            row, = self.rows(path, *options, "access", "-w", "--user",
                             hex(1 << 39 | 2 << 30))
            self.assertEqual(row["passes"], passes, options)
            self.assertEqual(row["reason"], None if passes else "reserved")

    def test_spaces(self):
        """access: with several roots, each address in each of them"""
        path = self.core(AMD64[1])
        roots = ["--cr3", "%x,%x" % (A, B)]
        found = self.json(path, *roots, "access", "-w", "--user", "400000",
                          "600000")
        self.assertEqual(
            [(int(space["root"], 16),
              [row["reason"] for row in space["rows"]])
             for space in found["spaces"]],
            [(A, ["read-only", "read-only"]), (B, ["read-only", "not-present"])])
        done = self.ask(["--image", path, *roots, "access", "-w", "0"])
        self.assertIn("space 1: root 0000000005000\n", done.stdout.decode())

    def test_usage(self):
        """access: what it does not take, and what only it takes"""
        path = self.core()
        for words, said in (
                (["access"], "access needs an address"),
                (["access", "zero"], "'zero' is not a number"),
                (["access", "--raw", "0"], "access: --raw has no effect here"),
                (["access", "--pkru", "100000000", "0"],
                 "--pkru '100000000' does not fit in 32 bits"),
                (["access", "--rflags", "AC", "0", "--pkrs", "-1"],
                 "--pkrs '-1' is not a number"),
                (["vtop", "-w", "0"], "vtop: -w has no effect here"),
                (["read", "--user", "0", "1"], "read: --user has no effect here"),
                (["maps", "--rflags", "0"], "maps: --rflags has no effect here"),
                (["vtop", "-r", "0"], "vtop: -r has no effect here")):
            self.refuses(["--image", path, *words], said, status=2)


def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite(load(case) for case in (Random, Text)))


if __name__ == "__main__":
    sys.exit(main())
