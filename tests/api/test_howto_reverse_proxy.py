"""docs/howto/reverse-proxy.md: each program reads its configuration as printed there, and what the page asks of Serval is there."""
import re
import shutil
import subprocess

import pytest

from conftest import BINARY, ROOT
from test_tls import certify

OPTIONAL = "not on this machine: "
PAGE = (ROOT / "docs" / "howto" / "reverse-proxy.md").read_text()


def block(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(found) == 1, language
    return found[0]


def check(*command):
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip(OPTIONAL + command[0])
    done = subprocess.run([program, *map(str, command[1:])], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def certificate(tmp_path):
    cert, key = certify(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    return cert, key, both


def test_nginx(tmp_path, certificate):
    cert, key, _ = certificate
    site = block("nginx").replace("/etc/ssl/llm.example.pem", str(cert)).replace("/etc/ssl/llm.example.key", str(key))
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{site}\n}}\n")
    check("nginx", "-t", "-p", tmp_path, "-c", config)


def test_haproxy(tmp_path, certificate):
    config = tmp_path / "haproxy.cfg"
    config.write_text(block("haproxy").replace("/etc/haproxy/llm.example.pem", str(certificate[2])))
    check("haproxy", "-c", "-f", config)


def test_systemd_unit(tmp_path):
    unit = tmp_path / "serval.service"
    unit.write_text(block("ini").replace("/usr/local/bin/serval", BINARY))
    assert check("systemd-analyze", "verify", unit).strip() == ""
    stated = float(re.search(r"systemd-analyze security serval` rates the unit ([0-9.]+)", PAGE).group(1))
    rated = re.search(r"exposure level for serval.service: ([0-9.]+)", check("systemd-analyze", "security", "--offline=true", unit))
    assert float(rated.group(1)) <= stated


def test_the_options_it_names_exist():
    help_text = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, timeout=60).stdout
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"(?s)```(?:nginx|haproxy).*?```|systemd-run.*?\n\n", "", PAGE))):
        assert option in help_text, option


def test_the_metrics_it_names_exist(server):
    server.post("/v1/completions", {"prompt": "x", "max_tokens": 2, "ignore_eos": True})
    text = server.call("/metrics")[2]
    named = set(re.findall(r"(?:vllm|serval):[a-z_]+", PAGE))
    assert len(named) >= 7
    for name in named:
        assert re.search(rf"^{name}[{{ ]", text, re.M), name


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_a_proxy_gets_no_admin_routes(server, header):
    assert server.call("/props", headers={header: "192.0.2.7"})[0] == 403
    assert server.call("/v1/models", headers={header: "192.0.2.7"})[0] == 200
