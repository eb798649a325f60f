"""The machine: what it is, and how much of it was taken by others while we measured."""

import os
import pathlib
import re

TICK = os.sysconf("SC_CLK_TCK")


def describe():
    """What a reader needs to judge figures; no names of hosts, users or folders."""
    info = pathlib.Path("/proc/cpuinfo").read_text()

    def field(name):
        found = re.search(rf"^{name}\s*:\s*(.*)$", info, re.M)
        return found.group(1).strip() if found else "unknown"

    flags = field("flags").split()
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1))
    return {
        "cpu": f"{field('model name')} (family {field('cpu family')}, model {field('model')})",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**20, 1),
        "isa": [flag for flag in ("avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8") if flag in flags],
    }


def slug(machine):
    """A folder's name for results of this kind of machine."""
    words = re.sub(r"[^a-z0-9]+", "-", machine["cpu"].lower()).strip("-")
    return f"{words}-{machine['cores']}c"


def process_cpu_s(pid):
    """Seconds of CPU a process has used; 0 when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def threads_cpu_s(pid):
    """The same of the threads that live now, to the nanosecond instead of the tick."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def resident_kib(pid):
    found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) if found else 0


class Load:
    """What happened on the machine between construction and report()."""

    def __init__(self):
        self.begin = self.ticks()
        self.load_average = os.getloadavg()[0]

    @staticmethod
    def ticks():
        values = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        total, idle, steal = sum(values), values[3] + values[4], values[7]
        return total, total - idle - steal, steal

    def report(self, own_cpu_s):
        total, busy, steal = (now - then for now, then in zip(self.ticks(), self.begin))
        foreign = busy / TICK - own_cpu_s
        return {
            "steal_percent": round(100 * steal / max(total, 1), 2),
            "foreign_percent": round(max(0.0, 100 * foreign * TICK / max(total, 1)), 2),
            "load_average_before": self.load_average,
        }
