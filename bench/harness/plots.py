"""Pictures of a grid's results: one PNG per cell and model."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

COLOURS = {"serval": "#1b6ca8", "llama-server": "#d1495b"}


def label(record):
    return "Serval" if record["server"] == "serval" else f"llama-server, {record['variant']} flags"


def style(record):
    return {"color": COLOURS[record["server"]], "linestyle": "-" if record["variant"] == "tuned" else "--", "marker": "o", "label": label(record)}


def series(records, figure):
    """For each server and variant: its record, its points, the medians, and the lowest and highest of the repeats."""
    out = {}
    for record in records:
        out.setdefault((record["server"], record["variant"]), []).append(record)
    for group in out.values():
        points = [int(r["point"]) for r in group]
        values = [[repeat[figure] for repeat in r["repeats"]] for r in group]
        yield group[0], points, [r["median"][figure] for r in group], [min(v) for v in values], [max(v) for v in values]


def draw_g3(records, figure):
    left, right = figure.subplots(1, 2)
    for axis, name, title in ((left, "output_throughput", "output tokens per second"), (right, "p99_ttft_ms", "TTFT p99, ms")):
        for record, points, middle, low, high in series(records, name):
            axis.plot(points, middle, **style(record))
            axis.fill_between(points, low, high, color=COLOURS[record["server"]], alpha=0.15)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("clients")
        axis.set_title(title)
    right.set_yscale("log")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)


def draw_g1(records, figure):
    left, right = figure.subplots(1, 2)
    for axis, name, title in ((left, "prompt_per_s", "prompt tokens per second"), (right, "decode_per_s", "generated tokens per second")):
        for record in records:
            rows = record["median"]["by_length"]
            axis.plot([row["prompt_tokens"] for row in rows], [row[name] for row in rows], **style(record))
        axis.set_xlabel("prompt tokens")
        axis.set_title(title)
        axis.set_ylim(bottom=0)
    left.legend(fontsize=8)


def draw_g6(records, figure):
    axis = figure.subplots()
    for record in records:
        values = record["median"]["ttft_by_turn_ms"]
        axis.plot(range(1, len(values) + 1), values, **style(record))
    axis.set_xlabel("turn of the conversation")
    axis.set_title("median TTFT, ms")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def bars(names):
    def draw(records, figure):
        for axis, (name, title) in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
            for place, record in enumerate(records):
                values = [repeat[name] for repeat in record["repeats"]]
                middle = record["median"][name]
                axis.bar(place, middle, color=COLOURS[record["server"]], alpha=1 if record["variant"] == "tuned" else 0.55,
                         yerr=[[middle - min(values)], [max(values) - middle]], capsize=3)
                axis.annotate(f"{middle:.3g}", (place, middle), ha="center", va="bottom")
            axis.set_xticks(range(len(records)), [label(record).replace(", ", ",\n") for record in records], fontsize=8)
            axis.set_title(title, fontsize=10)

    return draw


DRAWERS = {
    "G1": draw_g1,
    "G3": draw_g3,
    "G5": bars([("mean_ttft_ms", "mean TTFT, ms"), ("computed_per_unique", "prompt tokens computed / unique")]),
    "G6": draw_g6,
    "G7": bars([("victim_gap_p99_ms", "neighbours' p99 gap, ms"), ("newcomer_ttft_ms", "newcomer's TTFT, ms")]),
}
TITLES = {"G1": "one client", "G3": "closed loop", "G5": "8 system prompts of 1,000 tokens", "G6": "16 conversations, room for 4",
          "G7": "a 2,600-token prompt arrives beside 4 streams"}


def draw(records, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for cell, drawer in DRAWERS.items():
        for model in dict.fromkeys(record["model"] for record in records if record["cell"] == cell):
            figure = pyplot.figure(figsize=(9, 3.6), layout="constrained")
            drawer([record for record in records if (record["cell"], record["model"]) == (cell, model)], figure)
            figure.suptitle(f"{cell}: {TITLES[cell]} ({model})")
            figure.savefig(folder / f"{cell.lower()}-{model}.png", dpi=110)
            pyplot.close(figure)


def draw_comparison(records, path):
    """For every model: how many times faster than llama.cpp, row by row, with the interval, and the share of the machine's limit."""
    records = [record for record in records if "llama.cpp" in record["ratio"]]
    models = list(dict.fromkeys(record["model"] for record in records))
    if not models:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    most = max(sum(record["model"] == model for record in records) for model in models)
    figure = pyplot.figure(figsize=(3.2 * len(models) + 1.5, 1.2 + 0.26 * most), layout="constrained")
    for axis, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models):
        rows = [record for record in records if record["model"] == model][::-1]
        ratios = [row["ratio"]["llama.cpp"] for row in rows]
        middle = [ratio["median"] for ratio in ratios]
        errors = [[m - r["low"] for m, r in zip(middle, ratios)], [r["high"] - m for m, r in zip(middle, ratios)]]
        axis.barh([row["work"] for row in rows], middle, xerr=errors, color=COLOURS["serval"], capsize=2)
        for place, (value, row) in enumerate(zip(middle, rows)):
            share = f", {row['measured']['limit']:.0f} %" if "limit" in row["measured"] else ""
            axis.annotate(f" {value:.1f} x{share}", (0, place), va="center", fontsize=7, color="white")
        axis.axvline(1, color=COLOURS["llama-server"], linewidth=1)
        axis.set_title(model, fontsize=10)
        axis.tick_params(labelsize=7)
    figure.suptitle("times as fast as llama.cpp, and share of the machine's limit", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
