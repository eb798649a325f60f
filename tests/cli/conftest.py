"""Drives the program as a user does. SERVAL_BIN names the binary, SERVAL_TEST_MODELS the folder of real models."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SERVAL_BIN", str(ROOT / "build" / "release" / "serval"))
TIMEOUT = 300


class Finished:
    def __init__(self, code, out, err):
        self.code, self.raw, self.err = code, out, err.decode()

    @property
    def out(self):
        return self.raw.decode()

    @property
    def json(self):
        return json.loads(self.raw)

    @property
    def error_lines(self):
        return self.err.splitlines()


class Serval:
    """Runs commands with a model folder of their own, and no terminal."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(folder / "home"), "SERVAL_HOME": str(folder / "serval"),
            "XDG_STATE_HOME": str(folder / "state"), "LC_ALL": "C.UTF-8", "TERM": "xterm",
        }
        (folder / "home").mkdir(exist_ok=True)

    @property
    def binary(self):
        return BINARY

    def start(self, *arguments, env=None, **options):
        return subprocess.Popen([BINARY, *map(str, arguments)], env=self.env | (env or {}),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def __call__(self, *arguments, stdin=None, env=None, **options):
        source = {"input": stdin.encode() if isinstance(stdin, str) else stdin} if stdin is not None else \
                 {"stdin": subprocess.DEVNULL}
        done = subprocess.run([BINARY, *map(str, arguments)], env=self.env | (env or {}), timeout=TIMEOUT,
                              capture_output=True, **source, **options)
        return Finished(done.returncode, done.stdout, done.stderr)

    def fails(self, code, *arguments, **options):
        """The command must fail with `code`, one line on standard error and nothing on standard output."""
        done = self(*arguments, **options)
        assert done.code == code, (done.code, done.err)
        assert done.raw == b"", done.raw[:200]
        assert len(done.error_lines) == 1, done.err
        assert done.err.startswith("serval: "), done.err
        return done.err


@pytest.fixture
def serval(tmp_path):
    return Serval(tmp_path)


def real_model(name):
    folder = os.environ.get("SERVAL_TEST_MODELS")
    path = pathlib.Path(folder or "/nonexistent") / name
    if not path.exists():
        if folder:  # somebody meant to test with real models: a missing one must not pass unseen
            pytest.fail(f"{path} does not exist")
        pytest.skip(f"{name}: SERVAL_TEST_MODELS names no folder")
    return path


@pytest.fixture(scope="session")
def smol():
    return real_model("smollm2-135m.gguf")


@pytest.fixture(scope="session")
def gemma():
    return real_model("gemma3-270m.gguf")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Tiny random models, made once: tiny("llama-gqa3", "F32") -> path."""
    folder = tmp_path_factory.mktemp("tiny")

    def make(variant="llama-gqa3", kind="F32"):
        path = folder / f"{variant}.{kind}.gguf"
        if not path.exists():
            subprocess.run([sys.executable, ROOT / "tests" / "data" / "make_tiny_models.py", folder,
                            "--variant", variant, "--type", kind], check=True, capture_output=True)
        return path

    return make


@pytest.fixture(scope="session")
def real():
    """The path of a real model by its stem."""
    return lambda stem: real_model(stem + ".gguf")
