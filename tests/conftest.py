"""In scripts/test.sh (SERVAL_TEST_STRICT=1) a skipped test is a failed one: a probe that is not built or a model that is not
there must not pass unseen. Only what a machine may lack is still skipped, by a reason that begins with OPTIONAL."""
import os

import pytest

OPTIONAL = "not on this machine: "


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not (os.environ.get("SERVAL_TEST_STRICT") and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(OPTIONAL):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped in a strict run: {reason}"
