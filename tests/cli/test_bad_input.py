"""Every kind of bad input ends in one clear line and the right exit code, and nothing is lost."""
import os
import struct

import gguf
import numpy as np
import pytest


@pytest.fixture
def broken(tmp_path, tiny):
    """Files that are wrong in one way each."""
    good = tiny().read_bytes()

    def make(kind):
        path = tmp_path / f"{kind}.gguf"
        if kind == "empty":
            data = b""
        elif kind == "four-bytes":
            data = b"GGUF"
        elif kind == "wrong-magic":
            data = b"ELF!" + good[4:]
        elif kind == "version":
            data = good[:4] + struct.pack("<I", 77) + good[8:]
        elif kind == "truncated-header":
            data = good[:200]
        elif kind == "truncated-data":
            data = good[:-1000]
        elif kind == "huge-tensor-count":
            data = good[:8] + struct.pack("<Q", 2**62) + good[16:]
        elif kind == "huge-key-count":
            data = good[:16] + struct.pack("<Q", 2**63) + good[24:]
        path.write_bytes(data)
        return path

    return make


KINDS = ["empty", "four-bytes", "wrong-magic", "version", "truncated-header", "truncated-data",
         "huge-tensor-count", "huge-key-count"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["run", "inspect", "tokenize"])
def test_broken_files(serval, broken, kind, command):
    path = broken(kind)
    rest = {"run": ["hi"], "inspect": [], "tokenize": ["-p", "hi"]}[command]
    message = serval.fails(1, command, path, *rest)
    assert str(path) in message


def test_missing_file(serval, tmp_path):
    message = serval.fails(1, "run", tmp_path / "none.gguf", "hi")
    assert "none.gguf" in message and "no such file" in message
    serval.fails(1, "inspect", "nosuchmodel")


def test_directory(serval, tmp_path):
    assert "is a directory" in serval.fails(1, "run", tmp_path, "hi")
    assert "is a directory" in serval.fails(1, "inspect", tmp_path)


def test_unreadable_and_special_files(serval, tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    serval.fails(1, "inspect", tmp_path / "pipe.gguf")


def test_near_names_are_suggested(serval):
    assert "smollm2" in serval.fails(1, "inspect", "smolm2")
    assert "smollm2:135m" in serval.fails(1, "inspect", "smollm2:136m")


def write_model(path, architecture, extra=None, tensor_type=None):
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([b"a", b"b", b"ab", b"<|end|>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(3)
    for key, value in (extra or {}).items():
        writer.add_uint32(key, value)
    if tensor_type is None:
        writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    else:
        writer.add_tensor("token_embd.weight", np.zeros((4, 18), np.uint8), raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_unknown_architecture(serval, tmp_path):
    path = write_model(tmp_path / "odd.gguf", "quokka")
    message = serval.fails(1, "run", path, "hi")
    assert "quokka" in message and "llama" in message and "gemma3" in message
    # What needs no forward pass still works.
    assert "cannot run here yet" in serval("inspect", path).out
    assert serval("inspect", path, "--json").json["supported"] is False
    assert serval("tokenize", path, "-p", "ab").json == [2]


def test_vocabulary_only_file(serval, tmp_path):
    writer = gguf.GGUFWriter(str(tmp_path / "v.gguf"), "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([b"a", b"b", b"ab", b"<|end|>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_chat_template("{% for m in messages %}[{{ m.content }}]{% endfor %}<|end|>")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = tmp_path / "v.gguf"
    assert serval("tokenize", path, "-p", "abba").json == [2, 1, 0]
    assert serval("template", path, "-p", "ab").out == "[ab]<|end|>"
    assert serval("inspect", path).code == 0
    serval.fails(1, "run", path, "hi")


def test_unsupported_tensor_type(serval, tmp_path, tiny):
    path = tmp_path / "iq1.gguf"
    data = bytearray(tiny().read_bytes())
    at = data.find(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 16  # name, n_dims, 2 dims
    data[at:at + 4] = struct.pack("<I", 29)  # IQ1_M: not a type of this build
    path.write_bytes(data)
    message = serval.fails(1, "run", path, "hi")
    assert "token_embd.weight" in message and "29" in message
    assert "29" in serval("inspect", path, "--tensors").out


def test_absurd_hyper_parameters(serval, tmp_path):
    path = write_model(tmp_path / "absurd.gguf", "llama", {
        "llama.block_count": 2**31, "llama.context_length": 2**31, "llama.embedding_length": 2**31,
        "llama.feed_forward_length": 2**31, "llama.attention.head_count": 2**31})
    assert "llama." in serval.fails(1, "run", path, "hi")


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_weights_that_are_not_numbers(serval, tmp_path, tiny, kind):
    path = tmp_path / "nan.gguf"
    data = bytearray(tiny(kind=kind).read_bytes())
    tensors = {t.name: t for t in gguf.GGUFReader(tiny(kind=kind)).tensors}
    at = tensors["blk.0.attn_q.weight"].data_offset
    data[at:at + 4] = struct.pack("<f", float("nan")) if kind == "F32" else struct.pack("<e", float("nan")) + b"\1\1"
    path.write_bytes(data)
    assert "not finite" in serval.fails(1, "run", path, "--raw", "hi")


def test_invalid_utf8_prompt(serval, smol):
    message = serval.fails(2, "run", smol, b"caf\xe9".decode("utf8", "surrogateescape"))
    assert "UTF-8" in message and "3" in message
    assert "UTF-8" in serval.fails(2, "run", smol, stdin=b"abc\xff")


def test_context_too_small_for_the_prompt(serval, smol):
    message = serval.fails(2, "run", smol, "-c", "32", "word " * 200)
    assert "32" in message


def test_context_fills_up(serval, smol):
    done = serval("run", smol, "-c", "64", "--json", "--ignore-eos", "Tell me a long story.")
    assert done.code == 0
    assert done.json["finish_reason"] == "context_full"
    assert done.json["prompt_tokens"] + done.json["completion_tokens"] in (64, 65)


def test_not_enough_memory(serval, smol):
    message = serval.fails(1, "run", smol, "--kv-type", "f32", "-c", "8192", "hi",
                           preexec_fn=limit_memory)
    assert "memory" in message


def limit_memory():
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))


def test_tokenize_refuses_bad_ids_and_lines(serval, smol):
    serval.fails(2, "tokenize", smol, "--decode", stdin="[1, 99999999]")
    serval.fails(2, "tokenize", smol, "--decode", stdin="[1, -1]")
    serval.fails(2, "tokenize", smol, "--decode", stdin="{}")
    assert "line 2" in serval("tokenize", smol, "--lines", stdin='"a"\nb\n').err


def test_template_errors(serval, tmp_path):
    messages = tmp_path / "m.json"
    messages.write_text('[{"role": "user", "content": "x"}]')
    template = tmp_path / "t.jinja"
    for text in ["{% for %}", "{{ raise_exception('no') }}", "{{ 'a' ~ }}", "{% endfor %}"]:
        template.write_text(text)
        done = serval("template", "--template", template, "--messages", messages)
        assert done.code in (1, 2) and done.raw == b"" and len(done.error_lines) == 1
    messages.write_text("{nonsense")
    template.write_text("x")
    serval.fails(2, "template", "--template", template, "--messages", messages)


def test_quantize_errors(serval, tiny, tmp_path):
    source = tiny()
    assert "Q8_0" in serval.fails(2, "quantize", source, tmp_path / "o.gguf", "Q9_9")
    serval.fails(2, "quantize", source, tmp_path / "o.gguf", "Q6_K")
    before = source.read_bytes()
    serval.fails(1, "quantize", source, source, "Q8_0", "--force")
    assert source.read_bytes() == before
    taken = tmp_path / "taken.gguf"
    taken.write_bytes(b"mine")
    assert "--force" in serval.fails(1, "quantize", source, taken, "Q8_0")
    assert taken.read_bytes() == b"mine"
    assert serval("quantize", source, taken, "Q8_0", "--force").code == 0
    assert taken.read_bytes()[:4] == b"GGUF"
    serval.fails(1, "quantize", source, tmp_path / "none" / "o.gguf", "Q8_0")


def test_output_files_that_cannot_be_written(serval, smol, tmp_path):
    text = tmp_path / "t.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 20)
    serval.fails(1, "perplexity", smol, "-f", text, "-c", "32", "--chunks", "1", "-q", "--logits",
                 tmp_path / "none" / "x.npy")
    serval.fails(2, "perplexity", smol, "-f", text, "-c", "4096")
