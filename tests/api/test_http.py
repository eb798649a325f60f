"""Framing, limits, keep-alive, Host, Origin, keys: by raw sockets, as a hostile client would."""
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import time

import pytest

from conftest import BINARY, SANITIZED, exchange, http_post, model_path, own_address, read_all, read_reply, status_of

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


# ---- Framing

@pytest.mark.parametrize("request_bytes, status", [
    (b"GET /livez HTTP/1.1\nHost: localhost\n\n", 400),                        # bare LF
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nA: b\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n", 400),            # bare CR
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n: empty\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 400),                                      # no Host
    (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403),
    (b"GET /livez HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n", 403),
    (b"GET /livez HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n", 403),
    (b"GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    (b"GET /livez\r\n\r\n", 400),
    (b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"G@T /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS \n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nhello", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"0\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"zz\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"-5\r\nhello\r\n0\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     b"5\r\nhelloworld\r\n0\r\n\r\n", 400),
    (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: magic\r\n"
     b"Content-Length: 2\r\n\r\n{}", 417),
])
def test_malformed_requests_are_refused(server, request_bytes, status):
    reply = exchange(server, request_bytes)
    assert status_of(reply) == status, reply[:200]
    body = json.loads(reply.split(b"\r\n\r\n", 1)[1])
    assert set(body["error"]) >= {"message", "type", "param", "code"}
    assert b"\r\nConnection: close\r\n" in reply


def test_unknown_paths_and_methods(server):
    assert server.call("/nothing")[0] == 404
    status, headers, _ = server.call("/v1/chat/completions")
    assert status == 405 and headers["Allow"] == "POST"
    assert server.call("/livez", method="DELETE")[0] == 405
    assert server.call("/livez", method="HEAD")[0] == 200
    assert server.call("/v1/../livez")[0] == 404
    assert server.call("/v1/models/%2e%2e")[0] == 404


def test_content_type(server):
    for content_type, status in (("application/json", 200), ("application/json; charset=utf-8", 200),
                                 ("Application/JSON", 200), ("text/plain", 415), ("application/jsonp", 415),
                                 ("application/x-www-form-urlencoded", 415)):
        found = server.post("/tokenize", {"content": "a"}, headers={"Content-Type": content_type})[0]
        assert found == status, content_type
    assert status_of(exchange(server, b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")) == 415


BAD_BODIES = [
    b"", b"{", b"[]", b"null", b"5", b'"x"', b"{} {}", b'{"content": NaN}', b'{"content": "a",}', b"{'content': 'a'}",
    b'{"content": "\xff"}', b'{"content": "\xed\xa0\x80"}', b'{"content": "\\ud800"}', b'\xef\xbb\xbf{"content": "a"}',
    b'{"content": 5}', b'{"content": ["a"]}', b'{"contents": "a"}', b"{}", b'{"content": "a", "add_special": 1}',
    b"[" * 100_000, b'{"a":' * 100_000, b'{"content": "' + b"a" * 100, b'{"tools": [' + b"1," * 300_000 + b"1]}",
    b'{"messages": []}', b'{"messages": [5]}', b'{"messages": [{"role": "user"}]}', b'{"messages": [{"content": "x"}]}',
    b'{"messages": [{"role": "wizard", "content": "x"}]}', b'{"messages": [{"role": "user", "content": 5}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}',
    b'{"messages": [{"role": "user", "content": "x", "surprise": 1}]}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda b: repr(b[:40]))
def test_bad_bodies_are_the_clients_fault(server, body):
    for path in ("/tokenize", "/v1/chat/completions"):
        reply = exchange(server, http_post(path, body, "Connection: close\r\n"))
        assert status_of(reply) == 400, reply[:300]
        assert json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]["message"]


BAD_VALUES = [
    {"temperature": 1e999}, {"temperature": "1"}, {"temperature": True}, {"top_k": 1.5}, {"top_k": -2}, {"top_p": 1.01},
    {"n": 0}, {"n": 9}, {"max_tokens": -2}, {"max_tokens": 2**40}, {"stop": 5}, {"stop": [5]}, {"stop": ["x"] * 17},
    {"stop": ["x" * 257]}, {"stop": [""]}, {"logprobs": 21}, {"logprobs": -1}, {"seed": "x"}, {"stream": "yes"},
    {"stream_options": {"include_usage": True}}, {"stream": True, "stream_options": {"x": 1}},
    {"logit_bias": {"5": 101}}, {"logit_bias": {"-5": 1}}, {"logit_bias": {"99999999": 1}}, {"logit_bias": [[1]]},
    {"samplers": ["magic"]}, {"stop_token_ids": [-1]}, {"stop_token_ids": [10**7]}, {"stop_token_ids": ["a"]},
    {"best_of": 2}, {"priority": 101}, {"cache_salt": 5}, {"grammar": "root ::= x"}, {"suffix": 5}, {"min_tokens": 99},
    {"prompt": ""}, {"prompt": []}, {"prompt": [[]]}, {"prompt": [1.5]}, {"prompt": [10**7]}, {"prompt": [-1]},
    {"prompt": ["a"] * 257}, {"prompt": {"a": 1}}, {"prompt": None}, {"lora": [{"id": 0}]}, {"nonsense": 1},
]


@pytest.mark.parametrize("fields", BAD_VALUES, ids=lambda f: json.dumps(f)[:50])
def test_bad_values_are_the_clients_fault(server, fields):
    body = json.dumps({"prompt": "x", "max_tokens": 4} | fields).replace("Infinity", "1e999").encode()
    status, _, reply = server.post("/v1/completions", body)
    assert status == 400 and reply["error"]["type"] == "invalid_request_error", reply
    named = (reply["error"]["param"] or "") + reply["error"]["message"]
    assert next(iter(fields)).removesuffix("_ids") in named or "prompt" in named or fields.get("stream")


def test_values_at_their_limits(server):
    for fields in ({"temperature": 100}, {"top_p": 0}, {"top_p": 1}, {"n": 8}, {"logprobs": 20}, {"stop": ["x" * 256] * 16},
                   {"seed": 2**63 - 1}, {"seed": 2**64 - 1}, {"seed": -1}, {"logit_bias": {"5": -100}}, {"max_tokens": 0},
                   {"max_tokens": 2.0}, {"user": None}, {"stop": None}, {"logit_bias": None}, {"n": None}):
        status, _, reply = server.post("/v1/completions", {"prompt": "x", "max_tokens": 2} | fields)
        assert status == 200, (fields, reply)


# ---- Limits: L-1, L, L+1

def test_head_limit(server):
    def request(size):
        base = GET % b"Connection: close\r\nX: %s\r\n"
        return base % (b"a" * (size - len(base) + 2))

    assert [status_of(exchange(server, request(32 * 1024 + d))) for d in (-1, 0, 1)] == [200, 200, 431]
    assert status_of(exchange(server, GET[:-4] + b"X: " + b"a" * 10_000_000)) == 431


def test_field_limit(server):
    def request(fields):  # Host and Connection are two
        return GET % (b"Connection: close\r\n" + b"X: y\r\n" * (fields - 2))

    assert [status_of(exchange(server, request(n))) for n in (99, 100, 101)] == [200, 200, 431]


def test_target_limit(server):
    def request(size):
        target = b"/livez?" + b"a" * (size - len("/livez?"))
        return b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    assert [status_of(exchange(server, request(8 * 1024 + d))) for d in (-1, 0, 1)] == [200, 200, 414]
    assert status_of(exchange(server, b"GET /" + b"a" * 9000)) == 414


def test_body_limit(start):
    server = start("--max-body", 4096)

    def post(size, chunked):
        body = json.dumps({"content": "a" * (size - 15)}).encode()
        assert len(body) == size
        if not chunked:
            return http_post("/tokenize", body, "Connection: close\r\n")
        half = size // 2
        return (b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" +
                b"%x\r\n%s\r\n%x;ext=1\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (half, body[:half], size - half, body[half:]))

    for chunked in (False, True):
        assert [status_of(exchange(server, post(4096 + d, chunked))) for d in (-1, 0, 1)] == [200, 200, 413], chunked
    # The refusal arrives although the client is still sending.
    assert status_of(exchange(server, http_post("/tokenize", b"x" * 5_000_000))) == 413


def test_requests_per_connection(start):
    server = start("--max-connection-requests", 3)
    with server.connect() as connection:
        connection.sendall(GET % b"" * 5)
        replies = read_all(connection)
    assert replies.count(b"HTTP/1.1 200") == 3 and replies.count(b"Connection: close") == 1


def test_connection_limit(start):
    server = start("--max-connections", 4)
    held = [server.connect() for _ in range(4)]
    for connection in held:
        connection.sendall(GET % b"")
        assert status_of(connection.recv(4096)) == 200
    reply = exchange(server, GET % b"")
    assert status_of(reply) == 503 and b"Retry-After" in reply
    held.pop().close()
    assert server.eventually(lambda: status_of(exchange(server, GET % b"Connection: close\r\n")) == 200)
    for connection in held:
        connection.close()
    assert server.eventually(lambda: server.metric("serval:http_connections") == 1)
    assert server.metric("serval:http_limit_hits_total", limit="connections") >= 1


def test_address_connection_limit(start):
    """Of one address; another one of this machine still gets in."""
    server = start("--max-address-connections", 3)
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(GET % b"")
        assert status_of(connection.recv(4096)) == 200
    assert status_of(exchange(server, GET % b"")) == 503
    with socket.create_connection((server.host, server.port), 5, ("127.0.0.2", 0)) as other:
        other.sendall(GET % b"Connection: close\r\n")
        assert status_of(read_all(other)) == 200
    held.pop().close()
    assert server.eventually(lambda: status_of(exchange(server, GET % b"Connection: close\r\n")) == 200)
    for connection in held:
        connection.close()
    assert server.eventually(lambda: server.call("/livez")[0] == 200)
    assert server.metric("serval:http_limit_hits_total", limit="address_connections") >= 1


def test_time_limits(start):
    server = start("--head-time", 0.5, "--body-time", 0.5, "--idle-time", 0.5)
    begun = time.monotonic()
    assert exchange(server, b"") == b""                                              # nothing: closed silently
    assert status_of(exchange(server, b"GET /livez HTTP/1.1\r\nHost: loc")) == 408     # half a head
    assert status_of(exchange(server, http_post("/tokenize", b"{}")[:-1])) == 408     # half a body
    assert 1.4 < time.monotonic() - begun < 8
    with server.connect() as connection:                                             # idle after a reply
        connection.sendall(GET % b"")
        assert status_of(connection.recv(4096)) == 200
        assert connection.recv(4096) == b""
    with server.connect() as connection:                                             # one byte at a time is no head
        try:
            for byte in GET % b"":
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert status_of(read_all(connection)) in (408, 0)
    assert server.metric("serval:http_limit_hits_total", limit="head_time") >= 2


# ---- Connections

def test_keep_alive_and_pipelining(server):
    with server.connect() as connection:
        file = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(http_post("/tokenize", {"content": "hello"}))
            status, headers, body = read_reply(file)
            assert status == 200 and json.loads(body)["tokens"] and headers["connection"] == "keep-alive"
        connection.sendall(b"\r\n" + GET % b"" + http_post("/tokenize", {"content": "a"}) + GET % b"")
        assert [read_reply(file)[0] for _ in range(3)] == [200, 200, 200]
        # A stream in between, framed by chunks, leaves the connection usable.
        body = {"prompt": "x", "max_tokens": 2, "stream": True}
        connection.sendall(http_post("/v1/completions", body) + GET % b"")
        status, headers, _ = read_reply(file)
        assert status == 200 and headers["transfer-encoding"] == "chunked"
        text = b""
        while size := int(file.readline(), 16):
            text += file.read(size)
            assert file.readline() == b"\r\n"
        assert text.endswith(b"data: [DONE]\n\n") and file.readline() == b"\r\n"
        assert read_reply(file)[0] == 200


def test_http_1_0(server):
    assert b"Connection: close" in exchange(server, b"GET /livez HTTP/1.0\r\n\r\n")
    body = json.dumps({"prompt": "x", "max_tokens": 2, "stream": True}).encode()
    reply = exchange(server, b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                     % len(body) + body)
    assert b"Transfer-Encoding" not in reply and reply.endswith(b"data: [DONE]\n\n")


def test_expect_continue(server):
    body = json.dumps({"content": "hello"}).encode()
    with server.connect() as connection:
        file = connection.makefile("rb")
        connection.sendall(http_post("/tokenize", body, "Expect: 100-continue\r\n")[:-len(body)])
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n" and file.readline() == b"\r\n"
        connection.sendall(body)
        assert read_reply(file)[0] == 200


def test_request_ids(server):
    assert server.call("/livez", headers={"x-request-id": "mine-1"})[1]["x-request-id"] == "mine-1"
    assert server.call("/livez", headers={"x-request-id": "no spaces"})[1]["x-request-id"].startswith("req_")


def test_origin(start):
    server = start("--cors-origin", "https://app.example", "--allow-host", "api.example")
    assert server.call("/livez", headers={"Origin": "https://evil.example"})[0] == 403
    assert server.call("/livez", headers={"Origin": "null"})[0] == 403
    assert server.call("/livez", headers={"Origin": server.url})[0] == 200
    status, headers, _ = server.call("/livez", headers={"Origin": "https://app.example"})
    assert status == 200 and headers["Access-Control-Allow-Origin"] == "https://app.example"
    status, headers, _ = server.call("/v1/chat/completions", headers={"Origin": "https://app.example"}, method="OPTIONS")
    assert status == 204 and "authorization" in headers["Access-Control-Allow-Headers"]
    assert server.call("/livez", headers={"Host": "api.example"})[0] == 200
    assert server.call("/livez", headers={"Host": "API.example:80"})[0] == 200


# ---- Keys

USE, METRICS, ADMIN = "use-key-0123456789", "metrics-key-0123456789", "admin-key-0123456789"


def test_keys(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"# ours\n{USE} alice\n{METRICS} prometheus metrics\n\n{ADMIN} root admin\n")
    server = start("--keys", keys)

    def call(path, key=None, body=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return server.call(path, body, headers=headers)

    assert call("/health")[0] == 200
    for key, statuses in ((None, [401] * 4), ("wrong-key-0123456789", [401] * 4), (USE, [200, 403, 403, 200]),
                          (METRICS, [403, 200, 403, 403]), (ADMIN, [200] * 4)):
        found = [call(path, key)[0] for path in ("/v1/models", "/metrics", "/props")]
        assert [*found, call("/tokenize", key, {"content": "a"})[0]] == statuses, key
    assert server.call("/v1/models", headers={"x-api-key": USE})[0] == 200
    assert server.call("/v1/models")[1]["WWW-Authenticate"] == "Bearer"
    # Without a key nothing of a body is read.
    assert status_of(exchange(server, http_post("/tokenize", b"x" * 8_000_000))) == 401
    everything = "\n".join(server.lines)
    assert USE not in everything and '"key":"alice"' in everything


def test_key_sources(start, tmp_path):
    server = start(env={"SERVAL_API_KEY": "from-environment"})
    assert server.call("/v1/models", headers={"Authorization": "Bearer from-environment"})[0] == 200
    assert server.call("/v1/models")[0] == 401
    server = start("--api-key", "secret")
    assert server.call("/v1/models", headers={"Authorization": "bearer secret"})[0] == 200
    assert any("--api-key" in line for line in server.lines)


def refused_start(*arguments):
    port = [] if "--port" in arguments else ["--port", "0"]
    done = subprocess.run([BINARY, "serve", "-m", model_path(), *port, *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return done.returncode, lines[0]


def test_refuses_to_start(tmp_path, server):
    code, line = refused_start("--host", "0.0.0.0")
    assert code == 2 and "--insecure-no-auth" in line
    keys = tmp_path / "keys"
    for text in ("", "short", "sha256:12 x", "a-long-enough-key-012 name wizard"):
        keys.write_text(text)
        assert refused_start("--keys", keys)[0] == 2
    assert refused_start("--keys", tmp_path / "absent")[0] == 1
    code, line = refused_start("--port", server.port)
    assert code == 1 and str(server.port) in line


def test_other_addresses_with_a_key(start):
    server = start("--host", "0.0.0.0", env={"SERVAL_API_KEY": "0123456789abcdef"})
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    assert server.call("/v1/models", headers=headers)[0] == 200
    assert server.call("/v1/models", headers=headers | {"Host": "192.0.2.7:8080"})[0] == 200
    assert server.call("/v1/models", headers=headers | {"Host": "rebound.example"})[0] == 403
    own = own_address()
    with socket.create_connection((own, server.port), 5, (own, 0)) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {own}\r\nAuthorization: Bearer 0123456789abcdef\r\n"
                           "Connection: close\r\n\r\n".encode())
        assert status_of(read_all(connection)) == 200


# ---- Unix socket, signals

def test_unix_socket(start, tmp_path):
    path = tmp_path / "serval.sock"
    server = start("--unix", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(GET % b"Connection: close\r\n")
        assert status_of(read_all(connection)) == 200
    assert refused_start("--unix", path)[0] == 1  # in use
    server.stop()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    start("--unix", path).stop()  # left over: replaced
    pathlib.Path(path).write_text("precious")
    assert refused_start("--unix", path)[0] == 1 and path.read_text() == "precious"


def test_stops_at_once_when_idle(start):
    server = start()
    with server.connect() as idle:
        idle.sendall(GET % b"")
        assert status_of(idle.recv(4096)) == 200
        begun = time.monotonic()
        server.signal()
        assert server.wait() == 0 and time.monotonic() - begun < 1.5


def open_stream(server, tokens, **fields):
    connection = server.connect()
    body = {"prompt": "Once upon a time", "max_tokens": tokens, "stream": True, "ignore_eos": True, "temperature": 0}
    connection.sendall(http_post("/v1/completions", body | fields))
    return connection, connection.recv(4096)


def test_drain_lets_streams_end(start):
    server = start()
    connection, received = open_stream(server, 100)
    idle = server.connect()
    idle.sendall(GET[:20])  # a request on its way
    server.signal()
    assert server.eventually(lambda: server.call("/readyz")[0] == 503, 2)
    assert server.call("/livez")[0] == 200
    status, headers, _ = server.call("/v1/models")
    assert status == 503 and headers["Retry-After"]
    idle.sendall((GET % b"")[20:])
    assert status_of(read_all(idle)) == 200
    received += read_all(connection)
    assert b"data: [DONE]" in received and received.count(b'"text":') >= 100
    assert server.wait() == 0


def test_drain_has_an_end(start):
    server = start("--drain-time", 0.5)
    connection, received = open_stream(server, 5000)
    server.signal()
    received += read_all(connection)
    assert b'"error":{"message":"the server is shutting down"' in received and b"[DONE]" not in received
    assert server.wait() == 0


def test_second_signal_ends_at_once(start):
    server = start()
    connection, _ = open_stream(server, 5000)
    server.signal()
    time.sleep(0.2)
    begun = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.wait() == 130 and time.monotonic() - begun < 1
    connection.close()


# ---- What the process may do

def test_the_process_locks_itself_in(start):
    def status(*options):
        server = start("--no-machine-limits", *options)
        rows = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines())
        said = any("no sandbox" in line for line in server.lines)
        return int(rows["NoNewPrivs"]), int(rows["Seccomp"]), said

    assert status() == ((0, 0, True) if SANITIZED else (1, 2, False))
    assert status("--no-sandbox") == (0, 0, True)
