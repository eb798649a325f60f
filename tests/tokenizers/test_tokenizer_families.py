"""Families without a model at hand: vocabularies derived from real ones or from the test strings, written as
GGUF, against the same independent implementations."""
import random
import re
import subprocess
import unicodedata

import gguf
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

import tokenizer_families as families
import tokenizer_oracle as oracle
import tokenizer_strings as strings
from test_tokenizers import compare

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5


def write(path, keys):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return str(path)


def base(keys, drop=()):
    wanted = ("model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id", "unknown_token_id")
    return {k: v for k, v in keys.items() if k.split(".")[-1] in wanted and k.split(".")[-1] not in drop}


def test_whole_words_before_merges(encode, model_path, tmp_path):
    """llama-bpe: a word that is in the vocabulary is one token even when no merge makes it."""
    keys = base(oracle.read(model_path("smollm2-135m")))
    keys["tokenizer.ggml.pre"] = "llama-bpe"
    extra = ["Ġzyxwv", "qqqq", "ĠчитаÐ", "éÃ©", "12"]
    keys["tokenizer.ggml.tokens"] = keys["tokenizer.ggml.tokens"] + extra
    keys["tokenizer.ggml.token_type"] = keys["tokenizer.ggml.token_type"] + [NORMAL] * len(extra)
    path = write(tmp_path / "m.gguf", keys)
    reference = oracle.byte_bpe(keys, families.FAMILIES["llama-bpe"], True, ignore_merges=True)
    items = strings.strings(10_000, "whole") + ["a zyxwv qqqq", "12 121", "x zyxwvqqqq"]
    compare(items, encode(path, items), [reference(s) for s in items])


LONG = {"letters": "a", "spaces": " ", "words": "a ", "lines": "\n", "digits": "1", "stops": "!", "marks": "e\u0301"}


@pytest.mark.parametrize("family", [*sorted(families.FAMILIES), "sentencepiece", "gemma4"])
def test_a_mebibyte_takes_a_second(family, probe, model_path, tmp_path):
    """However long a word becomes: time grows with the text, or nearly so. On a machine of today it is a third of these limits."""
    if family in ("sentencepiece", "gemma4"):
        keys = base(oracle.read(model_path("gemma3-270m")))
        if family == "gemma4":
            keys |= {"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.merges": ["a a", "aa aa", "aaaa aaaa", "▁ ▁", "▁▁ ▁▁"]}
    else:
        keys = base(oracle.read(model_path("smollm2-135m"))) | {"tokenizer.ggml.pre": family}
    path = write(tmp_path / "m.gguf", keys)
    for name, unit in LONG.items():
        text = tmp_path / name
        text.write_text(unit * (2**20 // len(unit.encode())))
        done = subprocess.run([probe.path, path, "--time", text], capture_output=True, text=True, check=True)
        best = min(float(s) for s in re.findall(r"tokens, (\S+) s", done.stdout))
        assert best < (1 if name == "letters" else 2), f"{name}: {best} s"


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_prefix_and_unused(prefix, encode, model_path, tmp_path):
    keys = base(oracle.read(model_path("gemma3-270m")))
    rng = random.Random(5)
    types = list(keys["tokenizer.ggml.token_type"])
    tokens = keys["tokenizer.ggml.tokens"]
    for i, kind in enumerate(types):
        if kind == NORMAL and len(tokens[i]) > 1 and rng.random() < 0.2:
            types[i] = UNUSED
    keys["tokenizer.ggml.token_type"] = types
    keys["tokenizer.ggml.add_space_prefix"] = prefix
    path = write(tmp_path / "m.gguf", keys)
    items = strings.strings(10_000, f"unused{prefix}")
    processor = oracle.sentencepiece_bpe(keys)
    compare(items, encode(path, items, "--no-special"), [processor.EncodeAsIds(s) for s in items])


def test_gemma4(encode, model_path, tmp_path):
    keys = base(oracle.read(model_path("gemma3-270m")), drop=("scores",))
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    known = {t for t, y in zip(tokens, types) if y == NORMAL}
    rng = random.Random(9)
    merges = []
    for token, kind in list(zip(tokens, types))[:60_000]:
        cuts = [i for i in range(1, len(token)) if token[:i] in known and token[i:] in known]
        if kind == NORMAL and cuts and " " not in token:
            cut = rng.choice(cuts)
            merges.append((token[:cut], token[cut:]))
    keys["tokenizer.ggml.model"] = "gemma4"
    keys["tokenizer.ggml.merges"] = [" ".join(m) for m in merges]
    path = write(tmp_path / "m.gguf", keys)
    tok = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    oracle.add_special(tok, tokens, types, False)
    items = strings.strings(10_000, "gemma4")
    # Added tokens are taken from the raw text there, so "▁▁" is not the token of two spaces.
    items = [s for s in items if "▁" not in s]
    compare(items, encode(path, items, "--no-special"), [tok.encode(s, add_special_tokens=False).ids for s in items])


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("hashes", [True, False])
def test_wordpiece(hashes, lowercase, encode, tmp_path):
    rng = random.Random(3)
    vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    text = "".join(strings.SENTENCES + strings.CODE + strings.EMOJI).replace(" ", "")
    for char in sorted(set(text) | set(text.lower()) | {chr(c) for c in range(33, 0x250)}):
        vocab.setdefault(char, len(vocab))
        if rng.random() < 0.8:
            vocab.setdefault("##" + char, len(vocab))
    for word in sorted(set(" ".join(strings.SENTENCES + strings.CODE).lower().split())):
        begin = rng.randrange(len(word))
        end = begin + rng.randrange(1, 7)
        vocab.setdefault(("##" if begin else "") + word[begin:end], len(vocab))
    tok = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens = sorted(vocab, key=vocab.get)
    written = tokens if hashes else [t[2:] if t.startswith("##") else t if t.startswith("[") and len(t) > 1 else "▁" + t for t in tokens]
    path = write(tmp_path / "m.gguf", {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": written,
        "tokenizer.ggml.token_type": [CONTROL, UNKNOWN, CONTROL, CONTROL, CONTROL] + [NORMAL] * (len(tokens) - 5),
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.normalizer.lowercase": lowercase,
    })
    # The reference knows the punctuation of an older Unicode version: only characters that never changed.
    stable = lambda c: unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c)
    items = [s for s in strings.strings(30_000, f"wordpiece{hashes}{lowercase}") if all(map(stable, s))][:10_000]
    assert len(items) == 10_000
    compare(items, encode(path, items, "--no-special"), [tok.encode(s, add_special_tokens=False).ids for s in items])
