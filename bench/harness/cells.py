"""The cells of the grid: for each, which servers are started with which flags, and what is asked of them.

A cell's `setups` lists what is compared at which point; the runner starts a fresh server for each and calls `measure`, which
returns figures. Sizes are the full ones; `--quick` divides them, to see that a cell works, not to measure.
"""

import dataclasses
import random
import statistics
import subprocess
import sys
import threading
import time

from harness import prompts


@dataclasses.dataclass
class Setup:
    server: str  # "serval" or "llama-server"
    variant: str  # "tuned", "default"
    point: str  # what the cell varies, "" when nothing
    flags: list
    clients: int = 1


@dataclasses.dataclass
class Context:
    generator: object
    quick: bool
    seed: int  # another in every repeat, the same for all servers of a repeat
    serval_flags: list

    def few(self, full, quick):
        return quick if self.quick else full

    def run(self, server, lines, *options):
        return self.generator.run(server, lines, "--seed", self.seed, *options)


def setups_for(clients, context_each, point="", default=True):
    """Serval and the tuned peer with a place and `context_each` tokens for every client; the peer as it comes."""
    tuned = ["-np", clients, "-c", clients * context_each]
    out = [Setup("serval", "tuned", point, tuned, clients), Setup("llama-server", "tuned", point, [*tuned, "-fa", "on"], clients)]
    if default:
        out.append(Setup("llama-server", "default", point, [], clients))
    return out


FIGURES = ("completed", "failed", "refused", "hung_up", "duration", "request_throughput", "output_throughput", "total_token_throughput",
           "mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "median_itl_ms", "p99_itl_ms", "max_itl_ms",
           "total_input_tokens", "total_output_tokens", "total_cached_tokens", "client_cpu_percent", "machine_load")


def figures(report):
    return {name: report[name] for name in FIGURES} | ({"faults": report["faults"]} if report["faults"] else {})


def text_of_tokens(server, tokens, seed):
    """Text of about so many tokens of the served model."""
    sample = prompts.text(300, seed)
    return prompts.text(round(tokens * 300 / len(server.tokenize(sample))), seed)


def percentile(values, percent):
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = percent / 100 * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


class G1:
    """One client: prompt speed, and generation speed at depth."""

    name = "G1"

    def setups(self, _):
        return [Setup("serval", "tuned", "", ["-c", 8192, "-np", 1]), Setup("llama-server", "tuned", "", ["-c", 8192, "-np", 1, "-fa", "on"]),
                Setup("llama-server", "default", "", [])]

    def measure(self, context, _, server):
        lengths = context.few((128, 512, 2048, 4096), (128, 512))
        lines = [{"prompt": text_of_tokens(server, length, context.seed * 100 + number)} for number, length in enumerate(lengths)]
        context.run(server, [{"prompt": prompts.text(50, 7)}], "--output-len", 8)  # warm
        report = context.run(server, lines, "--max-concurrency", 1, "--output-len", context.few(64, 16))
        out = {"by_length": []}
        for count, cached, ttft, gaps, produced in zip(*(report[k] for k in ("input_lens", "cached_lens", "ttfts", "itls", "output_lens"))):
            out["by_length"].append({"prompt_tokens": count, "prompt_per_s": (count - cached) / ttft if ttft else 0,
                                     "decode_per_s": (produced - 1) / sum(gaps) if gaps else 0})
        return out | figures(report)


class G3:
    """Chat, closed loop: every client asks again as soon as it is answered."""

    name = "G3"

    def setups(self, quick):
        points = (1, 4) if quick else (1, 4, 16, 64)
        return [setup for clients in points for setup in setups_for(clients, 512, str(clients))]

    def measure(self, context, setup, server):
        count = context.few({1: 6, 4: 16, 16: 48, 64: 128}, {1: 2, 4: 8})[setup.clients]
        lines = [{"messages": [{"role": "user", "content": prompts.text(120, context.seed * 1000 + i)}]} for i in range(count)]
        return figures(context.run(server, lines, "--max-concurrency", setup.clients, "--output-len", 64))


class G5:
    """Eight system prompts of 1,000 tokens, each with many short questions: is a shared prefix computed once?"""

    name = "G5"

    def setups(self, _):
        flags = ["-np", 4, "-c", 16384]
        return [Setup("serval", "tuned", "", flags, 4), Setup("llama-server", "tuned", "", [*flags, "-fa", "on"], 4),
                Setup("llama-server", "default", "", [], 4)]

    def measure(self, context, setup, server):
        systems = [text_of_tokens(server, 1000, context.seed * 50 + i) for i in range(8)]
        texts = [systems[i % 8] + " " + prompts.text(45, context.seed * 7000 + i) for i in range(context.few(128, 16))]
        random.Random(context.seed).shuffle(texts)
        unique = self.unique_tokens(server, texts)
        before = server.metrics()
        report = context.run(server, [{"prompt": text} for text in texts], "--max-concurrency", setup.clients, "--output-len", 16)
        computed = report["total_input_tokens"] - report["total_cached_tokens"]
        out = {"unique_tokens": unique, "computed_tokens": computed, "computed_per_unique": computed / unique}
        for counter in ("serval:prompt_tokens_computed_total", "llamacpp:prompt_tokens_total"):
            if counter in before:
                out["computed_by_counter"] = server.metrics()[counter] - before[counter]
        return out | figures(report)

    @staticmethod
    def unique_tokens(server, texts):
        """Nodes of the tree of all prompts: what must be computed at least."""
        seen = set()
        for text in texts:
            chain = 0
            for token in server.tokenize(text):
                chain = hash((chain, token))
                seen.add(chain)
        return len(seen)


class G6:
    """Sixteen conversations in turn on a server sized for four."""

    name = "G6"

    def setups(self, _):
        flags = ["-np", 4, "-c", 8192]
        return [Setup("serval", "tuned", "", flags, 4), Setup("llama-server", "tuned", "", [*flags, "-fa", "on"], 4),
                Setup("llama-server", "default", "", [], 4)]

    def measure(self, context, setup, server):
        sessions, turns = context.few((16, 8), (4, 3))
        lines = [{"session": str(s), "user": prompts.text(45, (context.seed * 100 + s) * 100 + t), "label": f"turn {t + 1}"}
                 for t in range(turns) for s in range(sessions)]
        report = context.run(server, lines, "--max-concurrency", setup.clients, "--output-len", 32)
        out = {"ttft_by_turn_ms": [report["by_label"][f"turn {t + 1}"]["median_ttft_ms"] for t in range(turns)],
               "computed_tokens": report["total_input_tokens"] - report["total_cached_tokens"]}
        return out | figures(report)


class G7:
    """Four streams are being generated; a prompt of 2,600 tokens arrives."""

    name = "G7"

    def setups(self, _):
        return [Setup("serval", "tuned", "", ["-np", 8, "-c", 32768], 5),
                Setup("llama-server", "tuned", "", ["-np", 8, "-c", 32768, "-fa", "on"], 5), Setup("llama-server", "default", "", [], 5)]

    def measure(self, context, _, server):
        length = context.few(2600, 600)
        lines = [{"prompt": prompts.text(20, context.seed * 10 + i), "max_tokens": context.few(400, 200), "at": 0, "label": "victim"}
                 for i in range(4)]
        lines.append({"prompt": text_of_tokens(server, length, context.seed), "max_tokens": 16, "at": 0.8, "label": "newcomer"})
        report = context.run(server, lines)
        begin = report["start_times"][4]
        end = begin + report["ttfts"][4]
        gaps, lasted = [], 0
        for start, ttft, itls in list(zip(report["start_times"], report["ttfts"], report["itls"]))[:4]:
            at = start + ttft
            for gap in itls:
                if at + gap > begin and at < end:  # a gap that lies at least partly in the newcomer's wait
                    gaps.append(gap * 1000)
                at += gap
            lasted += at >= end
        quiet = [gap * 1000 for itls in report["itls"][:4] for gap in itls[:20]]
        return {"newcomer_ttft_ms": report["ttfts"][4] * 1000, "newcomer_tokens": report["input_lens"][4],
                "victim_gap_p50_ms": percentile(gaps, 50), "victim_gap_p99_ms": percentile(gaps, 99), "victim_gap_max_ms": max(gaps, default=0.0),
                "victim_gaps": len(gaps), "victims_lasted": lasted, "quiet_gap_p50_ms": percentile(quiet, 50)} | figures(report)


class G9:
    """512 connections at once."""

    name = "G9"

    def setups(self, quick):
        clients = 64 if quick else 512
        return [Setup("serval", "tuned", "", ["-np", clients, "-c", clients * 128, "--max-queue", 1024], clients),
                Setup("llama-server", "tuned", "", ["-np", 64, "-c", 64 * 128, "-fa", "on"], clients)]

    def measure(self, context, setup, server):
        lines = [{"prompt": prompts.text(45, context.seed * 10000 + i)} for i in range(setup.clients)]
        if setup.server == "serval":  # touch the whole KV pool, which is not the streams' memory: prompts that fill it once over
            fill = [{"prompt": text_of_tokens(server, 1000, i)} for i in range(round(1.15 * setup.clients * 128 / 1000))]
            context.run(server, fill, "--max-concurrency", 4, "--output-len", 1)
        # Warm; with 64 at once, so that a step's memory (64 rows of logits) is not taken for the streams'.
        context.run(server, [{"prompt": prompts.text(45, -i)} for i in range(64)], "--max-concurrency", 64, "--output-len", 8)
        base, peak, done = server.resident_kib(), [0], threading.Event()

        def watch():
            while not done.wait(0.05):
                peak[0] = max(peak[0], server.resident_kib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        report = context.run(server, lines, "--max-concurrency", setup.clients, "--output-len", 32)
        done.set()
        watcher.join()
        whole = sum(c and n == 32 for c, n in zip(report["completes"], report["output_lens"]))
        out = {"streams": setup.clients, "streams_whole": whole, "rss_base_kib": base, "rss_growth_kib_per_stream": (peak[0] - base) / setup.clients}
        if setup.server == "serval":  # what a stream says must not depend on the 511 others, nor be out of order
            picked = lines[:: max(1, setup.clients // 16)]
            alone = context.run(server, picked, "--max-concurrency", 1, "--output-len", 32)["generated_texts"]
            out["texts_as_alone"] = sum(a == b for a, b in zip(alone, report["generated_texts"][:: max(1, setup.clients // 16)]))
            out["texts_compared"] = len(picked)
        return out | figures(report)


class G13:
    """Half of the clients hang up at a random time."""

    name = "G13"

    def setups(self, _):
        return setups_for(8, 512, default=False)

    def measure(self, context, setup, server):
        source = random.Random(context.seed)
        lines = [{"prompt": prompts.text(120, context.seed * 1000 + i), "label": "survivor"} for i in range(context.few(64, 16))]
        leaving = [dict(line) for line in lines]
        for line in source.sample(leaving, len(leaving) // 2):
            line |= {"label": "leaver", "hang_up_after_s": source.uniform(0.01, context.few(1.5, 0.3))}
        options = ("--max-concurrency", setup.clients, "--output-len", 64)
        counter = "vllm:generation_tokens_total" if setup.server == "serval" else "llamacpp:tokens_predicted_total"

        def run(requests):
            """The report, how long it took to settle, and the tokens that were computed but never arrived."""
            before = server.metrics()[counter]
            report = context.run(server, requests, *options)
            settled = self.settle(server)
            received = sum(len(gaps) + 1 if gaps or ttft else 0 for gaps, ttft in zip(report["itls"], report["ttfts"]))
            return report, settled, server.metrics()[counter] - before - received

        report, settled, lost = run(leaving)
        undisturbed, _, without_text = run(lines)  # tokens that are half a character arrive with the next one
        same = [a == b for a, b, gone in zip(undisturbed["generated_texts"], report["generated_texts"], report["hang_ups"]) if not gone]
        return {"tokens_never_read": (lost - without_text) / max(1, report["hung_up"]), "seconds_to_baseline": settled,
                "survivors": len(same), "survivors_identical": sum(same)} | figures(report)

    @staticmethod
    def settle(server):
        """Seconds until the gauges say that nothing runs or waits; None after ten."""
        gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting", "llamacpp:requests_processing", "llamacpp:requests_deferred",
                  "vllm:kv_cache_usage_perc")
        begin = time.monotonic()
        while time.monotonic() - begin < 10:
            now = server.metrics()
            if all(now.get(gauge, 0) == 0 for gauge in gauges):
                return time.monotonic() - begin
            time.sleep(0.02)
        return None


SDK_LOOP = """
import sys, threading, time, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key="any", max_retries=0)
done = []
def work(number):
    for turn in range(3):
        while True:
            try:
                client.completions.create(model=sys.argv[2], prompt=f"Story {number}-{turn}:", max_tokens=16)
                break
            except (openai.RateLimitError, openai.InternalServerError):
                time.sleep(0.5)
        done.append(1)
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(done))
"""


class Overload:
    """Ten times what the server can do arrives; the official client retries beside it. Serval alone: the peer refuses nobody."""

    name = "overload"

    def setups(self, _):
        return [Setup("serval", "default", "", [], 16)]

    def measure(self, context, setup, server):
        lines = [{"prompt": prompts.text(60, context.seed * 5000 + i)} for i in range(2000)]
        options = ("--output-len", 32)
        peak = context.run(server, lines, "--num-prompts", context.few(192, 48), "--max-concurrency", 32, *options)
        rate = 10 * peak["request_throughput"]
        model = server.model_name()
        sdk = None
        try:
            import openai  # noqa: F401  (only whether it is there)
            sdk = subprocess.Popen([sys.executable, "-c", SDK_LOOP, server.url + "/v1", model], stdout=subprocess.PIPE, text=True)
        except ImportError:
            pass
        report = context.run(server, list(reversed(lines)), "--request-rate", rate, "--num-prompts", round(rate * context.few(12, 3)), *options)
        finished = int(sdk.communicate(timeout=300)[0] or 0) if sdk else None
        return {"peak_requests_per_s": peak["request_throughput"], "offered_requests_per_s": rate, "goodput_of_peak":
                report["request_throughput"] / peak["request_throughput"], "refusal_p99_ms": report["p99_refusal_ms"],
                "sdk_requests_finished": finished, "sdk_requests": 12} | figures(report)


class Health:
    """/health beside 64 busy clients."""

    name = "health"

    def setups(self, quick):
        return setups_for(8 if quick else 64, 512, default=False)

    def measure(self, context, setup, server):
        lines = [{"prompt": prompts.text(120, context.seed * 3000 + i)} for i in range(setup.clients)]
        report = context.run(server, lines, "--max-concurrency", setup.clients, "--output-len", 64, "--probe", "/health", "--probe-every", 0.02)
        probe = report["probe"]
        return {"health_p99_ms": probe["p99_probe_ms"], "health_median_ms": probe["median_probe_ms"], "health_max_ms": probe["max_probe_ms"],
                "health_asked": probe["count"], "health_failed": probe["failed"]} | figures(report)


CELLS = {cell.name: cell for cell in (G1(), G3(), G5(), G6(), G7(), G9(), G13(), Overload(), Health())}


def median_of(repeats):
    """The median of every figure over the repeats; lists element by element; what is not a number as in the first."""
    first = repeats[0]
    if isinstance(first, dict):
        return {key: median_of([repeat[key] for repeat in repeats if key in repeat]) for key in first}
    if isinstance(first, list):
        return [median_of(list(column)) for column in zip(*repeats)]
    if isinstance(first, bool) or not isinstance(first, (int, float)):
        return first
    values = [value for value in repeats if isinstance(value, (int, float))]
    return statistics.median(values)
