"""The demo without root, told by a process that has no privilege at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import loopback
from tests.e2e.story import STEPS

PROJECT = Path(__file__).resolve().parents[2]
NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
"""A user namespace of its own: another uid, no capability, and what belongs to us can still be read."""


def test_every_step_is_told_or_says_what_it_needs() -> None:
    told = {name for name in STEPS if hasattr(loopback.Loopback, name)}
    assert told | set(loopback.NEEDS_ROOT) == set(STEPS)
    assert told & set(loopback.NEEDS_ROOT) == set()


def test_skipped_row_has_the_shape_of_the_table() -> None:
    row = loopback.skipped("host_isolated", "root: nftables")
    assert row == {
        "step": "host_isolated", "ok": False, "skipped": True, "ms": 0.0, "what": "needs root: nftables"
    }  # fmt: skip


def test_ports_are_free_and_different() -> None:
    ports = loopback.free_ports(4)
    assert len(set(ports)) == 4
    assert all(port > 1023 for port in ports)


@pytest.mark.needs("linux", "userns")
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_story_without_root() -> None:
    become = NOBODY if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*become, sys.executable, "-m", "tests.e2e.loopback"],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=410,
    )  # fmt: skip
    rows = json.loads(done.stdout or "[]")
    assert [row["step"] for row in rows] == list(STEPS), done.stderr
    failed = [row for row in rows if not row["ok"] and not row.get("skipped")]
    assert failed == [], done.stderr
    assert {row["step"] for row in rows if row["ok"]} == set(STEPS) - set(loopback.NEEDS_ROOT)
    assert done.returncode == 0
