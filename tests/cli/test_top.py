"""serval top and serval trace, without a server: a recording is replayed, in a pseudo-terminal whose screen is kept here."""
import codecs
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import jsonschema
import pytest

from conftest import ROOT

SCHEMA = json.loads((ROOT / "docs" / "reference" / "monitor.schema.json").read_text())


def events(seconds=4, hz=2, instance="a"):
    """A recording of two keys and three requests, one of them computed again."""
    yield "hello", {"v": 1, "server": {"version": "0.1.0", "instance": instance, "up_ms": 5000}, "t_ms": 5000, "unix_ms": 1.7e12,
                    "machine": {"isa": "avx512", "cores": 2, "limit_gbs": 45, "limit_gmacs": 940, "measured_at": 1.7e12},
                    "model": {"id": "smollm2-135m", "layers": 30, "ctx": 8192, "type": "llama", "parameters": 134515008, "weight_bytes": 90000000},
                    "kv": {"blocks": 256, "block_tokens": 32, "block_bytes": 737280, "tiers": ["memory"]},
                    "target": {"itl_ms": 250}, "hz": hz, "power": "this machine shows no energy counter"}, 0
    yield "keys", {"rows": [{"key": 0, "label": "alice", "run": 2, "wait": 0, "share": 0.75, "served": 300, "deficit": 0, "wait50": 1.5, "wait99": 80},
                            {"key": 1, "label": "bob\x1b[31m☃", "run": 0, "wait": 1, "share": 0.25, "served": 100, "deficit": 200, "wait50": None, "wait99": None}]}, 0
    rows = [[11, 0, "decode", 120, 96, 120, 57, 48.2, 31.5, None, 1, [4000, 4010, 4048.2, 5400, None]],
            [12, 0, "prefill", 900, 0, 512, 0, None, None, None, 0, [4500, 4600, None, None, None]],
            [13, 1, "waiting", 40, 0, 0, 0, None, None, None, 0, [4900, None, None, None, None]],
            [9, 1, "stop", 30, 0, 30, 7, 20, 18, None, 0, [1000, 1001, 1020, 1200, 1201]]]
    yield "reqs", {"rows": rows}, 0
    yield "kvmap", {"t_ms": 5000, "blocks": 256, "bin": 1, "runs": [1, 40, 2, 8, 3, 60, 4, 4, 0, 144], "counts": [144, 40, 8, 60, 4, 0, 0]}, 0
    number = 100
    for i in range(int(seconds * hz)):
        count = 10
        spans = [[(11, 1, 1)] if k % 5 else [(11, 1, 1), (12, 0, 64)] for k in range(count)]
        flat, last = [], 0
        for span in (s for step in spans for s in step):
            flat += [span[0] - last, span[1], span[2]]
            last = span[0]
        yield "steps", {"first": number, "t": [5_000_000 + i * 500_000] + [50_000] * (count - 1), "us": [20_000 if k % 5 else 300_000 for k in range(count)],
                        "pred": [19_000] * count, "bytes": [90_000_000] + [0] * (count - 1), "macs": [134_000_000] + [0] * (count - 1),
                        "run": [2] * count, "wait": [1] * count, "evict": [0] * count, "n": [len(s) for s in spans], "rows": flat}, i * 1000 / hz
        number += count
        yield "frame", {"seq": number - 1, "t_ms": 5000 + i * 1000 / hz, "tok": {"dec": 40 + 10 * (i % 3), "pre": 128, "rec": 0, "spec": 0},
                        "roof": {"gbs": 38, "gmacs": 310, "busy": 1, "bound": "memory"}, "q": {"run": 2, "wait": 1, "preempted": 3},
                        "lat": {"ttft": [48.2, 120], "itl": [20.1, 310]},
                        "kv": {"free": 144, "live": 40, "shared": 8, "cached": 60, "pinned": 4, "disk": 0},
                        "total": {"steps": number - 1, "dec": 1000 + i, "prompt": 5000, "cached": 96, "us": 1, "pred_us": 1, "bytes": 1}, "lost": 0}, i * 1000 / hz


@pytest.fixture
def recording(tmp_path):
    def write(**options):
        path = tmp_path / "recording.jsonl"
        validator = jsonschema.Draft202012Validator(SCHEMA)
        with open(path, "w") as file:
            for name, data, at in events(**options):
                line = {"event": name, "data": data, "at_ms": at}
                validator.validate(line)
                file.write(json.dumps(line) + "\n")
        return path
    return write


class Screen:
    """What a terminal would show: cursor moves, erasing and text; everything else must be known."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.rest = ""
        self.alternate, self.cursor, self.colours = False, True, set()

    def feed(self, text):
        text = self.rest + text
        at = 0
        while at < len(text):
            match = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n])").match(text, at)
            if match is None:
                assert re.fullmatch(r"\x1b(\[\??[\d;]*)?", text[at:]), f"an escape that is none of ours: {text[at:at + 20]!r}"
                break  # the rest of it is still to come
            at = match.end()
            private, numbers, kind, back, down, char = match.groups()
            if char:
                if self.row < self.rows and self.column < self.columns:  # else meant for the size before
                    self.cells[self.row][self.column] = char
                self.column += 1
            elif back:
                self.column = 0
            elif down:
                self.row = min(self.row + 1, self.rows - 1)
            elif private:
                number, on = int(numbers), kind == "h"
                assert number in (1049, 25, 7, 2026), numbers
                if number == 1049:
                    self.alternate = on
                if number == 25:
                    self.cursor = on
            elif kind == "H":
                self.row, self.column = (int(n) - 1 for n in numbers.split(";"))
            elif kind == "J":
                self.cells = [[" "] * self.columns for _ in range(self.rows)]
            elif kind == "m":
                self.colours |= set(numbers.split(";"))
            else:
                raise AssertionError(f"unknown sequence {match.group()!r}")
        self.rest = text[at:]

    def __str__(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)


class Terminal:
    def __init__(self, serval, *arguments, rows=24, columns=80, **env):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen([serval.binary, "top", *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave,
                                        env=serval.env | env, start_new_session=True)
        self.bytes, self.text = 0, ""
        self.decoder = codecs.getincrementaldecoder("utf8")()

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen = Screen(rows, columns)

    def read(self, seconds=0.05):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            self.bytes += len(data)
            text = self.decoder.decode(data)
            self.text += text
            self.screen.feed(text)

    def expect(self, pattern, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.read()
            if re.search(pattern, str(self.screen)):
                return str(self.screen)
        raise AssertionError(f"{pattern!r} did not come; the screen shows\n{self.screen}")

    def press(self, keys):
        os.write(self.master, keys.encode())

    def restored(self):
        """As the terminal was, after the process has ended."""
        code = self.process.wait(30)
        self.read()
        assert not self.screen.alternate and self.screen.cursor
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        os.close(self.master)
        return code


def test_the_overview(serval, recording):
    terminal = Terminal(serval, "--replay", recording())
    shown = terminal.expect(r"decode 4\d")
    assert terminal.screen.alternate and not terminal.screen.cursor
    for text in ("serval smollm2-135m", "avx512", "running 2  waiting 1", "38.0/45.0 GB/s", "310/940 GMAC/s", "the bound", "preempted 3",
                 "TTFT p50 48 ms p99 120 ms", "ITL p50 20 ms p99 310 ms", "of 250 ms", "live 40", "free 144", "alice", "q quit"):
        assert text in shown, (text, shown)
    assert re.search(r"11 decode +120 +96 +57 +10 ms +48 ms +32 ms x1 alice", shown), shown
    assert re.search(r"12 prefill +512/900", shown) and re.search(r"13 waiting", shown)
    assert re.search("[\u2801-\u28ff]", shown) and re.search("[\u2581-\u2588]", shown)
    assert max(map(len, shown.split("\n"))) <= 80 and len(shown.split("\n")) == 24
    assert "\x1b[31m☃" not in terminal.text
    terminal.press("q")
    assert terminal.restored() == 0


def test_pages_keys_and_sizes(serval, recording):
    terminal = Terminal(serval, "--replay", recording(seconds=60), rows=40, columns=120)
    terminal.expect("decode 4")
    terminal.press("2")
    terminal.expect(r"request state[^\n]*newest\n +13 waiting")
    terminal.press("s")
    terminal.expect(r"slowest first token\n +11 decode")
    terminal.press("3")
    terminal.expect(r"step +took +predicted")
    terminal.expect(r"300 ms +19 ms +64 +1 ")
    terminal.press("4")
    terminal.expect(r"alice +2 +0 +75.0 % +0 +2 ms +80 ms|alice +2 +0 +75.0 % +0 +1.5 ms +80 ms")
    terminal.expect(r"bob")
    terminal.press("5")
    terminal.expect(r"L{40}S{8}C{60}P{4}\.+")
    terminal.press("?")
    terminal.expect("cancel the selected request")
    terminal.press("x1")
    terminal.expect("GB/s")
    terminal.press("p")
    terminal.expect("paused")
    frozen = str(terminal.screen)
    time.sleep(1.5)
    terminal.read()
    assert str(terminal.screen) == frozen
    terminal.press(" jc")
    terminal.expect(r"cancel request \d+\? y/n")
    terminal.press("n")
    terminal.expect("q quit")
    terminal.press("c")
    terminal.expect("y/n")
    terminal.press("y")
    terminal.expect("this is a recording")
    for rows, columns in ((24, 80), (10, 40), (3, 12), (1, 1), (60, 200)):
        terminal.resize(rows, columns)
        terminal.process.send_signal(signal.SIGWINCH)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and str(terminal.screen).strip() == "":
            terminal.read()
        assert str(terminal.screen).strip(), (rows, columns)
    terminal.expect("GB/s")
    terminal.press("q")
    assert terminal.restored() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT])
def test_the_terminal_comes_back_after_every_end(serval, recording, number):
    terminal = Terminal(serval, "--replay", recording(seconds=60))
    terminal.expect("decode 4")
    resource.prlimit(terminal.process.pid, resource.RLIMIT_CORE, (0, 0))
    terminal.process.send_signal(number)
    code = terminal.restored()
    assert code == 0 or code == -number


def test_stop_and_continue(serval, recording):
    terminal = Terminal(serval, "--replay", recording(seconds=60))
    terminal.expect("decode 4")
    terminal.process.send_signal(signal.SIGTSTP)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and terminal.screen.alternate:
        terminal.read()
    assert not terminal.screen.alternate and termios.tcgetattr(terminal.slave) == terminal.before
    terminal.screen = Screen(24, 80)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.expect("GB/s")
    assert terminal.screen.alternate
    terminal.press("q")
    assert terminal.restored() == 0


def test_without_braille_and_colours(serval, recording):
    path = recording(seconds=60)
    for arguments, env, glyphs in ((["--ascii"], {}, ""), ([], {"LC_ALL": "C"}, ""), ([], {"TERM": "linux"}, "\u2580-\u259f\u00b7")):
        terminal = Terminal(serval, "--replay", path, *arguments, **env)
        shown = terminal.expect("decode 4")
        assert not re.search(f"[^\x20-\x7e\n{glyphs}]", shown.replace("\u00b7", "") if glyphs else shown.replace("\u00b7", "")), shown
        terminal.press("q")
        assert terminal.restored() == 0
    terminal = Terminal(serval, "--replay", path, NO_COLOR="1")
    terminal.expect("decode 4")
    assert not {c for c in terminal.screen.colours if re.fullmatch("3\\d|4\\d|9\\d", c)}
    terminal.press("q")
    assert terminal.restored() == 0


def test_without_a_terminal(serval, recording):
    done = serval("top", "--replay", recording())
    assert done.code == 0 and "\x1b" not in done.out
    assert "serval smollm2-135m" in done.out and "38.0/45.0 GB/s" in done.out and "11 decode" in done.out
    lines = [json.loads(line) for line in serval("top", "--replay", recording(), "--json", "--speed", "1000").out.splitlines()]
    assert [(line["event"], line["data"]) for line in lines] == [(name, data) for name, data, _ in events()]


def test_what_is_not_there(serval, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for command in (["top", address], ["top", address, "--json"], ["trace", address, "-o", tmp_path / "t"], ["top", f"unix:{tmp_path}/none"]):
        done = serval(*command)
        assert done.code == 3 and len(done.error_lines) == 1, command
    assert serval("top", "--replay", tmp_path / "none").code == 1
    for text in ("x", "{}", '{"event": 1, "data": {}}', "[]"):
        (tmp_path / "bad").write_text(text + "\n")
        done = serval("top", "--replay", tmp_path / "bad")
        assert done.code == 1 and "line 1" in done.err, text
    (tmp_path / "odd").write_text('{"event": "frame", "data": {"seq": "x"}}\n{"event": "new", "data": [1]}\n')
    assert serval("top", "--replay", tmp_path / "odd").code == 0
    for option in (["--hz", "0"], ["--hz", "11"], ["--speed", "0"], ["--no-such"]):
        assert serval("top", *option).code == 2


def test_it_costs_little(serval, recording):
    """Ten seconds at two frames a second: 0.5 % of a core, 4 KB/s."""
    terminal = Terminal(serval, "--replay", recording(seconds=14))
    terminal.expect("decode 4")
    time.sleep(1)
    terminal.read()

    def cpu():
        return int(pathlib.Path(f"/proc/{terminal.process.pid}/schedstat").read_text().split()[0]) / 1e9

    used, sent, began = cpu(), terminal.bytes, time.monotonic()
    while time.monotonic() < began + 10:
        terminal.read(0.5)
    seconds = time.monotonic() - began
    share, rate = (cpu() - used) / seconds, (terminal.bytes - sent) / seconds
    print(f"top: {100 * share:.2f} % of a core, {rate:.0f} bytes/s")
    assert share <= 0.005 and rate <= 4096
    terminal.press("q")
    assert terminal.restored() == 0
