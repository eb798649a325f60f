"""Records of bench/compare.py: what every repeat gave, medians and ratios, what they are held against, and the table.

A record is one row of work on one model. Ratios are taken within a repeat, then their median and a bootstrap 95 % interval. Shares of
the limits count where the limit was the same just before and just after and others left the machine alone; a record has "steady": false
if that was never so, and then all count.
"""

import random
import statistics

from harness import speed

OTHERS_PERCENT = 5  # of the machine's processor time: one that takes more disturbs


class Record:
    """Collects the repeats of one row; finished() is what is saved."""

    def __init__(self, model, group_name, row):
        self.model, self.group_name, self.row = model, group_name, row
        self.group = speed.GROUPS[group_name]
        self.values = {}  # of every program, in the order of repeats

    def add(self, program, value):
        self.values.setdefault(program, []).append(value)

    def figures(self, program):
        """Seconds of a cold start, else tokens per second."""
        return [value["seconds" if self.row.test == "load" else "rate"] for value in self.values.get(program, [])]

    def ratios(self, program):
        """How many times faster Serval was."""
        pairs = zip(self.figures("serval"), self.figures(program))
        return [theirs / ours if self.row.test == "load" else ours / theirs for ours, theirs in pairs]

    def shares(self, name):
        values = self.values["serval"]
        used = [value for value in values if undisturbed(value)] or values
        return [value[name] for value in used]

    def finished(self, prompt_512=None, memory_bound_mib=None):
        """`prompt_512`: the record of that row, for a longer prompt."""
        loads = self.row.test == "load"
        measured = {"seconds": statistics.median(self.figures("serval"))} if loads else {}
        bounds = speed.targets(self.group, self.row, self.model)
        if loads:
            measured["peak MiB"] = max(value["peak_mib"] for value in self.values["serval"])
            bounds["peak MiB"] = memory_bound_mib
        else:
            measured |= {name: statistics.median(self.shares(name)) for name in ("limit", "attention")}
        if prompt_512:
            measured["of prompt 512"] = 100 * statistics.median(a / b for a, b in zip(self.figures("serval"), prompt_512.figures("serval")))
        ratio = {program: summary(self.ratios(program)) for program in self.values if program != "serval"}
        measured |= {program: one["median"] for program, one in ratio.items()}
        upper = ("seconds", "peak MiB")
        passed = {name: measured[name] <= bound if name in upper else measured[name] >= bound for name, bound in bounds.items() if name in measured}
        out = {"model": self.model, "group": self.group_name, "work": self.group.label(self.row), "unit": "s" if loads else "t/s",
               "median": {program: statistics.median(self.figures(program)) for program in self.values}, "measured": measured, "ratio": ratio,
               "target": bounds, "pass": passed, "repeats": self.values}
        if not loads:
            out["bound"] = statistics.mode(value["bound"] for value in self.values["serval"])
            out["steady"] = any(undisturbed(value) for value in self.values["serval"])
        return out


def undisturbed(value):
    return value["steady"] and value["others_percent"] <= OTHERS_PERCENT


def summary(values, seed=1):
    """The median and the bootstrap 95 % interval of it."""
    source = random.Random(seed)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(2000))
    return {"median": statistics.median(values), "low": medians[49], "high": medians[1949]}


def merged(old, new):
    """New records in the place of old ones of the same work, ordered as the groups are."""
    by_key = {(record["model"], record["group"], record["work"]): record for record in old + new}
    groups = list(speed.GROUPS)
    models = list(dict.fromkeys(record["model"] for record in old + new))
    return sorted(by_key.values(), key=lambda record: (models.index(record["model"]), groups.index(record["group"])))


def held(record, name, shown):
    """A figure with what was asked of it: "54.8 (60 FAIL)"."""
    bound = record["target"].get(name)
    if bound is None or name not in record["pass"]:
        return shown
    return f"{shown} ({bound:.4g} {'ok' if record['pass'][name] else 'FAIL'})"


def own_figures(record):
    """The share of the nearer limit, and what else Serval is held against."""
    measured = record["measured"]
    if record["unit"] == "s":
        return held(record, "seconds", f"{measured['seconds']:.2f} s"), held(record, "peak MiB", f"peak {measured['peak MiB']:.0f} MiB")
    limit = held(record, "limit", f"{measured['limit']:.1f} %{'' if record['steady'] else ' unsteady'} {'mem' if record['bound'] == 'memory' else 'cpu'}")
    others = [f"{name} {held(record, name, format(measured[name], '.0f') + ' %')}" for name in ("attention", "of prompt 512") if name in record["target"]]
    return limit, ", ".join(others)


def table(records):
    """Lines: one for every record. In brackets what the figure is held against."""
    head = ("model", "work", "serval", "share of the limit", "llama.cpp", "times faster", "ik_llama.cpp", "times faster", "also")
    rows = [head]
    for record in records:
        share, others = own_figures(record)
        cells = [record["model"], record["work"], f"{record['median']['serval']:.{2 if record['unit'] == 's' else 1}f}", share]
        for name in ("llama.cpp", "ik_llama.cpp"):
            if name not in record["ratio"]:
                cells += ["not run" if name == "llama.cpp" or speed.GROUPS[record["group"]].ik else "", ""]
                continue
            ratio = record["ratio"][name]
            wrong = " (it computes this file wrongly)" if name == "ik_llama.cpp" and not speed.ik_is_correct(record["model"]) else ""
            cells += [f"{record['median'][name]:.{2 if record['unit'] == 's' else 1}f}",
                      held(record, name, f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]") + wrong]
        rows.append(cells + [others])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
