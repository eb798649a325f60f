#!/usr/bin/env python3
"""What one viewer of the monitor costs: one server under steady load, in turn a second without and a second with a viewer.

    bench/monitor_overhead.py build/release/serval model.gguf [--pairs 36] [--hz 2] [--keep FILE]

A second's tok/s comes from the engine's own steps (/admin/trace): decoded rows over the time from its first step to its last.
Prints the ratios of neighbouring seconds with 95 % intervals of their median (from the order of the values alone) and of their
geometric mean, and the processor time of the monitor's thread. --keep adds the ratios to those of earlier runs in FILE: short
runs in quiet moments make one sample."""

import argparse
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import threading
import time
import urllib.request

from harness.ratios import mean_interval, median_interval


def wait_for_address(process):
    for line in process.stderr:
        if found := re.search(r"listening on (http://\S+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise SystemExit("the server did not start")


class Load:
    """So many streams all the time, each of long requests one after another, so that seconds are alike."""

    def __init__(self, url, streams, tokens):
        self.stopping = False
        self.threads = [threading.Thread(target=self.stream, args=(url, i, tokens), daemon=True) for i in range(streams)]
        [t.start() for t in self.threads]

    def stream(self, url, i, tokens):
        number = 0
        while not self.stopping:
            body = {"prompt": f"{i} {number}: a long time ago there was", "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
            urllib.request.urlopen(urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})).read()
            number += 1

    def stop(self):
        self.stopping = True
        [t.join() for t in self.threads]


def rate(steps, begin, end):
    """Decoded rows per second of the steps that lie in that time of the monotonic clock."""
    mine = [e for e in steps if begin <= e["ts"] and e["ts"] + e["dur"] <= end]
    return sum(e["args"]["decode_rows"] for e in mine[1:]) / (mine[-1]["ts"] + mine[-1]["dur"] - mine[0]["ts"] - mine[0]["dur"]) * 1e6


def thread_seconds(pid):
    return {task.name: int((task / "schedstat").read_text().split()[0]) / 1e9 for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


class Threads:
    """Processor time of the thread that encodes, and of all that do not compute: they also carry the events away."""

    def __init__(self, pid):
        self.pid = pid
        self.monitor = next(task.name for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == "monitor")
        before = thread_seconds(pid)
        time.sleep(1)
        self.idle = {name for name, seconds in thread_seconds(pid).items() if seconds - before.get(name, 0) < 0.1}

    def seconds(self):
        now = thread_seconds(self.pid)
        return now[self.monitor], sum(seconds for name, seconds in now.items() if name in self.idle)


def percent(shares, which):
    return round(100 * statistics.mean(share[which] for share in shares), 4)


class Viewer:
    def __init__(self, url, hz):
        self.reply = urllib.request.urlopen(f"{url}/admin/monitor/stream?hz={hz}")
        self.bytes = 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while part := self.reply.read1(65536):
                self.bytes += len(part)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    def close(self):
        self.reply.fp.raw._sock.shutdown(2)
        self.thread.join(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("serval")
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=36)
    parser.add_argument("--hz", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=1, help="of each half of a pair")
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    server = subprocess.Popen([options.serval, "serve", "-m", options.model, "--port", "0", "-np", "8", "-c", "8192", "--no-access-log"],
                              stderr=subprocess.PIPE, text=True)
    try:
        url = wait_for_address(server)
        load = Load(url, options.streams, options.tokens)
        time.sleep(3)
        threads = Threads(server.pid)
        rates, shares, ratios, sent = ([], []), ([], []), [], 0
        for i in range(options.pairs):
            slices = {}
            for watched in (0, 1) if i % 2 == 0 else (1, 0):
                viewer = Viewer(url, options.hz) if watched else None
                cpu, began = threads.seconds(), time.monotonic()
                time.sleep(options.seconds)
                ended = time.monotonic()
                shares[watched].append([(now - before) / (ended - began) for now, before in zip(threads.seconds(), cpu)])
                slices[watched] = (began * 1e6, ended * 1e6)
                if viewer:
                    sent += viewer.bytes
                    viewer.close()
            trace = json.load(urllib.request.urlopen(f"{url}/admin/trace?seconds={int(3 * options.seconds) + 2}"))["traceEvents"]
            steps = [e for e in trace if e["name"].startswith("step ")]
            pair = [rate(steps, *slices[watched]) for watched in (0, 1)]
            rates[0].append(pair[0]), rates[1].append(pair[1]), ratios.append(pair[1] / pair[0])
        load.stop()
        kept = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else []
        kept += ratios
        if options.keep:
            options.keep.write_text(json.dumps(kept))
        print(json.dumps({
            "tok_per_s_without": round(statistics.median(rates[0]), 1), "tok_per_s_with": round(statistics.median(rates[1]), 1),
            "pairs": len(kept), "ratio_median": round(statistics.median(kept), 4), "median_95": median_interval(kept),
            "ratio_mean_95": mean_interval(kept), "ratios": [round(r, 3) for r in sorted(ratios)],
            "monitor_thread_percent_without": percent(shares[0], 0), "monitor_thread_percent_with": percent(shares[1], 0),
            "not_computing_percent_without": percent(shares[0], 1), "not_computing_percent_with": percent(shares[1], 1),
            "stream_bytes": sent, "hz": options.hz, "cores": os.cpu_count()}))
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
