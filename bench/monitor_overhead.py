#!/usr/bin/env python3
"""What one viewer of the monitor costs: one server under steady load, looked at and left alone in turn.

    bench/monitor_overhead.py build/release/serval model.gguf [--pairs 28] [--hz 2] [--keep FILE]
    bench/monitor_overhead.py --keep FILE                     # only says again what FILE holds

Windows come in fours, without-with-with-without and the other way round by turns, so that whatever changes steadily cancels out;
each four gives two pairs. A window's tokens are the difference of the server's own counter (vllm:generation_tokens_total); its
processor time is what the kernel says of each of the server's threads. The viewer, a client on the same machine, comes and goes
between windows. The ratio with/without of tokens per second, and of the computing threads' processor time per token, is told as
median and geometric mean of all pairs.

On a shared machine seconds differ by several percent without any viewer. So there is a second measure, which compares milliseconds
with the next ones: frames are sent at known times (whole multiples of 1/hz of the engine's clock), and all that a viewer causes
begins then: encoding, sending, the client, the survey between two steps, what these leave in the caches. The engine's own record of
its steps (/admin/trace) says how many tokens were made in the first tenth of each period, where the cost is, against its last eight
tenths. The same is done with the windows without a viewer; the quotient, with the first tenth weighing a tenth, is the share of tokens
that remain.

Intervals are 95 %, by bootstrap; what is drawn again are fours, because windows of one four share its moment. --keep adds a line per
run to FILE and reports on all of them: short runs in quiet moments make one sample."""

import argparse
import bisect
import http.client
import json
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import threading
import time
import urllib.request

SETTLE_SECONDS = 0.3  # from a viewer's coming or going to the next window
DRAWS = 4_000
HEAD, TAIL = (0.0, 0.1), (0.2, 1.0)  # of the period between two frames: where its cost is, and where nothing of it is left


def wait_for_address(process):
    for line in process.stderr:
        if found := re.search(r"listening on http://([^/\s]+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise SystemExit("the server did not start")


class Load:
    """So many streams all the time, each of equal requests one after another, begun at different times."""

    def __init__(self, address, streams, tokens):
        self.stopping = False
        self.threads = [threading.Thread(target=self.stream, args=(address, i, streams, tokens), daemon=True) for i in range(streams)]
        [t.start() for t in self.threads]

    def stream(self, address, i, streams, tokens):
        number = 0
        while not self.stopping:
            wanted = tokens if number else tokens * (i + 1) // streams  # the first is shorter: they are not to end together
            body = {"prompt": f"{i} {number}: a long time ago there was", "max_tokens": wanted, "ignore_eos": True, "temperature": 0}
            request = urllib.request.Request(f"http://{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
            urllib.request.urlopen(request).read()
            number += 1

    def stop(self):
        self.stopping = True
        [t.join() for t in self.threads]


class Viewer:
    """Reads the stream. `burn_ms`: and computes so long for each frame, a cost that must show."""

    def __init__(self, address, hz, burn_ms):
        self.burn_ms = burn_ms
        self.connection = http.client.HTTPConnection(address)
        self.connection.request("GET", f"/admin/monitor/stream?hz={hz}")
        self.socket = self.connection.sock  # the reply takes it from the connection
        self.reply = self.connection.getresponse()
        if self.reply.status != 200:
            raise SystemExit(f"the monitor answers {self.reply.status}: {self.reply.read()}")
        self.bytes = 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while part := self.reply.read1(65536):
                self.bytes += len(part)
                until = time.thread_time() + self.burn_ms / 1000 * part.count(b"event: frame")
                while time.thread_time() < until:
                    pass
        except (OSError, ValueError, http.client.HTTPException):
            pass  # closed

    def close(self):
        self.socket.shutdown(2)
        self.thread.join(2)
        self.connection.close()


class Server:
    def __init__(self, binary, model, streams, tokens):
        command = [binary, "serve", "-m", model, "--port", "0", "-np", str(streams), "-c", str(streams * (tokens + 64)), "--no-access-log"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.address = wait_for_address(self.process)
        self.metrics = http.client.HTTPConnection(self.address)

    def tokens(self):
        """The counter, and when it was read."""
        self.metrics.request("GET", "/metrics")
        text = self.metrics.getresponse().read().decode()
        return int(float(re.search(r"^vllm:generation_tokens_total\S* (\S+)", text, re.M)[1])), time.monotonic()

    def thread_seconds(self, which=0):
        """Of each thread: its processor time; with 1, the time it could have run but had to wait for a core."""
        folder = pathlib.Path(f"/proc/{self.process.pid}/task")
        return {task.name: int((task / "schedstat").read_text().split()[which]) / 1e9 for task in folder.iterdir()}

    def steps(self, seconds):
        """(begin, end, tokens) of the last steps, in seconds of the monotonic clock."""
        with urllib.request.urlopen(f"http://{self.address}/admin/trace?seconds={math.ceil(seconds)}") as reply:
            events = json.load(reply)["traceEvents"]
        return [(e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6, e["args"]["decode_rows"]) for e in events if e["name"].startswith("step ")]

    def name_threads(self):
        """Who computes under load, and who encodes; the others carry requests and events."""
        folder = pathlib.Path(f"/proc/{self.process.pid}/task")
        self.monitor = next(task.name for task in folder.iterdir() if (task / "comm").read_text().strip() == "monitor")
        with urllib.request.urlopen(f"http://{self.address}/admin/monitor") as reply:
            count = json.load(reply)["hello"]["machine"]["cores"]
        before = self.thread_seconds()
        time.sleep(1)
        spent = {name: seconds - before.get(name, 0) for name, seconds in self.thread_seconds().items()}
        self.computing = sorted(spent, key=spent.get)[-count:]

    def window(self, seconds):
        (tokens, began), cpu, waits = self.tokens(), self.thread_seconds(), self.thread_seconds(1)
        time.sleep(seconds)
        (tokens_then, ended), cpu_then, waits_then = self.tokens(), self.thread_seconds(), self.thread_seconds(1)
        spent = {name: cpu_then[name] - cpu.get(name, 0) for name in cpu_then}
        computing = sum(spent[name] for name in self.computing)
        return {"began": round(began, 6), "seconds": round(ended - began, 6), "tokens": tokens_then - tokens,
                "computing_cpu": round(computing, 6), "computing_waited": round(sum(waits_then[n] - waits[n] for n in self.computing), 6),
                "monitor_cpu": round(spent[self.monitor], 6), "other_cpu": round(sum(spent.values()) - computing - spent[self.monitor], 6)}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def made(steps, ends, made_before, at):
    """Tokens made until then: a step makes its tokens evenly from its predecessor's end to its own."""
    i = bisect.bisect_left(ends, at)
    begin = ends[i - 1]
    return made_before[i] + steps[i][2] * (at - begin) / (ends[i] - begin)


def fold(window, steps, hz):
    """Tokens a second in head and tail of the periods that lie in the window."""
    ends = [end for _, end, _ in steps]
    made_before = [0]
    for _, _, tokens in steps:
        made_before.append(made_before[-1] + tokens)
    first, last = math.ceil(window["began"] * hz), math.floor((window["began"] + window["seconds"]) * hz)
    if first / hz <= ends[0] or last / hz >= ends[-1]:
        raise SystemExit("the engine remembers too few steps: take shorter windows")
    rates = []
    for begin, end in (HEAD, TAIL):
        tokens = sum(made(steps, ends, made_before, (k + end) / hz) - made(steps, ends, made_before, (k + begin) / hz) for k in range(first, last))
        rates.append(round(tokens / ((last - first) * (end - begin) / hz), 3))
    return rates


def measure(options):
    server = Server(options.serval, options.model, options.streams, options.tokens)
    fours = []
    try:
        load = Load(server.address, options.streams, options.tokens)
        time.sleep(3)
        server.name_threads()
        for i in range((options.pairs + 1) // 2):
            four, began = [], time.monotonic()
            for watched in (0, 1, 1, 0) if i % 2 == 0 else (1, 0, 0, 1):
                viewer = Viewer(server.address, options.hz, options.burn_ms) if watched else None
                time.sleep(SETTLE_SECONDS)
                opening = viewer.bytes if viewer else 0
                four.append({"watched": watched} | server.window(options.seconds))
                if viewer:
                    four[-1]["stream_bytes"] = viewer.bytes - opening
                    viewer.close()
            steps = server.steps(time.monotonic() - began + 1)
            for window in four:
                window["head"], window["tail"] = fold(window, steps, options.hz)
            fours.append(four)
        load.stop()
    finally:
        server.stop()
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%S"), "hz": options.hz, "burn_ms": options.burn_ms, "streams": options.streams, "tokens": options.tokens,
            "model": pathlib.Path(options.model).stem, "cores": os.cpu_count(), "fours": fours}


def log_ratios(four, value):
    """Of its two pairs: each window beside its neighbour of the other kind."""
    return [math.log(value(max(pair, key=lambda w: w["watched"])) / value(min(pair, key=lambda w: w["watched"]))) for pair in (four[:2], four[2:])]


def remaining(window):
    """Tokens of a period, of those it would have had if its head were like its tail."""
    weight = HEAD[1] - HEAD[0]
    return weight * window["head"] / window["tail"] + 1 - weight


def summary(fours, value):
    groups = [log_ratios(four, value) for four in fours]
    chance = random.Random(1)
    medians, means = [], []
    for _ in range(DRAWS):
        drawn = [ratio for group in chance.choices(groups, k=len(groups)) for ratio in group]
        medians.append(statistics.median(drawn))
        means.append(statistics.fmean(drawn))

    def told(middle, draws):
        ordered = sorted(draws)
        return [round(math.exp(x), 5) for x in (middle, ordered[DRAWS // 40], ordered[-DRAWS // 40])]

    ratios = [ratio for group in groups for ratio in group]
    return {"median_low_high": told(statistics.median(ratios), medians), "mean_low_high": told(statistics.fmean(ratios), means),
            "pair_scatter": round(statistics.stdev(ratios), 5)}


def report(runs):
    fours = [four for run in runs for four in run["fours"]]
    windows = [w for four in fours for w in four]
    out = {"pairs": 2 * len(fours), "runs": len(runs), "hz": sorted({run["hz"] for run in runs})}
    out["remaining_by_frames"] = summary(fours, remaining)
    out["tokens_per_second_ratio"] = summary(fours, lambda w: w["tokens"] / w["seconds"])
    out["computing_cpu_per_token_ratio"] = summary(fours, lambda w: w["computing_cpu"] / w["tokens"])
    for name, watched in (("without", 0), ("with", 1)):
        mine = [w for w in windows if w["watched"] == watched]
        total = {key: sum(w[key] for w in mine) for key in ("tokens", "seconds", "computing_cpu", "computing_waited", "monitor_cpu", "other_cpu")}
        out[name] = {"tokens_per_second": round(total["tokens"] / total["seconds"], 1),
                     "computing_cpu_seconds_per_1000_tokens": round(1000 * total["computing_cpu"] / total["tokens"], 4),
                     "computing_waited_ms_per_second": round(1000 * statistics.median(w["computing_waited"] / w["seconds"] for w in mine), 3),
                     "monitor_thread_percent_of_a_core": round(100 * total["monitor_cpu"] / total["seconds"], 4),
                     "other_threads_percent_of_a_core": round(100 * total["other_cpu"] / total["seconds"], 4)}
    out["with"]["stream_bytes_per_second"] = round(sum(w.get("stream_bytes", 0) for w in windows) / total["seconds"])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("serval", nargs="?")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--pairs", type=int, default=28)
    parser.add_argument("--hz", type=int, default=2)
    parser.add_argument("--burn-ms", type=float, default=0, help="of processor time that the viewer wastes for each frame: does the measure see it?")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=400, help="of each request")
    parser.add_argument("--seconds", type=float, default=2, help="of each window")
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    runs = [json.loads(line) for line in options.keep.read_text().splitlines()] if options.keep and options.keep.exists() else []
    if options.serval:
        if not options.model:
            parser.error("a model is needed")
        runs.append(measure(options))
        if options.keep:
            with options.keep.open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
    if not runs:
        parser.error("nothing to report: name a server and a model, or a file of earlier runs")
    for name, value in report(runs).items():
        print(f"{name}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
