#!/usr/bin/env python3
"""The ladder of layers: a folder may include only itself and folders below it. Exit 1 names each upward #include."""

import pathlib
import re
import subprocess
import sys

# folder -> rung; a folder may include folders of a lower rung, itself, and the same-rung folders named beside it
RUNGS = {
    "serval": 0, "base": 0,
    "tensor": 1, "format": 1,
    "backend": 2, "text": 2,
    "model": 3, "sampling": 3, "kvdisk": 3, "schedule": 3, "watch": 3,
    "engine": 4, "convert": 4, "store": 4,
    "server": 5,
    "apps": 6,
}
SAME_RUNG = {"format": {"tensor"}, "base": {"serval"}}
# subfolders that stand apart: who may include them from outside
PRIVATE = {
    "backend/reference": {"backend"},
    "backend/cpu": {"backend", "apps"},
    "backend/cuda": {"backend"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def folder_of(path: str) -> str:
    parts = pathlib.PurePosixPath(path).parts
    if parts[:2] == ("include", "serval"):
        return "serval"
    return parts[1] if parts[0] == "src" else parts[0]


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "include"], cwd=root, check=True,
                           capture_output=True, text=True).stdout.split()
    errors = []
    for file in files:
        if not file.endswith((".h", ".cpp", ".inl")) or not (root / file).exists():
            continue
        here = folder_of(file)
        if here not in RUNGS:
            errors.append(f"{file}: folder '{here}' is not on the ladder (tools/check_layers.py)")
            continue
        for target in INCLUDE.findall((root / file).read_text()):
            there = target.split("/")[0]
            if there not in RUNGS or "/" not in target:
                continue
            test = file.endswith("_test.cpp")
            allowed = there == here or RUNGS[there] < RUNGS[here] or there in SAME_RUNG.get(here, set())
            if not allowed:
                errors.append(f"{file}: includes {target}: {here} (L{RUNGS[here]}) may not look up to {there} (L{RUNGS[there]})")
            for private, friends in PRIVATE.items():
                inside = file.startswith(f"src/{private}/")
                if target.startswith(private + "/") and not inside and here not in friends and not test:
                    errors.append(f"{file}: includes {target}: {private} is private to {', '.join(sorted(friends))}")
    print("\n".join(errors) if errors else f"layers: {len(files)} files, no upward include")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
