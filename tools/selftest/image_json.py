#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmemctl's JSON and its schema: that one describes the other, that nothing else
passes, and that an error leaves an answer whole. All other tests check each answer that
they get against the schema (answers.py); here are those of all commands.

Needs no lab, no module and no root.
"""

import copy
import os
import re
import sys
import unittest

import jsonschema

import answers
import docs
import image
import images
import tap
from images import A, B, CODE, DATA

# What only a guest that runs has
LIVE = {"limits", "max_regions", "max_entries", "protection", "hva", "sampled",
        "samples", "halted", "folder"}

RAW = ["--arch", "amd64", "--cr3"]
ROOTS = "%x,%x" % (A, B)
LAM = [*RAW, hex(A | 1 << 62)]
NEW = "NEW"

# Every command, with all that it can say of an image
COMMANDS = (
    ("core", ["info"]), ("snapshot", ["info"]), ("core", ["vcpus"]),
    ("core", ["roots"]), ("core", ["--cr3", ROOTS, "vtop", hex(CODE), "0"]),
    ("raw", [*LAM, "vtop", hex(CODE | 1 << 60)]),
    ("core", ["access", hex(CODE), "800000000000"]), ("core", ["maps"]),
    ("core", ["--pat", "0", "maps", "--attributes"]), ("snapshot", ["spaces"]),
    ("core", ["aliases"]), ("core", ["--cr3", ROOTS, "who", "10000"]),
    ("core", ["read", hex(DATA), "8"]), ("raw", ["read", "--phys", "10000", "8"]),
    ("snapshot", ["snapshot", "-o", NEW]))


def commands():
    """Those that the schema describes"""
    return [one["$ref"].rpartition("/")[2] for one in answers.schema()["oneOf"]]


def definition(name):
    return answers.schema()["$defs"][name]


def parts(node):
    """All schemas in a schema, itself first, but those that it refers to"""
    yield node
    for key, below in node.items():
        if key in ("properties", "$defs"):
            for member in below.values():
                yield from parts(member)
        elif key == "items" or key == "oneOf":
            for member in below if key == "oneOf" else [below]:
                yield from parts(member)


def members(node):
    """{name: schema} of the members of all objects that a schema leads to"""
    found = {}
    for part in parts(node):
        found |= part.get("properties", {})
        if "$ref" in part:
            found |= members(definition(part["$ref"].rpartition("/")[2]))
    return found


def objects(value):
    """All objects in an answer, itself first"""
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value:
        if isinstance(below, (dict, list)):
            yield from objects(below)


class Json(image.Case):
    def image(self, kind):
        return self.file({"core": images.amd64_core,
                          "snapshot": images.amd64_snapshot,
                          "raw": images.amd64().raw}[kind](), kind)

    def each(self):
        """An answer of each of COMMANDS"""
        new = os.path.join(self.folder, "new")
        for kind, words in COMMANDS:
            yield self.json(self.image(kind), *(
                new if word == NEW else word for word in words))

    def refused(self, answer):
        self.assertRaises(AssertionError, answers.check, answer)

    def test_schema(self):
        """json: the schema is one, says what each member is, and lets nothing else in"""
        schema = answers.schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        used = set()
        for part in parts(schema):
            if part.get("type") == "object" and part is not schema:
                self.assertIs(part["additionalProperties"], False)
            for name, member in part.get("properties", {}).items():
                if "required" not in member:        # a condition
                    text = member.get("description") or \
                        definition(member["$ref"].rpartition("/")[2])["description"]
                    self.assertTrue(text, name)
            if "$ref" in part:
                used.add(part["$ref"].rpartition("/")[2])
        self.assertEqual(used, set(schema["$defs"]))

    def test_commands(self):
        """json: the schema has all commands that answer in JSON"""
        text = self.ask(["--help"]).stdout.decode()
        listed = text.split("Commands:\n")[1].split("\n\n")[0]
        image = self.image("raw")
        self.assertEqual(commands(), [
            name for name in re.findall(r"^  ([a-z]+) ", listed, re.M)
            if b"--json has no effect" not in
            self.ask(["--image", image, name, "-j"]).stderr])

    def test_members(self):
        """json: what the schema has is printed, of an image at least"""
        seen = {key for answer in self.each() for one in objects(answer)
                for key in one}
        wanted = set().union(*(members(definition(name)) for name in commands()))
        self.assertEqual(wanted - seen, LIVE | {"message", "advice"})

    def test_refused(self):
        """json: any member more, less, or of another kind is noticed"""
        nr, done = 0, set()
        for answer in self.each():
            for i, one in enumerate(objects(answer)):
                form = answers.form(one), one.get("type", answer["command"])
                if form in done:
                    continue
                done.add(form)
                for key in ["another", *one]:
                    broken = copy.deepcopy(answer)
                    there = list(objects(broken))[i]
                    if key == "another":
                        there[key] = None
                    else:
                        del there[key]
                    self.refused(broken)
                    broken = copy.deepcopy(answer)
                    list(objects(broken))[i][key] = 0.5
                    self.refused(broken)
                    nr += 2
        tap.diagnostic("%d answers refused" % nr)
        self.assertGreater(nr, 500)

    def test_mixed(self):
        """json: members of one kind of answer are refused in another"""
        said = {name: self.json(self.image(kind), *words) for name, kind, words in (
            ("info", "core", ["info"]), ("spaces", "core", ["spaces"]),
            ("maps", "core", ["maps"]), ("more", "core", ["maps", "--attributes"]),
            ("read", "core", ["read", hex(DATA), "8"]),
            ("phys", "core", ["read", "--phys", "10000", "8"]))}
        said["slot"] = {**said["info"]["memslots"][0], "hva": "0x1000"}
        del said["slot"]["offset"], said["slot"]["file"]

        def rows(name):
            return said[name]["spaces"][0]["rows"]

        for of, there, value in (
                ("info", said["info"], {"source": "kvm"}),
                ("info", said["info"], {"memslots": [said["slot"]]}),
                ("spaces", rows("spaces")[0], rows("more")[0]),
                ("maps", rows("maps")[0], rows("more")[0]),
                ("more", said["more"]["spaces"][0], {"rows": rows("maps")}),
                ("read", said["read"], {"spaces": said["read"]["spaces"] * 2}),
                ("read", said["read"]["spaces"][0], {"rows": said["phys"]["rows"]}),
                ("phys", said["phys"], {"rows": rows("read")})):
            before = dict(there)
            there.update(value)
            with self.subTest(of=of, value=list(value)):
                self.refused(said[of])
            there.clear()
            there.update(before)
            answers.check(said[of])
        self.refused({"version": 1, "command": "batch", "error": None})

    def test_long_list(self):
        """json: in a long list, too"""
        answer = self.json(self.image("core"), "vtop", *["0"] * 300)
        rows = answer["spaces"][0]["rows"]
        self.assertEqual(len(rows), 300)
        rows[150]["another"] = None
        self.refused(answer)

    def cut(self, kind, *words, status=1):
        """An answer that an error ends"""
        done = self.ask(["--image", self.image(kind), "-j", *words])
        self.assertEqual(done.returncode, status)
        answer = answers.broken(done.stdout)
        error = answer["error"]
        line = done.stderr.decode().splitlines()[-1]
        self.assertEqual(line, "vmemctl: " + ": ".join(filter(None, (
            error["message"], error["advice"]))))
        return answer

    def test_errors(self):
        """json: an error in the middle leaves the answer whole, and says so"""
        roots = "%x,%x" % (A, 1 << 40)
        for words in (["maps"], ["access", hex(CODE)]):
            answer = self.cut("raw", *RAW, roots, *words)
            first, second = answer["spaces"]
            self.assertTrue(first["rows"])
            self.assertEqual(second, {"type": "space", "space": 1,
                                      "root": hex(1 << 40), "rows": []})
        row, = self.cut("raw", "read", "--phys", "13ffc", "8")["rows"]
        self.assertEqual((row["data"], row["len"], row["status"]),
                         ("00000000", 4, "unbacked"))

    def test_nothing(self):
        """json: an error before the first row leaves nothing"""
        for words in (["maps"], ["vtop", "0"], ["access", "0"],
                      ["read", "0", "1"]):
            self.refuses(["--image", self.image("raw"), *RAW, hex(1 << 40), "-j",
                          *words], "no memory where CR3 points")

    def test_man_page(self):
        """json: the man page has the members of each command, and no others"""
        with open(docs.MAN_PAGE, encoding="utf-8") as page:
            text = page.read().split(".SH JSON\n")[1].split("\n.SH ")[0]
        head, *sections = re.split(r"^\.TP\n\.B (\w+)\n", text, flags=re.M)
        self.assertEqual(sections[::2], [
            name for name in sections[::2] if name in commands()])
        self.assertEqual(set(sections[::2]), set(commands()))
        short = dict.fromkeys(("ENTRY", "REFERENCE"))
        short = {name: set(members(definition(name.lower()))) for name in short}
        for name, sentence in (("RIGHTS", "are"), ("OWNER", "is")):
            said = re.search(r"^\.I %s\n%s (.*?)[;.]" % (name, sentence), head,
                             re.M | re.S)
            short[name] = set(re.findall(r"\\\(dq(\w+)\\\(dq", said[1]))
        for name, section in zip(sections[::2], sections[1::2]):
            told = set(re.findall(r'"(\w+)"', section))
            wanted = set(members(definition(name)))
            self.assertLessEqual(told, wanted, name)
            told |= set(re.findall(r"^\.BR? (\w+)", section, re.M))
            for word, more in short.items():
                if word in section:
                    told |= more
            for other in re.findall(r"as in\s+(?:\.BR? )?(\w+)", section):
                told |= set(members(definition(other)))
            self.assertLessEqual(wanted, told | {
                "type", "version", "command", "error", "message", "advice"},
                name)


def main():
    image.build()
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    return tap.run(unittest.TestSuite([load(Json)]))


if __name__ == "__main__":
    sys.exit(main())
