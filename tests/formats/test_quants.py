"""Codecs against gguf.quants, bit for bit."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import quants

READABLE = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K",
            "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
WRITABLE = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
# Offsets of the fp16 fields in a block.
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "IQ4_NL": [0], "IQ4_XS": [0]}


def geometry(name):
    return gguf.GGML_QUANT_SIZES[T[name]]


def check_decode(probe, name, blocks):
    """blocks: uint8 [n, block_bytes]"""
    ours = np.frombuffer(probe("decode", name, input=blocks.tobytes()), np.float32)
    with np.errstate(all="ignore"):
        if name == "F32":
            theirs = blocks.reshape(-1).view(np.float32)
        elif name == "F16":
            theirs = blocks.reshape(-1).view(np.float16).astype(np.float32)
        else:
            theirs = quants.dequantize(blocks.reshape(-1), T[name])
    theirs = theirs.reshape(-1)
    # NaN payloads depend on the hardware that made them; that a value is NaN does not.
    both_nan = np.isnan(ours) & np.isnan(theirs)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | both_nan
    assert same.all(), f"{name}: first difference at {np.flatnonzero(~same)[:4]}"


@pytest.mark.parametrize("name", READABLE)
def test_decode_random_blocks(probe, name):
    rng = np.random.default_rng(1)
    check_decode(probe, name, rng.integers(0, 256, (3000, geometry(name)[1]), dtype=np.uint8))


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0])
def test_decode_constant_bytes(probe, name, fill):
    check_decode(probe, name, np.full((2, geometry(name)[1]), fill, np.uint8))


@pytest.mark.parametrize("name", sorted(HALVES))
def test_decode_every_scale(probe, name):
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (65536, geometry(name)[1]), dtype=np.uint8)
    for n, at in enumerate(HALVES[name]):
        scales = np.roll(np.arange(65536, dtype=np.uint16), 7919 * n)
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    check_decode(probe, name, blocks)


def test_decode_every_bf16_and_every_mxfp4_exponent(probe):
    check_decode(probe, "BF16", np.arange(65536, dtype=np.uint16).view(np.uint8).reshape(-1, 2))
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (256, 17), dtype=np.uint8)
    blocks[:, 0] = np.arange(256)
    check_decode(probe, "MXFP4", blocks)


def check_encode(probe, name, floats):
    floats = np.ascontiguousarray(floats, np.float32).reshape(-1)
    ours = np.frombuffer(probe("encode", name, input=floats.tobytes()), np.uint8)
    with np.errstate(all="ignore"):
        theirs = np.ascontiguousarray(quants.quantize(floats, T[name])).view(np.uint8)
    block = geometry(name)[1]
    different = np.flatnonzero((ours != theirs).reshape(-1, block).any(axis=1))
    assert different.size == 0, f"{name}: {different.size} blocks differ, first {different[:4]}"


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e-3, 0.02, 1.0, 300.0, 60000.0])
def test_encode_normal_weights(probe, name, scale):
    rng = np.random.default_rng(4)
    floats = (rng.standard_normal((4096, 32)) * scale).astype(np.float32)
    check_encode(probe, name, floats)


@pytest.mark.parametrize("name", WRITABLE)
def test_encode_ties_and_constants(probe, name):
    rng = np.random.default_rng(5)
    grid = rng.integers(-256, 257, (4096, 32)).astype(np.float32)
    blocks = [grid / 2, grid / 32, np.round(grid / 16), np.zeros((4, 32)), -np.zeros((4, 32)),
              np.full((4, 32), 3.25), np.full((4, 32), -0.1),
              np.tile([1.0, -1.0], (4, 16)), np.tile([-1.0, 1.0], (4, 16)),
              np.eye(32) * 5, np.eye(32) * -5]
    check_encode(probe, name, np.concatenate([b.astype(np.float32) for b in blocks]))


def test_encode_f16_and_bf16_over_the_whole_float_range(probe):
    bits = np.arange(0, 1 << 32, 4099, dtype=np.uint64).astype(np.uint32)
    edges = np.arange(0x38000000 - 0x6000000, 0x38000000 + 0x1000000, 1021, dtype=np.uint32)
    floats = np.concatenate([bits, edges, edges | 0x80000000]).view(np.float32)
    floats = floats[~np.isnan(floats)]
    check_encode(probe, "F16", floats)
    check_encode(probe, "BF16", floats)


@pytest.mark.parametrize("name", WRITABLE)
def test_encode_survives_what_weights_should_never_hold(probe, name):
    odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 1e-40, 0.0], np.float32)
    rng = np.random.default_rng(6)
    floats = rng.choice(odd, (512, 32)).astype(np.float32)
    assert len(probe("encode", name, input=floats.tobytes())) == 512 * 32 // geometry(name)[0] * geometry(name)[1]
