"""The expression and statement language, case by case, against Python's jinja2.

Where jinja2 gives a text, ours must be the same; where it fails, ours must fail too.
"""

import pathlib

import probe
import reference

HERE = pathlib.Path(__file__).parent
NOW = 1_732_291_415  # 2024-11-22 16:03:35 UTC
VARIABLES = {
    "user": {"name": "Ann", "tags": ["a", "b", "c"], "age": 30, "_private": 1, "ratio": 0.5},
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi <|im_end|>"},
        {"role": "assistant", "content": "Hello\n"},
    ],
    "people": [
        {"name": "Bo", "city": "Rome", "age": 40, "address": {"zip": "1"}},
        {"name": "Al", "city": "Oslo", "age": 25, "address": {"zip": "2"}},
        {"name": "Cy", "city": "rome", "age": 31, "address": {}},
    ],
    "children": [{"n": "a", "c": [{"n": "b", "c": [{"n": "c", "c": []}]}]}, {"n": "d", "c": []}],
}


def expressions():
    lines = (HERE / "expressions.txt").read_text(encoding="utf-8").split("\n")
    return ["{{ " + line + " }}" for line in lines if line and not line.startswith("#")]


def statements():
    text = (HERE / "statements.txt").read_text(encoding="utf-8")
    return [case for case in text.split("\n=====\n")][1:]


def differences(templates, variables=VARIABLES):
    requests = [{"template": t, "variables": variables, "now": NOW} for t in templates]
    out = []
    for template, ours in zip(templates, probe.render_all(requests), strict=True):
        wanted, failure = reference.render(template, variables, NOW)
        same = ours.get("text") == wanted if wanted is not None else "error" in ours
        if wanted is not None and " at 0x" in wanted:
            same = "text" in ours  # Python prints an address
        if not same:
            out.append((template, wanted if wanted is not None else failure, ours))
    return out


def test_expressions():
    assert len(expressions()) > 500
    assert differences(expressions()) == []


def test_statements():
    assert len(statements()) > 50
    assert differences(statements()) == []
