#!/usr/bin/env python3
"""Serval, llama.cpp and ik_llama.cpp on the same files, in turn.

  bench/peers/build_llama_cpp.sh /tmp/peer && bench/peers/build_llama_cpp.sh /tmp/peer avx2
  bench/compare.py --peer /tmp/peer/build/bin --peer-avx2 /tmp/peer/build-avx2/bin --scratch /tmp [--ik DIR]

Every repeat runs each program once per group of rows (A/B/A/B), so that all of them meet the same machine. Shares of the machine's limits
are `serval bench`'s own (docs/reference/cli.md). Groups of rows:

  prompt   512 and 4096 tokens: the share of the dot products' peak; of attention's own arithmetic; of the speed at 512
  decode   128 tokens at once      depth    at 2048 and 8192 tokens      batch    4, 16 and 32 sequences
  avx2     prompt and decode with the AVX2 kernels, against a llama.cpp built for AVX2
  load     a cold start of the 1.5B, file in the page cache: from starting the process to the first byte of its answer
  bf16 f16 prompt and decode of weights that `serval quantize` converts in --scratch (up to 3 GB at a time, deleted again)
  q8       decode at depth with K and V in q8_0, in both programs

Many clients at once are bench/grid's. A group that lacks its program or folder is said to be not run. Records of earlier runs on
this kind of machine stay in bench/results until they are run again; --table shows them.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import comparison, machine, programs, speed  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCHEMA = 2


def measure(model, file, group_name, runners, options):
    """All repeats of one group on one model; `file` may be a converted copy. Returns finished records."""
    group = speed.GROUPS[group_name]
    rows = group.rows_of(model.stem)
    records = {row: comparison.Record(model.stem, group_name, row) for row in rows}
    for repeat in range(options.repeats):
        for program in runners:
            if not program.runs(group):
                continue
            found = program.measure(file, group, rows)
            for row, value in found.items():
                records[row].add(program.name, value)
            shown = ", ".join(f"{group.label(row)} {value.get('rate', value.get('seconds')):.4g}" for row, value in found.items())
            others = max(value.get("others_percent", 0) for value in found.values())
            disturbed = f" [others took {others:.0f} % of the machine]" if others > comparison.OTHERS_PERCENT else ""
            print(f"{model.stem} #{repeat + 1} {program.name}: {shown}{disturbed}", flush=True)
    serval = runners[0]
    bound = serval.memory_bound_mib(model) if rows[0].test == "load" else None
    first = records[rows[0]] if rows[0] == speed.PROMPT else None
    return [record.finished(first if row.test == "prompt" and row is not rows[0] else None, bound) for row, record in records.items()]


def measure_converted(model, group_name, runners, options):
    weights = speed.GROUPS[group_name].weights
    if not weights:
        return measure(model, model, group_name, runners, options)
    file = runners[0].convert(model, weights, options.scratch)
    try:
        return measure(model, file, group_name, runners, options)
    finally:
        file.unlink(missing_ok=True)


class Results:
    """The file of this kind of machine. Written after every group: a long run may be cut short."""

    def __init__(self, options):
        self.here = machine.describe()
        self.path = pathlib.Path(options.results, machine.slug(self.here), "compare.json")
        self.threads, self.saves = options.threads, not options.no_save
        self.records = []
        if self.path.exists():
            document = json.loads(self.path.read_text())
            if document["schema"] == SCHEMA and document["threads"] == options.threads:
                self.records = document["records"]
            elif self.saves:
                print(f"compare: {self.path} is of another schema or number of threads and will be replaced", file=sys.stderr)

    def add(self, records):
        self.records = comparison.merged(self.records, records)
        if self.saves:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            document = {"schema": SCHEMA, "machine": self.here, "threads": self.threads, "records": self.records}
            self.path.write_text(json.dumps(document, indent=1) + "\n")


def model_files(options):
    folder = pathlib.Path(options.model_folder).expanduser()
    out = []
    for name in options.models.split(","):
        found = sorted(folder.glob(name + "*.gguf"))
        if not found:
            sys.exit(f"compare: no {name}*.gguf in the model folder")
        out.append(found[0])
    return out


def revision():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="smollm2-135m,gemma3-270m,qwen2.5-0.5b,qwen2.5-1.5b", help="files of the model folder, or the beginnings of their names")
    parser.add_argument("--model-folder", default=os.environ.get("SERVAL_TEST_MODELS", "~/.cache/serval/test-models"))
    parser.add_argument("--rows", default=",".join(speed.GROUPS), help="groups of rows (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serval", default=str(ROOT / "build/release/serval"))
    parser.add_argument("--peer", help="folder with llama-bench, llama-batched-bench and llama-completion of llama.cpp")
    parser.add_argument("--peer-avx2", help="the same, built without AVX-512")
    parser.add_argument("--ik", help="folder with llama-bench of ik_llama.cpp")
    parser.add_argument("--scratch", help="folder for converted weights")
    parser.add_argument("--prefix", default="", help="words before every measured command, such as 'taskset -c 2,3'; cold starts count what they take")
    parser.add_argument("--results", default=str(ROOT / "bench/results"))
    parser.add_argument("--plots", default=str(ROOT / "docs/plots"))
    parser.add_argument("--no-save", action="store_true", help="print only")
    parser.add_argument("--table", action="store_true", help="run nothing: print and draw what was measured")
    options = parser.parse_args()
    unknown = [name for name in options.rows.split(",") if name not in speed.GROUPS]
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(speed.GROUPS)}")
    return options


def run(options, results):
    prefix = shlex.split(options.prefix)
    runners = [programs.Serval(options.serval, options.threads, prefix)]
    if options.peer or options.peer_avx2:
        runners.append(programs.Llama(options.peer, {"avx2": options.peer_avx2}, options.threads, prefix))
    if options.ik:
        runners.append(programs.IkLlama(options.ik, options.threads, prefix))
    measured = []
    for model in model_files(options):
        for name in options.rows.split(","):
            group = speed.GROUPS[name]
            if not group.has(model.stem):
                continue
            if group.weights and not options.scratch:
                print(f"{model.stem}: {name} not run, there is no --scratch", file=sys.stderr)
                continue
            records = [record | {"revision": revision()} for record in measure_converted(model, name, runners, options)]
            measured += records
            results.add(records)
    return measured


def main():
    options = arguments()
    results = Results(options)
    records = results.records if options.table else run(options, results)
    print("\n" + "\n".join(comparison.table(records)))
    if options.no_save:
        return
    try:
        from harness import plots
    except ImportError:
        print("no chart: matplotlib is not installed", file=sys.stderr)
        return
    plots.draw_comparison(results.records, pathlib.Path(options.plots) / "compare.png")


if __name__ == "__main__":
    main()
