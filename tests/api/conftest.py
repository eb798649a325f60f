"""Runs the real server on a free port. SERVAL_BIN names the binary, SERVAL_TEST_MODELS the folder of real models.
SERVAL_TEST_PATIENCE (default 1) multiplies every time that a test grants: a binary with sanitizers needs several times as long.
SERVAL_TEST_SANITIZED=1 says that it is one."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SERVAL_BIN", str(ROOT / "build" / "release" / "serval"))
MODEL = "smollm2-135m"
PATIENCE = float(os.environ.get("SERVAL_TEST_PATIENCE", "1"))


def patient(seconds):
    """What a test grants to a server, in this run."""
    return seconds * PATIENCE


# Such a build does not lock itself in, because its checkers look at their own process, and its memory is not the release build's.
SANITIZED = os.environ.get("SERVAL_TEST_SANITIZED") == "1"

START_SECONDS = patient(120)


def model_path(name=MODEL):
    folder = os.environ.get("SERVAL_TEST_MODELS")
    path = pathlib.Path(folder or "", name + ".gguf")
    if not folder or not path.exists():
        pytest.skip(f"{name}.gguf is not in SERVAL_TEST_MODELS")
    return str(path)


class Server:
    """One `serval serve`; its standard error is collected line by line."""

    def __init__(self, *arguments, env=None, wait=True, model=MODEL):
        command = [BINARY, "serve", "-m", model_path(model), "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                        env=os.environ | (env or {}), text=True)
        self.lines = []
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()
        if wait:
            self.url = self._wait_for(r"listening on (http://\S+)")
            self.host, self.port = "127.0.0.1", int(self.url.rsplit(":", 1)[1])

    def _collect(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def _wait_for(self, pattern):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found.group(1)
            if self.process.poll() is not None:
                self.reader.join(5)
                raise AssertionError("the server ended: " + "\n".join(self.lines))
            time.sleep(0.02)
        raise AssertionError("the server did not start: " + "\n".join(self.lines))

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        code = self.process.wait(patient(seconds))
        self.reader.join(5)
        return code

    def stop(self):
        if self.process.poll() is None:
            self.signal()
            try:
                assert self.wait() == 0
            finally:
                if self.process.poll() is None:
                    self.process.kill()

    # ---- HTTP by hand
    def connect(self, timeout=30):
        return socket.create_connection((self.host, self.port), timeout=patient(timeout))

    def call(self, path, body=None, headers=None, method=None):
        """(status, headers, JSON or text) of one request."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers or {})
        if data is not None and "Content-type" not in request.headers:
            request.add_header("Content-Type", "application/json")
        try:
            reply = urllib.request.urlopen(request, timeout=patient(120))
        except urllib.error.HTTPError as error:
            reply = error
        text = reply.read().decode()
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        return reply.status, reply.headers, json.loads(text) if is_json and text else text

    def post(self, path, body, **options):
        return self.call(path, body, **options)

    def metric(self, name, headers=None, **labels):
        status, _, text = self.call("/metrics", headers=headers)
        assert status == 200
        for line in text.splitlines():
            if re.match(re.escape(name) + r"[{ ]", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name} {labels}")

    def eventually(self, condition, seconds=10):
        deadline = time.monotonic() + patient(seconds)
        while time.monotonic() < deadline:
            try:
                if condition():
                    return True
            except AssertionError:  # a metric could not be read
                pass
            time.sleep(0.02)
        return False

    def idle(self):
        return self.metric("vllm:num_requests_running") == 0 and self.metric("vllm:num_requests_waiting") == 0


@pytest.fixture(scope="session")
def server():
    """The server most tests share."""
    running = Server("--alias", "tiny", "--alias", "model", "-np", "8", "-c", "16384")
    yield running
    running.stop()


@pytest.fixture
def start():
    """Servers with options of their own."""
    started = []

    def run(*arguments, **options):
        started.append(Server(*arguments, **options))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def own_address():
    """This machine's address as the network sees it; without a network, loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def exchange(server, data, timeout=30):
    """Sends raw bytes, returns everything until the server closes."""
    with server.connect(timeout) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_all(connection)


def read_all(connection):
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def read_reply(file):
    """One reply with Content-Length from a connection's file: (status, headers, body)."""
    status = file.readline()
    headers = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, value = line.decode().split(":", 1)
        headers[name.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))
    return int(status.split()[1]) if status else 0, headers, body


def http_post(path, body, headers=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return (head + f"Content-Length: {len(data)}\r\n{headers}\r\n").encode() + data


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/") else 0
