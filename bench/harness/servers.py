"""Starting and stopping the servers that are compared, and asking them things."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from harness import machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One running server. `kind` is "serval" or "llama-server"; `flags` come after what every run has."""

    def __init__(self, kind, program, model, threads, flags):
        self.kind, self.model, self.flags = kind, model, [str(flag) for flag in flags]
        self.port = free_port()
        self.log = tempfile.TemporaryFile("w+")
        common = ["-m", str(model), "--port", str(self.port), "--threads", str(threads)]
        command = [str(program)]
        if kind == "serval":
            command += ["serve", *common, "--no-access-log"]
        else:
            command += [*common, "--metrics", "--no-ui"]
        begin = time.monotonic()
        self.process = subprocess.Popen(command + self.flags, stdout=self.log, stderr=self.log, env={**os.environ, "SERVAL_API_KEY": ""})
        self.wait_until_ready(120)
        self.ready_s = time.monotonic() - begin

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(f"{self.kind} ended at start:\n" + self.log.read()[-2000:])
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=2) as reply:
                    if reply.status == 200:
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.kind} was not ready in {seconds} s")

    def post(self, path, body, timeout=120):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return json.load(reply)

    def model_name(self):
        with urllib.request.urlopen(self.url + "/v1/models", timeout=10) as reply:
            return json.load(reply)["data"][0]["id"]

    def metrics(self):
        """Name to value, labels dropped, of what has one value."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as reply:
            text = reply.read().decode()
        return {name: float(value) for name, value in re.findall(r"^([a-zA-Z_:]+)(?:\{[^}]*\})? (\S+)$", text, re.M)}

    def tokenize(self, text):
        """Ids as a completion of `text` computes them."""
        return self.post("/tokenize", {"content": text, "add_special": True})["tokens"]

    def resident_kib(self):
        return machine.resident_kib(self.process.pid)

    def cpu_s(self):
        return machine.process_cpu_s(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Generator:
    """bench_serve, run once per call."""

    def __init__(self, program):
        self.program = program

    def run(self, server, lines, *options):
        """Sends `lines` (dictionaries, see bench/serve/workload.h); returns the report with details."""
        with tempfile.TemporaryDirectory() as folder:
            data, out = pathlib.Path(folder, "lines.jsonl"), pathlib.Path(folder, "report.json")
            data.write_text("".join(json.dumps(line) + "\n" for line in lines))
            load, cpu = machine.Load(), server.cpu_s()
            done = subprocess.run([self.program, "--base-url", server.url, "--dataset-path", data, "--ignore-eos", "--save-detailed",
                                   "--result-filename", out, *map(str, options)], capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"bench_serve: {done.stderr}")
            report = json.loads(out.read_text())
        client = report["client_cpu_percent"] / 100 * report["duration"]
        report["machine_load"] = load.report(server.cpu_s() - cpu + client)
        return report
