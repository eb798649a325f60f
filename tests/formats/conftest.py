import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))

PROBE = os.environ.get("SERVAL_FORMAT_PROBE", "build/release/tests/formats/format_probe")


@pytest.fixture(scope="session")
def probe():
    """Runs format_probe; returns its output, or raises with its message."""
    def run(*args, input=None, check=True):
        done = subprocess.run([PROBE, *map(str, args)], input=input, capture_output=True)
        assert done.returncode in (0, 1), f"ended with {done.returncode}"
        if check:
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout
        return done.returncode, done.stderr.decode()
    return run
