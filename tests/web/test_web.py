"""The page in a real browser: each file of Node tests here is one test; its output says which of them failed."""
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_page(name):
    assert os.environ.get("SERVAL_TEST_MODELS"), "SERVAL_TEST_MODELS names the folder of test models"
    done = subprocess.run(["node", "--test", name], cwd=HERE, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
