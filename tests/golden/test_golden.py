"""Logits of tiny random models against the NumPy oracle, for every architecture of the registry."""

import re

import make_tiny_models
import numpy as np
import oracle
import pytest
from engine_run import engine_logits, serval

# Every storage type once, on models wide enough for 256-element blocks.
TYPED = [("qwen2-wide", name) for name in make_tiny_models.TYPES if name != "F32"]
PLAIN = [(variant, name) for variant in make_tiny_models.VARIANTS for name in ("F32", "MIXED")]


def random_chunks(vocab, count=2, length=100):
    rng = np.random.default_rng(7)
    return rng.integers(0, vocab, (count, length)).tolist()


def compare(tmp_path, variant, type_name, *options):
    path = make_tiny_models.make(tmp_path, variant, type_name)
    model = oracle.Oracle(path, np.float64)
    chunks = random_chunks(model.vocab)
    logits, report = engine_logits(tmp_path, path, chunks, *options)
    first = oracle.first_position(logits.shape[1], len(chunks[0]))
    wanted = model.logits(chunks, first, first + logits.shape[1])
    result = oracle.compare(wanted, logits, chunks, first)
    assert report["ppl"] == pytest.approx(result["other_ppl"], rel=1e-4)
    return result


@pytest.mark.parametrize("variant,type_name", dict.fromkeys(PLAIN + TYPED))
def test_reference_backend_is_the_oracle(tmp_path, variant, type_name):
    result = compare(tmp_path, variant, type_name, "--backend", "reference", "--kv-type", "f32")
    assert result["max_error"] < 1e-4
    assert result["kl"] < 1e-6


@pytest.mark.parametrize("variant,type_name", dict.fromkeys(PLAIN + TYPED))
def test_cpu_backend_is_near_the_oracle(tmp_path, variant, type_name):
    result = compare(tmp_path, variant, type_name)
    # Random weights: every layer adds its share of 8-bit activation noise, nothing averages out.
    assert result["max_error"] < 0.5
    assert result["kl"] < 2e-3


@pytest.mark.parametrize("kv_type,kl", [("f16", 1e-6), ("q8_0", 2e-3)])
@pytest.mark.parametrize("variant", ["llama-yarn", "gemma3-window"])
def test_kv_storage_types(tmp_path, variant, kv_type, kl):
    options = ("--backend", "reference", "--kv-type", kv_type)
    assert compare(tmp_path, variant, "F32", *options)["kl"] < kl


def test_every_registered_architecture_has_a_golden_model(tmp_path):
    path = make_tiny_models.make(tmp_path, "qwen2-tied", "F32")
    # The first place that holds the name is the value of general.architecture.
    path.write_bytes(path.read_bytes().replace(b"qwen2", b"xwen2", 1))
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[[1, 2, 3, 4]]")
    message = serval("perplexity", path, "--tokens", tokens).stderr
    names = re.search(r"supported: ([a-z0-9, -]+)", message)
    assert names, message
    tested = {variant.arch for variant in make_tiny_models.VARIANTS.values()}
    assert tested == set(names.group(1).split(", "))
