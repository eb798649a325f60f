#!/usr/bin/env python3
"""Serval, llama.cpp and ik_llama.cpp on the same files, in turn: bench/compare.py --peer DIR [--ik DIR] --models smollm2 --repeats 5.

Every repeat runs each program once per group of rows (A/B/A/B); ratios are taken within a repeat, then their median and a bootstrap
95 % interval. The share of the machine's limit is `serval bench`'s own: read bandwidth and dot products measured just before and after
in the same process. bench/peers/build_llama_cpp.sh builds the peer; without --ik its columns say "not run".
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import machine  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH_DEPTH = 16  # prompt of every sequence in the batch rows
SMALL = ("smollm2", "gemma3")

# group -> rows as (test, tokens, depth, batch)
GROUPS = {
    "prompt": [("prompt", 512, 0, 1), ("prompt", 4096, 0, 1)],
    "decode": [("decode", 128, 0, 1), ("decode", 128, 2048, 1)],
    "batch": [("decode", 64, BATCH_DEPTH, 4), ("decode", 64, BATCH_DEPTH, 16), ("decode", 64, BATCH_DEPTH, 32)],
}


def label(row):
    test, tokens, depth, batch = row
    if test == "prompt":
        return f"prompt {tokens}"
    return f"decode, batch {batch}" if batch > 1 else f"decode, depth {depth}"


def targets(row, model):
    """(least share of the limit in %, least ratio to llama.cpp, least ratio to ik_llama.cpp); None: no target."""
    test, tokens, depth, batch = row
    small = model.startswith(SMALL)
    if test == "prompt" and tokens == 512:
        return (45 if small else 60), 3.0, 1.8
    if test == "prompt":
        return None, 4.0, 1.8
    if batch > 1:
        return 70, (2.5 if batch == 4 else 3.5), None
    if depth == 0:
        first = 1.5 if model.startswith("smollm2") else 1.15 if model.startswith("gemma3") else 1.2
        return (80 if small else 92), first, (first if small else 0.97)
    return 90, (1.3 if "1.5b" in model else 1.5), None


def run(command, **extra_environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **extra_environment})
    if done.returncode != 0:
        raise RuntimeError(f"{pathlib.Path(command[0]).name} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def joined(values):
    return ",".join(str(value) for value in dict.fromkeys(values))


class Serval:
    name = "serval"

    def __init__(self, program, threads, isa):
        self.program, self.threads = program, threads
        self.environment = {"SERVAL_FORCE_ISA": isa} if isa else {}

    def measure(self, model, rows):
        """Row to {"rate", "limit_percent", "bound"}; the machine's limits besides."""
        prompts = [tokens for test, tokens, _, _ in rows if test == "prompt"]
        decodes = [row for row in rows if row[0] == "decode"]
        command = [self.program, "bench", model, "-r", 1, "-t", self.threads, "--json", "-p", joined(prompts or [0])]
        command += ["-n", joined([row[1] for row in decodes] or [0]), "-d", joined([row[2] for row in decodes] or [0])]
        command += ["-B", joined([row[3] for row in decodes] or [1])]
        report = json.loads(run(command, **self.environment))
        out = {}
        for found in report["rows"]:
            key = (found["test"], found["tokens"], found["depth"], found["batch"])
            if key in rows:
                out[key] = {"rate": found["tokens_per_second"], "limit_percent": found["roofline_percent"], "bound": found["bound"]}
        return out, {key: report["machine"][key] for key in ("before", "after", "steal_percent", "kernels")}


class Llama:
    """llama-bench and llama-batched-bench of llama.cpp, or of a fork, whose llama-bench may know no depth and is then measured without."""

    def __init__(self, name, folder, threads, fork=False):
        self.name, self.folder, self.threads, self.fork = name, pathlib.Path(folder), threads, fork

    def measure(self, model, rows):
        out = {}
        if self.fork:
            rows = [row for row in rows if row[2] == 0 and row[3] == 1]
        single = [row for row in rows if row[3] == 1]
        batch = [row for row in rows if row[3] > 1]
        for depth in dict.fromkeys(row[2] for row in single):
            prompts = [row[1] for row in single if row[0] == "prompt" and row[2] == depth]
            decodes = [row[1] for row in single if row[0] == "decode" and row[2] == depth]
            command = [self.folder / "llama-bench", "-m", model, "-t", self.threads, "-r", 1, "-fa", 1, "-o", "json"]
            command += ["-p", joined(prompts or [0]), "-n", joined(decodes or [0])] + (["-d", depth] if depth else [])
            for found in json.loads(run(command)):
                test, tokens = ("prompt", found["n_prompt"]) if found["n_prompt"] else ("decode", found["n_gen"])
                out[(test, tokens, depth, 1)] = {"rate": found["avg_ts"]}
        if batch:
            tokens, depth = batch[0][1:3]
            sizes = [row[3] for row in batch]
            command = [self.folder / "llama-batched-bench", "-m", model, "-t", self.threads, "-tb", self.threads, "-fa", "on",
                       "-c", max(sizes) * (depth + tokens), "-npp", depth, "-ntg", tokens, "-npl", joined(sizes), "--output-format", "jsonl"]
            for line in run(command).splitlines():
                if line.startswith("{"):
                    found = json.loads(line)
                    out[("decode", tokens, depth, found["pl"])] = {"rate": found["speed_tg"]}
        return out, None


def interval(values, seed=1):
    """Bootstrap 95 % interval of the median."""
    source = random.Random(seed)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(2000))
    return medians[49], medians[1949]


def compare(model, programs, options):
    rows = [row for group in options.rows.split(",") for row in GROUPS[group]]
    records = {row: {"model": model.stem, "row": label(row), "rates": {}, "limit_percents": []} for row in rows}
    runs = []
    for repeat in range(options.repeats):
        for group in options.rows.split(","):
            for program in programs:
                load = machine.Load()
                found, limits = program.measure(model, GROUPS[group])
                if limits:
                    runs.append({"repeat": repeat, "group": group, "load_average_before": load.load_average} | limits)
                for row, value in found.items():
                    record = records[row]
                    record["rates"].setdefault(program.name, []).append(value["rate"])
                    if "limit_percent" in value:
                        record["limit_percents"].append(value["limit_percent"])
                        record["bound"] = value["bound"]
                shown = ", ".join(f"{label(row)} {value['rate']:.1f}" for row, value in found.items())
                print(f"{model.stem} #{repeat + 1} {program.name}: {shown}", flush=True)
    return [finish(row, record) for row, record in records.items() if record["rates"].get("serval")], runs


def finish(row, record):
    ours = record["rates"]["serval"]
    record["median"] = {name: statistics.median(rates) for name, rates in record["rates"].items()}
    record["limit_percent"] = statistics.median(record["limit_percents"])
    record["ratio"] = {}
    for name, rates in record["rates"].items():
        if name != "serval":
            ratios = [a / b for a, b in zip(ours, rates)]
            low, high = interval(ratios)
            record["ratio"][name] = {"median": statistics.median(ratios), "low": low, "high": high}
    limit, llama, ik = targets(row, record["model"])
    wanted = {"limit_percent": limit, "llama.cpp": llama, "ik_llama.cpp": ik}
    record["target"] = {name: value for name, value in wanted.items() if value is not None}
    measured = {"limit_percent": record["limit_percent"]} | {name: ratio["median"] for name, ratio in record["ratio"].items()}
    record["pass"] = {name: measured[name] >= value for name, value in record["target"].items() if name in measured}
    return record


def verdict(record, name):
    return {True: "pass", False: "FAIL", None: ""}[record["pass"].get(name)]


def print_table(records, peers):
    head = f"{'model':<14}{'work':<20}{'t/s':>9}{'of limit':>10}{'':>5}"
    print("\n" + head + "".join(f"{name:>14}{'ratio':>22}{'':>5}" for name in ("llama.cpp", "ik_llama.cpp")))
    for record in records:
        line = f"{record['model']:<14}{record['row']:<20}{record['median']['serval']:>9.1f}{record['limit_percent']:>9.1f}%{verdict(record, 'limit_percent'):>5}"
        for name in ("llama.cpp", "ik_llama.cpp"):
            if name not in peers or name not in record["ratio"]:
                line += f"{'not run':>14}{'':>27}"
                continue
            ratio = record["ratio"][name]
            shown = f"{ratio['median']:.2f} x [{ratio['low']:.2f}, {ratio['high']:.2f}]"
            line += f"{record['median'][name]:>14.1f}{shown:>22}{verdict(record, name):>5}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="smollm2-135m", help="files of the model folder, or the beginnings of their names")
    parser.add_argument("--model-folder", default=os.environ.get("SERVAL_TEST_MODELS", "~/.cache/serval/test-models"))
    parser.add_argument("--rows", default=",".join(GROUPS), help="groups of rows: " + ", ".join(GROUPS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serval", default=str(ROOT / "build/release/serval"))
    parser.add_argument("--isa", help="the kernel set to force, such as avx2")
    parser.add_argument("--peer", help="folder with llama-bench and llama-batched-bench of llama.cpp")
    parser.add_argument("--ik", help="folder with llama-bench of ik_llama.cpp")
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    parser.add_argument("--plots", default=str(ROOT / "docs/plots"))
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    programs = [Serval(options.serval, options.threads, options.isa)]
    if options.peer:
        programs.append(Llama("llama.cpp", options.peer, options.threads))
    if options.ik:
        programs.append(Llama("ik_llama.cpp", options.ik, options.threads, fork=True))

    here, records, runs = machine.describe(), [], []
    for name in options.models.split(","):
        models = sorted(pathlib.Path(options.model_folder).expanduser().glob(name + "*.gguf"))
        if not models:
            sys.exit(f"compare: no {name}*.gguf in the model folder")
        found, made = compare(models[0], programs, options)
        records += found
        runs += [{"model": models[0].stem} | one for one in made]
    print_table(records, [program.name for program in programs])
    if options.no_save:
        return
    kind = f"compare-{options.isa}" if options.isa else "compare"
    path = pathlib.Path(options.results, machine.slug(here), kind + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": 1, "machine": here, "threads": options.threads, "records": records, "runs": runs}
    path.write_text(json.dumps(document, indent=1) + "\n")
    try:
        from harness import plots
    except ImportError:
        print("no chart: matplotlib is not installed", file=sys.stderr)
        return
    plots.draw_comparison(records, pathlib.Path(options.plots) / (kind + ".png"))


if __name__ == "__main__":
    main()
