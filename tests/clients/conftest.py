"""One real server for all clients; snippets are pointed at it."""
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SERVAL_BIN", str(ROOT / "build" / "release" / "serval"))
PRINTED_ADDRESS = "http://localhost:8080"


class Served:
    def __init__(self):
        folder = os.environ.get("SERVAL_TEST_MODELS")
        model = pathlib.Path(folder or "", "smollm2-135m.gguf")
        if not folder or not model.exists():
            pytest.skip("smollm2-135m.gguf is not in SERVAL_TEST_MODELS")
        command = [BINARY, "serve", "-m", str(model), "--port", "0", "--alias", "smollm2:135m", "-c", "8192"]
        self.lines = []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                        env=os.environ | {"SERVAL_API_KEY": ""})
        threading.Thread(target=self.collect, daemon=True).start()
        deadline = time.monotonic() + 120
        while not (found := [m.group(1) for line in list(self.lines) if (m := re.search(r"listening on (http://\S+)", line))]):
            assert self.process.poll() is None and time.monotonic() < deadline, "\n".join(self.lines)
            time.sleep(0.02)
        self.url = found[0]

    def collect(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def here(self, text):
        """The snippet, asking this server instead of the printed address."""
        assert PRINTED_ADDRESS in text
        return text.replace(PRINTED_ADDRESS, self.url)

    def run(self, command, text, name, folder, timeout=120):
        """Writes the snippet to a file, runs it, returns what it printed."""
        path = folder / name
        path.write_text(self.here(text))
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=timeout, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(60) == 0
        finally:
            self.process.kill()


@pytest.fixture(scope="session")
def served():
    running = Served()
    yield running
    running.stop()
