#!/usr/bin/env python3
"""Tokenizer speed on one core, beside the packages that are installed: tokenizers, tiktoken, riptoken, fastokens, sentencepiece.

    pip install tokenizers tiktoken riptoken fastokens sentencepiece gguf
    taskset -c 1 bench/tokenize_speed.py --probe build/release/src/text/tokenizer_probe smollm2-135m.gguf gemma3-270m.gguf

Every program gets the model's own vocabulary and the same text (--text; without it the docstrings of Python's standard
library). "first" is the first text a fresh tokenizer sees, which is what a server's prompts are; "again" the best of three more
rounds over the same text; time is the processor's. tiktoken and riptoken rank by the merged token, so their ids can differ a
little from the model's.
"""
import argparse
import ast
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "tokenizers"))
import tokenizer_families as families  # noqa: E402
import tokenizer_oracle as oracle  # noqa: E402


def docstrings():
    parts = []
    for path in sorted(pathlib.Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(errors="replace"))
        except SyntaxError:
            continue
        nodes = (n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef)))
        parts += filter(None, map(ast.get_docstring, nodes))
    return "\n\n".join(parts)


def ranks(keys):
    """tiktoken's form of the vocabulary: bytes -> rank."""
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or (b >= 0xA1 and b != 0xAD)]
    letters = {chr(b): b for b in printable}
    letters |= {chr(0x100 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)}
    out = {bytes([b]): b for b in range(256)}
    for merge in keys["tokenizer.ggml.merges"]:
        out.setdefault(bytes(letters[c] for c in merge.replace(" ", "")), len(out))
    return out


def one_pattern(pre):
    """The family as the single expression that tiktoken wants; None where stages cannot be joined."""
    if pre in ("smollm", "starcoder"):
        return r"\p{N}|" + families.GPT2.replace(r"| ?\p{N}+", "")
    stages = families.FAMILIES.get(pre, [])
    return stages[0] if len(stages) == 1 else None


def byte_bpe_peers(keys):
    pre = keys["tokenizer.ggml.pre"]
    stages = families.FAMILIES[pre]
    yield "tokenizers", lambda: oracle.byte_bpe(keys, stages, False)
    pattern = one_pattern(pre)
    if pattern:
        yield "tiktoken", lambda: __import__("tiktoken").Encoding("m", pat_str=pattern, mergeable_ranks=ranks(keys), special_tokens={}).encode_ordinary
        yield "riptoken", lambda: __import__("riptoken").CoreBPE(ranks(keys), {}, pattern).encode_ordinary
    yield "fastokens", lambda: fastokens(keys, stages)


def fastokens(keys, stages):
    package = __import__("fastokens")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(oracle.byte_bpe_tokenizer(keys, stages, False).to_str())
        file.flush()
        encode = package.Tokenizer.from_file(file.name).encode
    return lambda text: encode(text).ids


def measure(encode, text):
    size, times = len(text.encode()), []
    for _ in range(4):
        start = time.process_time()
        count = len(encode(text))
        times.append(time.process_time() - start)
    return count, size / times[0] / 1e6, size / min(times[1:]) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--probe", default=str(ROOT / "build/release/src/text/tokenizer_probe"))
    options = parser.parse_args()
    text = options.text.read_text() if options.text else docstrings()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        print(f"{len(text.encode()) / 1e6:.2f} MB of text\n{'model':16} {'program':14} {'tokens':>8} {'first':>8} {'again':>8}  MB/s")
        for model in options.models:
            report(model, text, options.probe, file.name)


def report(model, text, probe, text_path):
    name = pathlib.Path(model).stem

    def row(program, tokens, first, again):
        print(f"{name:16} {program:14} {tokens:8} {first:8.1f} {again:8.1f}", flush=True)

    done = subprocess.run([probe, model, "--time", text_path], capture_output=True, text=True, check=True)
    rounds = [(int(t), float(r)) for t, r in re.findall(r"(\d+) tokens, \S+ s, (\S+) MB/s", done.stdout)]
    row("serval", rounds[0][0], rounds[0][1], max(r for _, r in rounds[1:]))
    keys = oracle.read(model)
    if keys["tokenizer.ggml.model"] == "gpt2":
        peers = byte_bpe_peers(keys)
    else:
        peers = [("sentencepiece", lambda: oracle.sentencepiece_bpe(keys).EncodeAsIds)]
    for program, make in peers:
        try:
            encode = make()
        except ImportError:
            print(f"{name:16} {program:14} not installed")
            continue
        row(program, *measure(encode, text))


if __name__ == "__main__":
    main()
