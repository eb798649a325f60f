"""Independent tokenizers built from the vocabulary inside a GGUF file."""
import struct

import gguf
import tokenizers
from tokenizers import AddedToken, Regex, models
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

CONTROL, USER_DEFINED = 3, 4


def read(path):
    reader = gguf.GGUFReader(path)
    return {key: field.contents() for key, field in reader.fields.items() if key.startswith("tokenizer.")}


def split_stages(patterns):
    return [Split(Regex(p), "isolated") if isinstance(p, str) else p for p in patterns]


def byte_bpe(keys, patterns, special, ignore_merges=False):
    tok = byte_bpe_tokenizer(keys, patterns, special, ignore_merges)
    return lambda text: tok.encode(text, add_special_tokens=False).ids


def byte_bpe_tokenizer(keys, patterns, special, ignore_merges=False):
    """`special`: whether control tokens are recognised in the text."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in keys["tokenizer.ggml.merges"]]
    vocab = {}
    for i, token in enumerate(tokens):
        vocab.setdefault(token, i)
    tok = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    tok.pre_tokenizer = Sequence(split_stages(patterns) + [ByteLevel(add_prefix_space=False, use_regex=False)])
    add_special(tok, tokens, types, special)
    return tok


def add_special(tok, tokens, types, special):
    wanted = {USER_DEFINED, CONTROL} if special else {USER_DEFINED}
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t, y in zip(tokens, types) if y in wanted])


def byte_alphabet(text):
    return "".join(piece for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, body):
    return varint(field << 3 | 2) + varint(len(body)) + body


def sentencepiece_bpe(keys):
    """A ModelProto (sentencepiece_model.proto) written field by field."""
    import sentencepiece

    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    unk = keys.get("tokenizer.ggml.unknown_token_id", 0)
    model = bytearray()
    for i, (token, score, kind) in enumerate(zip(tokens, keys["tokenizer.ggml.scores"], types)):
        # Conversion writes user-defined pieces with plain spaces; SentencePiece keeps them escaped.
        piece = token.replace(" ", "▁") if kind == USER_DEFINED else token
        body = message(1, piece.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
        model += message(1, body + number(3, 2 if i == unk else kind))
    trainer = number(3, 2) + number(35, 6 in types) + number(40, unk)  # BPE, byte_fallback, unk_id
    trainer += number(41, keys.get("tokenizer.ggml.bos_token_id", -1)) + number(42, keys.get("tokenizer.ggml.eos_token_id", -1))
    # identity; add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces
    normalizer = message(1, b"identity") + number(3, keys.get("tokenizer.ggml.add_space_prefix", True)) + number(4, 0) + number(5, 1)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(bytes(model + message(2, trainer) + message(3, normalizer)))
    return processor
