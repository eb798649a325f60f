"""serval top for those who may not look at the monitor: /metrics is shown, with a note, in a pseudo-terminal."""
import http.server
import json
import threading
import time

import jsonschema
import pytest

from test_top import SCHEMA, Terminal

MODEL = "smollm2"


class Metrics(http.server.BaseHTTPRequestHandler):
    """A server that refuses its monitor. Its engine does 50 tokens a second in 25 steps of 20 ms, on half of the time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        if server.gone:
            self.close_connection = True
            return None
        server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/admin/"):
            return self.answer(server.refusal, json.dumps({"error": {"message": "this key may not be used here", "code": "insufficient_permissions"}}))
        if self.path == "/v1/requests" and server.rows is not None:
            return self.answer(200, json.dumps({"t_ms": 5000, "label": "alice", "rows": server.rows}))
        if self.path != "/metrics" or server.no_metrics:
            return self.answer(401, json.dumps({"error": {"message": "a key is needed"}}))
        self.answer(200, server.text if server.text is not None else metrics(time.monotonic() - server.began))

    def answer(self, status, body):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def metrics(seconds):
    steps = int(25 * seconds)
    label = f'model_name="{MODEL}"'
    rows = {
        "vllm:num_requests_running": 3, "vllm:num_requests_waiting": 2, "vllm:kv_cache_usage_perc": 0.25, "serval:kv_cache_tokens": 8192,
        "serval:kv_cache_tokens_cached": 1024, "vllm:prompt_tokens_total": 900, "vllm:generation_tokens_total": 2 * steps,
        "vllm:prefix_cache_hits_total": 320, "serval:prompt_tokens_computed_total": 580, "vllm:num_preemptions_total": 4,
        "serval:engine_steps_total": steps, "serval:step_predicted_seconds_total": 0.019 * steps, "serval:step_read_bytes_per_second": 20e9,
        "serval:roofline_ratio": 0.5, "serval:step_seconds_sum": 0.02 * steps, "serval:disk_cache_blocks": 7}
    text = "".join(f"# HELP {name} What.\n# TYPE {name} gauge\n{name}{{{label}}} {value}\n" for name, value in rows.items())
    for what, share in (("weights", 0.9), ("kv", 0.1)):
        text += f'serval:step_read_bytes_total{{{label},what="{what}"}} {share * 4e8 * steps}\n'
    for operator in ("ffn_in", "head"):
        text += f'serval:operator_macs_total{{{label},operator="{operator}"}} {1e9 * steps}\n'
    for name, low, high in (("vllm:time_to_first_token_seconds", 0.1, 0.2), ("vllm:inter_token_latency_seconds", 0.02, 0.04)):
        for bound, count in ((low, 0), (high, 10 * steps), ("+Inf", 10 * steps)):
            text += f'{name}_bucket{{{label},le="{bound}"}} {count}\n'
    return text


@pytest.fixture
def refusing():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    server.asked, server.began, server.refusal, server.no_metrics, server.text, server.gone = [], time.monotonic(), 403, False, None, False
    server.rows = None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


def test_an_ordinary_key_sees_its_own_requests(serval, refusing, tmp_path):
    refusing.no_metrics = True
    refusing.rows = [[1, 0, "stop", 30, 0, 30, 7, 20, 18, None, 0, [1000, 1001, 1020, 1200, 1201]],
                     [2, 0, "decode", 120, 96, 120, 57, 48.2, 31.5, None, 0, [4000, 4010, 4048.2, 4900, None]],
                     [3, 0, "waiting", 40, 0, 0, 0, None, None, None, 0, [4900, None, None, None, None]]]
    terminal = Terminal(serval, refusing.url, "--hz", "10", SERVAL_API_KEY="alices-key-0123456789")
    shown = terminal.expect(r"2 decode +120 +96 +57 +10 ms +48 ms +32 ms +alice", 60)
    for text in ("serval · requests of alice", "running 1  waiting 1", "The requests of this key alone", "--key-file"):
        assert text in shown, (text, shown)
    terminal.press("3")
    terminal.press("k")
    terminal.press("c")
    terminal.expect("cancel request")
    terminal.press("y")
    terminal.expect("takes an admin key")
    terminal.press("k")
    refusing.rows = [[4, 0, "prefill", 999, 0, 64, 0, None, None, None, 0, [5000, 5001, None, None, None]]]
    terminal.expect(r"4 prefill +64/999")
    assert "decode" not in str(terminal.screen), "what the server has forgotten is gone"
    refusing.gone = True
    terminal.expect("the connection is lost, trying again", 60)
    refusing.gone = False
    terminal.expect("q quit", 60)
    terminal.press("q")
    assert terminal.restored() == 0
    assert not any("cancel" in path for path, _ in refusing.asked)

    file = tmp_path / "r.jsonl"
    lines = [json.loads(line) for line in serval("top", refusing.url, "--json", "-n", "2", "--hz", "10", "--record", file).out.splitlines()]
    for line in lines + [json.loads(line) for line in file.read_text().splitlines()]:
        jsonschema.Draft202012Validator(SCHEMA).validate(line)
        assert line["event"] == "own" and line["data"]["rows"] == refusing.rows
    assert len(lines) == 2
    for once in (serval("top", refusing.url), serval("top", "--replay", file)):
        assert once.code == 0 and "requests of alice" in once.out and "64/999" in once.out


@pytest.mark.parametrize("status", [401, 403])
def test_metrics_are_shown_with_a_note(serval, refusing, status):
    refusing.refusal = status
    terminal = Terminal(serval, refusing.url, SERVAL_API_KEY="metrics-key-0123456789")
    shown = terminal.expect(r"busy (4|5)\d %  decode (4\d|5\d)\.\d tok/s", 60)
    for text in (f"serval {MODEL} · of /metrics", "running 3  waiting 2", "No admin rights here", "--key-file", "/40.0 GB/s", "preempted 4",
                 "tokens in use 2048 cached 1024 free 5120", "q quit"):
        assert text in shown, (text, shown)
    terminal.expect(r"TTFT p50 150 ms p99 199 ms  ITL p50 30 ms p99 40 ms")
    for page in "2345":
        terminal.press(page)
        terminal.expect("need an admin key")
        assert "of /metrics" in str(terminal.screen)
    assert {key for _, key in refusing.asked} == {"Bearer metrics-key-0123456789"}
    terminal.press("q")
    assert terminal.restored() == 0


def test_a_server_that_starts_anew_or_goes(serval, refusing):
    terminal = Terminal(serval, refusing.url)
    terminal.expect(r"decode [45]\d", 60)
    refusing.began = time.monotonic()
    terminal.expect(r"decode [45]\d", 60)
    refusing.gone = True
    terminal.expect("the connection is lost, trying again", 60)
    refusing.gone = False
    terminal.expect("q quit", 60)
    terminal.press("q")
    assert terminal.restored() == 0


def test_without_a_terminal(serval, refusing):
    done = serval("top", refusing.url)
    assert done.code == 0 and "No admin rights here" in done.out and "of /metrics" in done.out
    lines = [json.loads(line) for line in serval("top", refusing.url, "--json", "-n", "4", "--hz", "4").out.splitlines()]
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for line in lines:
        validator.validate(line)
    assert [line["event"] for line in lines] == ["hello"] + ["frame"] * 4 and lines[0]["data"]["origin"] == "metrics"
    last = lines[-1]["data"]
    assert last["kv"] == {"free": 5120, "live": 2048, "shared": 0, "cached": 1024, "pinned": 0, "disk": 7}
    assert last["total"]["dec"] == 2 * last["total"]["steps"] and last["roof"]["gbs"] == pytest.approx(20) and last["roof"]["gmacs"] == pytest.approx(100)


def test_a_recording_of_metrics_is_replayed(serval, refusing, tmp_path):
    file = tmp_path / "r.jsonl"
    assert serval("top", refusing.url, "--json", "-n", "3", "--hz", "10", "--record", file).code == 0
    done = serval("top", "--replay", file)
    assert done.code == 0 and "No admin rights here" in done.out


def test_neither_is_allowed(serval, refusing):
    refusing.no_metrics = True
    for arguments in ([], ["--json"]):
        done = serval("top", refusing.url, *arguments)
        assert done.code == 1 and len(done.error_lines) == 1 and "may not be used here" in done.err
    refusing.no_metrics, refusing.text = False, "what is this\n# no metrics\nx{ 1\n"
    done = serval("top", refusing.url)
    assert done.code == 1 and "not those of a Serval server" in done.err
