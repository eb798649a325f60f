"""What one request and one key may take: time, requests in flight, cached prefixes."""
import re
import threading
import time

LONG = "A line of text that says very little. " * 60


def test_a_request_ends_when_its_time_is_up(start):
    server = start("--request-time", "1")
    begin = time.monotonic()
    status, _, reply = server.post("/v1/completions", {"prompt": "Once", "max_tokens": 6000, "ignore_eos": True})
    assert status == 200 and time.monotonic() - begin < 10
    assert reply["choices"][0]["finish_reason"] == "length" and reply["choices"][0]["text"]
    assert 0 < reply["usage"]["completion_tokens"] < 6000


def test_a_request_that_waits_too_long_is_refused(start):
    server = start("-np", "1", "--queue-time", "0.5")
    body = {"prompt": "Once", "max_tokens": 800, "ignore_eos": True}
    worker = threading.Thread(target=server.post, args=("/v1/completions", body))
    worker.start()
    assert server.eventually(lambda: server.metric("vllm:num_requests_running") == 1)
    status, headers, reply = server.post("/v1/completions", {"prompt": "Me too", "max_tokens": 1})
    worker.join()
    assert status == 503 and int(headers["Retry-After"]) >= 1 and reply["error"]["type"] == "unavailable_error"


def test_keys_do_not_share_cached_prefixes(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice-key-0123456789 alice\nbob-key-0123456789 bob\n")
    server = start("--keys", keys)

    def cached(key):
        reply = server.post("/v1/completions", {"prompt": LONG, "max_tokens": 1},
                            headers={"Authorization": f"Bearer {key}-key-0123456789"})[2]
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert cached("alice") == 0 and cached("alice") > 300
    assert cached("bob") == 0 and cached("bob") > 300


def test_the_roofline_needs_the_machines_bandwidth(start):
    server = start("--read-bandwidth", "20")
    server.post("/v1/completions", {"prompt": "Once", "max_tokens": 8, "ignore_eos": True})
    achieved = server.metric("serval:step_read_bytes_per_second")
    assert abs(server.metric("serval:roofline_ratio") - achieved / 20e9) < 0.02
    assert server.call("/props")[2]["total_slots"] == 16
    server = start("--no-machine-limits")
    server.post("/v1/completions", {"prompt": "Once", "max_tokens": 8, "ignore_eos": True})
    assert "roofline_ratio" not in server.call("/metrics")[2]


def test_a_key_over_its_share_is_told_so(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice-key-0123456789 alice admin\nbob-key-0123456789 bob\n")
    server = start("--keys", keys, "--key-requests", "2")
    alice, bob = ({"Authorization": f"Bearer {name}-key-0123456789"} for name in ("alice", "bob"))
    body = {"prompt": "Once", "max_tokens": 1, "n": 2}
    for _ in range(3):  # what ended is not counted
        assert server.post("/v1/completions", body, headers=alice)[0] == 200
    for path, over in (("/v1/completions", body | {"n": 3}), ("/v1/embeddings", {"input": ["a", "b", "c"]})):
        status, headers, reply = server.post(path, over, headers=alice)
        assert status == 429 and headers["Retry-After"] == "1" and reply["error"]["code"] == "rate_limit_exceeded"
    worker = threading.Thread(target=server.post, args=("/v1/completions", body | {"max_tokens": 300, "ignore_eos": True}),
                              kwargs={"headers": alice})
    worker.start()
    assert server.eventually(lambda: re.search(r"num_requests_running\S* 2\n", server.call("/metrics", headers=alice)[2]))
    assert server.post("/v1/completions", body, headers=alice)[0] == 429
    assert server.post("/v1/completions", body, headers=bob)[0] == 200
    worker.join()
    assert server.post("/v1/completions", body, headers=alice)[0] == 200
    assert "serval:key_refusals_total" in server.call("/metrics", headers=alice)[2]
