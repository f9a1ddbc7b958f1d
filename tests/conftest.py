"""Every test runs, or the report's end lists it with the reason; a reason that is not the machine's is a failure."""

from collections.abc import Generator, Iterator
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's matter, never a reason to fail.
settings.register_profile("fieldtap", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fieldtap")

ACCEPTED = "this machine has no "  # ... python3.13: the one kind of reason for which a test may stay out
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(autouse=True, scope="session")
def _sockets() -> Iterator[None]:
    """Agents that tests start have their control sockets in a folder of the tests; its path must be short."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", folder)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return fail_unaccepted((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return fail_unaccepted((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section("did not run")
    for report in skipped:
        terminalreporter.write_line(f"{report.nodeid}: {reason_of(report)}")


def fail_unaccepted(report: Report) -> Report:
    if not report.skipped or reason_of(report).startswith(ACCEPTED):
        return report
    report.longrepr = f"skipped, which only '{ACCEPTED}...' may: {reason_of(report)}"
    report.outcome = "failed"
    vars(report).pop("wasxfail", None)  # pytest does not count a failure that has it
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    return report.longrepr[2].removeprefix("Skipped: ")
