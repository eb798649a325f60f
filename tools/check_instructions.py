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
    ("avx2", "Q4_0"): (226.1, 152.9, 138.7),
    ("avx2", "Q4_1"): (225.8, 152.9, 140.3),
    ("avx2", "Q5_0"): (330.4, 196.1, 151.9),
    ("avx2", "Q8_0"): (267.4, 207.5, 197.8),
    ("avx2", "Q4_K"): (341.7, 170.6, 141.5),
    ("avx2", "Q6_K"): (478.3, 247.8, 184.2),
    ("avx2", "F16"): (680.1, 390.0, 360.0),
    ("avx2", "BF16"): (743.0, 413.5, 361.0),
    ("avx2", "attention-f16"): (373.0, 370.3),
    ("avx2", "attention-q8_0"): (350.5, 351.9),
    ("portable", "Q4_0"): (4743.3, 5834.8, 5199.6),
    ("portable", "Q4_1"): (5268.8, 6032.1, 5124.8),
    ("portable", "Q5_0"): (6211.7, 6594.9, 5210.7),
    ("portable", "Q8_0"): (4563.3, 5421.4, 5195.4),
    ("portable", "Q4_K"): (5262.4, 5982.5, 5132.7),
    ("portable", "Q6_K"): (6497.7, 6555.5, 5497.8),
    ("portable", "F16"): (16190.0, 8918.8, 2647.4),
    ("portable", "BF16"): (1969.5, 1633.1, 2420.4),
    ("portable", "attention-f16"): (8612.9, 5729.3),
    ("portable", "attention-q8_0"): (3734.0, 4605.0),
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
