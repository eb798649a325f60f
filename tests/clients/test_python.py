"""The page's Python snippets, each a program of its own: the openai package and LangChain, unmodified."""
import sys

import pytest
from howto_page import snippet, snippets


@pytest.fixture
def run(served, tmp_path):
    return lambda *words: served.run([sys.executable], snippet("python", *words), "snippet.py", tmp_path)


def test_chat(run):
    assert len(run("from openai", "reply.choices[0].message.content").split()) > 3


def test_stream(run):
    assert len(run("from openai", "stream=True").split()) > 3


def cosine_line(printed):
    width, cosine = printed.split()
    assert int(width) == 576 and 0.2 < float(cosine) < 0.9999


def test_embeddings(run):
    cosine_line(run("from openai", "client.embeddings"))


def test_langchain_chat(run):
    assert len(run("ChatOpenAI").split()) > 6


def test_langchain_embeddings(run):
    assert run("OpenAIEmbeddings") == "2 576\n"


def test_langchain_embeddings_equal_the_official_client(served):
    import langchain_openai
    import openai

    text = "The ferryman counted the steps."
    direct = openai.OpenAI(base_url=served.url + "/v1", api_key="any").embeddings.create(model="smollm2:135m", input=text, encoding_format="float")
    chain = langchain_openai.OpenAIEmbeddings(base_url=served.url + "/v1", api_key="any", model="smollm2:135m", check_embedding_ctx_length=False)
    assert chain.embed_query(text) == pytest.approx(direct.data[0].embedding, abs=1e-5)


def test_all_snippets_are_tested():
    assert len(snippets("python")) == 5
