"""What pairs of measurements, taken one right after the other, say about a ratio."""

import math
import statistics


def median_interval(values):
    """The order statistics that hold the median with 95 %: without any assumption but that pairs are alike."""
    ordered, n = sorted(values), len(values)
    tail, k = 0.0, 0
    while k < n // 2 and tail + math.comb(n, k) / 2 ** n <= 0.025:
        tail += math.comb(n, k) / 2 ** n
        k += 1
    return [round(ordered[max(k - 1, 0)], 4), round(ordered[n - max(k, 1)], 4)]


def mean_interval(values):
    """The geometric mean, and 95 % around it."""
    logs = [math.log(v) for v in values]
    mean, reach = statistics.mean(logs), 1.96 * statistics.stdev(logs) / math.sqrt(len(logs))
    return [round(math.exp(mean), 4), round(math.exp(mean - reach), 4), round(math.exp(mean + reach), 4)]
