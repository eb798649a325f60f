"""The page's Node snippets, and what only a look at the objects shows: the openai package of npm, unmodified."""
import json
import shutil

import pytest
from howto_page import NODE, snippet, snippets


@pytest.fixture
def node(served, tmp_path):
    program = shutil.which("node")
    assert program, "node is missing; scripts/setup.sh test installs it"
    assert (NODE / "node_modules" / "openai").is_dir(), "run npm ci --ignore-scripts in tests/clients/node (scripts/test.sh does)"
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")

    def run(text):
        return served.run([program], text, "snippet.mjs", tmp_path)

    return run


def test_chat(node):
    assert len(node(snippet("js", "reply.choices[0]")).split()) > 3


def test_stream(node):
    assert len(node(snippet("js", "stream: true")).split()) > 3


def test_embeddings(node):
    width, cosine = node(snippet("js", "client.embeddings")).split()
    assert int(width) == 576 and 0.2 < float(cosine) < 0.9999


HEAD = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: "http://localhost:8080/v1", apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const fixed = { model: "smollm2:135m", messages, temperature: 0, max_tokens: 16 };
"""


def test_stream_equals_chat_and_counts_tokens(node):
    whole, streamed, usage, last = json.loads(node(HEAD + """
const whole = await client.chat.completions.create(fixed);
let text = "", usage = null, last = null;
for await (const chunk of await client.chat.completions.create({ ...fixed, stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  last = chunk.choices[0]?.finish_reason ?? last;
  usage = chunk.usage ?? usage;
}
console.log(JSON.stringify([whole.choices[0].message.content, text, usage, last]));
"""))
    assert whole == streamed and 0 < usage["completion_tokens"] <= 16 and last in ("stop", "length")


def test_the_stream_helper_and_models(node):
    text, ids = json.loads(node(HEAD + """
const text = await client.chat.completions.stream(fixed).finalContent();
const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
console.log(JSON.stringify([text, ids]));
"""))
    assert text and "smollm2:135m" in ids


def test_typed_errors(node):
    assert json.loads(node(HEAD + """
const kinds = [];
for (const bad of [{ model: "nobody" }, { temperature: -1 }, { no_such_field: 1 }]) {
  try {
    await client.chat.completions.create({ ...fixed, ...bad });
    kinds.push("none");
  } catch (error) {
    kinds.push([error.constructor.name, error.status, error.param ?? null]);
  }
}
console.log(JSON.stringify(kinds));
""")) == [["NotFoundError", 404, "model"], ["BadRequestError", 400, "temperature"], ["BadRequestError", 400, "no_such_field"]]


def test_an_aborted_stream_ends(node):
    assert int(node(HEAD + """
const stream = await client.chat.completions.create({ ...fixed, max_tokens: 2000, ignore_eos: true, stream: true });
let count = 0;
for await (const chunk of stream) {
  if (++count === 3) stream.controller.abort();
}
console.log(count);
""")) < 40


def test_all_snippets_are_tested():
    assert len(snippets("js")) == 3
