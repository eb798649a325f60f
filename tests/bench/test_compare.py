"""bench/compare.py with programs that answer at once and say what they were asked."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from harness import comparison, speed  # noqa: E402

# Each call is a repeat: figures come from a file of calls done so far.
FAKE = r'''#!/usr/bin/env python3
import json, os, pathlib, sys
folder, name, words = pathlib.Path(__file__).parent, pathlib.Path(__file__).name, sys.argv[1:]
with open(folder / "calls", "a") as file:
    file.write(json.dumps([name, os.environ.get("SERVAL_FORCE_ISA", "")] + words) + "\n")
def numbers(flag, none=0):
    return [int(word) for word in words[words.index(flag) + 1].split(",")] if flag in words else [none]
repeat = sum(json.loads(line)[:3] == [name, os.environ.get("SERVAL_FORCE_ISA", ""), words[0]] for line in open(folder / "calls"))
if name == "serval" and words[0] == "bench":
    works = [("prompt", p, 0, 1) for p in numbers("-p") if p]
    works += [("decode", n, d, b) for n in numbers("-n") if n for d in numbers("-d") for b in numbers("-B", 1)]
    rows = [{"test": t, "tokens": n, "depth": d, "batch": b, "tokens_per_second": 300.0 * repeat if n != 4096 else 200.0 * repeat,
             "roofline_percent": 50.0 + 20 * (repeat in (2, 4)), "bound": "memory", "unsteady": int(repeat == 2), "limits": {}, "repetitions": [{"others_percent": 9.0 if repeat == 4 else 0.1}],
             "profile": [{"operator": "head", "limit_percent": 1.0}, {"operator": "attention", "limit_percent": 77.0}]} for t, n, d, b in works]
    print(json.dumps({"rows": rows, "machine": {"kernels": "fake", "steal_percent": 0}}))
elif name == "serval" and words[0] == "inspect":
    print(json.dumps({"file_bytes": 1 << 20, "plan": {"kv_bytes": 1 << 20, "workspace_bytes": 1 << 20}}))
elif name == "serval" and words[0] == "quantize":
    pathlib.Path(words[2]).write_text(words[3])
elif name == "llama-bench":
    rows = [(p, 0) for p in numbers("-p") if p] + [(0, n) for n in numbers("-n") if n]
    rate = 100.0 + 50 * numbers("-rtr")[0]
    print(json.dumps([{"n_prompt": p, "n_gen": n, "n_depth": d, "avg_ts": rate} for p, n in rows for d in numbers("-d")]))
elif name == "llama-batched-bench":
    for size in numbers("-npl"):
        print(json.dumps({"pl": size, "speed_tg": 100.0}))
else:
    print("x")
'''


@pytest.fixture
def bench(tmp_path):
    for folder, names in (("a", ["serval"]), ("b", ["llama-bench", "llama-batched-bench", "llama-completion"]), ("c", ["llama-bench"]), ("d", ["llama-bench"])):
        (tmp_path / folder).mkdir()
        for name in names:
            path = tmp_path / folder / name
            path.write_text(FAKE.replace("#!/usr/bin/env python3", f"#!{sys.executable}"))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "models").mkdir()
    for name in ("smollm2-135m", "qwen2.5-1.5b"):
        (tmp_path / "models" / f"{name}.gguf").write_bytes(b"GGUF")

    def call(*words, peers=True):
        command = [sys.executable, ROOT / "bench/compare.py", "--serval", tmp_path / "a/serval", "--model-folder", tmp_path / "models",
                   "--results", tmp_path / "results", "--plots", tmp_path / "plots", *words]
        if peers:
            command += ["--peer", tmp_path / "b", "--ik", tmp_path / "c", "--peer-avx2", tmp_path / "d"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, "MPLCONFIGDIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        found = list((tmp_path / "results").rglob("compare.json"))
        records = json.loads(found[0].read_text())["records"] if found else []
        return done, {(record["model"], record["work"]): record for record in records}

    call.folder = tmp_path
    call.calls = lambda folder: [json.loads(line) for line in (tmp_path / folder / "calls").read_text().splitlines()]
    return call


def test_every_row_of_a_model(bench):
    done, records = bench("--models", "qwen2.5-1.5b", "--repeats", "3", "--scratch", bench.folder)
    works = [work for _, work in records]
    assert works == ["prompt 512", "prompt 4096", "decode 128", "decode at 2048", "decode at 8192", "decode batch 4", "decode batch 16", "decode batch 32",
                     "avx2 prompt 512", "avx2 decode 128", "load", "BF16 prompt 512", "BF16 decode 128", "F16 prompt 512", "F16 decode 128",
                     "q8_0 KV decode at 2048", "q8_0 KV decode at 8192"]
    assert not list(bench.folder.glob("*.gguf"))  # converted weights are gone
    avx2 = [call for call in bench.calls("a") if call[1] == "avx2"]
    assert len(avx2) == 3 and all(call[2] == "bench" for call in avx2)
    assert [call[0] for call in bench.calls("d")] == ["llama-bench"] * 3
    quantised = [call for call in bench.calls("b") if "q8_0" in call]
    assert quantised and all(call[call.index("-ctk") + 1] == call[call.index("-ctv") + 1] == "q8_0" for call in quantised)
    for record in records.values():
        assert set(record["pass"]) == set(record["target"]), record["work"]
        assert record["work"] in done.stdout
    load = records["qwen2.5-1.5b", "load"]
    assert load["target"]["peak MiB"] == 67 and load["measured"]["peak MiB"] > 0
    assert "limit" not in load["measured"]


def test_shares_leave_out_what_was_disturbed(bench):
    _, records = bench("--models", "qwen2.5-1.5b", "--rows", "decode", "--repeats", "4", peers=False)
    record = records["qwen2.5-1.5b", "decode 128"]
    assert [value["limit"] for value in record["repeats"]["serval"]] == [50, 70, 50, 70]
    assert record["measured"]["limit"] == 50 and record["steady"]


def test_figures_and_verdicts(bench):
    _, records = bench("--models", "qwen2.5-1.5b", "--rows", "prompt", "--repeats", "3")
    first, longer = records["qwen2.5-1.5b", "prompt 512"], records["qwen2.5-1.5b", "prompt 4096"]
    assert first["median"] == {"serval": 600, "llama.cpp": 100, "ik_llama.cpp": 150}  # the better of -rtr 0 and 1
    assert [value["repacked"] for value in first["repeats"]["ik_llama.cpp"]] == [True] * 3
    assert first["ratio"]["llama.cpp"]["median"] == 6 and first["ratio"]["llama.cpp"]["low"] == 3 and first["ratio"]["llama.cpp"]["high"] == 9
    assert first["measured"]["limit"] == 50  # the second repeat was unsteady
    assert first["pass"] == {"limit": False, "llama.cpp": True, "ik_llama.cpp": True}
    assert round(longer["measured"]["of prompt 512"], 1) == 66.7
    assert longer["pass"] == {"attention": True, "of prompt 512": False, "llama.cpp": True, "ik_llama.cpp": True}


def test_what_is_missing_is_said(bench):
    done, records = bench("--models", "qwen2.5-1.5b", "--rows", "decode,avx2,bf16", "--repeats", "1", peers=False)
    assert "bf16 not run, there is no --scratch" in done.stderr
    assert done.stdout.count("not run") == 2 + 2  # ik_llama.cpp is not held against AVX2
    assert list(records["qwen2.5-1.5b", "avx2 decode 128"]["pass"]) == ["limit"]


def test_later_runs_replace_their_rows_only(bench):
    bench("--models", "smollm2", "--rows", "depth,decode", "--repeats", "1")
    _, records = bench("--models", "qwen2.5-1.5b,smollm2", "--rows", "decode", "--repeats", "2")
    assert [key for key in records] == [("smollm2-135m", "decode 128"), ("smollm2-135m", "decode at 2048"), ("smollm2-135m", "decode at 7936"),
                                        ("qwen2.5-1.5b", "decode 128")]
    assert len(records["smollm2-135m", "decode 128"]["repeats"]["serval"]) == 2
    assert len(records["smollm2-135m", "decode at 2048"]["repeats"]["serval"]) == 1
    # What ik_llama.cpp computes wrongly is shown and judges nothing.
    assert "ik_llama.cpp" in records["smollm2-135m", "decode 128"]["ratio"] and "ik_llama.cpp" not in records["smollm2-135m", "decode 128"]["target"]
    done, _ = bench("--table", peers=False)
    assert "it computes this file wrongly" in done.stdout and done.stdout.count("\n") >= 5


def test_targets_are_for_every_row():
    for name, group in speed.GROUPS.items():
        for model in ("smollm2-135m", "gemma3-270m", "qwen2.5-0.5b", "qwen2.5-1.5b"):
            for row in group.rows_of(model):
                assert speed.targets(group, row, model), (name, model, row)


def test_all_repeats_count_if_none_was_steady():
    record = comparison.Record("qwen2.5-0.5b", "decode", speed.DECODE)
    for limit, others in ((40, 0), (60, 0), (80, 30)):
        record.add("serval", {"rate": 1, "limit": limit, "attention": 1, "bound": "memory", "steady": others > 0, "others_percent": others})
    found = record.finished()
    assert found["measured"]["limit"] == 60 and not found["steady"]
    assert "unsteady" in "\n".join(comparison.table([found]))
