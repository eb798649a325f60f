#!/usr/bin/env python3
"""Performance floors without a clock: what the inner loops of the AVX-512 kernels are made of.

check_kernels.py OBJECT...   objects of isa_avx512.cpp or isa_avx512bf16.cpp, built by g++ with optimisation

For every kernel of FLOORS that an object has: the dot products (or multiply-adds) of its inner loop must be exactly as many
as the arithmetic needs, vectors that the compiler keeps on the stack inside the loop at most as many as given, and all
instructions at most as many as given. More of any means that a compiler or a change made the loop worse.
"""
import re
import subprocess
import sys

# kernel (as in the symbol), instruction that does the work, how many a pass, vectors on the stack, instructions
FLOORS = [
    # 2 panels x 6 tokens x 8 lines a chunk; Q4_0 Q5_0 Q8_0, then Q4_1 Q4_K, then Q6_K
    ("multiply_tile<Unpacked<1, false, 255, true>, 2, 6, 6>", "vpdpbusd", 96, 0, 235),
    ("multiply_tile<Unpacked<1, true, 255, false>, 2, 6, 6>", "vpdpbusd", 96, 0, 258),
    ("multiply_tile<Unpacked<2, false, 255, true>, 2, 6, 6>", "vpdpbusd", 96, 18, 285),
    # decoded in registers: one row, four, eight
    ("multiply_tile<Q4_0, 1, 1, 1>", "vpdpbusd", 8, 0, 46),
    ("multiply_tile<Q4_1, 1, 1, 1>", "vpdpbusd", 8, 0, 45),
    ("multiply_tile<Q5_0, 1, 1, 1>", "vpdpbusd", 8, 0, 63),
    ("multiply_tile<Q8_0, 1, 1, 1>", "vpdpbusd", 8, 0, 42),
    ("multiply_tile<Q4_K, 1, 1, 1>", "vpdpbusd", 8, 0, 70),
    ("multiply_tile<Q6_K, 1, 1, 1>", "vpdpbusd", 8, 0, 115),
    ("multiply_tile<Q5_0, 1, 4, 4>", "vpdpbusd", 32, 0, 92),
    ("multiply_tile<Q4_K, 1, 4, 4>", "vpdpbusd", 32, 0, 96),
    ("multiply_tile<Q5_0, 1, 8, 8>", "vpdpbusd", 64, 0, 142),
    ("multiply_tile<Q4_K, 1, 8, 8>", "vpdpbusd", 64, 0, 162),
    ("multiply_tile<Q6_K, 1, 8, 8>", "vpdpbusd", 64, 0, 172),
]
STACK = re.compile(r"\((%rsp|%rbp)")


def functions(path):
    """Name (without namespaces and arguments) to its instructions: (address, mnemonic, operands)."""
    text = subprocess.run(["objdump", "-d", "-C", "--no-show-raw-insn", path], capture_output=True, text=True, check=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            name = re.sub(r"serval::cpu::\w+::", "", head[1])
            name = name.removeprefix("void ").split("(")[0]
            found[name] = []
        elif name and (one := re.match(r"^\s+([0-9a-f]+):\s+(\S+)\s*(.*)$", line)):
            found[name].append((int(one[1], 16), one[2], one[3]))
    return found


def inner_loop(body, work):
    """The instructions of the smallest loop that has as much work as any."""
    best = (0, 0, [])
    for address, mnemonic, operands in body:
        target = re.match(r"([0-9a-f]+) <", operands)
        if not mnemonic.startswith("j") or not target or int(target[1], 16) >= address:
            continue
        loop = [one for one in body if int(target[1], 16) <= one[0] <= address]
        count = sum(one[1] == work for one in loop)
        best = max(best, (count, -len(loop), loop), key=lambda b: b[:2])
    return best[2]


def main():
    failed = checked = 0
    for path in sys.argv[1:]:
        found = functions(path)
        for name, work, wanted, stack, most in FLOORS:
            if name not in found:
                continue
            checked += 1
            loop = [one for one in inner_loop(found[name], work) if one[1] != "nop"]  # pace() is meant
            count = sum(one[1] == work for one in loop)
            spills = sum("zmm" in operands and bool(STACK.search(operands)) for _, _, operands in loop)
            good = count == wanted and spills <= stack and len(loop) <= most
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {name}: {count} {work} ({wanted}), {spills} on the stack (<= {stack}), {len(loop)} instructions (<= {most})")
    if checked < len(FLOORS):
        print(f"only {checked} of {len(FLOORS)} kernels found")
        failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
