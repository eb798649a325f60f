"""The command line itself: help, unknown names, configuration files, exit codes, completion."""
import json
import subprocess

import pytest

COMMANDS = ["run", "pull", "list", "rm", "inspect", "tokenize", "template", "perplexity", "bench", "quantize",
            "doctor", "completion", "top", "trace"]


def test_no_command_shows_the_overview(serval):
    done = serval()
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(serval, command):
    done = serval(command, "--help")
    assert done.code == 0 and done.err == ""
    assert f"serval {command}" in done.out.split("example:")[1]
    assert serval("help", command).out == done.out


def test_version(serval):
    assert serval("--version").out.startswith("serval ")


def test_unknown_command_names_the_nearest(serval):
    assert "did you mean inspect?" in serval.fails(2, "inspetc")
    assert "did you mean" not in serval.fails(2, "xyzzy")


def test_unknown_option_names_the_nearest(serval):
    assert "did you mean --temperature?" in serval.fails(2, "run", "--temprature", "1", "hi")
    assert "did you mean --max-tokens?" in serval.fails(2, "run", "--max-token=4", "hi")


@pytest.mark.parametrize("arguments", [
    ["run", "-n", "many", "hi"], ["run", "-n", "-2", "hi"], ["run", "-n", "99999999999999", "hi"],
    ["run", "--temp", "nan", "hi"], ["run", "--temp", "inf", "hi"], ["run", "--logprobs", "21", "hi"],
    ["run", "-t", "-1", "hi"], ["run", "-c", "-5", "hi"], ["run", "-b", "0", "hi"],
    ["run", "--backend", "abacus", "hi"], ["run", "--kv-type", "f8", "hi"],
    ["run", "--system"], ["run", "a.gguf", "b", "c"], ["run"], ["rm"], ["quantize", "x"],
    ["completion"], ["completion", "csh"], ["bench", "-r", "0"], ["bench", "-p", "1,x"],
    ["pull", "no-such-name"], ["pull", "smollm2", "--sha256", "12"], ["pull", "smollm2", "--as", "../x"],
    ["pull", "hf://only-one-part"], ["pull", "pypi://package"], ["pull", "http://example.org/a.gguf"],
    ["pull", "https://user:word@example.org/a.gguf"], ["perplexity", "x.gguf"],
    ["inspect", "--nonsense"],
])
def test_usage_errors_exit_2_with_one_line(serval, arguments):
    serval.fails(2, *arguments)


def test_print_config_and_config_files(serval, tmp_path):
    toml = tmp_path / "serval.toml"
    toml.write_text("seed = 7\n[run]\ntemp = 0.25\nmax-tokens = 9\n[bench]\nrepetitions = 2\n")
    shown = serval("run", "--config", toml, "--print-config")
    assert shown.code == 0
    values = dict(line.split("=", 1) for line in shown.out.splitlines() if "=" in line)
    assert values["temp"] == "0.25" and values["max-tokens"] == "9" and values["seed"] == "7"
    overridden = serval("run", "--config", toml, "--temp", "0.5", "--print-config").out
    assert "temp=0.5" in overridden

    as_json = tmp_path / "serval.json"
    as_json.write_text(json.dumps({"run": {"temp": 0.25, "max-tokens": 9, "raw": True}}))
    shown = serval("run", "--config", as_json, "--print-config")
    assert "temp=0.25" in shown.out and "raw=true" in shown.out

    printed = tmp_path / "printed.toml"
    printed.write_text(shown.out)
    assert serval("run", "--config", printed, "--print-config").out == shown.out


@pytest.mark.parametrize("text", ["[run]\ntemprature = 1\n", "{\"run\": {\"temp\": ", "[nosuch]\nx = 1\n",
                                  "[run]\ntemp = \"warm\"\n"])
def test_bad_config_files(serval, tmp_path, text):
    path = tmp_path / "bad.conf"
    path.write_text(text)
    serval.fails(2, "run", "--config", path, "hi")


def test_missing_config_file(serval, tmp_path):
    serval.fails(1, "run", "--config", tmp_path / "none.toml", "hi")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(serval, shell, tmp_path):
    script = serval("completion", shell)
    assert script.code == 0
    assert all(command in script.out for command in COMMANDS)
    assert "--max-tokens" in script.out or "-l max-tokens" in script.out
    path = tmp_path / "script"
    path.write_text(script.out)
    try:
        subprocess.run([shell, "-n", path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"not on this machine: {shell}")


def test_bash_completion_completes(serval, tmp_path):
    path = tmp_path / "serval.bash"
    path.write_text(serval("completion", "bash").out)

    def complete(line):
        words = line.split(" ")
        script = (f"source {path}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
                  f"COMP_LINE='{line}'; COMP_POINT={len(line)}; _serval; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        folder = serval.binary.rsplit("/", 1)[0]
        env = serval.env | {"PATH": f"{folder}:{serval.env['PATH']}"}
        return subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True).stdout.split()

    assert complete("serval ins") == ["inspect"]
    assert "--temperature" in complete("serval run --temp")
    assert "smollm2:135m" in complete("serval run smol")


def test_list_and_rm_of_nothing(serval):
    done = serval("list")
    assert done.code == 0 and done.out == "" and "no models" in done.err
    assert serval("list", "--json").json == []
    names = [row["id"] for row in serval("list", "--all", "--json").json]
    assert {"smollm2:135m", "gemma3:270m", "qwen2.5-coder:0.5b"} <= set(names)
    serval.fails(1, "rm", "smollm2")


def test_doctor(serval):
    rows = {row["name"]: row for row in serval("doctor", "--json").json}
    assert {"processor", "kernels", "memory", "read bandwidth", "model folder", "libraries"} <= set(rows)
    assert all(row["status"] in ("ok", "warn") for row in rows.values())
    assert all((row["status"] == "warn") == bool(row["advice"]) for row in rows.values())
    assert rows["default model"]["status"] == "warn"
    assert "libcurl" in rows["libraries"]["value"]


def test_standard_output_that_is_full(serval):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([serval.binary, "list", "--all"], env=serval.env, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"serval: standard output:")
