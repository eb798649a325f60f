"""/v1/embeddings with the official client and by hand."""
import base64
import math
import struct
import threading

import openai
import pytest

import conftest

TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by half a point."]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def test_vectors(client, server):
    reply = client.embeddings.create(model="tiny", input=TEXTS)
    assert reply.object == "list" and [d.index for d in reply.data] == [0, 1, 2]
    vectors = [d.embedding for d in reply.data]
    assert all(math.isclose(dot(v, v), 1, rel_tol=1e-5) for v in vectors)
    assert len(vectors[0]) == 576
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2])  # meaning, not only words
    counts = [server.post("/tokenize", {"content": t, "add_special": True})[2]["count"] for t in TEXTS]
    assert reply.usage.prompt_tokens == reply.usage.total_tokens == sum(counts)


def test_inputs_of_every_form_agree(client, server):
    ids = server.post("/tokenize", {"content": TEXTS[0], "add_special": True})[2]["tokens"]
    forms = [TEXTS[0], [TEXTS[0]], ids, [ids]]
    vectors = [client.embeddings.create(model="tiny", input=form).data[0].embedding for form in forms]
    assert all(v == vectors[0] for v in vectors)


def test_base64_is_the_same_vector(server):
    plain = server.post("/v1/embeddings", {"input": TEXTS[0], "encoding_format": "float"})[2]["data"][0]["embedding"]
    coded = server.post("/v1/embeddings", {"input": TEXTS[0], "encoding_format": "base64"})[2]["data"][0]["embedding"]
    raw = base64.b64decode(coded)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == [struct.unpack("f", struct.pack("f", x))[0] for x in plain]


def test_dimensions_and_length(server):
    whole = server.post("/v1/embeddings", {"input": TEXTS[0], "normalize": False})[2]["data"][0]["embedding"]
    short = server.post("/v1/embeddings", {"input": TEXTS[0], "dimensions": 64})[2]["data"][0]["embedding"]
    length = math.sqrt(dot(whole[:64], whole[:64]))
    assert len(short) == 64 and all(math.isclose(s, w / length, abs_tol=1e-5) for s, w in zip(short, whole))


def test_poolings_differ(server):
    vectors = [server.post("/v1/embeddings", {"input": TEXTS[0], "pooling": p})[2]["data"][0]["embedding"]
               for p in ("mean", "last", "cls")]
    assert vectors[0] != vectors[1] != vectors[2] != vectors[0]
    assert vectors[0] == server.post("/v1/embeddings", {"input": TEXTS[0]})[2]["data"][0]["embedding"]


def test_a_batch_equals_its_parts_and_passes_the_queue(server):
    inputs = [f"Sentence number {i}." for i in range(300)]  # more than the queue may hold
    status, _, reply = server.post("/v1/embeddings", {"input": inputs})
    assert status == 200 and len(reply["data"]) == 300
    alone = server.post("/v1/embeddings", {"input": inputs[217]})[2]["data"][0]["embedding"]
    assert reply["data"][217]["embedding"] == alone


def test_refusals(server):
    for body, field in (({}, "input"), ({"input": []}, "input"), ({"input": [1, "a"]}, "input"), ({"input": {}}, "input"),
                        ({"input": ["x", ""]}, "input"), ({"input": "x", "dimensions": 577}, "dimensions"),
                        ({"input": "x", "dimensions": 0}, "dimensions"), ({"input": "x", "pooling": "max"}, "pooling"),
                        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
                        ({"input": "x", "temperature": 1}, "temperature"), ({"input": [[10**7]]}, "prompt")):
        status, _, reply = server.post("/v1/embeddings", body)
        assert status == 400 and reply["error"]["param"] == field, (body, reply)
    status, _, reply = server.post("/v1/embeddings", {"input": "word " * 20_000})
    assert status == 400 and reply["error"]["code"] == "context_length_exceeded"
    assert server.post("/v1/embeddings", {"input": "x", "user": "me"})[2]["warnings"]


def test_a_client_that_leaves_stops_its_batch(server):
    body = {"input": ["word " * 700 + str(i) for i in range(60)]}
    before = server.metric("vllm:prompt_tokens_total")
    with server.connect() as connection:
        connection.sendall(conftest.http_post("/v1/embeddings", body))
        assert server.eventually(lambda: server.metric("vllm:num_requests_running") > 0)
    assert server.eventually(server.idle)
    assert server.metric("vllm:prompt_tokens_total") - before < 60 * 700


def test_a_batch_does_not_stop_a_stream(client, server):
    gaps = []

    def embed():
        server.post("/v1/embeddings", {"input": ["word " * 500 + str(i) for i in range(6)]})

    stream = client.completions.create(model="tiny", prompt="Once", max_tokens=60, stream=True, temperature=0,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    worker = threading.Thread(target=embed)
    worker.start()
    for chunk in stream:
        if not worker.is_alive():
            break
        gaps.append(chunk)
    worker.join()
    assert len(gaps) > 3  # tokens came while the batch was computed
