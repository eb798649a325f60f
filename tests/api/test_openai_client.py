"""The official `openai` package, unmodified: what it sends is understood, what it gets it parses."""
import concurrent.futures
import json

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def chat(client, **options):
    return client.chat.completions.create(**{"model": "tiny", "messages": QUESTION, "temperature": 0,
                                             "max_tokens": 24} | options)


def streamed_text(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_chat(client):
    reply = chat(client)
    assert reply.object == "chat.completion" and reply.id.startswith("chatcmpl-") and reply.model == "tiny"
    choice = reply.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens > 8 and 0 < reply.usage.completion_tokens <= 24
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0
    assert reply.created > 1_700_000_000 and reply._request_id


def test_chat_stream_equals_chat(client):
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert len({(c.id, c.created, c.model, c.system_fingerprint) for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert streamed_text(chunks) == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and set(reasons[:-1]) == {None}
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_without_usage(client):
    chunks = list(chat(client, stream=True))
    assert all(c.usage is None and len(c.choices) == 1 for c in chunks)


def test_the_stream_helper_of_the_client(client):
    text = chat(client, max_tokens=16).choices[0].message.content
    stop = text[len(text) // 2:][:4]
    with client.chat.completions.stream(model="tiny", messages=QUESTION, temperature=0, max_tokens=16,
                                        stop=stop) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text[:text.index(stop)] and final.choices[0].finish_reason == "stop"


def test_content_parts_and_roles(client):
    parts = [{"type": "text", "text": "What is the capital of France?"}]
    assert chat(client, messages=[{"role": "user", "content": parts}]).choices[0].message.content == \
        chat(client).choices[0].message.content
    history = [{"role": "developer", "content": "Answer shortly."}, *QUESTION]
    first = chat(client, messages=history).choices[0].message
    again = [*history, first.model_dump(), {"role": "user", "content": "And of Italy?"}]
    assert chat(client, messages=again).choices[0].message.content


def test_completion(client):
    reply = client.completions.create(model="tiny", prompt="The capital of France is", max_tokens=5, temperature=0)
    assert reply.object == "text_completion" and reply.id.startswith("cmpl-")
    assert "Paris" in reply.choices[0].text and reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 5
    stream = client.completions.create(model="tiny", prompt="The capital of France is", max_tokens=5, temperature=0,
                                       stream=True)
    assert "".join(c.choices[0].text for c in stream) == reply.choices[0].text


def test_completion_prompts(client, server):
    text = "One two three"
    ids = server.post("/tokenize", {"content": text, "add_special": True})[2]["tokens"]
    several = client.completions.create(model="tiny", prompt=[text, "Four five"], max_tokens=4, temperature=0)
    alone = client.completions.create(model="tiny", prompt=ids, max_tokens=4, temperature=0)
    lists = client.completions.create(model="tiny", prompt=[ids, ids], max_tokens=4, temperature=0)
    assert [c.index for c in several.choices] == [0, 1]
    assert several.choices[0].text == alone.choices[0].text == lists.choices[1].text
    assert several.usage.prompt_tokens == len(ids) + \
        server.post("/tokenize", {"content": "Four five", "add_special": True})[2]["count"]
    echoed = client.completions.create(model="tiny", prompt=text, max_tokens=4, temperature=0, echo=True)
    assert echoed.choices[0].text == text + alone.choices[0].text


def test_default_completion_length(client):
    reply = client.completions.create(model="tiny", prompt="Once upon a time", temperature=0,
                                      extra_body={"ignore_eos": True})
    assert reply.usage.completion_tokens == 16


def test_n_choices(client):
    reply = chat(client, n=3, temperature=1.5, seed=7, max_tokens=12)
    assert [c.index for c in reply.choices] == [0, 1, 2]
    texts = [c.message.content for c in reply.choices]
    assert len(set(texts)) > 1
    assert reply.usage.prompt_tokens == chat(client, max_tokens=1).usage.prompt_tokens
    assert texts[0] == chat(client, temperature=1.5, seed=7, max_tokens=12).choices[0].message.content
    streamed = {0: "", 1: "", 2: ""}
    finished = set()
    for chunk in chat(client, n=3, temperature=1.5, seed=7, max_tokens=12, stream=True):
        choice = chunk.choices[0]
        streamed[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            finished.add(choice.index)
    assert list(streamed.values()) == texts and finished == {0, 1, 2}


def test_stop(client):
    whole = client.completions.create(model="tiny", prompt="1, 2, 3, 4,", max_tokens=24, temperature=0).choices[0].text
    assert " 7" in whole
    for stop in (" 7", [" 7", "zebra"]):
        reply = client.completions.create(model="tiny", prompt="1, 2, 3, 4,", max_tokens=24, temperature=0, stop=stop)
        assert reply.choices[0].text == whole[:whole.index(" 7")] and reply.choices[0].finish_reason == "stop"
        stream = client.completions.create(model="tiny", prompt="1, 2, 3, 4,", max_tokens=24, temperature=0, stop=stop,
                                           stream=True)
        assert "".join(c.choices[0].text for c in stream) == reply.choices[0].text


def test_a_seed_fixes_the_text_alone_and_among_others(client):
    def one(seed):
        return chat(client, temperature=1.2, seed=seed, max_tokens=20).choices[0].message.content

    alone = one(11)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        crowd = list(pool.map(one, [11, 1, 2, 11, 3, 4, 5, 11, 6, 7, 8, 11]))
    assert [crowd[i] for i in (0, 3, 7, 11)] == [alone] * 4
    assert len(set(crowd)) > 4


def test_chat_logprobs(client):
    reply = chat(client, logprobs=True, top_logprobs=3, max_tokens=6)
    content = reply.choices[0].logprobs.content
    assert len(content) == reply.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # greedy
        assert bytes(token.bytes).decode(errors="replace") == token.token
    text = b"".join(bytes(t.bytes) for t in content).decode()
    assert text.startswith(reply.choices[0].message.content)
    assert chat(client, logprobs=True, max_tokens=2).choices[0].logprobs.content[0].top_logprobs == []
    streamed = [t for c in chat(client, logprobs=True, top_logprobs=3, max_tokens=6, stream=True)
                if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in content]


def test_completion_logprobs(client):
    reply = client.completions.create(model="tiny", prompt="The capital of France is", max_tokens=4, temperature=0,
                                      logprobs=2)
    logprobs = reply.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 4
    assert "".join(logprobs.tokens) == reply.choices[0].text and logprobs.text_offset[0] == 0
    assert all(len(top) == 2 for top in logprobs.top_logprobs)


def test_logit_bias(client, server):
    paris = server.post("/tokenize", {"content": " Paris"})[2]["tokens"]
    reply = client.completions.create(model="tiny", prompt="The capital of France is", max_tokens=4, temperature=0,
                                      logit_bias={str(paris[0]): -100})
    assert " Paris" not in reply.choices[0].text
    reply = client.completions.create(model="tiny", prompt="The capital of France is", max_tokens=3, temperature=0,
                                      logit_bias={paris[0]: 100})
    assert reply.choices[0].text == " Paris" * 3


def test_sampling_extras(client):
    reply = chat(client, max_tokens=8, temperature=0.7, top_p=0.9, presence_penalty=0.2, frequency_penalty=0.1, seed=3,
                 extra_body={"top_k": 20, "min_p": 0.02, "repeat_penalty": 1.1, "min_tokens": 8, "ignore_eos": True,
                             "samplers": ["penalties", "top_k", "min_p", "temperature"], "stop_token_ids": [5],
                             "xtc_probability": 0.1, "dry_multiplier": 0.5, "cache_prompt": False})
    assert reply.usage.completion_tokens == 8


def test_ignored_fields_are_reported(client):
    reply = chat(client, max_tokens=1, user="someone", metadata={"a": "b"}, service_tier="auto")
    warned = " ".join(reply.model_extra["warnings"])
    assert "user" in warned and "metadata" in warned and "service_tier" in warned
    reply = chat(client, max_tokens=1, tools=[], response_format={"type": "text"}, tool_choice="auto")
    assert "warnings" not in reply.model_extra


def test_models(client):
    listed = client.models.list().data
    assert [m.id for m in listed] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"
    assert client.models.retrieve("smollm2-135m").id == "smollm2-135m"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


def test_typed_errors(client, server):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model="gpt-5")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    for options, param in (({"temperature": -1}, "temperature"), ({"n": 99}, "n"),
                           ({"response_format": {"type": "json_object"}}, "response_format"),
                           ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
                           ({"extra_body": {"tempreature": 1}}, "tempreature"), ({"messages": []}, "messages"),
                           ({"max_tokens": "many"}, "max_tokens"), ({"logit_bias": {"x": 1}}, "logit_bias"),
                           ({"top_logprobs": 2}, "top_logprobs"), ({"seed": 1.5}, "seed")):
        for stream in (False, True):  # before the first token an error is plain JSON
            with pytest.raises(openai.BadRequestError) as caught:
                chat(client, stream=stream, **options)
            assert caught.value.param == param, options
            assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="word " * 20_000, stream=True)
    assert caught.value.code == "context_length_exceeded"
    for name in ("responses", "messages"):  # dialects that are refused by name
        status, headers, reply = server.post(f"/v1/{name}", {"model": "tiny"})
        assert status == 501 and reply["error"]["type"] == "not_supported_error", reply
        assert name in reply["error"]["message"] and headers["x-should-retry"] == "false"


def test_raw_stream_is_the_documented_bytes(server):
    body = {"messages": QUESTION, "max_tokens": 3, "temperature": 0, "stream": True}
    status, headers, text = server.post("/v1/chat/completions", body)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    events = text.split("\n\n")
    assert events[-1] == "" and events[-2] == "data: [DONE]"
    assert all(json.loads(e.removeprefix("data: "))["object"] == "chat.completion.chunk" for e in events[:-2])
    assert json.loads(events[-3].removeprefix("data: "))["timings"]["predicted_n"] == 3
