"""The page as the server sends it: types, caching, compression, policy."""
import gzip
import http.client
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIST = ROOT / "web/dist"


@pytest.fixture(scope="module")
def port():
    binary = os.environ.get("SERVAL_BIN", str(ROOT / "build/release/serval"))
    model = pathlib.Path(os.environ["SERVAL_TEST_MODELS"]) / "smollm2-135m.gguf"
    process = subprocess.Popen([binary, "serve", str(model), "--port", "0", "--no-access-log"], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "SERVAL_API_KEY": "secret"})
    log = ""
    while not (found := re.search(r"listening on http://\S+:(\d+)", log)):
        line = process.stderr.readline()
        assert line, log
        log += line
    assert "/monitor" in process.stderr.readline()  # the link is printed
    yield int(found.group(1))
    process.kill()
    process.wait()


def get(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, body


def test_every_file_arrives_packed_and_unpacked_without_a_key(port):
    files = ["index.html"] + [f"assets/{path.name}" for path in (DIST / "assets").iterdir()]
    assert len(files) > 8
    for name in files:
        path = "/" if name == "index.html" else f"/{name}"
        wanted = (DIST / name).read_bytes()
        status, plain, body = get(port, path)
        assert (status, body) == (200, wanted), name
        assert "content-encoding" not in plain
        status, packed, body = get(port, path, Accept_Encoding="br, gzip;q=0.8")
        assert status == 200 and packed["content-encoding"] == "gzip" and gzip.decompress(body) == wanted, name
        assert get(port, path, Accept_Encoding="gzip;q=0")[2] == wanted
        assert packed["etag"] == plain["etag"] and packed["vary"] == "Accept-Encoding"
        assert packed["cache-control"] == ("no-cache" if path == "/" else "public, max-age=31536000, immutable")
        status, headers, body = get(port, path, If_None_Match=plain["etag"])
        assert (status, body) == (304, b"") and headers["etag"] == plain["etag"]
        status, headers, body = get(port, path, method="HEAD")
        assert (status, body) == (200, b"") and int(headers["content-length"]) == len(wanted)


def test_types_and_policy(port):
    for path, kind in (("/", "text/html; charset=utf-8"), ("/monitor", "text/html; charset=utf-8")):
        _, headers, body = get(port, path)
        assert headers["content-type"] == kind
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        # Nothing inline, nothing from elsewhere.
        assert not re.search(rb"<script(?![^>]*src=)|<style|style=|onload|https?://", body)


def test_what_is_no_file_is_not_found(port):
    for path in ("/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html"):
        assert get(port, path)[0] in (400, 404), path


def test_the_page_holds_no_data_and_the_monitor_needs_the_key(port):
    for path in ("/admin/monitor", "/admin/monitor/stream", "/props", "/v1/models"):
        assert get(port, path)[0] == 401, path
    assert get(port, "/", Host="attacker.example")[0] == 403
    assert get(port, "/admin/monitor", Authorization="Bearer secret", Origin="https://attacker.example")[0] == 403
    assert get(port, "/admin/monitor", Authorization="Bearer secret")[0] == 200
