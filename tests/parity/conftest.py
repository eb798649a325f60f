import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def real_model():
    """Path of a real model by file stem; skips where the models are not there."""
    def path_of(stem):
        folder = os.environ.get("SERVAL_TEST_MODELS")
        path = Path(folder or ".") / f"{stem}.gguf"
        if not folder or not path.is_file():
            assert not folder, f"{path} does not exist"  # asked for, so its absence must not pass unseen
            pytest.skip(f"no {stem}.gguf in SERVAL_TEST_MODELS")
        return path
    return path_of
