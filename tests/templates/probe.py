"""Renders with our engine, through the template_probe program."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = os.environ.get("SERVAL_TEMPLATE_PROBE", str(ROOT / "build/release/src/text/chat/template_probe"))


def render_all(requests):
    """One result per request: {"text", "runs", "microseconds"} or {"error"}."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROBE], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.split("\n") if line]
