"""The targets of the grid, row by row: what must be shown, what was measured, whether it holds."""


class Results:
    """Medians by (cell, model, server, variant, point)."""

    def __init__(self, records):
        self.medians = {(r["cell"], r["model"], r["server"], r["variant"], r["point"]): r["median"] for r in records}
        self.repeats = {(r["cell"], r["model"], r["server"], r["variant"], r["point"]): r["repeats"] for r in records}

    def ours(self, cell, model, point=""):
        for (c, m, server, _, p), median in self.medians.items():
            if (c, m, server, p) == (cell, model, "serval", point):
                return median
        return None

    def peers(self, cell, model, point=""):
        return [median for (c, m, server, _, p), median in self.medians.items() if (c, m, server, p) == (cell, model, "llama-server", point)]

    def peer(self, cell, model, variant, point=""):
        return self.medians.get((cell, model, "llama-server", variant, point))

    def every(self, cell, model, figure):
        """All repeats' values of one figure of ours."""
        return [repeat[figure] for key, repeats in self.repeats.items() if key[:3] == (cell, model, "serval") for repeat in repeats]


def row(cell, target, measured, holds):
    return {"cell": cell, "target": target, "measured": measured, "pass": None if holds is None else bool(holds)}


def judge_g3(results, model, _):
    for point in ("1", "4", "16", "64"):
        ours, peers = results.ours("G3", model, point), results.peers("G3", model, point)
        if not ours or not peers:
            continue
        best = max(peer["output_throughput"] for peer in peers)
        ratio = ours["output_throughput"] / best
        wanted = 1.3 if point in ("16", "64") else 1.0
        yield row(f"G3, {point} clients", f"output tok/s >= {wanted} x best llama-server",
                  f"{ours['output_throughput']:.0f} against {best:.0f}: {ratio:.2f} x", ratio >= wanted)
        if point == "64":
            other = min(peer["p99_ttft_ms"] for peer in peers)
            yield row("G3, 64 clients", "TTFT p99 not worse", f"{ours['p99_ttft_ms']:.0f} against {other:.0f} ms", ours["p99_ttft_ms"] <= other)


def judge_g5(results, model, _):
    ours, peers = results.ours("G5", model), results.peers("G5", model)
    if not ours:
        return
    yield row("G5", "prompt tokens computed <= 1.05 x unique", f"{ours['computed_per_unique']:.3f}", ours["computed_per_unique"] <= 1.05)
    if peers:
        best = min(peer["mean_ttft_ms"] for peer in peers)
        yield row("G5", "mean TTFT >= 3 x better", f"{ours['mean_ttft_ms']:.0f} against {best:.0f} ms: {best / ours['mean_ttft_ms']:.1f} x",
                  best >= 3 * ours["mean_ttft_ms"])


def judge_g7(results, model, max_itl_ms):
    ours, peer = results.ours("G7", model), results.peer("G7", model, "tuned")
    if not ours:
        return
    gap = ours["victim_gap_p99_ms"]
    yield row("G7", f"victims' p99 gap <= 1.5 x {max_itl_ms:.0f} ms", f"{gap:.0f} ms (max {ours['victim_gap_max_ms']:.0f})", gap <= 1.5 * max_itl_ms)
    if peer:
        yield row("G7", "victims' p99 gap >= 5 x smaller than llama-server's, 8 slots",
                  f"{gap:.0f} against {peer['victim_gap_p99_ms']:.0f} ms: {peer['victim_gap_p99_ms'] / gap:.1f} x", peer["victim_gap_p99_ms"] >= 5 * gap)
        yield row("G7", "newcomer's TTFT <= 1.5 x llama-server's", f"{ours['newcomer_ttft_ms']:.0f} against {peer['newcomer_ttft_ms']:.0f} ms",
                  ours["newcomer_ttft_ms"] <= 1.5 * peer["newcomer_ttft_ms"])
    yield row("G7", "all four streams outlast the wait (else the row is void)", f"{ours['victims_lasted']:.0f} of 4", ours["victims_lasted"] == 4)


def judge_g9(results, model, _):
    ours = results.ours("G9", model)
    if not ours:
        return
    failures = sum(results.every("G9", model, "failed")) + sum(results.every("G9", model, "refused"))
    whole = all(a == b for a, b in zip(results.every("G9", model, "streams_whole"), results.every("G9", model, "streams")))
    yield row("G9", "0 failures, every stream whole", f"{failures:.0f} failures, {ours['streams_whole']:.0f} of {ours['streams']:.0f} whole",
              failures == 0 and whole)
    yield row("G9", "streams as if alone (order)", f"{ours['texts_as_alone']:.0f} of {ours['texts_compared']:.0f} identical",
              ours["texts_as_alone"] == ours["texts_compared"])
    yield row("G9", "RSS growth <= 64 KiB per stream", f"{ours['rss_growth_kib_per_stream']:.0f} KiB", ours["rss_growth_kib_per_stream"] <= 64)


def judge_g13(results, model, _):
    ours = results.ours("G13", model)
    if not ours:
        return
    after = max(results.every("G13", model, "tokens_never_read"))
    # One token belongs to the step that runs when the client leaves; what is more was begun after that.
    yield row("G13", "<= 1 step begun after each hang-up", f"{after:.2f} tokens never read, 1 of them of the running step", after - 1 <= 1)
    settled = results.every("G13", model, "seconds_to_baseline")
    yield row("G13", "gauges back to baseline", f"{max((s for s in settled if s is not None), default=0):.2f} s" if None not in settled else "not in 10 s",
              None not in settled)
    same = all(a == b for a, b in zip(results.every("G13", model, "survivors"), results.every("G13", model, "survivors_identical")))
    yield row("G13", "survivors' text identical", f"{ours['survivors_identical']:.0f} of {ours['survivors']:.0f}", same)


def judge_overload(results, model, _):
    ours = results.ours("overload", model)
    if not ours:
        return
    yield row("overload, 10 x capacity", "goodput >= 90 % of peak", f"{100 * ours['goodput_of_peak']:.0f} %", ours["goodput_of_peak"] >= 0.9)
    yield row("overload, 10 x capacity", "refusals <= 50 ms p99", f"{ours['refusal_p99_ms']:.1f} ms", ours["refusal_p99_ms"] <= 50)
    finished = ours["sdk_requests_finished"]
    yield row("overload, 10 x capacity", "official client in a retry loop finishes", "not run (no openai package)" if finished is None else
              f"{finished:.0f} of {ours['sdk_requests']:.0f}", None if finished is None else finished == ours["sdk_requests"])


def judge_health(results, model, _):
    ours, peers = results.ours("health", model), results.peers("health", model)
    if not ours:
        return
    beside = f" (llama-server {peers[0]['health_p99_ms']:.1f})" if peers else ""
    yield row("health under load", "/health p99 <= 20 ms, none failed", f"{ours['health_p99_ms']:.1f} ms{beside}, {ours['health_failed']:.0f} failed",
              ours["health_p99_ms"] <= 20 and ours["health_failed"] == 0)


JUDGES = (judge_g3, judge_g5, judge_g7, judge_g9, judge_g13, judge_overload, judge_health)


def judge(records, max_itl_ms):
    """Rows for every model that has results; a row whose cell was not run is left out."""
    results = Results(records)
    models = list(dict.fromkeys(record["model"] for record in records))
    return [{"model": model} | found for model in models for one in JUDGES for found in one(results, model, max_itl_ms)]


def print_rows(rows):
    if not rows:
        return
    widths = [max(len(row[key]) for row in rows) for key in ("model", "cell", "target")]
    for found in rows:
        verdict = {True: "pass", False: "FAIL", None: "  - "}[found["pass"]]
        print(f"{verdict}  {found['model']:<{widths[0]}}  {found['cell']:<{widths[1]}}  {found['target']:<{widths[2]}}  {found['measured']}")
