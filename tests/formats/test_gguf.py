"""GGUF files between the PyPI gguf package and our reader, writer and quantiser, both ways."""

import gguf
import make_tiny_models
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from gguf import quants


def fields_of(path):
    reader = gguf.GGUFReader(str(path))
    return {key: (field.types, field.contents()) for key, field in reader.fields.items()
            if not key.startswith("GGUF.")}


def tensors_of(path):
    reader = gguf.GGUFReader(str(path))
    return [(t.name, t.tensor_type, [int(n) for n in t.shape], bytes(t.data)) for t in reader.tensors]


@pytest.mark.parametrize("variant", ["llama-freqs", "qwen2-gqa7", "gemma3-window"])
@pytest.mark.parametrize("type_name", ["F32", "Q4_0", "MIXED"])
def test_python_file_read_and_rewritten(probe, tmp_path, variant, type_name):
    path = make_tiny_models.make(tmp_path, variant, type_name)
    probe("copy", path, tmp_path / "copy.gguf")
    assert fields_of(tmp_path / "copy.gguf") == fields_of(path)
    assert tensors_of(tmp_path / "copy.gguf") == tensors_of(path)
    for tensor in gguf.GGUFReader(str(path)).tensors[:6]:
        ours = np.frombuffer(probe("tensor", path, tensor.name), np.float32)
        theirs = quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
        assert np.array_equal(ours, theirs)


def write_every_value_type(path, alignment=None):
    writer = gguf.GGUFWriter(str(path), "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_uint8("t.u8", 255)
    writer.add_int8("t.i8", -128)
    writer.add_uint16("t.u16", 65535)
    writer.add_int16("t.i16", -32768)
    writer.add_uint32("t.u32", 2**32 - 1)
    writer.add_int32("t.i32", -2**31)
    writer.add_uint64("t.u64", 2**64 - 1)
    writer.add_int64("t.i64", -2**63)
    writer.add_float32("t.f32", 1.5)
    writer.add_float64("t.f64", 1e300)
    writer.add_bool("t.yes", True)
    writer.add_bool("t.no", False)
    writer.add_string("t.text", "gr\u00fc\u00df dich \u4f60\u597d")
    writer.add_array("t.strings", ["", "a", "\u4f60", "b" * 70000])
    writer.add_array("t.ints", [-1, 0, 2**31 - 1])
    writer.add_array("t.floats", [0.5, -2.0])
    writer.add_array("t.bools", [True, False])
    for n, extent in enumerate([1, 3, 40]):
        writer.add_tensor(f"tensor.{n}", np.arange(extent * 5, dtype=np.float32).reshape(extent, 5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("alignment", [None, 8, 64, 4096])
def test_every_value_type_and_alignment(probe, tmp_path, alignment):
    path = tmp_path / "all.gguf"
    write_every_value_type(path, alignment)
    probe("copy", path, tmp_path / "copy.gguf")
    assert fields_of(tmp_path / "copy.gguf") == fields_of(path)
    assert tensors_of(tmp_path / "copy.gguf") == tensors_of(path)


def write_split(folder, tensors_per_file=2):
    writer = gguf.GGUFWriter(str(folder / "model.gguf"), "llama",
                             split_max_tensors=tensors_per_file)
    for n in range(5):
        writer.add_tensor(f"tensor.{n}", np.full((4, 32), n, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("model-*.gguf"))


def test_split_model_opens_as_one(probe, tmp_path):
    parts = write_split(tmp_path)
    assert len(parts) == 3
    assert probe("open", parts[0]).split()[1] == b"5"
    for n in range(5):
        values = np.frombuffer(probe("tensor", parts[0], f"tensor.{n}"), np.float32)
        assert (values == n).all() and values.size == 128


@pytest.mark.parametrize("damage, words", [
    ("second_first", "is not the first part"),
    ("missing", "no such file"),
    ("swapped", "says it is part 3 of 3"),
    ("renamed", "is not named like"),
    ("foreign", "has no split.no"),
    ("same_twice", "says it is part 2 of 3"),
])
def test_split_model_in_disorder(probe, tmp_path, damage, words):
    parts = write_split(tmp_path)
    target = parts[0]
    if damage == "second_first":
        target = parts[1]
    elif damage == "missing":
        parts[2].unlink()
    elif damage == "swapped":
        spare = tmp_path / "spare"
        parts[1].rename(spare)
        parts[2].rename(parts[1])
        spare.rename(parts[2])
    elif damage == "renamed":
        target = parts[0].rename(tmp_path / "plain.gguf")
    elif damage == "foreign":
        write_every_value_type(parts[1])
    elif damage == "same_twice":
        parts[2].write_bytes(parts[1].read_bytes())
    code, message = probe("open", target, check=False)
    assert code == 1 and words in message and message.count("\n") == 1


@pytest.mark.parametrize("type_name", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.parametrize("variant", ["qwen2-tied", "qwen3-keylen"])
def test_quantise_equals_gguf_quants(probe, tmp_path, variant, type_name):
    path = make_tiny_models.make(tmp_path, variant, "F32")
    out = tmp_path / "out.gguf"
    probe("quantize", path, out, type_name)
    before = {t.name: t for t in gguf.GGUFReader(str(path)).tensors}
    after = {t.name: t for t in gguf.GGUFReader(str(out)).tensors}
    assert list(before) == list(after)
    for name, tensor in after.items():
        matrix = len(tensor.shape) > 1
        assert tensor.tensor_type == (T[type_name] if matrix else T.F32), name
        expected = quants.quantize(before[name].data, T[type_name]) if matrix else before[name].data
        assert bytes(np.ascontiguousarray(expected)) == bytes(tensor.data), name
    fields = fields_of(out)
    assert fields["general.file_type"] == ([V.UINT32], make_tiny_models.FILE_TYPE[type_name])
    unchanged = {k: v for k, v in fields_of(path).items() if k != "general.file_type"}
    assert {k: v for k, v in fields.items() if k != "general.file_type"} == unchanged


def test_quantise_falls_back_to_f16_where_the_block_does_not_fit(probe, tmp_path):
    writer = gguf.GGUFWriter(str(tmp_path / "in.gguf"), "llama")
    writer.add_tensor("odd.weight", np.linspace(-1, 1, 40 * 3, dtype=np.float32).reshape(3, 40))
    writer.add_tensor("even.weight", np.ones((3, 64), np.float32))
    writer.add_tensor("blk.0.ffn_gate_inp.weight", np.ones((3, 64), np.float32))
    writer.add_tensor("experts.weight", np.ones((2, 3, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert probe("quantize", tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0") == \
        b"converted 2 kept 1 f16 1\n"
    types = {t.name: t.tensor_type for t in gguf.GGUFReader(str(tmp_path / "out.gguf")).tensors}
    assert types == {"odd.weight": T.F16, "even.weight": T.Q8_0, "experts.weight": T.Q8_0,
                     "blk.0.ffn_gate_inp.weight": T.F32}


def test_quantise_joins_a_split_model_and_ignores_the_thread_count(probe, tmp_path):
    parts = write_split(tmp_path)
    probe("quantize", parts[0], tmp_path / "one.gguf", "Q8_0", 1)
    probe("quantize", parts[0], tmp_path / "three.gguf", "Q8_0", 3)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "three.gguf").read_bytes()
    assert not [k for k in fields_of(tmp_path / "one.gguf") if k.startswith("split.")]
    assert len(tensors_of(tmp_path / "one.gguf")) == 5


def test_quantise_refuses(probe, tmp_path):
    path = make_tiny_models.make(tmp_path, "qwen2-tied", "F32")
    before = sorted(p.name for p in tmp_path.iterdir())
    link = tmp_path / "link.gguf"
    link.symlink_to(path)
    for out, type_name, words in [(path, "Q8_0", "is the input"), (link, "Q8_0", "is the input"),
                                  (tmp_path / "o.gguf", "Q4_K", "cannot be written"),
                                  (tmp_path / "no" / "o.gguf", "Q8_0", "temporary file")]:
        code, message = probe("quantize", path, out, type_name, check=False)
        assert code == 1 and words in message
    link.unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_quantise_refuses_weights_it_cannot_hold_and_leaves_nothing(probe, tmp_path, value):
    weights = np.zeros((9, 32), np.float32)
    weights[7, 5] = value
    writer = gguf.GGUFWriter(str(tmp_path / "in.gguf"), "llama")
    writer.add_tensor("bad.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    code, message = probe("quantize", tmp_path / "in.gguf", tmp_path / "out.gguf", "Q4_0", 2,
                          check=False)
    assert code == 1 and "row 7" in message
    assert [p.name for p in tmp_path.iterdir()] == ["in.gguf"]
