"""More than the server can do: refusals are quick and polite, official clients finish in the end, those who leave are
forgotten at once, and hundreds of streams together lose nothing."""
import collections
import concurrent.futures
import json
import os
import selectors
import socket
import threading
import time

import openai
import pytest

from conftest import SANITIZED, exchange, http_post, read_all, status_of

LONG = {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "temperature": 0}
SHORT = LONG | {"max_tokens": 16}
FULL = os.environ.get("SERVAL_FULL_LOAD") == "1"  # sizes of the README's table instead of those of every test run
STREAMS = 512 if FULL else 128


def gauges(server):
    return {name: server.metric(name) for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "serval:http_streams",
                                                   "serval:http_body_bytes", "serval:http_streams_paused")}


def test_refusals_are_quick_while_the_queue_is_full(start):
    server = start("-np", 2, "--max-queue", 4)
    held = []
    for _ in range(6):
        held.append(server.connect())
        held[-1].sendall(http_post("/v1/completions", LONG))
    assert server.eventually(lambda: server.metric("vllm:num_requests_waiting") == 4)
    times = []
    for _ in range(100):
        begun = time.monotonic()
        reply = exchange(server, http_post("/v1/completions", LONG | {"stream": True}, "Connection: close\r\n"))
        times.append(time.monotonic() - begun)
        assert status_of(reply) in (429, 503) and b"\r\nRetry-After: " in reply and b"data:" not in reply
    times.sort()
    print(f"refusals: p50 {times[50] * 1000:.1f} ms, p99 {times[98] * 1000:.1f} ms")
    assert times[98] < (0.05 if FULL else 0.25)
    for connection in held:
        connection.close()
    assert server.eventually(server.idle)


def test_the_official_client_finishes_all_work(start):
    """Ten times the capacity, no change on the client's side but the retry loop everybody has around it."""
    server = start("-np", 2, "--max-queue", 2)
    refused = collections.Counter()

    def work(i):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=2)
        while True:
            try:
                done = client.completions.create(model="smollm2-135m", prompt=f"{i} and", max_tokens=16, temperature=0,
                                                 extra_body={"ignore_eos": True})
                assert done.usage.completion_tokens == 16
                return done.choices[0].text
            except (openai.InternalServerError, openai.RateLimitError) as error:
                assert error.status_code in (429, 503) and int(error.response.headers["retry-after"]) >= 1
                refused[error.status_code] += 1

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(work, range(16)))
    assert len(texts) == 16 and all(texts)
    assert server.metric("serval:http_requests_total", status="503") + \
        server.metric("serval:http_requests_total", status="429") > 0, "it was never overloaded"
    assert server.eventually(server.idle)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("phase", ["head", "body", "queued", "prefill", "decode"])
def test_hang_ups_in_every_phase_leave_nothing_behind(start, phase, stream):
    server = start("-np", 1)
    baseline = gauges(server)
    blocker = None
    if phase == "queued":
        blocker = server.connect()
        blocker.sendall(http_post("/v1/completions", LONG))
        assert server.eventually(lambda: server.metric("vllm:num_requests_running") == 1)
    body = LONG | {"stream": stream}
    if phase == "prefill":
        body |= {"prompt": "word " * 4000}
    request = http_post("/v1/completions", body)
    connection = server.connect()
    connection.sendall(request[:40] if phase == "head" else request[:-20] if phase == "body" else request)
    if phase == "queued":
        assert server.eventually(lambda: server.metric("vllm:num_requests_waiting") == 1)
    elif phase in ("prefill", "decode"):
        assert server.eventually(lambda: server.metric("vllm:num_requests_running") == 1)
    if phase == "decode":
        before = server.metric("serval:engine_steps_total")
        assert server.eventually(lambda: server.metric("serval:engine_steps_total") > before + 20)
    connection.close()
    if blocker:
        assert server.eventually(lambda: server.metric("vllm:num_requests_waiting") == 0, 3)
        blocker.close()
    assert server.eventually(lambda: gauges(server) == baseline, 5), gauges(server)
    steps = server.metric("serval:engine_steps_total")
    time.sleep(0.3)
    assert server.metric("serval:engine_steps_total") == steps, "it still computes"


def test_half_of_the_clients_hang_up(start):
    """The others' text is what they would get alone."""
    server = start("-np", 8)
    asked = [SHORT | {"prompt": f"{i % 4} little", "max_tokens": 24, "stream": True} for i in range(24)]
    alone = [text_of(exchange(server, http_post("/v1/completions", body, "Connection: close\r\n"))) for body in asked[:4]]

    def one(i):
        with server.connect(60) as connection:
            connection.sendall(http_post("/v1/completions", asked[i], "Connection: close\r\n"))
            if i % 2:
                connection.recv(600)
                return None
            return text_of(read_all(connection))

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        texts = list(pool.map(one, range(24)))
    assert all(texts[i] == alone[i % 4] for i in range(0, 24, 2))
    assert server.eventually(server.idle, 5)


def text_of(reply):
    events = [line[6:] for line in reply.decode().split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]", reply[-300:]
    return "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])


def anonymous_memory(server):
    """Bytes of the process's own memory; pages of the model's file are not its."""
    with open(f"/proc/{server.process.pid}/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return 1024 * sum(int(rows[name].split()[0]) for name in ("RssAnon", "VmSwap"))


def test_many_connections_complete_in_order(start):
    """One thread reads all streams; each must be whole and in order, and cost little memory."""
    server = start("-np", 32, "--max-queue", STREAMS, "-c", 8192)
    tokens = 64 if FULL else 12
    body = LONG | {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
    exchange(server, http_post("/v1/completions", body, "Connection: close\r\n"))  # touches what is made once
    run_streams(server, [body] * 32)
    before = anonymous_memory(server)
    peak = [before]
    over = threading.Event()

    def watch():
        while not over.wait(0.05):
            peak.append(anonymous_memory(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    replies = run_streams(server, [body | {"prompt": f"{i % 16} plus"} for i in range(STREAMS)])
    over.set()
    watcher.join()
    texts = collections.defaultdict(set)
    for i, reply in enumerate(replies):
        assert status_of(reply) == 200 and b'"completion_tokens":%d' % tokens in reply
        texts[i % 16].add(text_of(reply))
    assert all(len(found) == 1 for found in texts.values())
    growth = (max(peak) - before) / STREAMS
    print(f"{STREAMS} streams: {growth / 1024:.1f} KiB each")
    assert growth <= 64 * 1024 or SANITIZED
    assert server.eventually(lambda: server.metric("serval:http_connections") == 1)


def run_streams(server, bodies):
    replies = [b""] * len(bodies)
    selector = selectors.DefaultSelector()
    for i, body in enumerate(bodies):
        connection = server.connect(60)
        connection.sendall(http_post("/v1/completions", body, "Connection: close\r\n"))
        selector.register(connection, selectors.EVENT_READ, i)
    while selector.get_map():
        ready = selector.select(60)
        assert ready, "the streams stand still"
        for key, _ in ready:
            part = key.fileobj.recv(65536)
            replies[key.data] += part
            if not part:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return replies


def test_a_slow_reader_is_paused_and_loses_nothing(start):
    """Its request stops while it does not read, and goes on when it does; the text is what a quick reader gets."""
    server = start("--pause-output", 2000, "--stall-time", 60)
    body = LONG | {"max_tokens": 200, "stream": True, "logprobs": 10}
    expected = text_of(exchange(server, http_post("/v1/completions", body, "Connection: close\r\n"), 120))
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    connection.connect((server.host, server.port))
    connection.sendall(http_post("/v1/completions", body, "Connection: close\r\n"))
    assert server.eventually(lambda: server.metric("serval:http_streams_paused") == 1, 30)
    time.sleep(0.3)
    steps = server.metric("serval:engine_steps_total")
    time.sleep(0.3)
    assert server.metric("serval:engine_steps_total") == steps, "nobody reads, but it computes"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    connection.settimeout(60)
    assert text_of(read_all(connection)) == expected
    connection.close()
    assert server.metric("serval:http_limit_hits_total", limit="pause_bytes") >= 1
    assert gauges(server)["serval:http_streams_paused"] == 0
