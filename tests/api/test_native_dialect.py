"""llama-server's own dialect: its clients' requests are understood, its shapes are sent."""
import json

import pytest


def chunks_of(text):
    events = text.split("\n\n")
    assert events[-1] == "" and all(e.startswith("data: {") for e in events[:-1])
    return [json.loads(e[6:]) for e in events[:-1]]


def test_completion(server):
    body = {"prompt": "1, 2, 3, 4,", "n_predict": 12, "temperature": 0, "cache_prompt": True, "id_slot": -1,
            "return_tokens": True}
    status, _, reply = server.post("/completion", body)
    assert status == 200 and reply["stop"] is True and reply["index"] == 0
    assert reply["content"].startswith(" 5, 6") and reply["model"] == "tiny"
    assert reply["tokens_predicted"] == 12 == len(reply["tokens"])
    assert server.post("/detokenize", {"tokens": reply["tokens"]})[2]["content"] == reply["content"]
    assert reply["stop_type"] == "limit" and reply["stopping_word"] == "" and reply["truncated"] is False
    assert reply["tokens_cached"] == reply["tokens_evaluated"] + 12
    assert reply["prompt"] == "1, 2, 3, 4," and reply["generation_settings"]["n_predict"] == 12
    assert reply["generation_settings"]["samplers"] and reply["timings"]["predicted_n"] == 12
    assert "warnings" not in reply
    assert server.post("/completions", body)[2]["content"] == reply["content"]
    openai = server.post("/v1/completions", {"prompt": "1, 2, 3, 4,", "max_tokens": 12, "temperature": 0})[2]
    assert openai["choices"][0]["text"] == reply["content"]


def test_stream(server):
    body = {"prompt": "1, 2, 3, 4,", "n_predict": 12, "temperature": 0}
    whole = server.post("/completion", body)[2]
    status, headers, text = server.post("/completion", body | {"stream": True, "timings_per_token": True})
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream") and "[DONE]" not in text
    chunks = chunks_of(text)
    assert [c["stop"] for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert "".join(c["content"] for c in chunks) == whole["content"]
    assert chunks[-2]["tokens_predicted"] == 12 and chunks[-2]["tokens_evaluated"] == whole["tokens_evaluated"]
    assert all("timings" in c for c in chunks)
    same = ("tokens_predicted", "tokens_evaluated", "stop_type", "prompt", "tokens_cached", "truncated")
    assert {k: chunks[-1][k] for k in same} == {k: whole[k] for k in same}


def test_stop_types(server):
    reply = server.post("/completion", {"prompt": "1, 2, 3, 4,", "n_predict": 24, "temperature": 0, "stop": [" 7"]})[2]
    assert reply["stop_type"] == "word" and reply["stopping_word"] == " 7" and " 7" not in reply["content"]
    end = server.post("/tokenize", {"content": "<|im_end|>"})[2]["tokens"][0]
    reply = server.post("/completion", {"prompt": "Hi", "n_predict": 8, "temperature": 0, "logit_bias": [[end, 100]]})[2]
    assert reply["stop_type"] == "eos" and reply["content"] == ""


def test_prompts_of_every_form(server):
    ids = server.post("/tokenize", {"content": "1, 2, 3, 4,", "add_special": True})[2]["tokens"]
    options = {"n_predict": 4, "temperature": 0}
    text = server.post("/completion", options | {"prompt": "1, 2, 3, 4,"})[2]["content"]
    assert server.post("/completion", options | {"prompt": ids})[2]["content"] == text
    assert server.post("/completion", options | {"prompt": [*ids[:-1], ","]})[2]["content"] == text
    several = server.post("/completion", options | {"prompt": ["1, 2, 3, 4,", ids, [*ids[:-1], ","]]})[2]
    assert [r["content"] for r in several] == [text] * 3 and [r["index"] for r in several] == [0, 1, 2]
    for wrong in ({}, 5, [], [[]], [{"a": 1}], [-1], None):
        assert server.post("/completion", options | {"prompt": wrong})[0] == 400
    assert server.post("/completion", options)[2]["error"]["param"] == "prompt"


def test_control_tokens_are_recognised(server):
    chat = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"
    reply = server.post("/completion", {"prompt": chat, "n_predict": 1})[2]
    assert reply["tokens_evaluated"] == server.post("/tokenize", {"content": chat, "add_special": True})[2]["count"]


def test_probabilities(server):
    body = {"prompt": "The capital of France is", "n_predict": 3, "temperature": 0, "n_probs": 2}
    reply = server.post("/completion", body)[2]
    assert len(reply["completion_probabilities"]) == 3
    for entry in reply["completion_probabilities"]:
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] and len(entry["top_logprobs"]) == 2
        assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"]
    streamed = [p for c in chunks_of(server.post("/completion", body | {"stream": True})[2])
                for p in c.get("completion_probabilities", [])]
    assert streamed == reply["completion_probabilities"]


def test_a_plain_error_before_a_stream(server):
    for body in ({"prompt": "x", "n_predict": "many"}, {"prompt": "x", "image_data": [{"id": 1}]}, {"prompt": "x", "huh": 1},
                 {"prompt": "x", "post_sampling_probs": True}, {"prompt": "x", "n": 2}):
        status, headers, reply = server.post("/completion", body | {"stream": True})
        assert status == 400 and reply["error"]["param"] == list(body)[1]
        assert headers["Content-Type"].startswith("application/json")


def test_slots_and_seeds(server):
    body = {"prompt": "Once upon a time", "n_predict": 12, "temperature": 1.5, "seed": 7}
    one = server.post("/completion", body)[2]
    two = server.post("/completion", body | {"id_slot": 3})[2]
    assert one["content"] == two["content"] and one["generation_settings"]["seed"] == 7
    assert any("id_slot" in w for w in two["warnings"])


def test_props(server):
    props = server.call("/props")[2]
    assert props["total_slots"] == 8 and props["default_generation_settings"]["params"]["top_k"] == 40
    assert props["chat_template"] and props["modalities"]["vision"] is False
