"""The page's curl commands, run by a shell."""
import json

import pytest
from howto_page import snippet, snippets


@pytest.fixture
def curl(served, tmp_path):
    def run(*words):
        return served.run(["sh", "-eu"], snippet("sh", *words).replace("curl ", "curl -sS --fail-with-body ", 1), "snippet.sh", tmp_path)

    return run


def test_health(curl):
    assert json.loads(curl("/health"))["status"] == "ok"


def test_chat(curl):
    reply = json.loads(curl("/v1/chat/completions", '"messages"', "curl http"))
    assert reply["object"] == "chat.completion" and reply["model"] == "smollm2:135m"
    assert reply["choices"][0]["message"]["role"] == "assistant" and reply["choices"][0]["message"]["content"]
    assert 0 < reply["usage"]["completion_tokens"] <= 40


def test_chat_stream(curl):
    events = [line for line in curl("/v1/chat/completions", "curl -N").splitlines() if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in events) and events[-1] == "data: [DONE]"
    chunks = [json.loads(line[6:]) for line in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")


def test_completion(curl):
    reply = json.loads(curl("/v1/completions"))
    assert reply["object"] == "text_completion" and reply["choices"][0]["text"]
    assert 0 < reply["usage"]["completion_tokens"] <= 24


def test_embeddings(curl):
    reply = json.loads(curl("/v1/embeddings"))
    assert reply["object"] == "list" and reply["model"] == "smollm2:135m"
    assert [(item["object"], item["index"]) for item in reply["data"]] == [("embedding", 0), ("embedding", 1)]
    for item in reply["data"]:
        assert len(item["embedding"]) == 576  # SmolLM2's hidden size
        assert sum(value * value for value in item["embedding"]) == pytest.approx(1, abs=1e-3)
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] >= 6


def test_all_snippets_are_tested():
    assert len(snippets("sh")) == 5
