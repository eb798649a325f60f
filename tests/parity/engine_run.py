"""Runs `serval perplexity --tokens ... --logits ...`: the engine's own logits of given token ids."""

import json
import os
import subprocess

import numpy as np

SERVAL = os.environ.get("SERVAL_BIN", "build/release/serval")


def serval(*arguments):
    return subprocess.run([SERVAL, *map(str, arguments)], capture_output=True, text=True)


def engine_logits(folder, model, chunks, *options):
    """The logits of each chunk's scored positions, [chunk, position, vocab], and the report."""
    tokens, logits = folder / "tokens.json", folder / "logits.npy"
    tokens.write_text(json.dumps(chunks))
    done = serval("perplexity", model, "--tokens", tokens, "--logits", logits, "--json", *options)
    assert done.returncode == 0, done.stderr
    return np.load(logits, mmap_mode="r"), json.loads(done.stdout)
