"""Every field that clients are known to send to a chat: it does what it says, or is named in `warnings`, or is refused
with a 400 that names it. A field that the schema has and this page has not, or the other way round, fails."""
import json

import pytest

from conftest import MODEL

CHAT = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 12, "temperature": 0}
SCHEMA = {"type": "object"}
TOOL = {"type": "function", "function": {"name": "f"}}

# What changes nothing here and says so.
WARNED = {
    "user": "someone", "metadata": {"a": "b"}, "service_tier": "flex", "store": True, "parallel_tool_calls": False,
    "reasoning_effort": "low", "verbosity": "low", "prompt_cache_key": "x", "prompt_cache_retention": "24h",
    "safety_identifier": "x", "id_slot": 3,
}

# Refused with each of the first values, accepted in silence with each of the second: those ask for nothing.
REFUSED = {
    "response_format": ([{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}],
                        [{"type": "text"}]),
    "tools": ([[TOOL]], [[]]), "tool_choice": (["required", TOOL], ["auto", "none"]), "functions": ([[{"name": "f"}]], [[]]),
    "function_call": ([{"name": "f"}], ["auto", "none"]), "grammar": (['root ::= "a"'], [""]), "json_schema": ([SCHEMA], [{}]),
    "structured_outputs": ([{"json": SCHEMA}], [{}]), "guided_json": ([SCHEMA], [{}]), "guided_regex": (["a"], [""]),
    "guided_choice": ([["a"]], [[]]), "guided_grammar": (["a"], [""]), "chat_template": (["{{ x }}"], []),
    "chat_template_kwargs": ([{"enable_thinking": False}], [{}]), "enable_thinking": ([True], [False]),
    "reasoning_format": (["deepseek"], ["none", "auto"]), "thinking_budget": ([100], [0, -1]),
    "continue_final_message": ([True], [False]), "lora": ([[{"id": 0, "scale": 1}]], [[]]), "bad_words": ([["x"]], [[]]),
    "t_max_predict_ms": ([100], [0, -1]), "response_fields": ([["content"]], [[]]), "return_tokens": ([True], [False]),
    "return_token_ids": ([True], [False]), "include_stop_str_in_output": ([True], [False]),
    "spaces_between_special_tokens": ([False], [True]), "use_beam_search": ([True], [False]), "length_penalty": ([0.5], [1]),
    "allowed_token_ids": ([[5]], [[]]), "prompt_logprobs": ([1, 0], []), "truncate_prompt_tokens": ([5], [0, -1]),
    "n_keep": ([4], [0]), "n_discard": ([4], [0]), "n_indent": ([4], [0]), "dynatemp_range": ([0.5], [0]),
    "dynatemp_exponent": ([2], [1]), "modalities": ([["text", "audio"]], [["text"]]),
    "audio": ([{"voice": "a", "format": "wav"}], []), "prediction": ([{"type": "content", "content": "x"}], []),
    "web_search_options": ([{}], []),
}


def chat(server, **fields):
    status, _, reply = server.post("/v1/chat/completions", CHAT | fields)
    assert status == 200, reply
    return reply


def text(server, **fields):
    return chat(server, **fields)["choices"][0]["message"]["content"]


def ids_of(server, content):
    return server.post("/tokenize", {"content": content})[2]["tokens"]


def events(server, **fields):
    lines = chat(server, stream=True, **fields).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def changes(field, value, **others):
    """With the field the answer is another one than without, at a temperature where chance has a say."""
    fixed = {"temperature": 1.5, "seed": 3, "max_tokens": 24, "ignore_eos": True} | others
    return lambda server: text(server, **fixed, **{field: value}) != text(server, **fixed)


def stays_greedy(field, value, **others):
    """With the field only the likeliest token is left, so chance has none."""
    return lambda server: text(server, temperature=1.5, seed=3, **others, **{field: value}) == text(server)


def ends_at_a_token(server):
    second = ids_of(server, text(server))[1]
    usage = chat(server, stop_token_ids=[second])
    return usage["choices"][0]["finish_reason"] == "stop" and usage["usage"]["completion_tokens"] == 2


def obeys_min_tokens(server):
    end = ids_of(server, "<|im_end|>")[0]
    early = chat(server, logit_bias={str(end): 100})["usage"]["completion_tokens"]
    return early == 1 and chat(server, logit_bias={str(end): 100}, min_tokens=7)["usage"]["completion_tokens"] == 8


def ignores_the_end(server):
    end = ids_of(server, "<|im_end|>")[0]
    reply = chat(server, logit_bias={str(end): 100}, ignore_eos=True)
    return reply["usage"]["completion_tokens"] == 12 and reply["choices"][0]["finish_reason"] == "length"


def cached_tokens(server, **fields):
    return chat(server, **fields)["usage"]["prompt_tokens_details"]["cached_tokens"]


def keeps_apart(server):
    return [cached_tokens(server, cache_salt=salt) > 0 for salt in ("apart 1", "apart 1", "apart 2")] == [False, True, False]


def reuses_or_not(server):
    return cached_tokens(server) >= 0 and cached_tokens(server) > 0 and cached_tokens(server, cache_prompt=False) == 0


def shows_control_tokens(server):
    begin = ids_of(server, "<|im_start|>")[0]
    bias = {"logit_bias": {str(begin): 100}, "max_tokens": 2}
    return text(server, **bias) == "" and text(server, skip_special_tokens=False, **bias) == "<|im_start|>" * 2


# What works: a check of what it does. Sampling in detail: tests/sampling; the engine's promises: their own files.
WORKS = {
    "messages": lambda s: text(s, messages=[{"role": "user", "content": "Name three animals."}]) != text(s),
    "model": lambda s: chat(s, model=MODEL)["model"] == MODEL and s.post("/v1/chat/completions", CHAT | {"model": "x"})[0] == 404,
    "max_tokens": lambda s: chat(s, max_tokens=3)["usage"]["completion_tokens"] == 3,
    "max_completion_tokens": lambda s: chat(s, max_tokens=None, max_completion_tokens=3)["usage"]["completion_tokens"] == 3,
    "n_predict": lambda s: chat(s, max_tokens=None, n_predict=3)["usage"]["completion_tokens"] == 3,
    "temperature": lambda s: text(s, temperature=1.9, seed=3) != text(s),
    "seed": lambda s: text(s, temperature=1.9, seed=3) == text(s, temperature=1.9, seed=3) != text(s, temperature=1.9, seed=4),
    "n": lambda s: len(chat(s, n=3)["choices"]) == 3,
    "stop": lambda s: text(s, stop=text(s)[5:8]) == text(s)[:5],
    "stream": lambda s: "".join(e["choices"][0]["delta"].get("content") or "" for e in events(s)) == text(s),
    "stream_options": lambda s: events(s, stream_options={"include_usage": True})[-1]["usage"]["completion_tokens"] == 12,
    "logprobs": lambda s: len(chat(s, logprobs=True)["choices"][0]["logprobs"]["content"]) == 12,
    "top_logprobs": lambda s: len(chat(s, logprobs=True, top_logprobs=4)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 4,
    "logit_bias": lambda s: text(s, logit_bias={str(ids_of(s, text(s))[0]): -100}) != text(s),
    "return_progress": lambda s: any("prompt_progress" in e for e in events(s, return_progress=True, cache_prompt=False)),
    "timings_per_token": lambda s: sum("timings" in e for e in events(s, timings_per_token=True)) >= 12 > sum("timings" in e for e in events(s)),
    "add_generation_prompt": lambda s: chat(s)["usage"]["prompt_tokens"] > chat(s, add_generation_prompt=False)["usage"]["prompt_tokens"],
    "stop_token_ids": ends_at_a_token, "min_tokens": obeys_min_tokens, "ignore_eos": ignores_the_end,
    "cache_prompt": reuses_or_not, "cache_salt": keeps_apart, "skip_special_tokens": shows_control_tokens,
    "priority": lambda s: text(s, priority=100) == text(s),  # whom it lets pass: the scheduler's tests
    "top_k": stays_greedy("top_k", 1), "top_p": stays_greedy("top_p", 0), "min_p": stays_greedy("min_p", 1),
    "typical_p": changes("typical_p", 0.05), "top_n_sigma": stays_greedy("top_n_sigma", 0.001),
    "min_keep": changes("min_keep", 40, min_p=0.9),
    "samplers": changes("samplers", ["top_k", "temperature"], top_p=0.01),
    "repeat_penalty": changes("repeat_penalty", 1.8), "repetition_penalty": changes("repetition_penalty", 1.8),
    "repeat_last_n": changes("repeat_last_n", 0, repeat_penalty=1.8),
    "presence_penalty": changes("presence_penalty", 2), "frequency_penalty": changes("frequency_penalty", 2),
    "dry_multiplier": changes("dry_multiplier", 5, temperature=0, max_tokens=100),
    "dry_base": changes("dry_base", 1, temperature=0, max_tokens=100, dry_multiplier=0.3),
    "dry_allowed_length": changes("dry_allowed_length", 40, temperature=0, max_tokens=100, dry_multiplier=5),
    "dry_penalty_last_n": changes("dry_penalty_last_n", 0, temperature=0, max_tokens=100, dry_multiplier=5),
    "dry_sequence_breakers": changes("dry_sequence_breakers", [" "], temperature=0, max_tokens=100, dry_multiplier=5),
    "xtc_probability": changes("xtc_probability", 1, temperature=0), "xtc_threshold": changes("xtc_threshold", 0.5, xtc_probability=1),
    "mirostat": changes("mirostat", 2), "mirostat_tau": changes("mirostat_tau", 1, mirostat=2),
    "mirostat_eta": changes("mirostat_eta", 0.9, mirostat=2),
}


def test_every_field_of_the_schema_is_here(server):
    schema = server.call("/openapi.json")[2]["components"]["schemas"]["createChatCompletion"]["properties"]
    found = {kind: {n for n, f in schema.items() if f.get("x-serval-handling", "works") == kind} for kind in ("works", "ignored", "refused")}
    assert found == {"works": set(WORKS), "ignored": set(WARNED), "refused": set(REFUSED)}


@pytest.mark.parametrize("field", WORKS)
def test_works(server, field):
    assert WORKS[field](server)


@pytest.mark.parametrize("field", WARNED)
def test_changes_nothing_and_says_so(server, field):
    reply = chat(server, **{field: WARNED[field]})
    assert reply["warnings"] == [f"{field} has no effect on this server"]
    assert reply["choices"][0]["message"]["content"] == text(server)


@pytest.mark.parametrize("field", REFUSED)
def test_is_refused_by_name(server, field):
    wanted, nothing = REFUSED[field]
    for value in wanted:
        status, _, reply = server.post("/v1/chat/completions", CHAT | {field: value})
        assert status == 400 and reply["error"]["param"] == field and reply["error"]["code"] == "unsupported_parameter", reply
    for value in [*nothing, None]:
        assert "warnings" not in chat(server, max_tokens=1, **{field: value})


def test_unknown_fields_are_refused_by_name(server):
    status, _, reply = server.post("/v1/chat/completions", CHAT | {"temprature": 1})
    assert status == 400 and reply["error"]["param"] == "temprature" and reply["error"]["code"] == "unknown_parameter"


@pytest.mark.parametrize("messages", [
    [{"role": "user", "content": "x", "name": "bob"}],
    [{"role": "developer", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "z"}, {"role": "user", "content": "x"}],
    [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": "5"},
     {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}],
], ids=["name", "parts", "reasoning", "tools"])
def test_messages_of_every_form(server, messages):
    assert chat(server, messages=messages, max_tokens=1)["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio", "input_audio": {"data": ""}},
                                  {"type": "input_video"}, {"type": "file", "file": {}}], ids=lambda p: p["type"])
def test_parts_that_are_no_text_are_refused_by_name(server, part):
    status, _, reply = server.post("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": [part]}]})
    assert status == 400 and reply["error"]["param"] == "messages[0].content" and part["type"] in reply["error"]["message"]
