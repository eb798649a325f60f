#!/usr/bin/env python3
"""Size report and budgets (docs/architecture.md, "Budgets"): files, headers, functions, engine/. Exit 1 over a hard limit."""

import pathlib
import re
import subprocess
import sys

FILE_WANTED, FILE_HARD, HEADER, FUNCTION, ENGINE = 500, 800, 250, 60, 4000


def functions(lines):
    """Yields (first line, length) of top-level function bodies."""
    begin = None
    for number, line in enumerate(lines, 1):
        if begin is None and re.match(r"^\S.*\{$", line) and "(" in line and not line.startswith(("namespace", "struct", "class", "enum", "//", "#", "}")):
            begin = number
        elif begin is not None and line.startswith("}"):
            yield begin, number - begin + 1
            begin = None


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "include"], cwd=root, check=True,
                           capture_output=True, text=True).stdout.split()
    errors, notes, folders, tests = [], [], {}, 0
    for file in files:
        if not file.endswith((".h", ".cpp", ".inl")) or not (root / file).exists():
            continue
        lines = (root / file).read_text().splitlines()
        if file.endswith("_test.cpp"):
            tests += len(lines)
            continue
        parts = pathlib.PurePosixPath(file).parts
        folder = parts[1] if parts[0] == "src" else "include"
        folders[folder] = folders.get(folder, 0) + len(lines)
        if len(lines) > FILE_HARD:
            errors.append(f"{file}: {len(lines)} lines, at most {FILE_HARD}")
        elif len(lines) > FILE_WANTED:
            notes.append(f"{file}: {len(lines)} lines, {FILE_WANTED} wanted")
        if file.endswith(".h") and len(lines) > HEADER:
            errors.append(f"{file}: header of {len(lines)} lines, at most {HEADER}")
        for begin, length in functions(lines):
            if length > FUNCTION:
                notes.append(f"{file}:{begin}: function of {length} lines, {FUNCTION} wanted")
    if folders.get("engine", 0) > ENGINE:
        errors.append(f"src/engine: {folders['engine']} lines, at most {ENGINE}")
    print("  ".join(f"{name} {count}" for name, count in sorted(folders.items())), f" total {sum(folders.values())}, tests {tests}")
    for note in notes:
        print("note:", note)
    for error in errors:
        print("error:", error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
