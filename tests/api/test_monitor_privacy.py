"""Whose text and whose requests the monitor shows, and to whom."""
import json
import os
import re
import subprocess
import threading

import pytest

from conftest import BINARY
from test_monitor import ADMIN, TEXT, USE, Stream, bearer, check

BOB = "bobs-key-0123456789"
BEGINNING = TEXT[:20]
LOOKS = ["/admin/monitor", "/admin/monitor/history", "/admin/monitor/prefixes", "/admin/monitor/request/1", "/admin/monitor/plan",
         "/admin/monitor/tiers", "/admin/monitor/doctor", "/admin/monitor/log", "/admin/trace", "/v1/requests", "/v1/requests/1"]


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"{USE} alice\n{BOB} bob\n{ADMIN} root admin\nmetrics-key-0123456789 m metrics\n")
    return file


def complete(server, key, prompt, tokens=8, **more):
    status, _, reply = server.post("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0} | more,
                                   headers=bearer(key))
    assert status == 200, reply
    return reply


def chat(server, key, *messages):
    body = {"messages": [{"role": role, "content": text} for role, text in messages], "max_tokens": 40, "temperature": 0}
    status, _, reply = server.post("/v1/chat/completions", body, headers=bearer(key))
    assert status == 200, reply
    return reply["choices"][0]["message"]["content"]


def seen_by_stream(server, query):
    """What a viewer of class admin is sent until a frame without running requests; and its texts by id."""
    stream = Stream(server, query, f"Authorization: Bearer {ADMIN}\r\n")
    stream.until(lambda name, data: name == "frame" and data["q"]["run"] == 0)
    stream.close()
    texts = {row[0]: row[1:] for name, data in stream.seen if name == "texts" for row in data["rows"]}
    return json.dumps(stream.seen), texts, stream.seen[0][1]


# ---- Text

def test_by_default_nobodys_text_is_shown(start, keys):
    server = start("--keys", keys, "--no-machine-limits")
    answer = complete(server, USE, TEXT, 30)["choices"][0]["text"]
    chat(server, USE, ("system", "You are a purple zeppelin."), ("user", TEXT))
    shown, texts, hello = seen_by_stream(server, "?hz=10&since=0&text=1")
    for path in LOOKS:
        for key in (ADMIN, USE):
            shown += json.dumps(server.call(path, headers=bearer(key))[2])
    shown += "\n".join(server.lines)
    assert texts == {} and "text" not in hello
    for word in ("purple", "elephant", "private", "zeppelin", USE, ADMIN, *re.findall(r"[A-Za-z]{7,}", answer)):
        assert word not in shown, word


def test_with_the_flag_admins_see_how_texts_begin(start, keys):
    server = start("--keys", keys, "--no-machine-limits", "--monitor-text")
    assert any("--monitor-text: whoever may open the monitor reads" in line for line in server.lines), "its risk is said at the start"
    findings = {f["name"]: f for f in server.call("/admin/monitor/doctor", headers=bearer(ADMIN))[2]["findings"]}
    assert findings["monitor text"]["status"] == "warn"

    long = TEXT + " which nobody needs to know of, as it is told after the eightieth character"
    answer = complete(server, USE, long, 60)["choices"][0]["text"]
    shown, texts, hello = seen_by_stream(server, "?hz=10&text=1")
    assert hello["text"] == 80
    assert texts[1][0] == long[:80] and "eightieth" not in shown
    words = " ".join(answer.split())
    assert texts[1][1] == words[:80].rstrip() or texts[1][1] == words[:80], (texts[1], words)
    assert len(texts[1][1]) >= min(70, len(words))
    detail = check("request", server.call("/admin/monitor/request/1", headers=bearer(ADMIN))[2])
    assert detail["text"] == texts[1]

    # Who did not ask for texts in the stream is not sent any, and no other look holds one.
    assert BEGINNING not in seen_by_stream(server, "?hz=10")[0]
    for path in LOOKS:
        if path != "/admin/monitor/request/1":
            assert BEGINNING not in json.dumps(server.call(path, headers=bearer(ADMIN))[2]), path
    assert BEGINNING not in "\n".join(server.lines)
    # Nor is anybody who is no admin.
    for path in LOOKS:
        assert BEGINNING not in json.dumps(server.call(path, headers=bearer(USE))[2]), path
    assert server.call("/admin/monitor/stream?text=1", headers=bearer(USE))[0] == 403
    for value in ("2", "yes", "-1", ""):
        assert server.call(f"/admin/monitor/stream?text={value}", headers=bearer(ADMIN))[0] == 400


def test_what_a_client_wrote_stays_on_its_line(start, keys):
    """Control characters, those that turn the direction of writing, and broken pieces of characters do not pass."""
    server = start("--keys", keys, "--no-machine-limits", "--monitor-text")
    complete(server, USE, "\x1b[31mred\r\n\x00two \u202eevil\u2066\u200f\u0085 tags\U000e0041 end", 4)
    chat(server, USE, ("system", "Be brief."), ("user", "first"), ("assistant", "yes"), ("user", "ü" * 100))
    tokens = server.post("/tokenize", {"content": "the words of tokens"}, headers=bearer(USE))[2]["tokens"]
    complete(server, USE, tokens, 4)
    assert server.post("/v1/embeddings", {"input": ["of vectors"]}, headers=bearer(USE))[0] == 200
    _, texts, _ = seen_by_stream(server, "?hz=10&text=1")
    prompts = [texts[i][0] for i in sorted(texts)]
    assert prompts == ["[31mred two evil tags end", "ü" * 80, "the words of tokens", "of vectors"]


# ---- One's own requests

def test_an_owner_sees_its_own_requests_and_no_others(start, keys):
    server = start("--keys", keys, "-np", "4", "-c", "4096", "--no-machine-limits")
    complete(server, BOB, "Bob was here first. " * 9, 3)
    mine = complete(server, USE, "Alice asks", 12)
    complete(server, BOB, "Bob again", 5)
    others = [threading.Thread(target=complete, args=(server, BOB, f"{i} Bob asks at length. " * 40, 30)) for i in range(3)]
    [t.start() for t in others]
    complete(server, USE, "Alice asks among others", 20)
    [t.join() for t in others]
    status, headers, own = server.call("/v1/requests", headers=bearer(USE))
    assert status == 200 and headers["Cache-Control"] == "no-store"
    check("own", own)
    assert own["label"] == "alice"
    # Counted by themselves, and by one key: ids and keys of the engine would count what others ask.
    assert [(row[0], row[1]) for row in own["rows"]] == [(1, 0), (2, 0)]
    assert own["rows"][0][3] == mine["usage"]["prompt_tokens"] and own["rows"][0][6] == 12
    for number in (1, 2):
        detail = check("request", server.call(f"/v1/requests/{number}", headers=bearer(USE))[2])
        assert detail["row"] == own["rows"][number - 1] and detail["label"] == "alice" and "text" not in detail
        assert detail["wait"]["ahead"] is None
        assert all(span[4] is None for span in detail["spans"]) and all(gap[3] is None for gap in detail["gaps"])
        assert sum(rows for _, _, kind, rows, _ in detail["spans"] if kind == 1) == detail["row"][6] - 1
    # The numbers of others, and the engine's for one's own, name nothing.
    for number in (3, 4, 5, 6, 7, 0, -1, "x", "1/2", 2 ** 64):
        assert server.call(f"/v1/requests/{number}", headers=bearer(USE))[0] == 404, number
    assert "bob" not in json.dumps([own] + [server.call(f"/v1/requests/{n}", headers=bearer(USE))[2] for n in (1, 2)]).lower()
    top = subprocess.run([BINARY, "top", server.url, "--json", "-n", "1"], env=os.environ | {"SERVAL_API_KEY": USE}, capture_output=True, text=True, timeout=60)
    assert json.loads(top.stdout)["event"] == "own" and json.loads(top.stdout)["data"]["rows"] == own["rows"], top.stderr
    bobs = server.call("/v1/requests", headers=bearer(BOB))[2]
    assert bobs["label"] == "bob" and [row[0] for row in bobs["rows"]] == [1, 2, 3, 4, 5]
    # An admin's own are its own as well; the monitor shows it all.
    assert server.call("/v1/requests", headers=bearer(ADMIN))[2]["rows"] == []
    assert len(server.call("/admin/monitor", headers=bearer(ADMIN))[2]["reqs"]["rows"]) == 7


def test_a_running_request_is_seen_by_its_owner_alone(start, keys):
    server = start("--keys", keys, "--no-machine-limits")
    with server.connect() as connection:
        body = json.dumps({"prompt": "Alice waits", "max_tokens": 4000, "ignore_eos": True, "stream": True})
        connection.sendall((f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {USE}\r\nContent-Type: application/json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        assert server.eventually(lambda: [r[2] for r in server.call("/v1/requests", headers=bearer(USE))[2]["rows"]] == ["decode"])
        assert server.call("/v1/requests", headers=bearer(BOB))[2]["rows"] == []
        assert server.call("/v1/requests/1", headers=bearer(BOB))[0] == 404
        assert server.post("/admin/requests/1/cancel", b"", headers=bearer(BOB))[0] == 403
    assert server.eventually(lambda: [r[2] for r in server.call("/v1/requests", headers=bearer(USE))[2]["rows"]] == ["cancelled"])


def test_who_has_no_key_for_it_sees_no_requests(start, keys):
    server = start("--keys", keys, "--no-machine-limits")
    complete(server, USE, "Alice", 1)
    for path in ("/v1/requests", "/v1/requests/1"):
        assert server.call(path)[0] == 401
        assert server.call(path, headers=bearer("wrong-key-0123456789"))[0] == 401
        assert server.call(f"{path}?key={USE}")[0] == 401
        assert server.call(path, headers=bearer("metrics-key-0123456789"))[0] == 403
        assert server.call(path + "?all=1", headers=bearer(USE))[0] == 400
        assert server.call(path, b"{}", headers=bearer(USE), method="POST")[0] == 405
        assert server.call(path, headers=bearer(USE) | {"Host": "evil.example"})[0] == 403


def test_without_keys_requests_are_seen_from_this_machine(start, tmp_path):
    server = start("--no-machine-limits")
    server.post("/v1/completions", {"prompt": "Nobody's", "max_tokens": 2})
    own = check("own", server.call("/v1/requests")[2])
    assert own["label"] == "" and len(own["rows"]) == 1
    assert server.call("/v1/requests/1")[0] == 200
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert server.call("/v1/requests", headers={header: "for=1.2.3.4"})[0] == 403
    # With an admin key there is an owner of the server, though not of its requests.
    admin = tmp_path / "admin"
    admin.write_text(f"{ADMIN}\n")
    server = start("--admin-key-file", admin, "--no-machine-limits")
    server.post("/v1/completions", {"prompt": "Nobody's", "max_tokens": 2})
    assert server.call("/v1/requests")[0] == 401
    assert len(server.call("/v1/requests", headers=bearer(ADMIN))[2]["rows"]) == 1


def test_names_decide_who_an_owner_is(start, tmp_path):
    """Two keys of one name are one owner's. Names that would be cut to the same one, and the words for keys without a name, are not."""
    keys, admin = tmp_path / "keys", tmp_path / "admin"
    keys.write_text(f"{USE} alice\n{BOB} alice\nunnamed-key-0123456789\n")
    admin.write_text(f"# first\n\n{ADMIN}\nsecond-admin-0123456789\nthird-admin-0123456789\n")
    server = start("--keys", keys, "--admin-key-file", admin, "--no-machine-limits")
    complete(server, USE, "Alice", 1)
    complete(server, "unnamed-key-0123456789", "Nameless", 1)
    assert [len(server.call("/v1/requests", headers=bearer(key))[2]["rows"]) for key in (BOB, "unnamed-key-0123456789", "third-admin-0123456789")] == [1, 1, 0]

    common = "a-name-of-thirty-one-characters"
    keys.write_text(f"{USE} {common}1\n{BOB} {common}2\n")
    server = start("--keys", keys, "--no-machine-limits", wait=False)
    assert server.wait(30) == 2
    assert "the name of a key has at most 31 bytes" in "\n".join(server.lines)
