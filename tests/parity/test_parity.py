"""Logits of real models against the NumPy oracle.

tokens.json holds text.txt as each model's tokenizer sees it, 3 chunks x 512 tokens (with BOS first
where the model wants it); KL limits are the distance that a well-known engine keeps on such text.
"""

import json
from pathlib import Path

import numpy as np
import oracle
import pytest
from engine_run import engine_logits

TOKENS = json.loads((Path(__file__).parent / "tokens.json").read_text())
TOKENS["qwen2.5-1.5b"] = TOKENS["qwen2.5-0.5b"]
KL_LIMITS = {"smollm2-135m": 3.8e-3, "gemma3-270m": 6.9e-3, "qwen2.5-0.5b": 1.0e-3,
             "qwen2.5-1.5b": 2.1e-3}
REFERENCE = ("--backend", "reference", "--kv-type", "f32")


def compare(tmp_path, path, chunks, dtype, *options):
    logits, report = engine_logits(tmp_path, path, chunks, *options)
    first = oracle.first_position(logits.shape[1], len(chunks[0]))
    wanted = oracle.Oracle(path, dtype).logits(chunks, first, first + logits.shape[1])
    result = oracle.compare(wanted, logits, chunks, first)
    print(json.dumps(result))
    result["kernels"] = report["kernels"]
    assert report["ppl"] == pytest.approx(result["other_ppl"], rel=1e-4)
    return result


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_reference_backend_on_64_tokens(real_model, tmp_path, name):
    chunk = TOKENS[name][0][:64]
    result = compare(tmp_path, real_model(name), [chunk], np.float64, *REFERENCE)
    assert result["kl"] <= 1e-6
    assert result["other_ppl"] == pytest.approx(result["ppl"], rel=1e-4)


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_cpu_backend_on_64_tokens(real_model, tmp_path, name):
    chunk = TOKENS[name][0][:64]
    result = compare(tmp_path, real_model(name), [chunk], np.float32)
    assert result["kl"] <= 4 * KL_LIMITS[name]  # 32 positions: their mean is uncertain


@pytest.mark.large
@pytest.mark.parametrize("name", KL_LIMITS)
def test_cpu_backend_on_real_text(real_model, tmp_path, name):
    result = compare(tmp_path, real_model(name), TOKENS[name], np.float32)
    assert result["other_ppl"] == pytest.approx(result["ppl"], rel=0.004)
    assert result["kl"] <= KL_LIMITS[name]


@pytest.mark.large
@pytest.mark.parametrize("isa", ["avx2", "portable"])
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_every_kernel_set_on_real_text(real_model, tmp_path, monkeypatch, name, isa):
    monkeypatch.setenv("SERVAL_FORCE_ISA", isa)
    result = compare(tmp_path, real_model(name), TOKENS[name], np.float32)
    assert result["kernels"] == isa
    assert result["other_ppl"] == pytest.approx(result["ppl"], rel=0.004)
    assert result["kl"] <= KL_LIMITS[name]


@pytest.mark.large
@pytest.mark.parametrize("name", KL_LIMITS)
def test_reference_backend_on_real_text(real_model, tmp_path, name):
    result = compare(tmp_path, real_model(name), TOKENS[name], np.float32, *REFERENCE)
    assert result["kl"] <= 1e-6
