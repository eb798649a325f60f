"""docs/howto/reverse-proxy.md: each program runs with its configuration as printed there, and what the page asks of Serval is there."""
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import BINARY, ROOT, Server, http_post, patient, read_all
from test_tls import certify

PAGE = (ROOT / "docs" / "howto" / "reverse-proxy.md").read_text()
NAME = "llm.example"
USE, ADMIN = "use-key-0123456789abcdef", "admin-key-0123456789abcdef"


def block(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(found) == 1, language
    return found[0]


def program(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert path, f"{name} is missing; scripts/setup.sh test installs it"
    return path


def check(name, *arguments):
    done = subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def replaced(text, changes):
    """The page's text; only what another machine has to change is changed, and each of these is there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


class Proxy:
    """A program in front of a server, with TLS, on a port of its own."""

    def __init__(self, kind, folder, upstream, without=None):
        cert, key = certify(folder, NAME)
        (folder / "both.pem").write_text(cert.read_text() + key.read_text())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / f"{kind}.conf"
        text = block(kind)
        if without:
            text, left_out = re.subn(without, "", text, flags=re.M)
            assert left_out
        address = {"127.0.0.1:8080": f"127.0.0.1:{upstream}"}
        if kind == "nginx":
            site = replaced(text, {"/etc/ssl/llm.example.pem": cert, "/etc/ssl/llm.example.key": key,
                                   "listen 443": f"listen 127.0.0.1:{self.port}"} | address)
            places = "".join(f"{what}_temp_path {folder}/{what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            config.write_text(f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
                              f"http {{\naccess_log off;\n{places}\n{site}\n}}\n")
            self.read_only, run = ["-t", "-p", folder, "-c", config], ["-p", folder, "-c", config]
        else:
            config.write_text(replaced(text, {"/etc/haproxy/llm.example.pem": folder / "both.pem",
                                               "bind :443": f"bind 127.0.0.1:{self.port}"} | address))
            self.read_only, run = ["-c", "-f", config], ["-db", "-f", config]
        self.kind = kind
        self.context = ssl.create_default_context(cafile=cert)
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen([program(kind), *map(str, run)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self):
        deadline = time.monotonic() + patient(30)
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.log.seek(0)
        raise AssertionError(f"{self.kind} did not start: {self.log.read()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(patient(30))
        self.log.close()

    def ask(self, path, body=None, key=USE, name=NAME):
        """The reply to one request as it stands, its body unread; the connection is closed with it."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=patient(120))
        connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
        data = b"" if body is None else json.dumps(body).encode()
        for field, value in {"Host": name, "Authorization": f"Bearer {key}", "Content-Length": len(data)}.items():
            connection.putheader(field, value)
        if body is not None:
            connection.putheader("Content-Type", "application/json")
        connection.putheader("Connection", "close")
        connection.endheaders(data)
        return connection.getresponse()


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """The server of these tests: keys, one seat, and a comment after a silence of a second."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{USE} alice\n{ADMIN} root admin\n")
    running = Server("--keys", keys, "--allow-host", NAME, "-np", 1, "-c", 8192, "--ping-time", 1)
    yield running
    running.stop()


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(request, tmp_path, behind):
    running = Proxy(request.param, tmp_path, behind.port)
    yield running
    running.stop()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def count(server, state):
    return server.metric(f"vllm:num_requests_{state}", headers=bearer(ADMIN))


def chat(tokens, **more):
    return {"messages": [{"role": "user", "content": "Count to ten."}], "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True} | more


def test_the_program_reads_its_configuration(proxy):
    said = check(proxy.kind, *proxy.read_only)
    assert "warn" not in said.lower(), said


def test_a_stream_is_passed_on_as_it_comes(behind, proxy):
    """While another request has the only seat, the server's comments in the silence come through, a few bytes each."""
    whole = behind.post("/v1/chat/completions", chat(24), headers=bearer(USE))[2]["choices"][0]["message"]["content"]
    with behind.connect(120) as seat:
        seat.sendall(http_post("/v1/chat/completions", chat(6000, stream=True), f"Authorization: Bearer {USE}\r\n"))
        assert seat.recv(4096)
        reader = threading.Thread(target=read_all, args=(seat,))  # a stream that nobody reads would give its seat away
        reader.start()
        reply = proxy.ask("/v1/chat/completions", chat(24, stream=True))
        assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/event-stream")
        first = reply.readline()
        assert first.startswith(b":"), first
        assert count(behind, "waiting") == 1 and count(behind, "running") == 1
        seat.shutdown(socket.SHUT_RDWR)
        reader.join()
    events = [json.loads(line[6:]) for line in reply.read().decode().splitlines() if line.startswith("data: {")]
    pieces = [choice["delta"].get("content") for event in events for choice in event["choices"]]
    assert "".join(piece or "" for piece in pieces) == whole
    assert behind.eventually(lambda: count(behind, "waiting") == 0)


def test_a_reader_who_leaves_ends_the_request(behind, proxy):
    reply = proxy.ask("/v1/chat/completions", chat(6000, stream=True))
    assert reply.readline() and behind.eventually(lambda: count(behind, "running") == 1)
    reply.close()
    assert behind.eventually(lambda: count(behind, "running") == 0, 5)


@pytest.mark.parametrize("path", ["/metrics", "/props", "/admin/monitor", "/admin/trace", "/admin/requests/1/cancel", "/admin/monitor?x=1",
                                  "/%61dmin/monitor", "/admin%2Fmonitor", "//admin/monitor", "/v1/../admin/monitor", "/./props",
                                  "/admin/./monitor", "/%6Detrics", "/%2e/props", "/ADMIN/monitor", "/props/", "/props;x", "/x/..%2fprops"])
def test_what_is_not_for_the_world_is_not_passed_on(behind, proxy, path):
    """Not even with the key for it, however the path is spelled."""
    reply = proxy.ask(path, key=ADMIN)
    assert reply.status in (400, 403, 404), (reply.status, reply.read(200))


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_a_server_without_keys_knows_that_it_is_behind_a_proxy(server, tmp_path, kind):
    """Without the rules for paths what the proxy says of itself is still there, and it is enough."""
    proxy = Proxy(kind, tmp_path, server.port, without=r"^ *(location (= )?/[a-z].*|http-request deny.*)\n")
    try:
        for path in ("/props", "/admin/monitor", "/admin/trace"):
            assert proxy.ask(path, name="localhost").status == 403, path
            assert server.call(path)[0] == 200, path
    finally:
        proxy.stop()


def test_what_is_for_the_world_is_passed_on(behind, proxy):
    for path in ("/", "/monitor", "/livez", "/v1/models", "/v1/requests"):
        assert proxy.ask(path).status == 200, path
    assert proxy.ask("/v1/models", key="wrong").status == 401
    assert proxy.ask("/v1/models", name="evil.example").status in (403, 421)


def test_systemd_unit(tmp_path):
    unit = tmp_path / "serval.service"
    unit.write_text(block("ini").replace("/usr/local/bin/serval", BINARY))
    assert check("systemd-analyze", "verify", unit).strip() == ""
    stated = float(re.search(r"systemd-analyze security serval` rates the unit ([0-9.]+)", PAGE).group(1))
    rated = re.search(r"exposure level for serval.service: ([0-9.]+)", check("systemd-analyze", "security", "--offline=true", unit))
    assert float(rated.group(1)) <= stated


def test_the_options_it_names_exist():
    help_text = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=60).stdout
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"(?s)```(?:nginx|haproxy).*?```|systemd-run.*?\n\n", "", PAGE))):
        assert option in help_text, option


def test_the_metrics_it_names_exist(server):
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 2, "ignore_eos": True})
    text = server.call("/metrics")[2]
    named = set(re.findall(r"(?:vllm|serval):[a-z_]+", PAGE))
    assert len(named) >= 7
    for name in named:
        assert re.search(rf"^{name}[{{ ]", text, re.M), name


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_a_proxy_gets_no_admin_routes(server, header):
    assert server.call("/props", headers={header: "192.0.2.7"})[0] == 403
    assert server.call("/v1/models", headers={header: "192.0.2.7"})[0] == 200
