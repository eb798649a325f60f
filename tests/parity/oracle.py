"""The oracle: an independent forward pass in NumPy on weights decoded by the `gguf` package.

It shares nothing with the engine: it reads hyper-parameters and tensors itself and follows the
papers (llama 2302.13971, qwen2 2407.10671, qwen3 2505.09388, gemma3 2503.19786, RoPE 2104.09864,
YaRN 2309.00071). Layers are decoded one at a time and run over all chunks, so memory stays small.

Command line:
    oracle.py MODEL --tokens FILE.json [--first N] [--dtype float64] [--logits OUT.npy]
              [--compare OTHER.npy]
prints one JSON object: perplexity of the tokens after position N (default: half of a chunk), and
with --compare the mean KL divergence (oracle || other) and the other's perplexity.
"""

import argparse
import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Oracle:
    def __init__(self, path, dtype=np.float32):
        self.dtype = dtype
        reader = GGUFReader(path)
        self.fields = {name: field for name, field in reader.fields.items()}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.arch = self.field("general.architecture")
        if self.arch not in ("llama", "qwen2", "qwen3", "gemma3"):
            raise ValueError(f"no oracle for architecture {self.arch}")
        self.hidden = self.key("embedding_length")
        self.layers = self.key("block_count")
        self.heads = self.scalar(self.key("attention.head_count"))
        self.kv_heads = self.scalar(self.key("attention.head_count_kv", self.heads))
        self.head_dim = self.key("attention.key_length", self.hidden // self.heads)
        self.epsilon = self.key("attention.layer_norm_rms_epsilon")
        self.vocab = self.tensors["token_embd.weight"].shape[1]
        gemma = self.arch == "gemma3"
        self.window = self.key("attention.sliding_window", 0) if gemma else 0
        self.period = self.key("attention.sliding_window_pattern", 6) if gemma else 0
        self.rope_dims = self.key("rope.dimension_count", self.head_dim)
        self.global_rope = self.scaled_frequencies()
        self.local_rope = (self.frequencies(self.key("rope.freq_base_swa", 10000.0)), 1.0)
        scale_width = self.head_dim
        if gemma and self.layers == 62:  # Gemma 3 27B: query_pre_attn_scalar = hidden / heads
            scale_width = self.hidden / self.heads
        self.attention_scale = scale_width**-0.5

    # ---- metadata and weights

    def field(self, name, default=None):
        return self.fields[name].contents() if name in self.fields else default

    def key(self, name, default=None):
        value = self.field(f"{self.arch}.{name}", default)
        if value is None:
            raise ValueError(f"{self.arch}.{name} is missing")
        return value

    @staticmethod
    def scalar(value):
        return value[0] if isinstance(value, list) else value

    def weight(self, name):
        tensor = self.tensors[name]
        decoded = dequantize(tensor.data, tensor.tensor_type).astype(self.dtype)
        return decoded.reshape(tuple(int(n) for n in reversed(tensor.shape)))

    def linear(self, x, name):
        y = x @ self.weight(name + ".weight").T
        if name + ".bias" in self.tensors:
            y += self.weight(name + ".bias")
        return y

    def norm(self, x, name):
        mean_square = np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True)
        return (x / np.sqrt(mean_square + self.epsilon)).astype(self.dtype) * self.weight(name)

    # ---- rotary positions

    def frequencies(self, base):
        return 1.0 / base ** (np.arange(0, self.rope_dims, 2, dtype=np.float64) / self.rope_dims)

    def scaled_frequencies(self):
        """Inverse frequencies and magnitude of global layers."""
        base = self.key("rope.freq_base", 10000.0)
        inverse = self.frequencies(base)
        kind = self.key("rope.scaling.type", "none")
        factor = self.key("rope.scaling.factor", 1.0)
        magnitude = 1.0
        if kind == "linear":
            inverse = inverse / factor
        elif kind == "yarn":
            inverse, magnitude = self.yarn(base, factor, inverse)
        elif kind != "none":
            raise ValueError(f"rope scaling {kind}")
        if "rope_freqs.weight" in self.tensors:
            inverse = inverse / self.weight("rope_freqs.weight").astype(np.float64)
        return inverse, magnitude

    def yarn(self, base, factor, inverse):
        dims = self.rope_dims
        context = self.key("rope.scaling.original_context_length", self.key("context_length"))

        def index_of(rotations):
            return dims * np.log(context / (rotations * 2 * np.pi)) / (2 * np.log(base))

        low = max(np.floor(index_of(self.key("rope.scaling.yarn_beta_fast", 32.0))), 0)
        high = min(np.ceil(index_of(self.key("rope.scaling.yarn_beta_slow", 1.0))), dims - 1)
        ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
        magnitude = (0.1 * np.log(factor) + 1.0) * self.key("rope.scaling.attn_factor", 1.0)
        return inverse / factor * ramp + inverse * (1 - ramp), magnitude

    def rotate(self, x, rope):
        """x: [tokens, heads, head_dim], positions 0, 1, ..."""
        inverse, magnitude = rope
        angles = np.arange(x.shape[0], dtype=np.float64)[:, None] * inverse[None, :]
        cos = (np.cos(angles) * magnitude)[:, None, :].astype(self.dtype)
        sin = (np.sin(angles) * magnitude)[:, None, :].astype(self.dtype)
        half = self.rope_dims // 2
        out = x.copy()
        if self.arch == "llama":
            first, second = slice(0, self.rope_dims, 2), slice(1, self.rope_dims, 2)
        else:
            first, second = slice(0, half), slice(half, self.rope_dims)
        out[..., first] = x[..., first] * cos - x[..., second] * sin
        out[..., second] = x[..., first] * sin + x[..., second] * cos
        return out

    # ---- the forward pass

    def is_local(self, layer):
        return self.window > 0 and layer % self.period != self.period - 1

    def attention(self, x, layer, chunks):
        """x: [all tokens, hidden] after the norm; chunks: slices of x, each its own sequence."""
        blk = f"blk.{layer}."
        count = x.shape[0]
        q = self.linear(x, blk + "attn_q").reshape(count, self.heads, self.head_dim)
        k = self.linear(x, blk + "attn_k").reshape(count, self.kv_heads, self.head_dim)
        v = self.linear(x, blk + "attn_v").reshape(count, self.kv_heads, self.head_dim)
        if blk + "attn_q_norm.weight" in self.tensors:
            q = self.norm(q, blk + "attn_q_norm.weight")
            k = self.norm(k, blk + "attn_k_norm.weight")
        rope = self.local_rope if self.is_local(layer) else self.global_rope
        out = np.empty((count, self.heads * self.head_dim), self.dtype)
        for chunk in chunks:
            out[chunk] = self.attend(self.rotate(q[chunk], rope), self.rotate(k[chunk], rope),
                                     v[chunk], self.window if self.is_local(layer) else 0)
        return self.linear(out, blk + "attn_output")

    def attend(self, q, k, v, window):
        count = q.shape[0]
        group = self.heads // self.kv_heads
        k = np.repeat(k, group, axis=1).transpose(1, 2, 0)  # [heads, head_dim, tokens]
        v = np.repeat(v, group, axis=1).transpose(1, 0, 2)  # [heads, tokens, head_dim]
        scores = (q.transpose(1, 0, 2) @ k) * self.dtype(self.attention_scale)
        distance = np.arange(count)[:, None] - np.arange(count)[None, :]
        hidden = distance < 0
        if window > 0:
            hidden |= distance >= window
        scores[:, hidden] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ v).transpose(1, 0, 2).reshape(count, -1)

    def mlp(self, x, layer):
        blk = f"blk.{layer}."
        gate = self.linear(x, blk + "ffn_gate")
        if self.arch == "gemma3":
            gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.linear((gate * self.linear(x, blk + "ffn_up")).astype(self.dtype),
                           blk + "ffn_down")

    def hidden_states(self, token_chunks):
        """Final hidden states (before the output norm) of each chunk, a list of [tokens, hidden]."""
        tokens = np.concatenate([np.asarray(chunk) for chunk in token_chunks])
        ends = np.cumsum([len(chunk) for chunk in token_chunks])
        chunks = [slice(end - len(chunk), end) for chunk, end in zip(token_chunks, ends)]
        embedding = self.tensors["token_embd.weight"]
        x = dequantize(embedding.data[tokens], embedding.tensor_type).astype(self.dtype)
        if self.arch == "gemma3":
            x = x * self.dtype(self.hidden**0.5)
        for layer in range(self.layers):
            blk = f"blk.{layer}."
            y = self.attention(self.norm(x, blk + "attn_norm.weight"), layer, chunks)
            if self.arch == "gemma3":
                y = self.norm(y, blk + "post_attention_norm.weight")
            x = x + y
            y = self.mlp(self.norm(x, blk + "ffn_norm.weight"), layer)
            if self.arch == "gemma3":
                y = self.norm(y, blk + "post_ffw_norm.weight")
            x = x + y
        return [x[chunk] for chunk in chunks]

    def logits(self, token_chunks, first=0, end=None):
        """Logits at positions [first, end) of each chunk, a list of [positions, vocab]."""
        output = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        rows = [self.norm(x[first:end], "output_norm.weight")
                for x in self.hidden_states(token_chunks)]
        weight = self.weight(output)
        logits = [row @ weight.T for row in rows]
        cap = self.key("final_logit_softcapping", 0.0)
        return [cap * np.tanh(row / cap) for row in logits] if cap else logits


# ---- measures


def log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def in_slices(array, rows=64):
    return (array[i:i + rows] for i in range(0, len(array), rows))


def kl_divergence(ours, theirs):
    """KL(ours || theirs) per position; arrays [positions, vocab] of raw logits."""
    out = []
    for p, q in zip(in_slices(ours), in_slices(theirs)):
        log_p, log_q = log_softmax(p), log_softmax(q)
        out.append((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))
    return np.concatenate(out)


def negative_log_likelihood(logits, tokens, first):
    """Of tokens[first + 1:], given the logits of positions first, first + 1, ..."""
    targets = np.asarray(tokens[first + 1:])
    out = []
    for rows, wanted in zip(in_slices(logits[:len(targets)]), in_slices(targets)):
        out.append(-log_softmax(rows)[np.arange(len(wanted)), wanted])
    return np.concatenate(out)


def first_position(positions, tokens):
    """Where logits begin that were kept for `positions` of `tokens` positions: all of them, or the
    second half, with or without the last position, which predicts nothing known."""
    half = tokens // 2
    starts = {tokens: 0, tokens - half: half, tokens - half - 1: half}
    return starts[positions]


def compare(logits, other, token_chunks, first):
    """Perplexities and mean KL of two runs over the same positions [first, first + n)."""
    report = {"tokens": 0, "chunks": len(token_chunks)}
    nll, other_nll, kl = [], [], []
    for ours, theirs, tokens in zip(logits, other, token_chunks):
        assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
        nll.append(negative_log_likelihood(ours, tokens, first))
        other_nll.append(negative_log_likelihood(theirs, tokens, first))
        kl.append(kl_divergence(ours, theirs))
    report["tokens"] = int(sum(len(part) for part in nll))
    report["ppl"] = float(np.exp(np.concatenate(nll).mean()))
    report["other_ppl"] = float(np.exp(np.concatenate(other_nll).mean()))
    report["kl"] = float(np.concatenate(kl).mean())
    report["kl_max"] = float(np.concatenate(kl).max())
    report["max_error"] = float(max(np.abs(a - b).max() for a, b in zip(logits, other)))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True, help="JSON list of chunks of token ids")
    parser.add_argument("--first", type=int, help="first scored position")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--logits", help="write [chunk, position, vocab] float32 here")
    parser.add_argument("--compare", help="logits of another run over the same positions")
    arguments = parser.parse_args()
    with open(arguments.tokens) as source:
        chunks = json.load(source)
    other = np.load(arguments.compare, mmap_mode="r") if arguments.compare else None
    first = len(chunks[0]) // 2 if arguments.first is None else arguments.first
    end = None
    if other is not None:
        first = first_position(other.shape[1], len(chunks[0]))
        end = first + other.shape[1]
    oracle = Oracle(arguments.model, getattr(np, arguments.dtype))
    logits = oracle.logits(chunks, first, end)
    if arguments.logits:
        np.save(arguments.logits, np.stack(logits).astype(np.float32))
    report = compare(logits, logits if other is None else other, chunks, first)
    if not arguments.compare:
        report = {name: report[name] for name in ("ppl", "tokens", "chunks")}
    json.dump(report, sys.stdout)
    print()


if __name__ == "__main__":
    main()
