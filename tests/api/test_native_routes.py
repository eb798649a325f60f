"""Tokenizer, template, models, properties, metrics; and the classic curl lines."""
import json
import shutil
import subprocess

import pytest


def test_tokenize_and_back(server):
    for text in ("Hello, world!", "naïve café ☕ 日本", "", "  spaces\n\ttabs  "):
        status, _, reply = server.post("/tokenize", {"content": text})
        assert status == 200 and reply["count"] == len(reply["tokens"])
        assert server.post("/v1/tokenize", {"prompt": text})[2] == reply
        assert server.post("/detokenize", {"tokens": reply["tokens"]})[2]["content"] == text
    pieces = server.post("/tokenize", {"content": "☕ hi", "with_pieces": True})[2]["tokens"]
    joined = b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode() for p in pieces)
    assert joined.decode() == "☕ hi"
    assert server.post("/detokenize", {"tokens": [10**6]})[0] == 400


def test_control_tokens(server):
    one = server.post("/tokenize", {"content": "<|im_start|>"})[2]["tokens"]
    many = server.post("/tokenize", {"content": "<|im_start|>", "parse_special": False})[2]["tokens"]
    assert len(one) == 1 < len(many)
    chat = {"messages": [{"role": "user", "content": "<|im_start|>"}]}
    tokens = server.post("/tokenize", chat)[2]["tokens"]
    assert tokens.count(one[0]) == server.post("/tokenize", {"messages": [{"role": "user", "content": "x"}]})[2][
        "tokens"].count(one[0])


def test_apply_template(server):
    chat = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    text = server.post("/apply-template", chat)[2]["prompt"]
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert server.post("/v1/apply-template", chat | {"add_generation_prompt": False})[2]["prompt"] == \
        text.removesuffix("<|im_start|>assistant\n")
    tokens = server.post("/tokenize", chat)[2]["tokens"]
    assert server.post("/detokenize", {"tokens": tokens})[2]["content"] == text


def test_health_and_props(server):
    for path in ("/health", "/v1/health", "/livez", "/readyz"):
        assert server.call(path)[2] == {"status": "ok"}
    props = server.call("/props")[2]
    assert props["model_alias"] == "tiny" and props["kv_tokens"] >= 16384
    assert props["default_generation_settings"]["n_ctx"] == 8192
    assert props["default_generation_settings"]["params"]["samplers"]


def test_flags_without_effect_are_said(start):
    server = start("-ngl", 32)
    assert any("-ngl" in line for line in server.lines)
    assert any("-ngl" in notice for notice in server.call("/props")[2]["notices"])


def test_metrics(server):
    before = server.metric("vllm:time_to_first_token_seconds_count")
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 5, "ignore_eos": True})
    assert server.metric("vllm:time_to_first_token_seconds_count") == before + 1
    assert server.metric("vllm:inter_token_latency_seconds_count") >= 4
    assert server.metric("vllm:kv_cache_usage_perc") <= 1
    text = server.call("/metrics")[2]
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) and "vllm:e2e_request_latency_seconds" in families
    for family in families:  # buckets rise and end in the count
        buckets = [float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if l.startswith(family + "_bucket")]
        assert buckets == sorted(buckets)
        if buckets:
            assert buckets[-1] == server_count(text, family)


def server_count(text, family):
    return next(float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if l.startswith(family + "_count"))


def test_access_log(server):
    server.post("/v1/completions", {"prompt": "a secret question", "max_tokens": 1},
                headers={"x-request-id": "find-me"})
    assert server.eventually(lambda: any("find-me" in line for line in server.lines))
    entry = json.loads(next(line for line in server.lines if "find-me" in line))
    assert entry["path"] == "/v1/completions" and entry["status"] == 200 and entry["ms"] >= 0
    assert not any("secret question" in line for line in server.lines)


@pytest.mark.parametrize("arguments, expected", [
    (["/health"], '"ok"'),
    (["/v1/models"], '"object":"list"'),
    (["/v1/completions", "-H", "Content-Type: application/json", "-d",
      '{"model": "tiny", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}'], "Paris"),
    (["/v1/chat/completions", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer no-key", "-d",
      '{"model": "tiny", "messages": [{"role": "user", "content": "Say hi"}], "max_tokens": 4}'], '"role":"assistant"'),
    (["-N", "/v1/chat/completions", "-H", "Content-Type: application/json", "-d",
      '{"model": "tiny", "messages": [{"role": "user", "content": "Say hi"}], "max_tokens": 4, "stream": true}'],
     "data: [DONE]"),
])
def test_curl(server, arguments, expected):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "--fail-with-body", *[server.url + a if a.startswith("/") else a for a in arguments]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and expected in done.stdout, done
