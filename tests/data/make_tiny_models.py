#!/usr/bin/env python3
"""Writes tiny random-weight GGUF models for tests, with the PyPI `gguf` package.

    make_tiny_models.py OUT_DIR [--arch ARCH] [--variant NAME] [--type TYPE] [--list]

File names are VARIANT.TYPE.gguf, for example llama-gqa3.Q4_0.gguf. Same arguments, same bytes.
Without --type: F32. --type all: every storage type.

variant         layers width heads/kv head ffn  vocab          what it is for
--------------  ------ ----- -------- ---- ---- -------------- ------------------------------------------
llama-gqa3      2      96    3/1      32   160  spm  301       odd widths (32-blocks only), untied output
llama-freqs     2      256   4/4      64   512  bpe  303       MHA, rope_freqs tensor, tied; fits K-quants
llama-linear    2      224   7/1      32   288  spm  301       GQA 7, linear rope scaling 4, q k v o biases
llama-keylen    2      128   4/2      48   256  bpe  303       key_length 48 != width/heads, untied
llama-yarn      3      256   8/2      32   512  bpe  303       yarn 4x from 64, untied; fits K-quants
qwen2-tied      2      64    2/1      32   128  bpe  303       q k v biases, tied
qwen2-gqa7      3      224   7/1      32   320  bpe  303       GQA 7, yarn 4x from 64, untied
qwen2-wide      2      256   4/2      64   512  bpe  303       untied; fits K-quants
qwen3-keylen    2      128   4/2      48   192  bpe  303       q/k norms, key_length 48 != width/heads, tied
qwen3-wide      2      256   6/2      64   512  bpe  303       GQA 3, heads x head 384 > width, untied
gemma3-window   7      128   4/1      64   256  gemma 307      window 16, 5 local + 1 global + 1 local, tied
gemma3-scaled   7      256   2/2      128  512  gemma 307      linear scaling 8 on global layers; fits K-quants

Rows of a matrix whose length the type's block does not divide are stored as Q8_0 (or F16), as quantisers
do. Norms, biases and rope_freqs are F32. Type MIXED alternates Q4_K, Q6_K, Q5_0, Q8_0 per matrix.
Types gguf.quants can write hold rounded Gaussian weights; the others (K-quants, IQ4) hold random blocks
whose scales are chosen to give weights of the same size.
"""

import argparse
import pathlib
import zlib
from dataclasses import dataclass

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

ENCODED = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]
RANDOM = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
TYPES = ENCODED + RANDOM + ["MIXED"]
MIX = ["Q4_K", "Q6_K", "Q5_0", "Q8_0"]
FILE_TYPE = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10,
             "Q3_K": 12, "Q4_K": 15, "Q5_K": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32,
             "MXFP4": 38, "MIXED": 15}
CONTEXT = 512


@dataclass
class Variant:
    arch: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    vocab: str
    tied: bool = False
    biases: str = ""            # which of q k v o have one
    rope_base: float = 10000.0
    rope_freqs: bool = False
    scaling: str = ""           # linear, yarn
    factor: float = 1.0
    original_context: int | None = None
    window: int | None = None


VARIANTS = {
    "llama-gqa3": Variant("llama", 2, 96, 3, 1, 32, 160, "spm"),
    "llama-freqs": Variant("llama", 2, 256, 4, 4, 64, 512, "bpe", tied=True, rope_base=500000.0,
                           rope_freqs=True),
    "llama-linear": Variant("llama", 2, 224, 7, 1, 32, 288, "spm", biases="qkvo", scaling="linear",
                            factor=4.0),
    "llama-keylen": Variant("llama", 2, 128, 4, 2, 48, 256, "bpe"),
    "llama-yarn": Variant("llama", 3, 256, 8, 2, 32, 512, "bpe", scaling="yarn", factor=4.0,
                          original_context=64),
    "qwen2-tied": Variant("qwen2", 2, 64, 2, 1, 32, 128, "bpe", tied=True, biases="qkv",
                          rope_base=1000000.0),
    "qwen2-gqa7": Variant("qwen2", 3, 224, 7, 1, 32, 320, "bpe", biases="qkv", scaling="yarn",
                          factor=4.0, original_context=64, rope_base=1000000.0),
    "qwen2-wide": Variant("qwen2", 2, 256, 4, 2, 64, 512, "bpe", biases="qkv"),
    "qwen3-keylen": Variant("qwen3", 2, 128, 4, 2, 48, 192, "bpe", tied=True,
                            rope_base=1000000.0),
    "qwen3-wide": Variant("qwen3", 2, 256, 6, 2, 64, 512, "bpe", rope_base=1000000.0),
    "gemma3-window": Variant("gemma3", 7, 128, 4, 1, 64, 256, "gemma", tied=True, window=16,
                             rope_base=1000000.0),
    "gemma3-scaled": Variant("gemma3", 7, 256, 2, 2, 128, 512, "gemma", tied=True, window=16,
                             rope_base=1000000.0, scaling="linear", factor=8.0),
}

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
CHATML = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
          "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
GEMMA_TURNS = ("{{ bos_token }}{% for message in messages %}<start_of_turn>"
               "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
               "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
               "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}")


def byte_alphabet():
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, spare = {}, 256
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(spare)
            spare += 1
    return [table[byte] for byte in range(256)]


def add_bpe_vocab(writer, pre):
    space = byte_alphabet()[32]
    merges = ["t h", "i n", "e r", "o n", "a n", "r e", "e s", "o r", "h e", "l l",
              f"{space} t", f"{space} a", f"{space}t he", "in g", f"{space}a n", f"{space}an d",
              f"{space} {space}", "o u", "w or", "l d", "wor ld", "he ll", "hell o", f"{space} w",
              f"{space}w or", f"{space}wor ld", "H e", "He ll", "Hell o", "a t", "i s",
              f"{space} is", "e n", "s t", "th e", "i t", "a l", "a r", "n d", "t i", "ti on"]
    merged = list(dict.fromkeys(m.replace(" ", "") for m in merges))
    tokens = byte_alphabet() + [t for t in merged if len(t) > 1]
    types = [NORMAL] * len(tokens)
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    while len(tokens) < 303 - len(controls):
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(UNUSED)
    first_control = len(tokens)
    tokens += controls
    types += [CONTROL] * len(controls)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(first_control)
    writer.add_eos_token_id(first_control + 2)
    writer.add_pad_token_id(first_control)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)
    return len(tokens)


def add_spm_vocab(writer, gemma):
    if gemma:
        special = [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", UNKNOWN),
                   ("<start_of_turn>", CONTROL), ("<end_of_turn>", CONTROL)]
    else:
        special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens = [text for text, _ in special] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kind for _, kind in special] + [BYTE] * 256
    scores = [0.0] * len(tokens)
    pieces = ["\u2581", "e", "t", "a", "o", "i", "n", "s", "h", "r", "l", "d", "u", "w", "\u2581t",
              "he", "in", "er", "\u2581the", "or", "ll", "ld", "hell", "hello", "\u2581hello",
              "wor", "world", "\u2581world", "\u2581a", "an", "\u2581an", "\u2581and", "nd", "re",
              "\u2581\u2581", "\u00e9", "\u4f60", "\u597d", ".", ",", "H", "He"]
    for rank, piece in enumerate(pieces):
        tokens.append(piece)
        types.append(NORMAL)
        scores.append(-float(rank) - 1.0)
    total = 307 if gemma else 301
    while len(tokens) < total:
        tokens.append(f"<unused{len(tokens)}>")
        types.append(UNUSED)
        scores.append(0.0)
    tokens, types, scores = tokens[:total], types[:total], scores[:total]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(2 if gemma else 1)
    writer.add_eos_token_id(1 if gemma else 2)
    writer.add_unk_token_id(3 if gemma else 0)
    if gemma:
        writer.add_pad_token_id(0)
        writer.add_eot_token_id(5)
        writer.add_add_space_prefix(False)
        writer.add_chat_template(GEMMA_TURNS)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    return len(tokens)


def random_blocks(rng, rows, cols, name, deviation):
    """Random bytes with sane scales; returns uint8 [rows, row bytes]."""
    elements, size = gguf.GGML_QUANT_SIZES[T[name]]
    count = rows * cols // elements
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    scale_at, min_at, min_ratio = {
        "Q2_K": (80, 82, 1.5), "Q3_K": (108, None, 0), "Q4_K": (0, 2, 7.5), "Q5_K": (0, 2, 15.5),
        "Q6_K": (208, None, 0), "IQ4_NL": (0, None, 0), "IQ4_XS": (0, None, 0)}[name]
    jitter = rng.uniform(0.5, 1.5, count)

    def set_scales(unit):
        scales = (unit * jitter).astype(np.float16)
        blocks[:, scale_at:scale_at + 2] = scales.view(np.uint8).reshape(-1, 2)
        if min_at is not None:  # centres the values on zero
            minimums = (scales.astype(np.float32) * min_ratio).astype(np.float16)
            blocks[:, min_at:min_at + 2] = minimums.view(np.uint8).reshape(-1, 2)

    set_scales(0.01)
    spread = float(quants.dequantize(blocks.reshape(-1), T[name]).std())
    set_scales(0.01 * deviation / spread)
    return blocks.reshape(rows, -1)


class ModelWriter:
    def __init__(self, path, name, variant, type_name):
        self.writer = gguf.GGUFWriter(str(path), variant.arch)
        self.variant = variant
        self.type_name = type_name
        self.matrices = 0
        self.seed = zlib.crc32(f"{name}.{type_name}".encode())

    def rng(self, tensor):
        return np.random.default_rng([self.seed, zlib.crc32(tensor.encode())])

    def vector(self, tensor, size, mean, deviation):
        data = self.rng(tensor).normal(mean, deviation, size).astype(np.float32)
        self.writer.add_tensor(tensor, data)

    def matrix(self, tensor, rows, cols, gain=1.0):
        name = self.type_name
        if name == "MIXED":
            name = MIX[self.matrices % len(MIX)]
        self.matrices += 1
        if cols % gguf.GGML_QUANT_SIZES[T[name]][0] != 0:
            name = "Q8_0" if cols % 32 == 0 else "F16"
        rng = self.rng(tensor)
        deviation = gain / np.sqrt(cols)
        if name in RANDOM:
            data = random_blocks(rng, rows, cols, name, deviation)
        else:
            weights = rng.normal(0.0, deviation, (rows, cols)).astype(np.float32)
            data = quants.quantize(weights, T[name])
            if name == "F16":
                data = weights.astype(np.float16)
        if name in ("F32", "F16"):
            self.writer.add_tensor(tensor, data)
        else:
            self.writer.add_tensor(tensor, data, raw_dtype=T[name])

    def add_metadata(self):
        v, w = self.variant, self.writer
        w.add_name(f"tiny {v.arch} for tests")
        w.add_type("model")
        w.add_file_type(FILE_TYPE[self.type_name])
        w.add_quantization_version(2)
        w.add_block_count(v.layers)
        w.add_context_length(CONTEXT)
        w.add_embedding_length(v.width)
        w.add_feed_forward_length(v.ffn)
        w.add_head_count(v.heads)
        w.add_head_count_kv(v.kv_heads)
        w.add_layer_norm_rms_eps(1e-6 if v.arch != "llama" else 1e-5)
        w.add_rope_freq_base(v.rope_base)
        if v.head * v.heads != v.width or v.arch == "gemma3":
            w.add_key_length(v.head)
            w.add_value_length(v.head)
        if v.arch == "llama":
            w.add_rope_dimension_count(v.head)
        if v.scaling:
            w.add_rope_scaling_type(gguf.RopeScalingType(v.scaling))
            w.add_rope_scaling_factor(v.factor)
        if v.original_context:
            w.add_rope_scaling_orig_ctx_len(v.original_context)
        if v.window:
            w.add_sliding_window(v.window)

    def add_layer(self, n):
        v, b = self.variant, f"blk.{n}."
        q, kv = v.heads * v.head, v.kv_heads * v.head
        self.vector(b + "attn_norm.weight", v.width, 1.0, 0.1)
        self.matrix(b + "attn_q.weight", q, v.width)
        self.matrix(b + "attn_k.weight", kv, v.width)
        self.matrix(b + "attn_v.weight", kv, v.width)
        self.matrix(b + "attn_output.weight", v.width, q)
        for letter, size in (("q", q), ("k", kv), ("v", kv)):
            if letter in v.biases:
                self.vector(b + f"attn_{letter}.bias", size, 0.0, 0.3)
        if "o" in v.biases:
            self.vector(b + "attn_output.bias", v.width, 0.0, 0.1)
        if v.arch in ("qwen3", "gemma3"):
            self.vector(b + "attn_q_norm.weight", v.head, 1.0, 0.1)
            self.vector(b + "attn_k_norm.weight", v.head, 1.0, 0.1)
        if v.arch == "gemma3":
            self.vector(b + "post_attention_norm.weight", v.width, 1.0, 0.1)
            self.vector(b + "post_ffw_norm.weight", v.width, 1.0, 0.1)
        self.vector(b + "ffn_norm.weight", v.width, 1.0, 0.1)
        self.matrix(b + "ffn_gate.weight", v.ffn, v.width)
        self.matrix(b + "ffn_up.weight", v.ffn, v.width)
        self.matrix(b + "ffn_down.weight", v.width, v.ffn)

    def write(self):
        v = self.variant
        self.add_metadata()
        if v.vocab == "bpe":
            vocab = add_bpe_vocab(self.writer, "llama-bpe" if v.arch == "llama" else "qwen2")
        else:
            vocab = add_spm_vocab(self.writer, v.vocab == "gemma")
        self.writer.add_vocab_size(vocab)
        # A tied embedding is also the head: its size sets the spread of the logits.
        self.matrix("token_embd.weight", vocab, v.width, gain=1.0 if v.tied else 4.0)
        for n in range(v.layers):
            self.add_layer(n)
        if v.rope_freqs:
            half = v.head // 2
            factors = np.where(np.arange(half) < half // 3, 1.0, np.linspace(1.0, 8.0, half))
            self.writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
        self.vector("output_norm.weight", v.width, 1.0, 0.1)
        if not v.tied:
            self.matrix("output.weight", vocab, v.width, gain=2.0)
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def make(out_dir, variant_name, type_name):
    path = pathlib.Path(out_dir) / f"{variant_name}.{type_name}.gguf"
    ModelWriter(path, variant_name, VARIANTS[variant_name], type_name).write()
    return path


def main():
    parser = argparse.ArgumentParser(description="writes tiny random-weight GGUF models")
    parser.add_argument("out_dir", nargs="?")
    parser.add_argument("--arch", choices=sorted({v.arch for v in VARIANTS.values()}))
    parser.add_argument("--variant", choices=sorted(VARIANTS))
    parser.add_argument("--type", default="F32", choices=TYPES + ["all"])
    parser.add_argument("--list", action="store_true", help="print variant names and stop")
    args = parser.parse_args()
    names = [n for n, v in VARIANTS.items()
             if args.arch in (None, v.arch) and args.variant in (None, n)]
    if args.list:
        print("\n".join(names))
        return
    if not args.out_dir:
        parser.error("OUT_DIR is needed")
    pathlib.Path(args.out_dir).mkdir(parents=True, exist_ok=True)
    for name in names:
        for type_name in TYPES if args.type == "all" else [args.type]:
            print(make(args.out_dir, name, type_name))


if __name__ == "__main__":
    main()
