#!/usr/bin/env python3
"""Writes the seed inputs of the GGUF, template and snapshot targets into fuzz/seeds/, with the PyPI `gguf` package.

Small on purpose: a fuzzer reaches further from a 500-byte file than from a real model.
"""

import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

SEEDS = pathlib.Path(__file__).parent / "seeds"


def write(target, name, fill):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(folder / f"{name}.gguf"), "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def every_value(w):
    w.add_uint8("a", 1)
    w.add_int8("b", -1)
    w.add_uint16("c", 2)
    w.add_int16("d", -2)
    w.add_uint32("e", 3)
    w.add_int32("f", -3)
    w.add_uint64("g", 4)
    w.add_int64("h", -4)
    w.add_float32("i", 0.5)
    w.add_float64("j", -0.5)
    w.add_bool("k", True)
    w.add_string("l", "text")
    w.add_array("m", ["x", "", "yz"])
    w.add_array("n", [1, -2])
    w.add_array("o", [0.5])
    w.add_array("p", [True, False])


def aligned(w):
    w.add_custom_alignment(64)
    w.add_tensor("t", np.zeros((2, 3), np.float32))


def every_tensor_type(w):
    for name in ("F16", "Q4_0", "Q8_0", "Q2_K", "MXFP4"):
        elements, size = gguf.GGML_QUANT_SIZES[T[name]]
        if name == "F16":
            w.add_tensor(name, np.zeros((2, 4), np.float16))
        else:
            w.add_tensor(name, np.zeros((1, size), np.uint8), raw_dtype=T[name])


def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


def bpe(pre):
    def fill(w):
        tokens = byte_alphabet() + ["th", "the", "\u0120t", "<|end|>"]
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(pre)
        w.add_token_list(tokens)
        w.add_token_types([1] * (len(tokens) - 1) + [3])
        w.add_token_merges(["t h", "th e", "\u0120 t"])
        w.add_eos_token_id(len(tokens) - 1)
    return fill


def sentencepiece(w):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += ["\u2581", "a", "b", "ab", "\u2581ab"]
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * 259 + [-1.0, -2.0, -3.0, -1.5, -0.5])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * 5)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)


def wordpiece(w):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581he", "llo", "\u2581a", "b"]
    w.add_tokenizer_model("bert")
    w.add_token_list(tokens)
    w.add_token_types([3, 2, 3, 3, 1, 1, 1, 1])
    w.add_unk_token_id(1)
    w.add_uint32("tokenizer.ggml.cls_token_id", 2)
    w.add_sep_token_id(3)


def tiny_llama(w):
    width, vocab = 32, 4
    w.add_block_count(1)
    w.add_context_length(64)
    w.add_embedding_length(width)
    w.add_feed_forward_length(width)
    w.add_head_count(1)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(width)
    w.add_vocab_size(vocab)
    w.add_tokenizer_model("llama")
    w.add_token_list(["<unk>", "<s>", "</s>", "a"])
    w.add_token_scores([0.0] * 4)
    w.add_token_types([2, 3, 3, 1])
    rows = {"token_embd": vocab, "output": vocab}
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        rows[f"blk.0.{part}"] = width
    for name, count in rows.items():
        w.add_tensor(f"{name}.weight", np.zeros((count, 34), np.uint8), raw_dtype=T.Q8_0)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        w.add_tensor(f"{name}.weight", np.ones(width, np.float32))


# Each shows the fuzzer another part of the language; conversations for them are the target's own.
TEMPLATES = {
    "conversation": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
                    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "tools": "{%- for tool in tools if tool.function is defined -%}{{ loop.index0 }} {{ tool | tojson(indent=2) }}"
             "{%- else %}none{% endfor -%}",
    "namespace": "{% set ns = namespace(n=0, s='') %}{% for m in messages[::-1] %}{% set ns.n = ns.n + loop.revindex %}"
                 "{% set ns.s = ns.s ~ m.role[0] %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "macro": "{% macro tag(name, body='-') %}<{{ name }}>{{ body }}{{ caller() if caller }}</{{ name }}>{% endmacro %}"
             "{{ tag('a') }}{% call tag('b', body=messages[0].content) %}c{% endcall %}",
    "filters": "{{ messages | map(attribute='role') | join(', ') | upper }}{{ [3, 1, 2] | sort(reverse=true) | list }}"
               "{{ {'b': 1, 'a': none} | dictsort }}{{ 'x-y'.split('-') | last | default('z', true) }}",
    "expressions": "{{ 7 // -2 ** 2 % 3 }}{{ 1.5e3 | round(1) | int }}{{ not 'a' in 'b' and (2 > 1 >= 1) or [1, (2, 3)][1:] }}"
                   "{{ '%05.2f|%s' | format(2.5, {'k': [none, true]}) }}{{ raise_exception('stop') if false }}",
    "whitespace": "a\n  {%+ if true -%}\n b {#- comment -#} c\n  {%- endif %}\n{% raw %}{{ x }}{% endraw %}\n"
                  "{% filter upper %}d{% endfilter %}{% generation %}e{% endgeneration %}",
    "variables": "{{ a.b[0] }}{{ a.c is none }}{% for k, v in a.items() %}{{ k }}={{ v }};{% endfor %}"
                 "\0{\"a\": {\"b\": [1.25, \"two\"], \"c\": null}}",
}


def templates():
    folder = SEEDS / "template_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TEMPLATES.items():
        (folder / f"{name}.jinja").write_text(text)


def snapshot(tokens, blocks, block_bytes):
    """docs/formats/snapshot.md; the target mends the checksums of the header and the tokens."""
    texts = b"".join(struct.pack("<I", len(t)) + t for t in (b"llama, 1 layers, 1 x 4", b"f16", b"numerics"))
    rest = texts + bytes(8) + struct.pack(f"<{tokens}I", *range(tokens)) + bytes(8) + bytes(block_bytes + 8) * blocks
    return b"SERVALKV" + struct.pack("<IQIIQQ", 1, 44 + len(rest), tokens, blocks, block_bytes, 7) + rest


def snapshots():
    folder = SEEDS / "snapshot_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in {"none": (5, 0, 16), "one": (33, 1, 16), "three": (100, 3, 64)}.items():
        (folder / f"{name}.kv").write_bytes(snapshot(*shape))


def main():
    snapshots()
    templates()
    write("model_plan_fuzz", "llama", tiny_llama)
    write("gguf_fuzz", "values", every_value)
    write("gguf_fuzz", "aligned", aligned)
    write("gguf_fuzz", "tensors", every_tensor_type)
    write("vocab_fuzz", "bpe", bpe("qwen2"))
    write("vocab_fuzz", "bpe_llama3", bpe("llama-bpe"))
    write("vocab_fuzz", "sentencepiece", sentencepiece)
    write("vocab_fuzz", "wordpiece", wordpiece)


if __name__ == "__main__":
    main()
