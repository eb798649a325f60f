"""The monitor's further replies: plan, tiers, doctor and log against their schema, /metrics and what was asked; who may look."""
import json
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT, SANITIZED
from test_monitor import ADMIN, USE, bearer, check, complete, watched  # noqa: F401 (fixture)

PATHS = ["/admin/monitor/plan", "/admin/monitor/tiers", "/admin/monitor/doctor", "/admin/monitor/log"]


def reply(server, path, **more):
    status, headers, body = server.call(path, **more)
    assert status == 200 and headers["Cache-Control"] == "no-store"
    return check(path.split("?")[0].rsplit("/", 1)[1], body)


def test_the_plan_is_what_the_metrics_count(watched):  # noqa: F811
    complete(watched, "Plan", 8)
    assert watched.eventually(watched.idle)
    plan = reply(watched, "/admin/monitor/plan")
    rows = plan["rows"]
    assert {row["op"] for row in rows} == {"begin", "embed", "attention_in", "attention", "attention_out", "ffn_in", "ffn_out", "head", "sample"}
    for layer in range(30):
        assert [r["op"] for r in rows if r["layer"] == layer] == ["attention_in", "attention", "attention_out", "ffn_in", "ffn_out"]
    for op in {row["op"] for row in rows}:
        mine = [row for row in rows if row["op"] == op]
        assert sum(r["ms"] for r in mine) == pytest.approx(1000 * watched.metric("serval:operator_seconds_total", operator=op), rel=1e-6)
        assert sum(r["bytes"] for r in mine) == watched.metric("serval:operator_read_bytes_total", operator=op)
        assert sum(r["macs"] for r in mine) == watched.metric("serval:operator_macs_total", operator=op)
    steps = watched.metric("serval:engine_steps_total")
    assert all(row["calls"] == steps for row in rows if row["layer"] >= 0)
    # What is planned is what is read: each step reads a layer's weights once.
    assert all(row["bytes"] == steps * row["weight_bytes"] for row in rows if row["layer"] >= 0 and row["op"] != "attention")
    first = next(row for row in rows if row["op"] == "attention_in")
    assert first["what"] == "attn_qkv: Q4_1 [960 x 576]" and first["token_macs"] == 960 * 576
    assert plan["device"] == "cpu" and plan["threads"] >= 1 and plan["limit_gbs"] > 0.5


def test_tiers_without_and_with_a_disk(watched, start, tmp_path):  # noqa: F811
    assert reply(watched, "/admin/monitor/tiers")["disk"] is None
    server = start("-c", "1024", "--kv-cache-dir", tmp_path / "kv", "--no-machine-limits")
    prompt = "The mill stands by the river and turns all day. " * 20
    for ending in "ABA":
        complete(server, prompt + ending, 2)
    for i in range(6):  # others push it out of memory
        complete(server, f"{i} and then the cat sat down to think about it. " * 40, 2)
    complete(server, prompt + "A", 2)
    assert server.eventually(lambda: server.idle() and server.metric("serval:disk_cache_blocks") > 0)
    tiers = reply(server, "/admin/monitor/tiers")
    memory, disk = tiers["memory"], tiers["disk"]
    assert memory["free"] + memory["held"] + memory["cached"] == memory["blocks"] == 32
    assert memory["bytes"] == memory["blocks"] * memory["block_bytes"]
    assert 32 * memory["cached"] == server.metric("serval:kv_cache_tokens_cached")
    assert memory["also_on_disk"] <= memory["cached"]
    assert memory["hit_tokens"] == server.metric("serval:prefix_cache_hits_total", tier="memory") > 0
    assert disk["hit_tokens"] == server.metric("serval:prefix_cache_hits_total", tier="disk")
    assert disk["blocks"] == server.metric("serval:disk_cache_blocks") and disk["bytes"] == server.metric("serval:disk_cache_bytes")
    assert disk["written"] == server.metric("serval:disk_cache_blocks_total", outcome="written")
    assert disk["bytes"] <= disk["limit_bytes"] and disk["write_errors"] == 0
    assert tiers["computed_tokens"] + memory["hit_tokens"] + disk["hit_tokens"] == tiers["prompt_tokens"]
    assert tiers["prompt_tokens"] == server.metric("vllm:prompt_tokens_total")


def test_the_doctor(watched, start):  # noqa: F811
    findings = {f["name"]: f for f in reply(watched, "/admin/monitor/doctor")["findings"]}
    assert findings["sandbox"]["value"] == ("off" if SANITIZED else "on") and not findings["sandbox"]["live"]
    assert findings["prefix cache"]["live"] and f'of {watched.metric("vllm:prompt_tokens_total"):.0f} prompt tokens' in findings["prefix cache"]["value"]
    assert all((f["status"] == "ok") == (f["advice"] == "") for f in findings.values())
    told = {f["name"]: f for f in json.loads(subprocess.check_output([BINARY, "doctor", "--json"]))}
    for name in ("processor", "instructions", "caches", "huge pages", "cpu limit", "governor", "gpu"):
        assert findings[name]["value"] == told[name]["value"], name
    bare = start("--no-machine-limits", "--no-sandbox", "-ngl", "9")
    findings = {f["name"]: f for f in reply(bare, "/admin/monitor/doctor")["findings"]}
    assert findings["read bandwidth"]["status"] == findings["sandbox"]["status"] == findings["options"]["status"] == "warn"
    assert "-ngl" in findings["options"]["advice"]


@pytest.mark.parametrize("kind, dots", [("BF16", "bfloat16"), ("F16", "float32"), ("F32", "float32"), ("Q8_0", "int8")])
def test_a_model_is_rated_by_the_dot_products_it_needs(start, tmp_path, kind, dots):
    """The server and `bench` by the same ones; a server writes down what it measured, of each kind."""
    name = f"llama-gqa3.{kind}"
    subprocess.run([sys.executable, ROOT / "tests" / "data" / "make_tiny_models.py", tmp_path, "--variant", "llama-gqa3", "--type", kind],
                   check=True, capture_output=True)
    server = start(model=str(tmp_path / name), env={"XDG_STATE_HOME": str(tmp_path)})
    found = {f["name"]: f for f in reply(server, "/admin/monitor/doctor")["findings"]}["dot products"]
    measured = list(map(float, (tmp_path / "serval" / "machine-limits").read_text().split()[2:6]))
    rated = measured[1:][["int8", "float32", "bfloat16"].index(dots)]
    assert found["value"] == f"{rated:.1f} GMAC/s, {dots}" and found["status"] == "ok"
    assert reply(server, "/admin/monitor/plan")["limit_gmacs"] == pytest.approx(rated, rel=1e-4)
    bench = [BINARY, "bench", tmp_path / f"{name}.gguf", "-p", "8", "-n", "0", "-r", "1", "--json"]
    assert json.loads(subprocess.check_output(bench))["machine"]["dot_products"] == dots


def test_the_log_tells_what_happened_and_no_text(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{USE} alice\n{ADMIN} root admin\n")
    server = start("--keys", keys, "--no-machine-limits")
    secret = "purple-elephant"

    def ask(path, body, **headers):
        return server.post(path, body, headers=bearer(USE) | headers)

    status, _, answer = ask("/v1/completions", {"prompt": secret, "max_tokens": 5, "ignore_eos": True}, **{"X-Request-Id": secret, "User-Agent": secret})
    assert status == 200
    assert ask("/v1/completions", {"prompt": secret, "model": secret})[0] == 404
    assert ask("/v1/completions", {secret: secret})[0] == 400
    assert server.call(f"/{secret}?{secret}={secret}", headers=bearer(USE))[0] == 404
    assert server.call(f"/v1/models/{secret}", headers=bearer(USE))[0] == 404
    assert server.call(f"/v1/kv/snapshots/{secret}", headers=bearer(USE))[0] == 404
    assert server.call("/v1/models", method=secret.upper().replace("-", ""), headers=bearer(USE))[0] in (400, 404, 405, 501)
    assert server.call("/admin/monitor", headers=bearer(USE))[0] == 403
    assert server.call("/metrics", headers=bearer(ADMIN))[0] == 200

    def log(query=""):
        return reply(server, "/admin/monitor/log" + query, headers=bearer(ADMIN))

    assert server.eventually(lambda: len(log()["lines"]) >= 9)
    lines = log()["lines"]
    assert [line["n"] for line in lines] == list(range(1, len(lines) + 1)) and log()["last"] == len(lines)
    assert lines[0]["event"] == "started" and lines[0]["facts"]["kv_tokens"] > 0
    replies = [line["facts"] for line in lines if line["event"] == "reply"]
    assert [(r["route"], r["status"]) for r in replies[:6]] == [
        ("/v1/completions", 200), ("/v1/completions", 404), ("/v1/completions", 400), ("none", 404), ("/v1/models/*", 404), ("/v1/kv/snapshots/*", 404)]
    assert replies[-1]["route"] == "/admin/monitor" and replies[-1]["status"] == 403, "looks that succeed are left out"
    done = replies[0]
    assert done["key"] == "alice" and done["completion_tokens"] == 5 and done["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    row = next(r for r in server.call("/admin/monitor", headers=bearer(ADMIN))[2]["reqs"]["rows"] if r[0] == done["request"])
    assert (row[3], row[6]) == (done["prompt_tokens"], 5)
    assert [line["level"] for line in lines if line["event"] == "reply"][:2] == ["info", "warn"]
    shown = json.dumps(log()).lower()
    assert "elephant" not in shown and "purple" not in shown and USE not in shown
    assert log(f"?after={lines[-2]['n']}")["lines"] == lines[-1:]
    assert log("?after=9007199254740991")["lines"] == []
    for query in ("after=-1", "after=x", "after=", "what=1", "after=1&after=2"):
        assert server.call("/admin/monitor/log?" + query, headers=bearer(ADMIN))[0] == 400, query


def test_the_log_keeps_its_latest_lines(watched):  # noqa: F811
    for _ in range(520):
        assert watched.post("/tokenize", {"content": "a"})[0] == 200
    log = reply(watched, "/admin/monitor/log")
    assert len(log["lines"]) == 512 and log["lines"][-1]["n"] == log["last"]


def test_only_admins_look(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{USE} alice\n{ADMIN} root admin\n")
    server = start("--keys", keys, "--no-machine-limits")
    for path in PATHS:
        assert server.call(path)[0] == 401, path
        assert server.call(path, headers=bearer(USE))[0] == 403, path
        assert server.call(path, headers=bearer(ADMIN))[0] == 200, path
        assert server.call(path + "?x=1", headers=bearer(ADMIN))[0] == 400, path
        assert server.call(path, method="POST", body=b"", headers=bearer(ADMIN))[0] == 405, path
