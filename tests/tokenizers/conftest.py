import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))


def _probe():
    """The probe stands beside the build of the binary under test."""
    explicit = os.environ.get("SERVAL_TOKENIZER_PROBE")
    if explicit:
        return explicit
    build = pathlib.Path(os.environ.get("SERVAL_BIN", ROOT / "build/release/serval")).resolve().parent
    for candidate in (build / "src/text/tokenizer_probe", build / "../text/tokenizer_probe"):
        if candidate.exists():
            return str(candidate)
    return None


@pytest.fixture(scope="session")
def probe():
    path = _probe()
    if path is None:
        pytest.skip("tokenizer_probe is not built")

    def run(args, items):
        text = "".join(json.dumps(item) + "\n" for item in items)
        done = subprocess.run([path, *args], input=text.encode(), stdout=subprocess.PIPE, check=True)
        return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]

    run.path = path
    return run


@pytest.fixture(scope="session")
def model_path():
    folder = os.environ.get("SERVAL_TEST_MODELS")

    def find(name):
        path = pathlib.Path(folder or "", name + ".gguf")
        if not folder or not path.exists():
            assert not folder, f"{path} does not exist"  # asked for, so its absence must not pass unseen
            pytest.skip(f"{name}.gguf is not in SERVAL_TEST_MODELS")
        return str(path)

    return find


@pytest.fixture(scope="session")
def encode(probe):
    """ids of many strings by the product: `serval tokenize --lines`, else the probe."""
    binary = os.environ.get("SERVAL_BIN", str(ROOT / "build/release/serval"))
    helped = subprocess.run([binary, "tokenize", "--help"], capture_output=True) if os.path.exists(binary) else None
    by_app = helped is not None and helped.returncode == 0 and b"--lines" in helped.stdout

    def run(model, items, *flags):
        if not by_app:
            return probe([model, *flags], items)
        text = "".join(json.dumps(item) + "\n" for item in items)
        done = subprocess.run([binary, "tokenize", model, "--lines", *flags], input=text.encode(),
                              stdout=subprocess.PIPE, check=True)
        return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]

    return run
