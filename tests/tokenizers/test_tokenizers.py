"""Ids equal to Hugging Face `tokenizers` and to `sentencepiece`, both built from the file's own vocabulary."""
import pytest

import tokenizer_families as families
import tokenizer_oracle as oracle
import tokenizer_strings as strings

COUNT = 10_500


def compare(items, ours, theirs):
    assert len(ours) == len(items)
    wrong = [(s, a, b) for s, a, b in zip(items, ours, theirs) if list(a) != list(b)]
    shown = "\n".join(f"{s!r}\n  ours   {a}\n  oracle {b}" for s, a, b in wrong[:5])
    assert not wrong, f"{len(wrong)} of {len(items)} differ\n{shown}"


def special_texts(keys):
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    return [t for t, y in zip(tokens, types) if y in (oracle.CONTROL, oracle.USER_DEFINED)][:200]


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("model,pre", [("smollm2-135m", "smollm"), pytest.param("qwen2.5-0.5b", "qwen2", marks=pytest.mark.large)])
def test_byte_bpe(model, pre, special, encode, model_path):
    path = model_path(model)
    keys = oracle.read(path)
    assert keys["tokenizer.ggml.pre"] == pre
    items = strings.strings(COUNT, f"{model}{special}", special_texts(keys))
    reference = oracle.byte_bpe(keys, families.FAMILIES[pre], special)
    flags = [] if special else ["--no-special"]
    compare(items, encode(path, items, *flags), [reference(s) for s in items])


def test_sentencepiece(encode, model_path):
    path = model_path("gemma3-270m")
    keys = oracle.read(path)
    items = strings.strings(COUNT, "gemma", special_texts(keys))
    processor = oracle.sentencepiece_bpe(keys)
    compare(items, encode(path, items, "--no-special"), [processor.EncodeAsIds(s) for s in items])


@pytest.mark.parametrize("model", ["smollm2-135m", pytest.param("qwen2.5-0.5b", marks=pytest.mark.large), "gemma3-270m"])
def test_decoding_gives_the_text_back(model, encode, probe, model_path):
    path = model_path(model)
    # SentencePiece cannot tell U+2581 from a space, and SmolLM2 has no tokens for some control bytes.
    items = [s for s in strings.strings(4000, "decode") if "▁" not in s]
    if model == "smollm2-135m":
        known = set(oracle.read(path)["tokenizer.ggml.tokens"])
        items = [s for s in items if all(c in known for c in oracle.byte_alphabet(s))]
    assert len(items) > 2000
    ids = encode(path, items, "--no-special")
    compare(items, probe([path, "--decode"], ids), items)


@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_split_of_family(family, probe):
    from tokenizers.pre_tokenizers import Sequence

    items = strings.strings(10_000, family, strings.CUTS)
    reference = Sequence(oracle.split_stages(families.FAMILIES[family]))
    theirs = [[piece for piece, _ in reference.pre_tokenize_str(s)] for s in items]
    compare(items, probe(["--split", family], items), theirs)
