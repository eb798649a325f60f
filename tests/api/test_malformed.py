"""Over a thousand requests no client should send: each gets its exact status, none is our fault, and none is felt by
the stream that runs beside them."""
import json
import random
import threading
import time

from conftest import exchange, http_post, read_all, status_of
from malformed import corpus

GOLDEN = {"prompt": "Once upon a time", "max_tokens": 24, "ignore_eos": True, "seed": 7, "temperature": 1, "stream": True}


def golden_text(server):
    with server.connect(60) as connection:
        connection.sendall(http_post("/v1/completions", GOLDEN, "Connection: close\r\n"))
        reply = read_all(connection).decode()
    events = [line[6:] for line in reply.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]", reply[-300:]
    return "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])


def test_malformed_corpus(start):
    server = start("--no-access-log")
    cases = corpus()
    assert len(cases) >= 1000, len(cases)
    order = random.Random(4)
    alone = golden_text(server)
    streams, over = [], threading.Event()

    def run_golden():
        while not over.is_set():
            streams.append(golden_text(server))

    golden = threading.Thread(target=run_golden)
    golden.start()
    begun, wrong = time.monotonic(), []
    for name, data, status in (case for _ in range(3) for case in order.sample(cases, len(cases))):
        reply = exchange(server, data)
        if status_of(reply) != status:
            wrong.append(f"{name}: {status_of(reply)}, not {status}; {reply.rpartition(bytes([13, 10]))[2][:120]!r}")
        elif "error" not in json.loads(reply.split(b"\r\n\r\n", 1)[1] or b"{}"):
            wrong.append(f"{name}: no error object: {reply[:200]!r}")
    seconds = time.monotonic() - begun
    over.set()
    golden.join()
    assert not wrong, f"{len(wrong)} of 3 * {len(cases)}:\n" + "\n".join(wrong)
    assert set(streams) == {alone}
    assert not any(status in text for status in ('status="500"', 'status="503"') for text in server.call("/metrics")[2].splitlines()
                   if "http_requests_total" in text and not text.endswith(" 0"))
    print(f"3 * {len(cases)} requests in {seconds:.1f} s, {len(streams)} golden streams")
