"""The same seeded request gives the same bytes, whatever else the server does."""
import concurrent.futures

import pytest

STORY = "Once upon a time, in a town by the sea, there lived an old clockmaker. " * 12
BODY = {"prompt": STORY + "One morning", "max_tokens": 24, "temperature": 1.1, "seed": 1234, "logprobs": 2,
        "ignore_eos": True}


def answer(server, **changes):
    status, _, reply = server.post("/v1/completions", BODY | changes)
    assert status == 200, reply
    return reply["choices"][0]


@pytest.fixture(scope="module")
def expected(server):
    return answer(server, cache_prompt=False)


def test_cold_and_warm(server, expected):
    assert answer(server, cache_salt="cold") == expected
    assert answer(server, cache_salt="cold") == expected  # from the cache now
    assert answer(server, cache_prompt=False) == expected


def test_among_others(server, expected):
    def other(i):
        return answer(server, prompt=f"{i} " * (5 + 11 * i), seed=i, max_tokens=30)

    with concurrent.futures.ThreadPoolExecutor(33) as pool:
        crowd = [pool.submit(other, i) for i in range(32)]
        ours = pool.submit(answer, server, cache_prompt=False)
        assert ours.result() == expected
        assert len({str(c.result()["text"]) for c in crowd}) > 20


@pytest.mark.parametrize("options", [("-t", "1"), ("-b", "32"), ("-b", "7", "-np", "2")])
def test_threads_and_chunks(start, expected, options):
    server = start(*options)
    assert answer(server) == expected


def test_streamed(server, expected):
    import json
    text = server.post("/v1/completions", BODY | {"stream": True})[2]
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert "".join(c["choices"][0]["text"] for c in chunks) == expected["text"]


def test_choices_begin_with_the_one_alone(server, expected):
    choices = server.post("/v1/completions", BODY | {"n": 4})[2]["choices"]
    assert {k: v for k, v in choices[0].items()} == expected
    assert len({c["text"] for c in choices}) == 4
