"""What outlives the process: after kill -9 the first repeated prompt is answered from disk, with the same text, and every
acknowledged snapshot is there."""
import os
import random
import signal
import threading
import time

import pytest

KILLS = int(os.environ.get("SERVAL_TORTURE_KILLS", "20"))


def prompt(number):
    return " ".join(f"Entry {i} of list {number} is {i * number}." for i in range(30))


def ask(server, number, tokens=8):
    body = {"prompt": prompt(number), "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    status, _, reply = server.post("/v1/completions", body)
    assert status == 200, reply
    return reply["choices"][0]["text"], reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def kill(server):
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def settled(folder):
    """Waits until nothing more is written."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < 0.5:
        now = sum(f.stat().st_size for f in folder.iterdir())
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.02)


def damage(folder, change):
    for path in folder.glob("segment-*.kv"):
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data))


@pytest.fixture
def cached(start, tmp_path):
    folder = tmp_path / "kv"
    return folder, lambda *more, **options: start("--kv-cache-dir", folder, "-c", "4096", *more, **options)


def test_restart_after_a_kill_under_load(cached):
    folder, serve = cached
    server = serve()
    expected = {n: ask(server, n)[0] for n in range(3)}
    settled(folder)
    load = [threading.Thread(target=lambda n=n: pytest.raises(Exception, ask, server, n, 500), daemon=True) for n in range(10, 14)]
    for thread in load:
        thread.start()
    time.sleep(0.3)
    kill(server)
    begun = time.monotonic()
    server = serve()
    assert server.call("/readyz")[0] == 200
    ready = time.monotonic() - begun
    for n, text in expected.items():
        again, from_disk = ask(server, n)
        assert again == text and from_disk >= 32 * 8
    print(f"ready after {ready:.2f} s")
    assert ready <= 2 or os.environ.get("SERVAL_SLOW_MACHINE")
    assert server.stop() is None


def test_without_the_folder_nothing_is_cached(start, cached):
    _, serve = cached
    server = serve()
    text = ask(server, 1)[0]
    server.stop()
    assert ask(start("-c", "4096"), 1) == (text, 0)


def test_requests_with_one_beginning_load_it_once(cached):
    folder, serve = cached
    server = serve()
    text = ask(server, 1)[0]
    server.stop()
    server = serve()
    got = []
    threads = [threading.Thread(target=lambda: got.append(ask(server, 1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and all(t == text and cached >= 256 for t, cached in got)


def test_damage_costs_time_not_text(cached):
    folder, serve = cached
    server = serve()
    text, _ = ask(server, 1)
    server.stop()
    chance = random.Random(5)

    def flips(data):
        for _ in range(4):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return data

    for change in (flips, flips, lambda d: d[:len(d) * 2 // 3], lambda d: d[:10], lambda d: b"", lambda d: os.urandom(1000)):
        damage(folder, change)
        server = serve()
        assert ask(server, 1)[0] == text
        server.stop()


def test_two_processes(cached):
    folder, serve = cached
    first = serve()
    text = ask(first, 1)[0]
    settled(folder)
    second = serve()
    assert any("another process" in line for line in second.lines)
    again, from_disk = ask(second, 1)
    assert again == text and from_disk > 0
    assert ask(second, 2)[0] == ask(first, 2)[0]
    first.stop()
    second.stop()


def test_another_kv_type_does_not_use_it(cached):
    _, serve = cached
    server = serve()
    ask(server, 1)
    server.stop()
    other = serve("--kv-type", "f32")
    assert ask(other, 1)[1] == 0


def test_tenants_do_not_share(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("aaaaaaaaaaaaaaaaaaaaaaaa ann\nbbbbbbbbbbbbbbbbbbbbbbbb bob\n")
    body = {"prompt": prompt(1), "max_tokens": 2, "temperature": 0}

    def hits(server, letter):
        reply = server.post("/v1/completions", body, headers={"Authorization": "Bearer " + letter * 24})[2]
        return reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    server = start("--kv-cache-dir", tmp_path / "kv", "-c", "4096", "--keys", keys)
    assert hits(server, "a") == 0
    server.stop()
    server = start("--kv-cache-dir", tmp_path / "kv", "-c", "4096", "--keys", keys)
    assert hits(server, "b") == 0
    assert hits(server, "a") > 0


class Saver(threading.Thread):
    """Saves snapshots, each name again and again with another prompt, until the server is gone."""

    def __init__(self, server, kept):
        super().__init__(daemon=True)
        self.server, self.kept, self.underway, self.over = server, kept, None, False
        self.start()

    def run(self):
        number = 0
        while not self.over:
            number += 1
            name = f"s{number % 3}"
            self.underway = name
            try:
                body = {"name": name, "prompt": f"Save {number} of many. " * (8 + number % 9), "replace": True}
                status, _, made = self.server.post("/v1/kv/snapshots", body)
            except Exception:  # the server is gone; what it acknowledged it has acknowledged
                return
            assert status == 200, made
            self.kept[name], self.underway = made, None


def check_snapshots(server, kept, underway, folder):
    """What was acknowledged is there as it was; what was being replaced is there whole, in one of both versions."""
    listed = {s["name"]: s for s in server.call("/v1/kv/snapshots")[2]["data"]}
    assert all(s["usable"] for s in listed.values()) and set(listed) <= set(kept) | {underway}
    for name, made in kept.items():
        assert listed[name] == made or name == underway, (listed[name], made)
    found = folder.iterdir() if folder.exists() else []  # made by the first save
    assert sorted(p.name for p in found) == sorted(f"{name}.kv" for name in listed)
    for name in listed:  # every block is read, with its checksum
        assert server.post(f"/v1/kv/snapshots/{name}/load", b"")[0] == 200
        assert server.post(f"/v1/kv/snapshots/{name}/unload", b"")[0] == 200
    kept.update(listed)


def test_kills_at_random_moments(cached, tmp_path):
    """SERVAL_TORTURE_KILLS of them (scripts/torture.sh: 1,000), of a server that caches prompts and saves snapshots."""
    _, serve = cached
    shelf = tmp_path / "shelf"
    options = ("--kv-cache-size", "256M", "--snapshot-dir", shelf)
    chance = random.Random(KILLS)
    server = serve(*options)
    expected = {n: ask(server, n)[0] for n in range(4)}
    from_disk, saved, kept = 0, 0, {}
    for turn in range(KILLS):
        stop = threading.Event()

        def work(server=server, stop=stop):
            while not stop.is_set():
                try:
                    ask(server, chance.randrange(1000, 9999), 4)
                except Exception:  # the server is gone
                    return

        # In turn, so that each gets far enough to be cut down in the middle of every part of its work.
        saver = Saver(server, kept) if turn % 2 else None
        threads = [] if saver else [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        before = dict(kept)
        time.sleep(chance.uniform(0, 0.6))
        stop.set()
        kill(server)
        if saver:
            saver.over = True
            saver.join()
            saved += kept != before
        server = serve(*options)
        number = chance.randrange(4)
        text, hit = ask(server, number)
        assert text == expected[number]
        from_disk += hit > 0
        check_snapshots(server, kept, saver.underway if saver else None, shelf)
        for thread in threads:
            thread.join()
    print(f"{KILLS} kills: {from_disk} first answers from disk, {saved} times a snapshot had just been acknowledged")
    assert from_disk >= KILLS // 2 and saved >= KILLS // 8
