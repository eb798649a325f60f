"""TLS on the same port: official client, curl, what is refused, hostile handshakes."""
import os
import re
import socket
import ssl
import subprocess
import time

import openai
import pytest

from conftest import BINARY, http_post, model_path, read_all, status_of

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def certify(folder, name="localhost", kind="ec"):
    """A certificate of its own authority; `openssl` is part of every system that has OpenSSL."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", *new, "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key,
                    "-out", cert, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return certify(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(start, certificate, tmp_path):
    cert, key = certificate
    server = start("--ssl-cert-file", cert, "--ssl-key-file", key, "--handshake-time", 1, "--unix", tmp_path / "plain.sock",
                   "--max-body", 100_000, wait=False)
    server.url = server._wait_for(r"listening on (https://\S+)")
    server.host, server.port = "127.0.0.1", int(server.url.rsplit(":", 1)[1])
    server.context = ssl.create_default_context(cafile=cert)
    return server


def talk(server, data, context=None, timeout=30):
    with server.connect(timeout) as plain, (context or server.context).wrap_socket(
            plain, server_hostname="localhost") as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        return read_all(connection)


def test_the_official_client(secure, certificate):
    client = openai.OpenAI(base_url=f"https://localhost:{secure.port}/v1", api_key="any",
                           http_client=openai.DefaultHttpxClient(verify=secure.context), max_retries=0)
    asked = dict(model="smollm2-135m", prompt="Once upon a time", max_tokens=20, temperature=0)
    whole = client.completions.create(**asked).choices[0].text
    assert whole and "".join(c.choices[0].text for c in client.completions.create(**asked, stream=True)) == whole
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**asked | {"model": "other"})


def test_curl(secure, certificate):
    def curl(*arguments):
        return subprocess.run(["curl", "-sS", "--cacert", certificate[0], "-w", "\n%{http_code} %{http_version}", *arguments,
                               f"https://localhost:{secure.port}/tokenize"], capture_output=True, text=True, timeout=30)

    done = curl("--json", '{"content": "hello"}')
    assert done.returncode == 0 and done.stdout.endswith("\n200 1.1"), done
    done = curl("--json", '{"content": "hello"}', "--tls-max", "1.2")
    assert done.stdout.endswith("\n200 1.1"), done
    # A body over the limit is refused while it is sent, and the refusal arrives.
    done = curl("-H", "Content-Type: application/json", "-H", "Expect:", "-d", "x" * 100_001)
    assert done.stdout.endswith("\n413 1.1"), done


def test_old_versions_and_weak_ciphers_are_refused(secure):
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            talk(secure, GET, context)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES256-GCM-SHA384"):
        context.set_ciphers(cipher)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            talk(secure, GET, context)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        talk(secure, GET, context)
    assert status_of(talk(secure, GET)) == 200


def test_hostile_handshakes(secure):
    """Garbage, plain HTTP, silence, a hang-up in the middle: each ends, none disturbs the others."""
    hello = bytes.fromhex("16030100c8010000c40303") + os.urandom(32)
    for data in (GET, b"\0" * 1000, b"\x16\x03\x01\xff\xff" + b"a" * 70_000, hello + os.urandom(200), os.urandom(5000)):
        with secure.connect(10) as connection:
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert b"HTTP/" not in read_all(connection)
    with secure.connect(10) as silent, secure.connect(10) as half:
        half.sendall(hello[:20])
        begun = time.monotonic()
        assert read_all(silent) == b"" and read_all(half) == b""
        assert 0.5 < time.monotonic() - begun < 5
    for _ in range(50):
        connection = secure.connect()
        connection.sendall(hello[:11])
        connection.close()
    assert status_of(talk(secure, GET)) == 200
    text = talk(secure, GET.replace(b"/livez", b"/metrics")).decode()
    value = lambda name: float(re.search(re.escape(name) + r"[^}]*} ([0-9.]+)", text).group(1))
    assert value('http_limit_hits_total{model_name="smollm2-135m",limit="handshake_time"') == 2
    assert value("tls_handshakes_failed_total") >= 5
    assert secure.process.poll() is None


def test_a_stream_under_tls_is_cancelled_when_the_client_leaves(secure):
    body = {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with secure.connect() as plain, secure.context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(http_post("/v1/completions", body))
        assert status_of(connection.recv(4096)) == 200
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = talk(secure, GET.replace(b"/livez", b"/metrics")).decode()
        if re.search(r"vllm:num_requests_running\{[^}]*\} 0", text):
            return
        time.sleep(0.05)
    raise AssertionError("the request went on")


def test_the_unix_socket_stays_plain(secure, tmp_path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "plain.sock"))
        connection.sendall(GET)
        assert status_of(read_all(connection)) == 200


def test_keep_alive_and_drain(secure):
    with secure.connect() as plain, secure.context.wrap_socket(plain, server_hostname="localhost") as connection:
        for _ in range(3):
            connection.sendall(GET.replace(b"Connection: close\r\n", b""))
            assert status_of(connection.recv(4096)) == 200
        secure.signal()
        assert read_all(connection) == b""
    assert secure.wait() == 0


def test_files_that_do_not_fit(tmp_path, certificate):
    cert, key = certificate
    other_cert, other_key = certify(tmp_path, "other", "rsa")
    (tmp_path / "text").write_text("no certificate")
    for arguments, code, named in (((cert, other_key), 1, "is not the key"), ((tmp_path / "absent", key), 1, "absent"),
                                   ((cert, tmp_path / "text"), 1, "text"), ((cert, None), 2, "--ssl-key-file")):
        command = [BINARY, "serve", "-m", model_path(), "--port", "0", "--ssl-cert-file", arguments[0]]
        command += ["--ssl-key-file", arguments[1]] if arguments[1] else []
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == code and named in done.stderr, done.stderr
