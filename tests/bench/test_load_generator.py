"""bench_serve against a server whose every piece of text has a time known beforehand."""

import http.server
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

GENERATOR = pathlib.Path(os.environ.get("SERVAL_BIN", "build/release/serval")).resolve().parent / "bench_serve"
TTFT, GAP, PIECES = 0.30, 0.10, 5


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(200, {"status": "ok"})

    def whole(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.open += 1
            server.most_open = max(server.most_open, server.open)
            server.connections.add(self.client_address)
        try:
            self.answer(body)
        except (BrokenPipeError, ConnectionResetError):
            server.left.append(body)
            self.close_connection = True
        finally:
            with server.lock:
                server.open -= 1

    def answer(self, body):
        if "busy" in str(body):
            return self.whole(503, {"error": {"message": "queue full"}})
        usage = {"prompt_tokens": 7, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 3}}
        if not body.get("stream"):
            return self.whole(200, {"choices": [{"text": "whole", "finish_reason": "stop"}], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chat = "messages" in body
        self.chunk(": a comment\n\ndata: " + json.dumps({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) + "\r\n\r\n")
        for number in range(PIECES):
            time.sleep(TTFT if number == 0 else GAP)
            piece = {"delta": {"content": f"p{number}"}} if chat else {"text": f"p{number}"}
            event = "data: " + json.dumps({"choices": [piece]}) + "\n\n"
            self.chunk(event[:9])  # an event cut in two
            self.chunk(event[9:])
        if "cut" in str(body):
            self.close_connection = True
            return
        self.chunk("data: " + json.dumps({"choices": [], "usage": usage}) + "\n\ndata: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def fake():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.lock = threading.Lock()
    server.asked, server.left, server.open, server.most_open, server.connections = [], [], 0, 0, set()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def load(fake, tmp_path, lines, *options):
    data = tmp_path / "lines.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run([GENERATOR, "--base-url", f"http://127.0.0.1:{fake.server_port}", "--dataset-path", data,
                           "--save-detailed", *map(str, options)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_times_and_tokens(fake, tmp_path):
    report = load(fake, tmp_path, [{"prompt": f"{i}"} for i in range(6)], "--max-concurrency", 3)
    assert (report["completed"], report["failed"], report["refused"]) == (6, 0, 0)
    # Tokens come from usage: 10, though there were 5 pieces.
    assert (report["total_input_tokens"], report["total_output_tokens"], report["total_cached_tokens"]) == (42, 60, 18)
    answer = TTFT + (PIECES - 1) * GAP
    assert report["median_ttft_ms"] == pytest.approx(TTFT * 1000, abs=60)
    assert report["median_itl_ms"] == pytest.approx(GAP * 1000, abs=30)
    assert report["median_tpot_ms"] == pytest.approx((PIECES - 1) * GAP * 1000 / 9, abs=20)
    assert report["median_e2el_ms"] == pytest.approx(answer * 1000, abs=120)
    assert report["duration"] == pytest.approx(2 * answer, abs=0.4)
    assert report["generated_texts"] == ["p0p1p2p3p4"] * 6
    assert [len(gaps) for gaps in report["itls"]] == [PIECES - 1] * 6
    assert fake.most_open == 3 and len(fake.connections) == 3
    assert report["client_cpu_percent"] < 3


def test_one_connection_per_request(fake, tmp_path):
    load(fake, tmp_path, [{"prompt": f"{i}"} for i in range(4)], "--no-keep-alive", "--no-stream", "--max-concurrency", 1)
    assert len(fake.connections) == 4


def test_sessions_carry_the_real_replies(fake, tmp_path):
    lines = [{"session": name, "user": f"{name}{turn}"} for turn in range(2) for name in "ab"]
    report = load(fake, tmp_path, lines)
    assert report["completed"] == 4
    roles = [[(m["role"], m["content"]) for m in body["messages"]] for body in fake.asked]
    for name in "ab":
        assert [("user", name + "0"), ("assistant", "p0p1p2p3p4"), ("user", name + "1")] in roles


def test_script_hang_ups_and_labels(fake, tmp_path):
    lines = [{"prompt": "stays", "at": 0, "label": "survivor"},
             {"prompt": "goes", "at": 0.2, "label": "leaver", "hang_up_after_tokens": 2},
             {"prompt": "goes early", "at": 0.1, "label": "leaver", "hang_up_after_s": 0.1}]
    report = load(fake, tmp_path, lines, "--probe", "/health")
    assert (report["completed"], report["hung_up"], report["failed"]) == (1, 2, 0)
    assert report["by_label"]["survivor"]["completed"] == 1 and report["by_label"]["leaver"]["hung_up"] == 2
    assert report["start_times"] == pytest.approx([0, 0.2, 0.1], abs=0.08)
    assert report["generated_texts"][1:] == ["p0p1", ""]
    assert report["probe"]["count"] > 5 and report["probe"]["failed"] == 0
    deadline = time.monotonic() + 10
    while len(fake.left) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(fake.left) == 2


def test_refusals_and_broken_answers_are_told_apart(fake, tmp_path):
    report = load(fake, tmp_path, [{"prompt": "busy"}, {"prompt": "cut"}, {"prompt": "good"}])
    assert (report["completed"], report["refused"], report["failed"]) == (1, 1, 1)
    assert report["faults"]["503: queue full"] == 1
    assert report["completes"] == [False, False, True]


def test_arrivals_are_random_but_repeatable(fake, tmp_path):
    options = ("--no-stream", "--request-rate", 20, "--seed", 5)
    lines = [{"prompt": "x"}]
    first = load(fake, tmp_path, lines, "--num-prompts", 20, *options)["start_times"]
    second = load(fake, tmp_path, lines, "--num-prompts", 20, *options)["start_times"]
    assert first == pytest.approx(second, abs=0.1)
    assert 0.3 < max(first) < 3
