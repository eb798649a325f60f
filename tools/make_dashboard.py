#!/usr/bin/env python3
"""Makes packaging/grafana/serval.json from the metrics of a running server, so that no panel names what does not exist:

    curl -s http://127.0.0.1:8080/metrics | tools/make_dashboard.py > packaging/grafana/serval.json

The first rows are chosen by hand below; every other metric gets a panel of its kind. A chosen metric that the server does not
have is an error."""

import json
import re
import sys

SELECT = 'model_name=~"$model"'
QUANTILES = (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"))


def rate(name, by=""):
    return f"sum{f' by ({by})' if by else ''} (rate({name}{{{SELECT}}}[$__rate_interval]))"


def gauge(name):
    return f"sum ({name}{{{SELECT}}})"


def quantiles(name):
    return [(f"histogram_quantile({q}, sum by (le) (rate({name}_bucket{{{SELECT}}}[$__rate_interval])))", legend) for q, legend in QUANTILES]


# row -> [(title, unit, [(expression, legend)])]
CHOSEN = {
    "Speed": [
        ("Tokens generated", "tok/s", [(rate("vllm:generation_tokens_total"), "generated")]),
        ("Prompt tokens", "tok/s", [(rate("serval:prompt_tokens_computed_total"), "computed"), (rate("vllm:prefix_cache_hits_total"), "cached")]),
        ("Requests", "short", [(gauge("vllm:num_requests_running"), "running"), (gauge("vllm:num_requests_waiting"), "waiting")]),
    ],
    "Latency": [
        ("Time to first token", "s", quantiles("vllm:time_to_first_token_seconds")),
        ("Between tokens", "s", quantiles("vllm:inter_token_latency_seconds")),
        ("In the queue", "s", quantiles("vllm:request_queue_time_seconds")),
    ],
    "Engine": [
        ("Time of a step", "s", quantiles("serval:step_seconds")),
        ("Predicted over actual time of steps", "percentunit",
         [(f"{rate('serval:step_predicted_seconds_total')} / {rate('serval:step_seconds_sum')}", "predicted / actual")]),
        ("Share of the memory's bandwidth", "percentunit", [(gauge("serval:roofline_ratio"), "achieved")]),
        ("KV cache in use", "percentunit", [(gauge("vllm:kv_cache_usage_perc"), "in use")]),
        ("Share of prompt tokens found in the cache", "percentunit",
         [(f"{rate('vllm:prefix_cache_hits_total')} / {rate('vllm:prefix_cache_queries_total')}", "hits")]),
        ("Preemptions", "short", [(rate("vllm:num_preemptions_total"), "per second")]),
    ],
}
UNITS = (("_seconds", "s"), ("_bytes_per_second", "Bps"), ("_bytes", "bytes"), ("_ratio", "percentunit"), ("_perc", "percentunit"))


def parse(text):
    """name -> (type, help, labels)"""
    metrics = {}
    for line in text.splitlines():
        if found := re.match(r"# HELP (\S+) (.*)", line):
            metrics[found[1]] = ["untyped", found[2], set()]
        elif found := re.match(r"# TYPE (\S+) (\S+)", line):
            metrics[found[1]][0] = found[2]
        elif found := re.match(r"([a-zA-Z_:][\w:]*)\{(.*)\} ", line):
            family = found[1] if found[1] in metrics else re.sub(r"_(bucket|sum|count)$", "", found[1])
            metrics[family][2] |= set(re.findall(r"(\w+)=", found[2])) - {"model_name", "le"}
    return metrics


def samples(metrics):
    names = set()
    for name, (kind, _, _) in metrics.items():
        names |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def named(expression):
    return set(re.findall(r"((?:vllm|serval):\w+)\{", expression))


def own_panel(name, metric):
    kind, text, labels = metric
    base = name.removesuffix("_total")
    unit = next((u for end, u in UNITS if base.endswith(end)), "short")
    title = base.split(":")[1].replace("_", " ")
    if kind == "histogram":
        return title, unit, quantiles(name), text
    label = ", ".join(sorted(labels))
    legend = " ".join(f"{{{{{name}}}}}" for name in sorted(labels)) or title
    if kind == "counter":
        return title + " per second", unit, [(rate(name, label), legend)], text
    return title, unit, [(gauge(name), legend)], text


def panel(number, x, y, title, unit, targets, text=""):
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number, "type": "timeseries", "title": title, "description": text, "datasource": source,
        "gridPos": {"h": 7, "w": 8, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": "short" if unit == "tok/s" else unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"datasource": source, "expr": expression, "legendFormat": legend, "refId": chr(65 + i)} for i, (expression, legend) in enumerate(targets)],
    }


def dashboard(metrics):
    used = {name for row in CHOSEN.values() for _, _, targets in row for expression, _ in targets for name in named(expression)}
    missing = used - samples(metrics)
    if missing:
        raise SystemExit(f"the server has no {', '.join(sorted(missing))}")
    rest = [own_panel(name, metric) for name, metric in sorted(metrics.items()) if not used & samples({name: metric})]
    panels, y, number = [], 0, 1
    for row, chosen in [*CHOSEN.items(), ("Everything else", rest)]:
        panels.append({"id": number, "type": "row", "title": row, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []})
        number, y = number + 1, y + 1
        for i, (title, unit, targets, *text) in enumerate(chosen):
            panels.append(panel(number, 8 * (i % 3), y + 7 * (i // 3), title, unit, targets, *text))
            number += 1
        y += 7 * ((len(chosen) + 2) // 3)
    variable = {"hide": 0, "includeAll": False, "multi": False, "skipUrlSync": False}
    return {
        "title": "Serval", "uid": "serval", "schemaVersion": 39, "version": 1, "editable": True, "refresh": "10s", "tags": ["llm"],
        "time": {"from": "now-30m", "to": "now"}, "timezone": "browser", "annotations": {"list": []}, "links": [],
        "templating": {"list": [
            variable | {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable | {"name": "model", "label": "Model", "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"},
                        "query": "label_values(vllm:num_requests_running, model_name)", "includeAll": True, "allValue": ".*", "refresh": 2,
                        "current": {"text": "All", "value": "$__all"}},
        ]},
        "panels": panels,
    }


if __name__ == "__main__":
    json.dump(dashboard(parse(sys.stdin.read())), sys.stdout, indent=1, ensure_ascii=False)
    print()
