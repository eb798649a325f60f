"""The Grafana dashboard is made from this server's metrics, and every metric that a panel names exists."""
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT

FILE = ROOT / "packaging" / "grafana" / "serval.json"
TOOL = ROOT / "tools" / "make_dashboard.py"


@pytest.fixture(autouse=True)
def some_steps(server):
    """Metrics of the last steps are there when there were some."""
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 2})


def made(text):
    return subprocess.run([sys.executable, TOOL], input=text, capture_output=True, text=True)


def test_the_dashboard_is_what_the_tool_makes(server):
    done = made(server.call("/metrics")[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout == FILE.read_text(), "curl -s URL/metrics | tools/make_dashboard.py > packaging/grafana/serval.json"


def test_every_panel_names_what_there_is(server):
    text = server.call("/metrics")[2]
    there = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    dashboard = json.loads(FILE.read_text())
    panels = [p for p in dashboard["panels"] if p["type"] == "timeseries"]
    named = set()
    for panel in panels:
        for target in panel["targets"]:
            names = set(re.findall(r"((?:vllm|serval):\w+)\{", target["expr"]))
            assert names and names <= there, target["expr"]
            named |= names
    for family in families:
        assert any(n == family or n in (f"{family}_bucket", f"{family}_sum") for n in named), f"{family} has no panel"
    assert len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"])


def test_a_metric_that_is_gone_is_an_error(server):
    text = "\n".join(line for line in server.call("/metrics")[2].splitlines() if "num_preemptions" not in line)
    done = made(text)
    assert done.returncode != 0 and "vllm:num_preemptions_total" in done.stderr
