"""The programs that bench/compare.py runs, each through its own benchmark.

measure(model, group, rows) gives a value for every row the program has: {"rate": tokens per second}, or for a cold start
{"seconds", "peak_mib"}; Serval's values also say how near to the machine's limits they are.
"""

import json
import os
import pathlib
import subprocess
import time

from harness.speed import CONTEXT

PROMPT = "The capital of France is"


def joined(values):
    return ",".join(str(value) for value in dict.fromkeys(values))


def axes(rows):
    """Lists for -p, -n, -d and -B; a 0 stands for none."""
    prompts = [row.tokens for row in rows if row.test == "prompt"]
    decodes = [row for row in rows if row.test == "decode"]
    return (joined(prompts or [0]), joined([row.tokens for row in decodes] or [0]), joined([row.depth for row in decodes] or [0]),
            joined([row.batch for row in decodes] or [1]))


def run(command, **extra_environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **extra_environment})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(word) for word in command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def cold_start(command, model):
    """A new process, from its start to the first byte of its answer, and the most memory it had resident, mapped file included.

    The file is in the page cache. One start goes before and is not counted: a virtual machine that must first hand out a gigabyte would
    count against whoever comes first.
    """
    with open(model, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    one_start(command)
    return one_start(command)


def one_start(command):
    words = [str(word) for word in command]
    begin = time.monotonic()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    first = process.stdout.read(1)
    seconds = time.monotonic() - begin
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not first:
        raise RuntimeError(f"{' '.join(words)} gave no answer")
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024}


class Serval:
    name = "serval"

    def __init__(self, program, threads, prefix=()):
        self.program, self.threads, self.prefix = program, threads, list(prefix)

    def runs(self, group):
        return True

    def measure(self, model, group, rows):
        if rows[0].test == "load":
            command = [self.program, "run", model, "--raw", "-q", "-n", 1, "--temp", 0, "-t", self.threads, "-c", CONTEXT, "-p", PROMPT]
            return {rows[0]: cold_start(self.prefix + command, model)}
        prompts, decodes, depths, batches = axes(rows)
        command = [self.program, "bench", model, "-r", 1, "-t", self.threads, "--json", "--profile", "--kv-type", group.kv,
                   "-p", prompts, "-n", decodes, "-d", depths, "-B", batches]
        report = json.loads(run(self.prefix + command, **({"SERVAL_FORCE_ISA": group.isa} if group.isa else {})))
        by_key = {(found["test"], found["tokens"], found["depth"], found["batch"]): found for found in report["rows"]}
        return {row: self.value(by_key[(row.test, row.tokens, row.depth, row.batch)], report["machine"]) for row in rows}

    @staticmethod
    def value(found, machine):
        attention = [part["limit_percent"] for part in found["profile"] if part["operator"] == "attention"]
        return {"rate": found["tokens_per_second"], "limit": found["roofline_percent"], "bound": found["bound"], "attention": attention[0],
                "steady": found["unsteady"] == 0, "others_percent": found["repetitions"][0]["others_percent"], "limits": found["limits"], "kernels": machine["kernels"], "steal_percent": machine["steal_percent"]}

    def memory_bound_mib(self, model):
        """What a cold start may have resident: the file, K and V, what the plan works in, and 64 MiB."""
        report = json.loads(run([self.program, "inspect", "--plan", "--json", "-c", CONTEXT, model]))
        return (report["file_bytes"] + report["plan"]["kv_bytes"] + report["plan"]["workspace_bytes"]) / 2**20 + 64

    def convert(self, model, weights, folder):
        out = pathlib.Path(folder, f"{model.stem}-{weights}.gguf")
        run([self.program, "quantize", model, out, weights, "--force"])
        return out


class Llama:
    """llama.cpp: `folder` has the build of everything this machine offers, `by_isa` those of smaller instruction sets."""

    name = "llama.cpp"

    def __init__(self, folder, by_isa, threads, prefix=()):
        self.folders = {"": folder} | by_isa
        self.threads, self.prefix = threads, list(prefix)

    def runs(self, group):
        return bool(self.folders.get(group.isa))

    def measure(self, model, group, rows):
        folder = pathlib.Path(self.folders[group.isa])
        if rows[0].test == "load":  # repacking its weights is its default; what only warms up is left out
            command = [folder / "llama-completion", "-m", model, "-t", self.threads, "-c", CONTEXT, "-fa", "on", "-n", 1, "--temp", 0, "-no-cnv",
                       "--no-display-prompt", "--no-warmup", "--simple-io", "-p", PROMPT]
            return {rows[0]: cold_start(self.prefix + command, model)}
        if rows[0].batch > 1:
            return self.batches(folder, model, group, rows)
        return self.single(folder, model, group, rows)

    def single(self, folder, model, group, rows):
        prompts, decodes, depths, _ = axes(rows)
        command = [folder / "llama-bench", "-m", model, "-t", self.threads, "-r", 1, "-fa", 1, "-o", "json", "-ctk", group.kv, "-ctv", group.kv,
                   "-p", prompts, "-n", decodes, "-d", depths]
        rates = {}
        for found in json.loads(run(self.prefix + command)):
            test, tokens = ("prompt", found["n_prompt"]) if found["n_prompt"] else ("decode", found["n_gen"])
            rates[(test, tokens, found["n_depth"])] = found["avg_ts"]
        return {row: {"rate": rates[(row.test, row.tokens, row.depth)]} for row in rows}

    def batches(self, folder, model, group, rows):
        tokens, depth = rows[0].tokens, rows[0].depth
        sizes = [row.batch for row in rows]
        command = [folder / "llama-batched-bench", "-m", model, "-t", self.threads, "-tb", self.threads, "-fa", "on", "-ctk", group.kv, "-ctv", group.kv,
                   "-c", max(sizes) * (depth + tokens), "-npp", depth, "-ntg", tokens, "-npl", joined(sizes), "--output-format", "jsonl"]
        found = [json.loads(line) for line in run(self.prefix + command).splitlines() if line.startswith("{")]
        rates = {one["pl"]: one["speed_tg"] for one in found}
        return {row: {"rate": rates[row.batch]} for row in rows}


class IkLlama:
    """ik_llama.cpp, whose llama-bench knows no depth: the better of its default and of repacking while it loads."""

    name = "ik_llama.cpp"

    def __init__(self, folder, threads, prefix=()):
        self.folder, self.threads, self.prefix = folder, threads, list(prefix)

    def runs(self, group):
        return bool(self.folder) and group.ik

    def measure(self, model, group, rows):
        prompts, decodes, _, _ = axes(rows)
        out = {}
        for repack in (0, 1):
            command = [pathlib.Path(self.folder, "llama-bench"), "-m", model, "-t", self.threads, "-r", 1, "-fa", 1, "-o", "json", "-rtr", repack,
                       "-p", prompts, "-n", decodes]
            for found in json.loads(run(self.prefix + command)):
                test, tokens = ("prompt", found["n_prompt"]) if found["n_prompt"] else ("decode", found["n_gen"])
                row = next(row for row in rows if (row.test, row.tokens) == (test, tokens))
                if found["avg_ts"] > out.get(row, {"rate": 0})["rate"]:
                    out[row] = {"rate": found["avg_ts"], "repacked": bool(repack)}
        return out
