"""Fields beyond the plain request: scoring, progress, timings, sharing, fill-in-the-middle."""
import json

import openai
import pytest

import conftest

TEXT = "The capital of France is Paris. The capital of Italy is Rome."
LONG = "A line of text that says very little. " * 120


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def complete(client, **options):
    return client.completions.create(**{"model": "tiny", "prompt": TEXT, "temperature": 0, "max_tokens": 4} | options)


def test_echo_with_logprobs_scores_the_prompt(client, server):
    ids = server.post("/tokenize", {"content": TEXT, "add_special": True})[2]["tokens"]
    for tokens in (0, 3):
        reply = complete(client, echo=True, logprobs=3, max_tokens=tokens).choices[0]
        scores = reply.logprobs
        assert reply.text.startswith(TEXT) and "".join(scores.tokens) == reply.text
        assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == len(ids) + tokens
        assert scores.token_logprobs[0] is None and scores.top_logprobs[0] is None
        assert all(p <= 0 for p in scores.token_logprobs[1:])
        for offset, token in zip(scores.text_offset, scores.tokens):
            assert reply.text[offset:].startswith(token)
        for token, own, top in list(zip(scores.tokens, scores.token_logprobs, scores.top_logprobs))[1:]:
            assert len(top) <= 3 and max(top.values()) >= own - 1e-5
            if token in top:
                assert top[token] == pytest.approx(own, abs=1e-5)


def test_prompt_scores_equal_the_scores_of_generation(client, server):
    """What greedy decoding says of its tokens, scoring the same text says too."""
    for text in (TEXT, TEXT[:40], TEXT[:31], TEXT[:20], LONG[:60]):  # until the answer is tokenised as it was made
        written = complete(client, prompt=text, logprobs=1, max_tokens=6).choices[0]
        ids = server.post("/tokenize", {"content": text, "add_special": True})[2]["tokens"]
        again = server.post("/tokenize", {"content": text + written.text, "add_special": True})[2]["tokens"]
        if again[:len(ids)] == ids and len(again) == len(ids) + 6:
            break
    else:
        pytest.fail("no answer is tokenised as it was made")
    scored = complete(client, prompt=again, echo=True, logprobs=1, max_tokens=0).choices[0]
    assert scored.logprobs.token_logprobs[-6:] == written.logprobs.token_logprobs


def test_streamed_echo_with_logprobs_joins_to_the_whole(client):
    whole = complete(client, echo=True, logprobs=2).choices[0]
    text, tokens, scores = "", [], []
    for chunk in complete(client, echo=True, logprobs=2, stream=True):
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            tokens += chunk.choices[0].logprobs.tokens
            scores += chunk.choices[0].logprobs.token_logprobs
    assert (text, tokens, scores) == (whole.text, whole.logprobs.tokens, whole.logprobs.token_logprobs)


def test_progress_and_timings_per_token(server):
    body = {"prompt": LONG, "max_tokens": 3, "temperature": 0, "stream": True, "ignore_eos": True,
            "return_progress": True, "timings_per_token": True, "cache_prompt": False}
    text = server.post("/v1/completions", body)[2]
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    progress = [c["prompt_progress"] for c in chunks if "prompt_progress" in c]
    assert progress and progress[-1]["processed"] == progress[-1]["total"] > 500
    assert [p["processed"] for p in progress] == sorted(p["processed"] for p in progress)
    assert all(p["cache"] == 0 and p["time_ms"] >= 0 for p in progress)
    spoken = [c for c in chunks if c["choices"][0].get("text")]
    assert [c["timings"]["predicted_n"] for c in spoken] == sorted(c["timings"]["predicted_n"] for c in spoken)
    assert all(c["timings"]["prompt_n"] == progress[-1]["total"] for c in spoken)


def test_sharing_fields_change_no_text(client):
    plain = complete(client).choices[0].text
    for extra in ({"priority": 50}, {"priority": -100}, {"cache_salt": "mine"}, {"stop_token_ids": []},
                  {"samplers": ["top_k", "temperature"]}, {"samplers": "kt"}, {"dry_multiplier": 0.0},
                  {"xtc_probability": 0.0}, {"typical_p": 1.0}, {"mirostat": 0}):
        reply = complete(client, extra_body=extra)
        assert reply.choices[0].text == plain and "warnings" not in reply.model_extra, extra


def test_cache_salt_keeps_prefixes_apart(server):
    def cached(salt):
        body = {"prompt": LONG, "max_tokens": 1, "cache_salt": salt}
        return server.post("/v1/completions", body)[2]["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert cached("a") == 0 and cached("a") > 500
    assert cached("b") == 0


@pytest.mark.parametrize("field, value", [
    ("grammar", 'root ::= "a"'), ("json_schema", {"type": "object"}), ("lora", [{"id": 0, "scale": 1}]),
    ("bad_words", ["x"]), ("t_max_predict_ms", 5), ("n_keep", 4), ("dynatemp_range", 0.5), ("use_beam_search", True),
    ("guided_json", {"a": 1}), ("response_format", {"type": "json_schema"}), ("priority", 101), ("priority", "high"),
    ("cache_salt", 5), ("stop_token_ids", ["x"]), ("stop_token_ids", [10**9]), ("samplers", ["nope"]), ("samplers", "zz"),
    ("mirostat", 1), ("logit_bias", {str(10**8): 1}), ("stop", ["x" * 300]), ("best_of", 3), ("suffix", "x"),
    ("top_logprobs", 1), ("min_tokens", -1), ("messages", []),
])
def test_refusals_name_the_field(server, field, value):
    status, _, reply = server.post("/v1/completions", {"prompt": "x", "max_tokens": 1, field: value})
    assert status == 400 and reply["error"]["param"] == field, reply


def test_n_stops_as_one(server):
    """A client that leaves takes all its choices with it."""
    body = {"prompt": "Once upon a time", "max_tokens": 2000, "n": 4, "ignore_eos": True, "stream": True}
    with server.connect() as connection:
        connection.sendall(conftest.http_post("/v1/completions", body))
        assert connection.recv(100)
    assert server.eventually(server.idle)


def test_infill_needs_a_model_that_can(server):
    status, _, reply = server.post("/infill", {"input_prefix": "a", "input_suffix": "b"})
    assert status == 400 and "fill-in-the-middle" in reply["error"]["message"]


@pytest.mark.large
def test_infill_and_suffix():
    qwen = conftest.Server("-np", "2", model="qwen2.5-0.5b")
    try:
        prefix, suffix = "def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"
        status, _, reply = qwen.post("/infill", {"input_prefix": prefix, "input_suffix": suffix, "temperature": 0,
                                                 "n_predict": 16})
        assert status == 200, reply
        assert reply["prompt"] == f"<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"
        assert reply["content"].lstrip().startswith("return a + b")
        extra = [{"filename": "a.py", "text": "x = 1"}, {"filename": "b.py", "text": "y = 2"}]
        longer = qwen.post("/infill", {"input_prefix": prefix, "input_suffix": suffix, "temperature": 0,
                                       "n_predict": 4, "input_extra": extra})[2]["prompt"]
        assert longer.index("<|file_sep|>a.py") < longer.index("<|file_sep|>b.py") < longer.index("<|fim_prefix|>")
        client = openai.OpenAI(base_url=qwen.url + "/v1", api_key="any", max_retries=0, timeout=120)
        filled = client.completions.create(model="qwen2.5-0.5b", prompt=prefix, suffix=suffix, max_tokens=16,
                                           temperature=0)
        assert filled.choices[0].text == reply["content"]
    finally:
        qwen.stop()
