"""Named KV snapshots: make, list, load, export, import, delete; owners; damaged files; preload; the same tokens after a load."""
import os
import random

import pytest

WORDS = " ".join(f"Item {i} is number {i * i} of the list." for i in range(40))
ASK = {"prompt": WORDS, "max_tokens": 12, "temperature": 0}
FOLDER = "/v1/kv/snapshots"


def text_and_cached(server, body=None, **options):
    status, _, reply = server.post("/v1/completions", body or ASK, **options)
    assert status == 200, reply
    return reply["choices"][0]["text"], reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def export(server, name, **options):
    """The bytes; Server.call would decode them."""
    import urllib.request
    request = urllib.request.Request(f"{server.url}{FOLDER}/{name}/export", headers=options.get("headers", {}))
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.headers["Content-Type"] == "application/octet-stream"
        return reply.read()


@pytest.fixture
def kept(start, tmp_path):
    return start("--snapshot-dir", tmp_path / "shelf", "-c", "4096")


def test_life_of_a_snapshot(kept, start, tmp_path):
    assert kept.call(FOLDER)[2] == {"object": "list", "data": []}
    status, _, made = kept.post(FOLDER, {"name": "list", "prompt": WORDS})
    assert status == 200 and made["tokens"] % 32 == 0 and not made["loaded"] and made["usable"]
    expected, _ = text_and_cached(kept)
    assert kept.call(f"{FOLDER}/list")[2] == made
    assert [s["name"] for s in kept.call(FOLDER)[2]["data"]] == ["list"]
    assert os.stat(tmp_path / "shelf").st_mode & 0o777 == 0o700

    # a name is taken once
    assert kept.post(FOLDER, {"name": "list", "prompt": WORDS})[0] == 400
    assert kept.post(FOLDER, {"name": "list", "prompt": WORDS, "replace": True})[0] == 200

    # loaded before it is ready, its KV serves the first request, with the same answer
    other = start("--snapshot-dir", tmp_path / "shelf", "-c", "4096", "--preload", "list")
    assert other.call(f"{FOLDER}/list")[2]["loaded"]
    text, cached = text_and_cached(other)
    assert text == expected and cached >= made["tokens"] - 1  # the last token's logits are computed

    # bytes out, bytes in
    data = export(other, "list")
    assert len(data) == made["bytes"]
    status, _, copied = other.call(f"{FOLDER}/copy", data, method="PUT", headers={"Content-Type": "application/octet-stream"})
    assert status == 200 and copied["tokens"] == made["tokens"] and not copied["loaded"]
    assert export(other, "copy") == data
    assert other.call(f"{FOLDER}/copy", data, method="PUT")[0] == 400
    assert other.call(f"{FOLDER}/copy?replace=true", data, method="PUT")[0] == 200
    for action, loaded in (("load", True), ("load", True), ("unload", False), ("unload", False), ("load", True)):
        status, _, reply = other.call(f"{FOLDER}/copy/{action}", b"", method="POST")
        assert status == 200 and reply["loaded"] is loaded
    assert other.call(f"{FOLDER}/copy", method="DELETE")[2]["deleted"]
    assert other.call(f"{FOLDER}/copy")[0] == 404
    assert other.call(f"{FOLDER}/copy", method="DELETE")[0] == 404
    assert text_and_cached(other)[0] == expected


def test_a_conversation(kept):
    talk = [{"role": "system", "content": "Be brief. " * 40}, {"role": "user", "content": "Name a colour."},
            {"role": "assistant", "content": "Blue."}]
    made = kept.post(FOLDER, {"name": "talk", "messages": talk, "load": True})[2]
    assert made["loaded"] and made["tokens"] >= 64
    status, _, reply = kept.post("/v1/chat/completions", {
        "messages": talk + [{"role": "user", "content": "Another one."}], "max_tokens": 4})
    assert status == 200 and reply["usage"]["prompt_tokens_details"]["cached_tokens"] >= made["tokens"]


@pytest.mark.parametrize("body, field", [
    ({"prompt": "x"}, "name"), ({"name": "A", "prompt": "x"}, "name"), ({"name": "../x", "prompt": "x"}, "name"),
    ({"name": ".x", "prompt": "x"}, "name"), ({"name": "x" * 65, "prompt": "x"}, "name"), ({"name": "x"}, "prompt"),
    ({"name": "x", "prompt": "x", "messages": []}, "prompt"), ({"name": "x", "prompt": ["a", "b"]}, "prompt"),
    ({"name": "x", "prompt": "x", "colour": 1}, "colour"),
])
def test_bad_requests(server, body, field):
    status, _, reply = server.post(FOLDER, body)
    assert status == 400 and reply["error"]["param"] == field


@pytest.mark.parametrize("path", ["..%2Fx", "%2e%2e", "a%2fb%2fc", "A", "x" * 65, ".hidden", "a%00"])
def test_no_path_leaves_the_folder(server, path):
    for method in ("GET", "DELETE", "POST", "PUT"):
        body = b"x" if method in ("POST", "PUT") else None
        assert server.call(f"{FOLDER}/{path}", body, method=method)[0] in (400, 404)


def test_damaged_and_foreign_files_are_refused(kept):
    kept.post(FOLDER, {"name": "good", "prompt": WORDS})
    data = export(kept, "good")
    expected, cached = text_and_cached(kept)
    chance = random.Random(7)
    places = [0, 8, 12, 20, 40, 60, len(data) // 2, len(data) - 1] + [chance.randrange(len(data)) for _ in range(20)]
    for at in places:
        bad = bytearray(data)
        bad[at] ^= 1 << chance.randrange(8)
        status, _, reply = kept.call(f"{FOLDER}/bad", bytes(bad), method="PUT")
        assert status == 400, (at, reply)
    for size in (0, 1, 11, 100, len(data) // 3, len(data) - 1):
        assert kept.call(f"{FOLDER}/bad", data[:size], method="PUT")[0] == 400
    assert kept.call(f"{FOLDER}/bad", data + b"x", method="PUT")[0] == 400
    assert [s["name"] for s in kept.call(FOLDER)[2]["data"]] == ["good"]
    assert text_and_cached(kept) == (expected, cached) or text_and_cached(kept)[0] == expected


def test_a_file_damaged_on_the_shelf(kept, tmp_path):
    kept.post(FOLDER, {"name": "good", "prompt": WORDS})
    path = tmp_path / "shelf" / "good.kv"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 4
    path.write_bytes(data)
    status, _, reply = kept.call(f"{FOLDER}/good/load", b"", method="POST")
    assert status == 400 and reply["error"]["code"] == "snapshot_refused" and str(tmp_path) not in reply["error"]["message"]
    (tmp_path / "shelf" / "alien.kv").write_bytes(b"no snapshot at all")
    alien = kept.call(f"{FOLDER}/alien")[2]
    assert not alien["usable"] and alien["problem"]


def test_snapshots_belong_to_keys(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("aaaaaaaaaaaaaaaaaaaaaaaa ann\nbbbbbbbbbbbbbbbbbbbbbbbb bob\ncccccccccccccccccccccccc root admin\n")
    server = start("--snapshot-dir", tmp_path / "shelf", "-c", "4096", "--keys", keys)
    ann, bob, root = ({"Authorization": "Bearer " + letter * 24} for letter in "abc")
    made = server.post(FOLDER, {"name": "mine", "prompt": WORDS, "load": True}, headers=ann)[2]
    assert server.call(f"{FOLDER}/mine", headers=bob)[0] == 404
    assert server.call(FOLDER, headers=bob)[2]["data"] == []
    assert server.call(f"{FOLDER}/mine/load", b"", method="POST", headers=bob)[0] == 404
    assert server.call(f"{FOLDER}/mine", method="DELETE", headers=bob)[0] == 404
    assert text_and_cached(server, headers=bob)[1] == 0, "another key's KV"
    assert text_and_cached(server, headers=ann)[1] >= made["tokens"] - 1
    data = export(server, "mine", headers=ann)
    assert server.call(f"{FOLDER}/copy", data, method="PUT", headers=bob)[0] == 403
    assert server.call(f"{FOLDER}/copy", data, method="PUT", headers=root)[0] == 200
    assert server.call(FOLDER)[0] == 401


def test_limits(start, tmp_path):
    server = start("--snapshot-dir", tmp_path / "shelf", "-c", "1024", "--snapshot-size", "20M", "--max-upload", "1000000")
    assert server.post(FOLDER, {"name": "a", "prompt": WORDS})[0] == 200
    status, _, reply = server.post(FOLDER, {"name": "b", "prompt": WORDS + WORDS})
    assert status == 400 and "--snapshot-size" in reply["error"]["message"]
    status, _, reply = server.call(f"{FOLDER}/a/load", b"", method="POST")
    assert status == 400 and "half of the pool" in reply["error"]["message"]
    assert server.call(f"{FOLDER}/c", b"x" * 1000001, method="PUT")[0] == 413


def test_what_was_acknowledged_survives_a_kill(start, tmp_path):
    server = start("--snapshot-dir", tmp_path / "shelf", "-c", "4096")
    made = server.post(FOLDER, {"name": "kept", "prompt": WORDS})[2]
    (tmp_path / "shelf" / "kept.kv.tmp.999999.0").write_bytes(b"left by a killed process")
    server.process.kill()
    server.process.wait()
    again = start("--snapshot-dir", tmp_path / "shelf", "-c", "4096", "--preload", "kept")
    assert again.call(f"{FOLDER}/kept")[2] == made | {"loaded": True}
    assert os.listdir(tmp_path / "shelf") == ["kept.kv"]


def test_preload_of_what_is_not_there(start, tmp_path):
    server = start("--snapshot-dir", tmp_path / "shelf", "--preload", "nothing", wait=False)
    assert server.wait() != 0 and any("nothing" in line for line in server.lines)
