#!/usr/bin/env python3
"""Performance floors without a clock: how many instructions a multiply-add costs in the kernel sets that valgrind can run.

check_instructions.py KERNEL_COUNTS ISA            fails where a figure is more than 5 % above the recorded one; 77: cannot run here
check_instructions.py KERNEL_COUNTS ISA --record   prints the rows of RECORDED as they are now

KERNEL_COUNTS is the program of that name (bench/kernels), built by g++ for release. Figures count everything that a product consists of:
quantising, spikes, decoding, the residual. Callgrind counts the same on every processor, and AVX-512, which it cannot run, is held by
check_kernels.py. A figure more than 5 % below is said, so that what was gained is recorded.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

ALLOWED = 1.05
CANNOT_RUN = 77

# Instructions for 1,000 multiply-adds of g++ 12: at 1, 8 and 64 rows; attention over one segment at 1 and 64 rows.
RECORDED = {
    ("avx2", "Q4_0"): (226.9, 157.5, 143.5),
    ("avx2", "Q4_1"): (226.4, 157.4, 145.1),
    ("avx2", "Q5_0"): (331.3, 200.7, 156.8),
    ("avx2", "Q8_0"): (270.2, 212.0, 202.5),
    ("avx2", "Q4_K"): (373.0, 185.1, 147.0),
    ("avx2", "Q6_K"): (479.0, 252.9, 189.5),
    ("avx2", "F16"): (678.3, 458.7, 382.8),
    ("avx2", "BF16"): (741.2, 490.3, 383.7),
    ("avx2", "attention-f16"): (373.0, 370.3),
    ("avx2", "attention-q8_0"): (350.5, 351.9),
    ("portable", "Q4_0"): (4726.1, 5828.9, 5189.0),
    ("portable", "Q4_1"): (5259.4, 6026.3, 5119.0),
    ("portable", "Q5_0"): (6202.6, 6584.2, 5200.0),
    ("portable", "Q8_0"): (4545.3, 5409.4, 5184.7),
    ("portable", "Q4_K"): (5402.6, 5682.3, 5121.7),
    ("portable", "Q6_K"): (6475.5, 6468.0, 5476.1),
    ("portable", "F16"): (16186.1, 8917.7, 2646.4),
    ("portable", "BF16"): (1965.7, 1632.0, 2419.3),
    ("portable", "attention-f16"): (8612.9, 5729.3),
    ("portable", "attention-q8_0"): (8758.3, 8853.3),
}


def dumps(folder):
    """Instructions of callgrind's dumps in order: counts.1, counts.2 ..."""
    number = 1
    while (path := pathlib.Path(folder, f"counts.{number}")).exists():
        total = [line for line in path.read_text().splitlines() if line.startswith(("totals:", "summary:"))]
        yield int(total[0].split()[1])
        number += 1


def counted(program, isa):
    """Name of each kernel to its instructions for 1,000 multiply-adds; None when it cannot run here."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--quiet", "--collect-atstart=no", "--toggle-collect=counted", "--dump-after=counted",
                   f"--callgrind-out-file={folder}/counts", program, isa]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == CANNOT_RUN:
            print(done.stderr.strip())
            return None
        if done.returncode != 0:
            sys.exit(f"kernel_counts failed:\n{done.stdout}{done.stderr}")
        names = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
        totals = list(dumps(folder))
    if len(totals) < len(names):
        sys.exit(f"{len(names)} kernels, but {len(totals)} dumps of callgrind")
    return {name: 1000 * total / float(macs) for (name, macs), total in zip(names, totals)}


def record(isa, figures):
    rows = {}
    for name, figure in figures.items():
        rows.setdefault(name.split()[0], []).append(f"{figure:.1f}")
    for kernel, values in rows.items():
        print(f'    ("{isa}", "{kernel}"): ({", ".join(values)}),')


def main():
    program, isa = sys.argv[1:3]
    if shutil.which("valgrind") is None:
        print("valgrind is not installed (scripts/setup.sh test)")
        return CANNOT_RUN
    figures = counted(program, isa)
    if figures is None:
        return CANNOT_RUN
    if "--record" in sys.argv:
        record(isa, figures)
        return 0
    failed = 0
    seen = {}
    for name, figure in figures.items():
        kernel = name.split()[0]
        place = seen[kernel] = seen.get(kernel, -1) + 1
        recorded = RECORDED[(isa, kernel)][place]
        good = figure <= ALLOWED * recorded
        failed += not good
        lower = "; record it" if figure * ALLOWED < recorded else ""
        print(f"{'ok  ' if good else 'FAIL'} {isa} {name} rows: {figure:.1f} instructions for 1,000 multiply-adds (recorded {recorded:.1f}{lower})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
