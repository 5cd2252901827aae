"""Skips by capability, and the comparison of what was skipped with what was expected.

`@pytest.mark.needs("nft", "loop")`; `@pytest.mark.root` and `@pytest.mark.testbed` are short for common sets.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capabilities import PROBES, why_missing

EXPECTED_SKIPS = Path(__file__).with_name("expected_skips.txt")
IMPLIED = {"root": ("root",), "testbed": ("linux", "root", "netns", "mountns")}
PREFIX = "needs "

_unexpected: dict[str, str] = {}
"""What was skipped against expectation → the first test it happened to."""


def _needs(item: pytest.Item) -> list[str]:
    named = [name for mark in item.iter_markers("needs") for name in mark.args]
    implied = [name for mark, names in IMPLIED.items() if item.get_closest_marker(mark) for name in names]
    return list(dict.fromkeys([*implied, *named]))


def expected_skips(text: str) -> set[str]:
    """Read the names out of expected_skips.txt."""
    return {name for line in text.splitlines() if (name := line.partition("#")[0].strip())}


def _strict() -> bool:
    return os.environ.get("SEKISHO_STRICT_SKIPS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in _needs(item):
            if name not in PROBES:
                raise pytest.UsageError(
                    f"{item.nodeid}: needs({name!r}) has no probe in tests/capabilities.py"
                )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in _needs(item):
        if reason := why_missing(name):
            pytest.skip(f"{PREFIX}{name}: {reason}")


@pytest.fixture
def requires() -> Callable[[str], None]:
    """Skip in the middle of a test: `requires("zram")`."""

    def skip_without(name: str) -> None:
        if reason := why_missing(name):
            pytest.skip(f"{PREFIX}{name}: {reason}")

    return skip_without


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    name = reason.removeprefix(PREFIX).partition(":")[0] if reason.startswith(PREFIX) else ""
    if name not in expected_skips(EXPECTED_SKIPS.read_text(encoding="utf-8")):
        _unexpected.setdefault(reason, report.nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def _complaints() -> list[str]:
    expected = expected_skips(EXPECTED_SKIPS.read_text(encoding="utf-8"))
    unexpected = [f"unexpected skip: {reason} ({where})" for reason, where in sorted(_unexpected.items())]
    unknown = [f"{EXPECTED_SKIPS.name}: {name} has no probe" for name in sorted(expected - PROBES.keys())]
    outdated = [
        f"{EXPECTED_SKIPS.name}: {name} works here by now; remove the line"
        for name in sorted(expected & PROBES.keys())
        if why_missing(name) is None
    ]
    return unexpected + unknown + outdated


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _strict() and exitstatus == pytest.ExitCode.OK and _complaints():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _strict() and (complaints := _complaints()):
        terminalreporter.section("skips", red=True)
        for line in complaints:
            terminalreporter.write_line(line)
