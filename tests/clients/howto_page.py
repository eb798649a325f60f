"""The snippets of docs/howto/clients.md."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "clients.md"
NODE = ROOT / "tests" / "clients" / "node"


def snippets(language):
    """The page's fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def snippet(language, *words):
    """The one block of `language` that holds all the words."""
    found = [block for block in snippets(language) if all(word in block for word in words)]
    assert len(found) == 1, f"{len(found)} {language} blocks with {words}"
    return found[0]
