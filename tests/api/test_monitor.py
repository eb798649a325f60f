"""The monitor: every event and reply against its schema, its figures against /metrics and the trace, and who may look."""
import json
import re
import socket
import threading
import time

import jsonschema
import pytest

from conftest import ROOT, Server, http_post, read_all, status_of

SCHEMA = json.loads((ROOT / "docs" / "reference" / "monitor.schema.json").read_text())
USE, ADMIN = "user-key-0123456789", "admin-key-0123456789"
TEXT = "a very private matter about the purple elephant"


def check(name, value):
    schema = {"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"}
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


class Stream:
    """A viewer; events are checked as they come."""

    def __init__(self, server, query="", headers=""):
        self.connection = server.connect()
        self.connection.sendall(f"GET /admin/monitor/stream{query} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n".encode())
        self.file = self.connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() not in (b"\r\n", b""):
            pass
        self.seen = []

    def next(self):
        event = {}
        while (line := self.file.readline()) not in (b"\n", b""):
            if not line.startswith(b":"):
                name, value = line.decode().rstrip("\n").split(": ", 1)
                event[name] = value
        if not event:
            return self.next() if line else None
        data = check(event["event"], json.loads(event["data"]))
        if event["event"] != "texts":  # no recording holds them
            check("event", {"event": event["event"], "data": data})
        self.seen.append((event["event"], data))
        return self.seen[-1]

    def until(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            event = self.next()
            if event is None or condition(*event):
                return event
        raise AssertionError(f"never came; seen {[name for name, _ in self.seen]}")

    def close(self):
        self.file.close()
        self.connection.close()


def decode(steps):
    """Steps as the page of docs says they are read."""
    t = read = macs = request = 0
    out, rows = [], iter(steps["rows"])
    for i in range(len(steps["t"])):
        t, read, macs = t + steps["t"][i], read + steps["bytes"][i], macs + steps["macs"][i]
        spans = []
        for _ in range(steps["n"][i]):
            request += next(rows)
            spans.append((request, next(rows), next(rows)))
        out.append({"number": steps["first"] + i, "t": t, "us": steps["us"][i], "pred": steps["pred"][i], "bytes": read,
                    "macs": macs, "run": steps["run"][i], "wait": steps["wait"][i], "spans": spans})
    assert next(rows, None) is None
    return out


def complete(server, prompt="One two three", tokens=8, **more):
    status, _, reply = server.post("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0} | more)
    assert status == 200, reply
    return reply


@pytest.fixture(scope="module")
def watched():
    running = Server("-np", "4", "-c", "4096")
    yield running
    running.stop()


# ---- The schema

def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        check("frame", {"seq": 1})


def test_snapshot(watched):
    complete(watched)
    status, headers, reply = watched.call("/admin/monitor")
    assert status == 200 and headers["Cache-Control"] == "no-store"
    check("snapshot", reply)
    assert reply["hello"]["model"]["layers"] == 30 and reply["hello"]["kv"]["blocks"] == 128
    assert reply["hello"]["machine"]["limit_gbs"] > 0.5 and reply["hello"]["machine"]["limit_gmacs"] > 0.5


# ---- Figures

def test_steps_are_those_of_the_trace_and_add_up_to_the_metrics(start):
    server = start("-np", "4", "-c", "4096", "--no-machine-limits")
    stream = Stream(server, "?hz=10&since=0")
    threads = [threading.Thread(target=complete, args=(server, f"Story {i} begins" * (5 * i + 1), 12)) for i in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert server.eventually(server.idle)
    total = int(server.metric("serval:engine_steps_total"))
    stream.until(lambda name, data: name == "frame" and data["seq"] == total)
    steps = [step for name, data in stream.seen if name == "steps" for step in decode(data)]
    assert [s["number"] for s in steps] == list(range(1, total + 1))

    metric = server.metric
    assert sum(s["us"] for s in steps) == pytest.approx(metric("serval:step_seconds_sum") * 1e6, abs=total)
    assert sum(s["pred"] for s in steps) == pytest.approx(metric("serval:step_predicted_seconds_total") * 1e6, abs=total)
    assert sum(rows for s in steps for _, _, rows in s["spans"]) == metric("serval:rows_total")
    read = metric("serval:step_read_bytes_total", what="weights") + metric("serval:step_read_bytes_total", what="kv")
    assert sum(s["bytes"] for s in steps) == read
    assert all(s["macs"] > 100e6 for s in steps)

    frame = stream.seen[-1][1]
    assert frame["total"]["dec"] == metric("vllm:generation_tokens_total") == 48
    assert frame["total"]["prompt"] == metric("vllm:prompt_tokens_total")
    assert frame["total"]["cached"] == metric("vllm:prefix_cache_hits_total")
    assert frame["total"]["bytes"] == read and frame["total"]["steps"] == total

    events = server.call("/admin/trace?steps=4096")[2]["traceEvents"]
    traced = [e for e in events if e["name"].startswith("step ")]
    assert [e["dur"] for e in traced] == [s["us"] for s in steps]
    assert [e["args"]["predicted_us"] for e in traced] == [s["pred"] for s in steps]
    epoch = {e["ts"] - s["t"] for e, s in zip(traced, steps)}
    assert len(epoch) == 1, "both tell the same times, but for their beginning"
    lanes = [(e["tid"], e["args"]["rows"]) for e in events if e["ph"] == "X" and e["tid"] != 0]
    assert lanes == [(request, rows) for s in steps for request, _, rows in s["spans"]]
    stream.close()


def test_a_frame_tells_rates_and_latencies(watched):
    stream = Stream(watched, "?hz=10")
    began = time.monotonic()
    worker = threading.Thread(target=complete, args=(watched, "Rates", 200))
    worker.start()
    name, frame = stream.until(lambda name, data: name == "frame" and data["tok"]["dec"] > 5)
    assert frame["roof"]["bound"] in ("memory", "compute") and 0 < frame["roof"]["busy"] <= 1
    assert frame["roof"]["gbs"] > 0.1 and frame["roof"]["gmacs"] > 0.1
    worker.join()
    took = time.monotonic() - began
    stream.until(lambda name, data: name == "frame" and data["q"]["run"] == 0)
    last = stream.seen[-1][1]
    assert last["lat"]["itl"][0] is not None and last["lat"]["itl"][0] < 1000 * took
    assert last["lat"]["ttft"][1] is not None
    stream.close()


def test_a_request_row_is_what_the_client_was_told(watched):
    reply = complete(watched, "How long is a piece of string? " * 6, 10)
    rows = watched.call("/admin/monitor")[2]["reqs"]["rows"]
    row = max(rows, key=lambda r: r[0])
    identifier, key, state, prompt, cached, done, generated, ttft, gap99, acc, evictions, times = row
    assert (prompt, generated, state) == (reply["usage"]["prompt_tokens"], 10, "length")
    assert cached == (reply["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", cached)
    assert done == prompt and evictions == 0 and acc is None and gap99 > 0
    queued, began, first, last, ended = times
    assert queued <= began <= first <= last <= ended and ttft == pytest.approx(first - queued, abs=0.01)

    status, _, detail = watched.call(f"/admin/monitor/request/{identifier}")
    assert status == 200
    check("request", detail)
    assert detail["row"] == row and detail["complete"] and detail["wait"]["evictions"] == 0
    assert sum(rows for _, _, kind, rows, _ in detail["spans"] if kind == 0) == prompt - cached
    assert sum(rows for _, _, kind, rows, _ in detail["spans"] if kind == 1) == 9
    assert len(detail["gaps"]) == 9 and all(why == "step" for _, _, why, _ in detail["gaps"])
    assert sum(length for _, length, _, _ in detail["gaps"]) == pytest.approx(last - first, abs=1)
    for path in ("999999", "0", "x", "1/2", "-1"):
        assert watched.call("/admin/monitor/request/" + path)[0] == 404


def test_the_map_of_blocks(watched):
    complete(watched, "Blocks and blocks and more blocks of words. " * 30, 4)
    snapshot = watched.call("/admin/monitor")[2]
    kvmap, kv, blocks = snapshot["kvmap"], snapshot["frame"]["kv"], snapshot["hello"]["kv"]["blocks"]
    runs = kvmap["runs"]
    assert sum(runs[1::2]) * kvmap["bin"] >= blocks == kvmap["blocks"] == sum(kvmap["counts"])
    assert all(a != b for a, b in zip(runs[::2], runs[2::2]))
    for state in range(7):
        assert sum(n for s, n in zip(runs[::2], runs[1::2]) if s == state) == kvmap["counts"][state]
    assert kv["free"] + kv["live"] + kv["shared"] + kv["cached"] + kv["pinned"] == blocks
    assert kv["cached"] * 32 == watched.metric("serval:kv_cache_tokens_cached") > 0


def test_prefixes(watched):
    prompt = "The mill stands by the river and turns all day. " * 30
    for ending in ("A", "B", "C"):
        complete(watched, prompt + ending, 1)
    status, _, tree = watched.call("/admin/monitor/prefixes")
    assert status == 200
    check("prefixes", tree)
    nodes = {n["id"]: n for n in tree["nodes"]}
    assert tree["left_out"] == 0 and sum(n["tokens"] for n in nodes.values()) == 32 * tree["blocks"]
    shared = [n for n in nodes.values() if n["hits"] == 2 and n["tokens"] >= 256]
    assert shared, tree
    for node in nodes.values():
        parent = nodes.get(node["parent"])
        assert node["depth"] == (parent["depth"] + parent["tokens"] if parent else 0)
        assert node["bytes"] == node["tokens"] // 32 * tree["block_bytes"]
    assert len({n["hash"] for n in nodes.values()}) == len(nodes)


def test_history(watched):
    complete(watched, "History", 30)
    assert watched.eventually(lambda: sum(v or 0 for v in watched.call("/admin/monitor/history?span=1h")[2]["mean"]["dec"]) > 5)
    history = check("history", watched.call("/admin/monitor/history?span=60s")[2])
    assert history["step_s"] == 1 and history["n"] <= 60
    for table in (history["mean"], history["lat"], {"evict": history["evict"]}):
        assert all(len(values) == history["n"] for values in table.values())
    check("history", watched.call("/admin/monitor/history")[2])
    day = check("history", watched.call("/admin/monitor/history?span=24h")[2])
    assert day["step_s"] == 10 and set(day["min"]) == set(day["max"]) == set(day["mean"])


def test_keys_and_shares(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{USE} alice\nother-key-0123456789 bob\n{ADMIN} root admin\n")
    server = start("--keys", keys, "-np", "4", "--no-machine-limits")
    stream = Stream(server, "?hz=10", f"Authorization: Bearer {ADMIN}\r\n")
    for key, tokens in ((USE, 30), ("other-key-0123456789", 10)):
        assert server.post("/v1/completions", {"prompt": "x", "max_tokens": tokens, "ignore_eos": True}, headers=bearer(key))[0] == 200
    _, data = stream.until(lambda name, data: name == "keys" and len(data["rows"]) == 2 and not any(r["run"] for r in data["rows"]))
    rows = {r["label"]: r for r in data["rows"]}
    assert rows["alice"]["share"] == pytest.approx(0.75, abs=0.05) and rows["bob"]["share"] == pytest.approx(0.25, abs=0.05)
    assert rows["alice"]["wait50"] is not None
    stream.close()


def test_no_text_and_no_key_is_shown(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{USE} alice\n{ADMIN} root admin\n")
    server = start("--keys", keys, "--no-machine-limits")
    reply = server.post("/v1/completions", {"prompt": TEXT, "max_tokens": 20, "temperature": 0}, headers=bearer(USE))[2]
    everything = [server.call("/admin/monitor" + path, headers=bearer(ADMIN))
                  for path in ("", "/history", "/prefixes", "/request/1")] + [server.call("/admin/trace", headers=bearer(ADMIN))]
    assert all(status == 200 for status, _, _ in everything)
    shown = json.dumps([body for _, _, body in everything])
    for word in ("purple", "elephant", "private", USE, ADMIN, *re.findall(r"[A-Za-z]{7,}", reply["choices"][0]["text"])):
        assert word not in shown, word


# ---- Who may look, and how much of it

PATHS = ["/admin/monitor", "/admin/monitor/stream", "/admin/monitor/history", "/admin/monitor/prefixes", "/admin/monitor/request/1", "/admin/trace"]


def test_only_admins_look(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{USE} alice\nmetrics-key-0123456789 m metrics\n")
    admin = tmp_path / "admin"
    admin.write_text(f"{ADMIN} operator\n")
    server = start("--keys", keys, "--admin-key-file", admin, "--no-machine-limits")
    for path in PATHS:
        assert server.call(path)[0] == 401, path
        assert server.call(path, headers=bearer("wrong-key-0123456789"))[0] == 401
        assert server.call(path, headers=bearer(USE))[0] == 403
        assert server.call(path, headers=bearer("metrics-key-0123456789"))[0] == 403
        assert server.call(f"{path}?key={ADMIN}")[0] == 401
    assert server.call("/admin/monitor", headers=bearer(ADMIN))[0] == 200
    assert server.post("/admin/requests/1/cancel", b"", headers=bearer(USE))[0] == 403
    assert server.post("/v1/completions", {"prompt": "x", "max_tokens": 1}, headers=bearer(ADMIN))[0] == 200


def test_an_admin_key_alone_leaves_the_rest_open(start, tmp_path):
    admin = tmp_path / "admin"
    admin.write_text(f"{ADMIN}\n")
    server = start("--admin-key-file", admin, "--no-machine-limits")
    assert server.call("/admin/monitor")[0] == 401
    assert server.call("/admin/monitor", headers=bearer(ADMIN))[0] == 200
    complete(server, tokens=1)


def test_without_a_key_only_this_machine_looks(start):
    server = start("--host", "0.0.0.0", "--insecure-no-auth", "--no-machine-limits", "--allow-host", "llm.example")
    assert server.call("/admin/monitor")[0] == 200
    assert server.call("/admin/monitor", headers={"Host": f"localhost:{server.port}"})[0] == 200
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert server.call("/admin/monitor", headers={header: "for=1.2.3.4"})[0] == 403
    for public in ("llm.example", "192.0.2.7:8080"):  # a proxy here that passes on only the name it was asked for
        assert server.call("/health", headers={"Host": public})[0] == 200
        assert server.call("/admin/monitor", headers={"Host": public})[0] == 403
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        own = probe.getsockname()[0]
    if own.startswith("127."):
        return  # this machine has no other address
    with socket.create_connection((own, server.port), timeout=10) as connection:
        connection.sendall(f"GET /admin/monitor HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n".encode())
        assert status_of(read_all(connection)) == 403


def test_foreign_hosts_and_origins(watched):
    for header, status in (("Host: evil.example", 403), ("Host: localhost\r\nOrigin: http://evil.example", 403),
                           ("Host: localhost\r\nOrigin: null", 403)):
        with watched.connect() as connection:
            connection.sendall(f"GET /admin/monitor HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n".encode())
            assert status_of(read_all(connection)) == status, header


def test_bad_queries(watched):
    for query in ("hz=0", "hz=11", "hz=x", "hz=", "hz=2&hz=3", "since=-1", "since=x", "what=1", "hz", "&&"):
        assert watched.call("/admin/monitor/stream?" + query)[0] == 400, query
    for query in ("span=25h", "span=0s", "span=x", "span=", "span=1d", "span=1", "span=99999999999999999999h"):
        assert watched.call("/admin/monitor/history?" + query)[0] == 400, query
    for query in ("seconds=0", "seconds=x", "format=xml", "seconds=3601"):
        assert watched.call("/admin/trace?" + query)[0] == 400, query
    assert watched.call("/admin/monitor?x=1")[0] == 400
    assert watched.call("/admin/monitor", method="POST", body=b"")[0] == 405


def test_the_ninth_viewer(watched):
    viewers = [Stream(watched, "?hz=1") for _ in range(8)]
    assert [v.status for v in viewers] == [200] * 8
    ninth = Stream(watched)
    assert ninth.status == 429
    viewers[0].close()

    def again():
        one = Stream(watched)
        one.close()
        return one.status == 200
    assert watched.eventually(again)
    for viewer in viewers[1:]:
        viewer.close()


def test_a_viewer_that_never_reads(start):
    server = start("-np", "4", "-c", "4096", "--no-machine-limits", "--pause-output", "2048")
    lazy = server.connect()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.sendall(b"GET /admin/monitor/stream?hz=10&since=0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
    diligent = Stream(server, "?hz=10")
    rounds = 0

    def one_round():
        nonlocal rounds
        complete(server, f"Round {rounds}", 60)
        rounds += 1
        diligent.until(lambda name, data: name == "frame" and data["total"]["dec"] == 60 * rounds)

    # The kernel's buffers come first, and one long event is behind for a moment only: until it is behind for three rounds.
    behind = 0
    while behind < 3:
        assert rounds < 400
        one_round()
        behind = behind + 1 if server.metric("serval:http_streams_paused") == 1 else 0
    frames = [data for name, data in diligent.seen if name == "frame"]
    assert server.call("/livez")[0] == 200
    assert all(data["lost"] == 0 for name, data in diligent.seen if name == "frame"), frames
    # It wakes up: what comes then is whole, says what was lost, and ends with the present.
    waking = Stream.__new__(Stream)
    waking.connection, waking.file, waking.seen = lazy, lazy.makefile("rb"), []
    while waking.file.readline() not in (b"\r\n", b""):
        pass
    waking.until(lambda name, data: name == "frame" and data["lost"] > 0 and data["total"]["dec"] == 60 * rounds)
    waking.close()
    diligent.close()


def test_since_goes_on_without_a_gap(watched):
    first = Stream(watched, "?hz=10")
    complete(watched, "Gap", 20)
    first.until(lambda name, data: name == "frame" and data["q"]["run"] == 0)
    seq = first.seen[-1][1]["seq"]
    first.close()
    complete(watched, "Gap again", 20)
    second = Stream(watched, f"?hz=10&since={seq}")
    _, steps = second.until(lambda name, data: name == "steps")
    assert steps["first"] == seq + 1 and len(steps["t"]) >= 20
    second.close()


def test_an_event_arrives_in_time(watched):
    """A token is on the wire within 600 ms at the default rate."""
    stream = Stream(watched)
    stream.until(lambda name, data: name == "frame")
    before = stream.seen[-1][1]["total"]["steps"]
    waited = []
    for _ in range(3):
        complete(watched, f"Now {before}", 1)
        began = time.monotonic()
        stream.until(lambda name, data: name == "frame" and data["total"]["steps"] > before)
        waited.append(time.monotonic() - began)
        before = stream.seen[-1][1]["total"]["steps"]
    assert min(waited) <= 0.6, waited
    stream.close()


def test_cancel(watched):
    stream = Stream(watched, "?hz=10")
    result = {}
    worker = threading.Thread(target=lambda: result.update(complete(watched, "Never ending", 3000)))
    worker.start()
    _, data = stream.until(lambda name, data: name == "reqs" and any(r[2] == "decode" for r in data["rows"]))
    identifier = next(r[0] for r in data["rows"] if r[2] == "decode")
    assert watched.post(f"/admin/requests/{identifier}/cancel", b"")[2] == {"id": identifier, "cancelled": True}
    worker.join()
    assert 0 < result["usage"]["completion_tokens"] < 3000
    stream.until(lambda name, data: name == "reqs" and any(r[0] == identifier and r[2] == "cancelled" for r in data["rows"]))
    stream.close()
    assert watched.post(f"/admin/requests/{identifier}/cancel", b"")[0] == 404
    for path in ("0/cancel", "x/cancel", f"{identifier}", f"{identifier}/stop", "/cancel"):
        assert watched.post("/admin/requests/" + path, b"")[0] == 404, path


def test_a_stream_ends_with_the_server(start):
    server = start("--no-machine-limits")
    stream = Stream(server)
    stream.until(lambda name, data: name == "frame")
    began = time.monotonic()
    server.signal()
    assert stream.until(lambda name, data: False, 10) is None
    assert server.wait(10) == 0 and time.monotonic() - began < 5


# ---- Perfetto

def test_the_perfetto_trace(watched, tmp_path):
    complete(watched, "Traced", 12)
    steps = [e for e in watched.call("/admin/trace?steps=4096")[2]["traceEvents"] if e["name"].startswith("step ")]
    body = watched_bytes(watched, "/admin/trace?format=pftrace")
    packets = decode_perfetto(body)
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in packets if p.HasField("track_descriptor")}
    names = {t.name for t in tracks.values()}
    assert {"steps", "requests", "running", "waiting", "read per second"} <= names
    begins, ends = {}, {}
    flows, ended_flows = [], []
    for packet in packets:
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert event.track_uuid in tracks and packet.timestamp > 0
        if event.type == 1:
            begins.setdefault(event.track_uuid, []).append((packet.timestamp, event))
        elif event.type == 2:
            ends.setdefault(event.track_uuid, []).append(packet.timestamp)
        flows += event.flow_ids
        ended_flows += event.terminating_flow_ids
    own = next(uuid for uuid, t in tracks.items() if t.name == "steps")
    shown = [(ts // 1000, e.name) for ts, e in begins[own]]
    assert shown == [(s["ts"], s["name"]) for s in steps]
    assert [(end - begin) // 1000 for (begin, _), end in zip(begins[own], ends[own])] == [s["dur"] for s in steps]
    for (_, event), step in zip(begins[own], steps):
        notes = {a.name: a.int_value for a in event.debug_annotations}
        assert notes["rows"] == step["args"]["rows"] and notes["predicted us"] == step["args"]["predicted_us"]
    assert sorted(flows) == sorted(ended_flows) and len(set(flows)) == len(flows)
    slices = {e.name for uuid, list_ in begins.items() if uuid >= 1000 for _, e in list_}
    assert {"queue", "prefill", "decode"} <= slices


def watched_bytes(server, path):
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return read_all(connection).split(b"\r\n\r\n", 1)[1]


def decode_perfetto(body):
    """With the protobuf package and the field numbers of Perfetto's public .proto files; unknown fields fail."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto2")
    kinds = {"u64": 4, "i64": 3, "i32": 5, "u32": 13, "str": 9, "f64": 6, "double": 1}

    def message(name, *fields):
        m = file.message_type.add(name=name)
        for field, number, kind, *repeated in fields:
            f = m.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in kinds:
                f.type = kinds[kind]
            else:
                f.type, f.type_name = 11, f".t.{kind}"

    message("Process", ("pid", 1, "i32"), ("process_name", 6, "str"))
    message("Counter", ("unit", 3, "i32"))
    message("Track", ("uuid", 1, "u64"), ("name", 2, "str"), ("process", 3, "Process"), ("parent_uuid", 5, "u64"), ("counter", 8, "Counter"))
    message("Note", ("int_value", 4, "i64"), ("name", 10, "str"))
    message("Event", ("debug_annotations", 4, "Note", 1), ("type", 9, "i32"), ("track_uuid", 11, "u64"), ("name", 23, "str"),
            ("counter_value", 30, "i64"), ("flow_ids", 47, "f64", 1), ("terminating_flow_ids", 48, "f64", 1))
    message("Packet", ("timestamp", 8, "u64"), ("sequence", 10, "u32"), ("track_event", 11, "Event"), ("track_descriptor", 60, "Track"))
    message("Trace", ("packet", 1, "Packet", 1))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    trace = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Trace"))()
    trace.ParseFromString(body)
    size = trace.ByteSize()
    assert size == len(body)
    trace.DiscardUnknownFields()
    assert trace.ByteSize() == size, "fields that Perfetto does not have"
    return list(trace.packet)
