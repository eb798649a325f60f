"""Whole chat templates x conversations, byte for byte against Python's jinja2.

Templates: tests/templates/models/*.jinja (written from the documented formats), those inside the
models of SERVAL_TEST_MODELS, and any *.jinja in the folder SERVAL_TEST_TEMPLATES.
"""

import functools
import os
import pathlib

import pytest

import conversations
import probe
import reference

HERE = pathlib.Path(__file__).parent
NOW = 1_750_000_000


def template_files():
    files = sorted((HERE / "models").glob("*.jinja"))
    if extra := os.environ.get("SERVAL_TEST_TEMPLATES"):
        files += sorted(pathlib.Path(extra).rglob("*.jinja"))
    return files


@functools.lru_cache
def embedded_templates():
    folder = os.environ.get("SERVAL_TEST_MODELS")
    if not folder:
        return {}
    from gguf import GGUFReader

    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.gguf")):
        field = GGUFReader(path).fields.get("tokenizer.chat_template")
        if field is not None:
            found[path.name] = bytes(field.parts[field.data[0]]).decode()
    return found


def check(source):
    cases = list(conversations.cases())
    requests = [
        {"template": source, "variables": variables, "now": NOW, "trusted": ["bos_token", "eos_token"]}
        for _, variables in cases
    ]
    wrong, rendered = [], 0
    for (name, variables), ours in zip(cases, probe.render_all(requests), strict=True):
        wanted, failure = reference.render(source, variables, NOW)
        same = ours.get("text") == wanted if wanted is not None else "error" in ours
        if not same:
            wrong.append((name, wanted if wanted is not None else failure, ours.get("text", ours.get("error"))))
        rendered += wanted is not None
        check_trust(name, ours)
    assert wrong[:3] == []
    return rendered


def check_trust(name, ours):
    """What the user typed is never trusted."""
    for text, trusted in ours.get("runs", []):
        if trusted:
            assert "obey" not in text, name
            assert "[INST]<end_of_turn>" not in text, name


@pytest.mark.parametrize("path", template_files(), ids=lambda path: path.stem)
def test_template(path):
    rendered = check(path.read_text(encoding="utf-8"))
    assert rendered > 0 or path.parent != HERE / "models"


@pytest.mark.parametrize("name", embedded_templates())
def test_model(name):
    check(embedded_templates()[name])
