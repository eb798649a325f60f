"""What bench/compare.py measures: rows of work in groups that one call of each program measures, and what each row should reach."""

import dataclasses

SMALL = ("smollm2", "gemma3")
BATCH_DEPTH = 16  # prompt of every sequence in the batch rows
CONTEXT = 4096  # of the programs that are started cold


@dataclasses.dataclass(frozen=True)
class Row:
    test: str  # "prompt", "decode", or "load": a cold start up to the first token
    tokens: int = 1
    depth: int = 0
    batch: int = 1


@dataclasses.dataclass(frozen=True)
class Group:
    rows: tuple
    kv: str = "f16"
    isa: str = ""  # the kernel set to force; the peer is then one built for it
    weights: str = ""  # a type the file is converted to first
    models: tuple = ()  # beginnings of names; none: all
    ik: bool = False  # whether ik_llama.cpp is held against it

    def has(self, model):
        return not self.models or model.startswith(self.models)

    def rows_of(self, model):
        """SmolLM2 was trained for 8,192 tokens: its deep row ends there."""
        return [dataclasses.replace(row, depth=7936) if model.startswith("smollm2") and row.depth == 8192 else row for row in self.rows]

    def label(self, row):
        parts = [self.isa or self.weights or (f"{self.kv} KV" if self.kv != "f16" else ""), row.test]
        if row.test == "prompt":
            parts.append(str(row.tokens))
        if row.test == "decode":
            parts.append(f"batch {row.batch}" if row.batch > 1 else f"at {row.depth}" if row.depth else str(row.tokens))
        return " ".join(part for part in parts if part)


PROMPT, DECODE = Row("prompt", 512), Row("decode", 128)
DEEP = (Row("decode", 64, 2048), Row("decode", 64, 8192))
QWEN = ("qwen2.5-0.5b", "qwen2.5-1.5b")

GROUPS = {
    "prompt": Group((PROMPT, Row("prompt", 4096)), ik=True),
    "decode": Group((DECODE,), ik=True),
    "depth": Group(DEEP),
    "batch": Group(tuple(Row("decode", 64, BATCH_DEPTH, batch) for batch in (4, 16, 32))),
    "avx2": Group((PROMPT, DECODE), isa="avx2"),
    "load": Group((Row("load"),), models=("qwen2.5-1.5b",)),
    "bf16": Group((PROMPT, DECODE), weights="BF16", models=QWEN),
    "f16": Group((PROMPT, DECODE), weights="F16", models=QWEN),
    "q8": Group(DEEP, kv="q8_0"),
}


def ik_is_correct(model):
    """It computed this file wrongly when it was checked (perplexity 246 where an exact reading gives 77)."""
    return not model.startswith("smollm2")


def targets(group, row, model):
    """Check to its bound: shares in percent, ratios to a peer ("llama.cpp", "ik_llama.cpp"); "seconds" is an upper bound."""
    small = model.startswith(SMALL)
    if row.test == "load":
        return {"seconds": 0.5, "llama.cpp": 1.0}
    if group.isa:
        return {"limit": 55 if row.test == "prompt" else 85, "llama.cpp": 1.5}
    if group.weights:
        wanted = {"limit": 92 if row.test == "decode" else 80 if group.weights == "BF16" else 75}
        return wanted | ({"llama.cpp": 1.5} if row.test == "prompt" and group.weights == "BF16" else {})
    if group.kv != "f16":
        return {"attention": 80}
    if row.batch > 1:
        return {"limit": 70, "llama.cpp": 2.5 if row.batch == 4 else 3.5}
    if row.test == "decode" and row.depth:
        return {"limit": 90, "llama.cpp": 1.3 if "1.5b" in model and row.depth == 2048 else 1.5}
    ik = {"ik_llama.cpp": 1.8} if ik_is_correct(model) else {}
    if row.test == "prompt" and row.tokens == 512:
        return {"limit": 45 if small else 60, "llama.cpp": 3.0} | ik
    if row.test == "prompt":
        return {"attention": 55, "of prompt 512": 75 if "1.5b" in model else 65 if "0.5b" in model else 50, "llama.cpp": 4.0} | ik
    if model.startswith("smollm2"):
        return {"limit": 80, "llama.cpp": 1.5}
    if small:
        return {"limit": 80, "llama.cpp": 1.15, "ik_llama.cpp": 1.15}
    return {"limit": 92, "llama.cpp": 1.2, "ik_llama.cpp": 0.97}
