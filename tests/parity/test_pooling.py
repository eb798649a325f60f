"""Pooled hidden states against the NumPy oracle. Runs the pooling_probe that is built with the
tests; SERVAL_POOLING_PROBE names another one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
import make_tiny_models  # noqa: E402

PROBE = os.environ.get("SERVAL_POOLING_PROBE", "build/release/src/engine/pooling_probe")
TOKENS = json.loads((Path(__file__).parent / "tokens.json").read_text())
KINDS = ["mean", "last", "cls"]
POOL = {"mean": lambda rows: rows.mean(axis=0), "last": lambda rows: rows[-1],
        "cls": lambda rows: rows[0]}


def engine_vectors(path, chunks, backend, kv_type, rows_per_step=512):
    requests = [{"tokens": chunk, "pooling": kind} for chunk in chunks for kind in KINDS]
    done = subprocess.run([PROBE, path, backend, kv_type, str(rows_per_step)], text=True,
                          input=json.dumps(requests), capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout), np.float32)


def oracle_vectors(path, chunks, dtype):
    model = oracle.Oracle(path, dtype)
    rows = [model.norm(x, "output_norm.weight") for x in model.hidden_states(chunks)]
    return np.array([POOL[kind](x.astype(np.float64)) for x in rows for kind in KINDS])


def cosines(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("variant", ["llama-gqa3", "qwen2-tied", "qwen3-keylen", "gemma3-window"])
def test_reference_backend_is_the_oracle(tmp_path, variant):
    path = make_tiny_models.make(tmp_path, variant, "F32")
    chunks = np.random.default_rng(3).integers(0, 300, (3, 50)).tolist() + [[17]]
    found = engine_vectors(path, chunks, "reference", "f32", 33)
    wanted = oracle_vectors(path, chunks, np.float64)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m", pytest.param("qwen2.5-0.5b", marks=pytest.mark.large)])
def test_cpu_backend_is_near_the_oracle(real_model, name):
    path = real_model(name)
    chunks = [TOKENS[name][0][:60], TOKENS[name][1][:7]]
    found = engine_vectors(path, chunks, "cpu", "f16")
    assert cosines(found, oracle_vectors(path, chunks, np.float32)).min() > 0.999


def test_neither_chunks_nor_company_change_a_bit(real_model):
    path = real_model("smollm2-135m")
    chunks = [chunk[:100] for chunk in TOKENS["smollm2-135m"]]
    together = engine_vectors(path, chunks, "cpu", "f16")
    assert np.array_equal(together, engine_vectors(path, chunks, "cpu", "f16", 7))
    alone = engine_vectors(path, chunks[1:2], "cpu", "f16", 64)
    assert np.array_equal(together[3:6], alone)
