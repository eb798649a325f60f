#!/usr/bin/env python3
"""What Landlock and seccomp cost: pairs of fresh servers, one locked in and one with --no-sandbox, in turn, under the same load.

    bench/sandbox_cost.py build/release/serval model.gguf [--load chat|health|tiny] [--pairs 6] [--keep FILE]

chat: 16 clients, streams of 64 tokens; the figures are tokens per second and the server's processor time per token. health and
tiny: one connection asks GET /health, or for completions of one token, again and again: processor time per request, where the
filter of system calls weighs most. Each server is a process of its own, because where its memory happens to lie moves its
speed more than a sandbox does. Prints the ratios, locked in over not, with 95 % intervals of their median (from the order of
the values alone) and of their geometric mean. --keep adds the pairs to those of earlier runs in FILE: short runs in quiet
moments make one sample."""

import argparse
import http.client
import json
import pathlib
import statistics
import time

from harness import machine, prompts
from harness.ratios import mean_interval, median_interval
from harness.servers import Generator, Server

CLIENTS, TOKENS = 16, 64


class Chat:
    """Tokens per second, and microseconds of processor time a token."""

    def __init__(self, options):
        self.generator = Generator(pathlib.Path(options.serval).parent / "bench_serve")
        self.requests = options.requests or 4 * CLIENTS

    def lines(self, count, seed):
        return [{"messages": [{"role": "user", "content": prompts.text(30, seed + i)}], "max_tokens": TOKENS} for i in range(count)]

    def run(self, server):
        self.generator.run(server, self.lines(CLIENTS, 10_000), "--max-concurrency", CLIENTS)  # touches what is made once
        cpu = machine.threads_cpu_s(server.process.pid)
        report = self.generator.run(server, self.lines(self.requests, 0), "--max-concurrency", CLIENTS)
        if report["completed"] != self.requests:
            raise SystemExit(f"only {report['completed']} of {self.requests} requests completed")
        return report["output_throughput"], (machine.threads_cpu_s(server.process.pid) - cpu) / report["total_output_tokens"] * 1e6


class Asking:
    """Requests per second, and microseconds of processor time a request."""

    def __init__(self, options, method, path, body):
        self.asked, self.requests = (method, path, body), options.requests or (5_000 if body is None else 600)

    def run(self, server):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self.ask(connection, self.requests // 10)
        cpu, began = machine.threads_cpu_s(server.process.pid), time.monotonic()
        self.ask(connection, self.requests)
        return self.requests / (time.monotonic() - began), (machine.threads_cpu_s(server.process.pid) - cpu) / self.requests * 1e6

    def ask(self, connection, count):
        method, path, body = self.asked
        for _ in range(count):
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                raise SystemExit(f"{path}: {reply.status}")


def load_of(options):
    if options.load == "chat":
        return Chat(options)
    if options.load == "health":
        return Asking(options, "GET", "/health", None)
    return Asking(options, "POST", "/v1/completions", json.dumps({"prompt": "Once", "max_tokens": 1, "temperature": 0, "ignore_eos": True}))


def summary(ratios):
    return {"median": round(statistics.median(ratios), 4), "median_95": median_interval(ratios), "mean_95": mean_interval(ratios)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("serval")
    parser.add_argument("model")
    parser.add_argument("--load", choices=("chat", "health", "tiny"), default="chat")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--requests", type=int, help="of each half of a pair")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    load = load_of(options)
    # health's connection must outlive its requests
    common = ["-np", CLIENTS, "-c", 8192, "--no-machine-limits", "--max-connection-requests", 1_000_000]
    pairs = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else []
    for _ in range(options.pairs):
        pair = {}
        for locked in (True, False) if len(pairs) % 2 == 0 else (False, True):
            with Server("serval", options.serval, options.model, options.threads, common + ([] if locked else ["--no-sandbox"])) as server:
                pair["locked" if locked else "free"] = load.run(server)
        pairs.append(pair)
        if options.keep:
            options.keep.write_text(json.dumps(pairs))
    rates, costs = ([p["locked"][i] / p["free"][i] for p in pairs] for i in (0, 1))
    unit = "token" if options.load == "chat" else "request"
    print(json.dumps({
        "load": options.load, "pairs": len(pairs), f"{unit}s_per_s_ratio": summary(rates), f"cpu_per_{unit}_ratio": summary(costs),
        **{f"{side}_{name}": round(statistics.median(p[side][i] for p in pairs), 2)
           for side in ("locked", "free") for i, name in enumerate((f"{unit}s_per_s", f"cpu_us_per_{unit}"))}}))


if __name__ == "__main__":
    main()
