"""Metrics, the trace of steps, the access log."""
import json


def test_step_metrics(server):
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 8, "ignore_eos": True})
    assert server.metric("serval:step_seconds_count") == server.metric("serval:engine_steps_total") > 0
    assert server.metric("serval:step_seconds_sum") > 0
    assert server.metric("serval:step_read_bytes_total", what="weights") > 0
    assert server.metric("serval:step_read_bytes_per_second") > 1e6
    seconds = {name: server.metric("serval:operator_seconds_total", operator=name) for name in ("attention", "ffn_in", "head", "sample")}
    assert min(seconds.values()) > 0 and sum(seconds.values()) < server.metric("serval:step_seconds_sum")
    assert server.metric("serval:operator_read_bytes_total", operator="head") > server.metric("serval:engine_steps_total") * 1e6
    assert server.metric("serval:operator_macs_total", operator="ffn_in") > 1e6
    assert server.metric("serval:step_predicted_seconds_total") >= 0
    assert server.metric("vllm:num_preemptions_total") >= 0


def test_prefix_hits_by_tier(server):
    body = {"prompt": "The same beginning, told again and again. " * 20, "max_tokens": 1}
    server.post("/v1/completions", body)
    memory, disk = (server.metric("serval:prefix_cache_hits_total", tier=t) for t in ("memory", "disk"))
    server.post("/v1/completions", body)
    assert server.metric("serval:prefix_cache_hits_total", tier="memory") > memory
    assert server.metric("serval:prefix_cache_hits_total", tier="disk") == disk == 0
    assert server.metric("vllm:prefix_cache_hits_total") == server.metric("serval:prefix_cache_hits_total", tier="memory")


def test_trace(server):
    server.post("/v1/completions", {"prompt": "One two three", "max_tokens": 6, "ignore_eos": True})
    status, _, trace = server.call("/admin/trace?steps=20")
    events = trace["traceEvents"]
    steps = [e for e in events if e["name"].startswith("step ")]
    assert status == 200 and 0 < len(steps) <= 20
    numbers = [int(e["name"].split()[1]) for e in steps]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for before, after in zip(steps, steps[1:]):
        assert before["ph"] == "X" and before["ts"] + before["dur"] <= after["ts"] + 1
    assert any(e["name"] == "decode" for e in events) and all(e["pid"] == 1 for e in events)
    for query in ("steps=0", "steps=x", "steps=4097", "n=1", "steps="):
        assert server.call("/admin/trace?" + query)[0] == 400


def test_trace_needs_an_admin_key(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("user-key-0123456789 alice use\nadmin-key-0123456789 root admin\n")
    server = start("--keys", keys)
    assert server.call("/admin/trace")[0] == 401
    assert server.call("/admin/trace", headers={"Authorization": "Bearer user-key-0123456789"})[0] == 403
    assert server.call("/admin/trace", headers={"Authorization": "Bearer admin-key-0123456789"})[0] == 200


def test_the_log_tells_the_cost_and_no_text(server):
    server.post("/v1/completions", {"prompt": "a very private matter", "max_tokens": 3, "ignore_eos": True},
                headers={"x-request-id": "cost-me"})
    assert server.eventually(lambda: any("cost-me" in line for line in server.lines))
    entry = json.loads(next(line for line in server.lines if "cost-me" in line))
    assert entry["completion_tokens"] == 3 and entry["prompt_tokens"] > 2 and entry["choices"] == 1
    assert entry["queue_ms"] >= 0 and entry["prompt_ms"] > 0 and entry["predicted_ms"] > 0
    assert not any("private matter" in line for line in server.lines)
