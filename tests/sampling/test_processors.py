"""Every processor of the sampling chain against its formula in NumPy (float64), and the whole draw
against an independent Philox. Runs the sampling_probe that is built with the tests; SERVAL_PROBES
names its folder (default build/release/src/sampling)."""

import json
import math
import os
import pathlib
import subprocess

import numpy as np
import pytest

PROBE = pathlib.Path(os.environ.get("SERVAL_PROBES", "build/release/src/sampling")) / "sampling_probe"
NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
DEFAULT = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]


@pytest.fixture(scope="module")
def probe():
    if not PROBE.exists():
        pytest.skip(f"{PROBE} is not built")
    process = subprocess.Popen([PROBE, "chain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(**request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    assert process.wait(10) == 0


def philox(counter, key):
    """Philox4x32-10 as in the paper's definition."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniform(seed, position, purpose):
    bits = philox([position & 0xFFFFFFFF, position >> 32, purpose, 0], [seed & 0xFFFFFFFF, seed >> 32])
    return ((bits[0] << 32 | bits[1]) >> 11) / 2.0**53


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


class Chain:
    """ids and logits of what is left; one method per processor, named as in `samplers`."""

    def __init__(self, request):
        self.p = {**defaults(), **request["params"]}
        self.request = request
        self.logits = np.float32(request["logits"]).astype(np.float64)
        self.ids = np.arange(len(self.logits))

    def keep(self, index):
        self.ids, self.logits = self.ids[index], self.logits[index]

    def order(self):
        return np.lexsort((self.ids, -self.logits))

    def last(self, count):
        tokens = self.request["tokens"]
        return tokens if count < 0 else tokens[len(tokens) - min(count, len(tokens)):]

    def penalties(self):
        recent = self.last(self.p["repeat_last_n"])
        for i, token in enumerate(self.ids):
            n = recent.count(token)
            if n:
                x = self.logits[i]
                x = x / self.p["repeat_penalty"] if x > 0 else x * self.p["repeat_penalty"]
                self.logits[i] = x - n * self.p["frequency_penalty"] - self.p["presence_penalty"]

    def dry(self):
        if self.p["dry_multiplier"] == 0:
            return
        tokens, breakers = self.last(self.p["dry_penalty_last_n"]), set(self.request["breakers"])
        longest = {}
        for i in range(len(tokens) - 1):  # the definition, by brute force
            if tokens[i + 1] in breakers:
                continue
            n = 0
            while n <= i and tokens[i - n] == tokens[-1 - n] and tokens[i - n] not in breakers:
                n += 1
            longest[tokens[i + 1]] = max(longest.get(tokens[i + 1], 0), n)
        for token, n in longest.items():
            if n >= max(1, self.p["dry_allowed_length"]):
                penalty = self.p["dry_multiplier"] * self.p["dry_base"] ** (n - self.p["dry_allowed_length"])
                self.logits[self.ids == token] -= penalty

    def top_n_sigma(self):
        if self.p["top_n_sigma"] > 0:
            self.keep(self.logits >= self.logits.max() - self.p["top_n_sigma"] * self.logits.std())

    def top_k(self):
        if self.p["top_k"] > 0:
            self.keep(self.order()[: self.p["top_k"]])

    def typ_p(self):
        if self.p["typical_p"] >= 1:
            return
        p = softmax(self.logits)
        distance = np.abs(-np.log(p) + (p * np.log(p)).sum())
        order = np.argsort(distance, kind="stable")
        self.keep(order[: np.searchsorted(np.cumsum(p[order]), self.p["typical_p"], "right") + 1])

    def top_p(self):
        if self.p["top_p"] < 1:
            order = self.order()
            mass = np.cumsum(softmax(self.logits)[order])
            self.keep(order[: np.searchsorted(mass, self.p["top_p"], "left") + 1])

    def min_p(self):
        if self.p["min_p"] > 0:
            p = softmax(self.logits)
            self.keep(p >= self.p["min_p"] * p.max())

    def xtc(self):
        r = self.request
        if self.p["xtc_threshold"] > 0.5 or uniform(r["seed"], r["position"], 1) >= self.p["xtc_probability"]:
            return
        order = self.order()
        above = int((softmax(self.logits) >= self.p["xtc_threshold"]).sum())
        self.keep(order[max(above - 1, 0):])

    def temperature(self):
        self.logits = self.logits / self.p["temperature"]

    def run(self):
        for name in self.p.get("samplers", DEFAULT):
            getattr(self, name)()
        return self


def defaults():
    return {
        "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0, "top_n_sigma": -1,
        "repeat_penalty": 1, "repeat_last_n": 64, "presence_penalty": 0, "frequency_penalty": 0,
        "dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
        "xtc_probability": 0, "xtc_threshold": 0.1,
    }


CASES = {
    "neutral": {},
    "temperature": {"temperature": 1.7},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.6},
    "min_p": {"min_p": 0.2},
    "typical": {"typical_p": 0.5},
    "top_n_sigma": {"top_n_sigma": 1.2},
    "repetition": {"repeat_penalty": 1.3, "repeat_last_n": 20},
    "presence": {"presence_penalty": 0.7, "repeat_last_n": -1},
    "frequency": {"frequency_penalty": 0.4, "repeat_last_n": 30},
    "dry": {"dry_multiplier": 0.8},
    "dry window": {"dry_multiplier": 0.5, "dry_base": 1.2, "dry_allowed_length": 1, "dry_penalty_last_n": 25},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    "all": {
        "temperature": 0.9, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.95, "top_n_sigma": 2.5,
        "repeat_penalty": 1.1, "frequency_penalty": 0.1, "dry_multiplier": 0.3, "xtc_probability": 0.4,
        "xtc_threshold": 0.08,
    },
    "order": {"temperature": 2, "min_p": 0.1, "top_k": 9, "samplers": ["temperature", "min_p", "top_k"]},
    "twice": {"top_k": 30, "temperature": 1.4, "samplers": ["temperature", "top_k", "temperature"]},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vocab", [12, 300, 3000])
def test_processor_equals_formula(probe, name, vocab):
    random = np.random.default_rng(vocab)
    for trial in range(25):
        request = {
            "logits": [float(x) for x in random.normal(0, 2.5, vocab).astype(np.float32)],
            "tokens": [int(t) for t in random.integers(0, 6, 60)],
            "seed": int(random.integers(0, 2**63)),
            "position": int(random.integers(0, 2**40)),
            "breakers": [4],
            "params": {**NEUTRAL, **CASES[name]},
        }
        got = probe(**request)
        want = Chain(request).run()
        expected = dict(zip(want.ids.tolist(), want.logits.tolist()))
        found = dict(map(tuple, got["candidates"]))
        assert set(found) == set(expected), (name, trial)
        for token, logit in expected.items():
            assert math.isclose(found[token], logit, rel_tol=2e-5, abs_tol=2e-5), (name, trial, token)
        # The choice: inverse cumulative probability in the order the chain left.
        p = softmax(np.array([expected[token] for token, _ in got["candidates"]]))
        at = int(np.searchsorted(np.cumsum(p), uniform(request["seed"], request["position"], 0), "right"))
        distance = np.abs(np.cumsum(p) - uniform(request["seed"], request["position"], 0)).min()
        if distance > 1e-5:
            assert got["token"] == got["candidates"][at][0], (name, trial)


def test_greedy_ignores_truncation(probe):
    random = np.random.default_rng(5)
    for _ in range(20):
        logits = [float(x) for x in random.normal(0, 3, 500).astype(np.float32)]
        got = probe(logits=logits, tokens=[1], seed=1, position=1, breakers=[], params={"temperature": 0})
        assert got["token"] == int(np.argmax(logits))
