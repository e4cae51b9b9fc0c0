# SPDX-License-Identifier: GPL-2.0-only
"""What vmemctl prints as JSON, checked: an answer that its schema does not describe
fails the test that asked."""

import functools
import json
import os

SCHEMA = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))),
                      "vmemctl/vmemctl.schema.json")

# Of longer lists, the rows that differ in their members from all before
WHOLE = 50


@functools.cache
def schema():
    with open(SCHEMA, encoding="utf-8") as file:
        return json.load(file)


@functools.cache
def validator(command):
    """Made once in a process: where all is emulated, that takes seconds."""
    import jsonschema
    return jsonschema.Draft202012Validator(
        {"$ref": "#/$defs/" + command, "$defs": schema()["$defs"]})


def form(value):
    """What rows of a list are taken to have in common with each other"""
    if isinstance(value, dict):
        return tuple(value), tuple(map(type, value.values()))
    return value


def thin(value):
    """The value with long lists cut to what is of interest"""
    if isinstance(value, dict):
        return {key: thin(member) for key, member in value.items()}
    if not isinstance(value, list):
        return value
    for row in value:
        assert not isinstance(row, dict) or next(iter(row)) == "type", row
    if len(value) > WHOLE:
        forms = {form(row): row for row in value[WHOLE:]}
        value = value[:WHOLE] + list(forms.values())
    return [thin(row) for row in value]


def check(answer):
    """Fails unless the schema describes the answer."""
    keys = list(answer)
    assert keys[:2] == ["version", "command"] and keys[-1] == "error", keys
    assert answer["command"] in schema()["$defs"], answer["command"]
    errors = sorted(validator(answer["command"]).iter_errors(thin(answer)),
                    key=lambda error: -len(error.absolute_path))
    assert not errors, "%s: %s" % (errors[0].json_path, errors[0].message[:500])


def broken(text):
    """An answer that an error may have cut"""
    answer = json.loads(text)
    check(answer)
    return answer


def whole(text):
    """An answer that is complete"""
    answer = broken(text)
    assert answer["error"] is None, answer["error"]
    return answer


def rows(text):
    """The rows of an answer about one space"""
    space, = whole(text)["spaces"]
    return space["rows"]
