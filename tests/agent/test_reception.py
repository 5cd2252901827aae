"""The resident agent with its counter: what a policy stops is told to the user, and the application reaches the collector."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from agent import cli
from agent.refusals import RefusalBook
from agent.status import read_status
from protocol.events import (
    AgentHealth,
    AgentPolicyApplied,
    DeviceAttached,
    Event,
    NoticeShown,
    PermitRequested,
)
from tests.agent.collector_double import until
from tests.agent.test_judge import rule
from tests.agent.test_runtime import ENFORCE, Pc, make_sensor, pc

__all__ = ["pc"]
STICK = DeviceAttached(
    time_us=2, device_id="5f" * 32, device_class="storage", vendor_id="0951", product_id="1666", serial="P-9"
)


def with_stick(pc: Pc) -> None:
    """A sensor that tells of a stick with a name."""
    fed: Any = make_sensor("devices")

    class Stick(fed):  # type: ignore[misc]
        name = fed.name

        def read(self, fileno: int) -> Iterable[Event]:
            list(super().read(fileno))
            return [STICK]

    pc.sensor = Stick


def ask(pc: Pc, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = cli.main(["ask", *arguments, "--json", "--run", str(pc.platform.run), "--lang", "en"])
    out = capsys.readouterr().out
    return status, json.loads(out) if out else None


def test_from_the_block_to_the_application(pc: Pc, capsys: pytest.CaptureFixture[str]) -> None:
    with_stick(pc)
    pc.start()
    pc.policy(3, settings=ENFORCE, rules=(rule(),))
    pc.wait(AgentPolicyApplied, generation=3)
    pc.command(b"d")
    pc.wait(DeviceAttached, action="blocked")
    shown = pc.wait(NoticeShown)
    assert (shown.about, shown.rule, shown.count) == ("device.attached", "r1", 1)
    status, lines = ask(pc, capsys, "--list")
    assert status == 0
    assert [(line["number"], line["wanted"], line["state"]) for line in lines] == [(1, "device", "refused")]
    status, taken = ask(pc, capsys, "1", "--purpose", "census forms", "--days", "14")
    requested = pc.wait(PermitRequested)
    assert requested.request == taken["request"]
    assert (requested.wanted, requested.purpose, requested.days, requested.refused) == (
        "device",
        "census forms",
        14,
        "r1",
    )
    assert requested.subject["serial"] == "P-9"
    pc.stop()
    assert ask(pc, capsys)[0] == 1  # the counter is closed
    pc.start()  # and knows the application again after a restart
    until((pc.platform.run / "counter.sock").exists)
    assert [line["state"] for line in ask(pc, capsys)[1]] == ["applied"]


def test_counter_that_cannot_open_is_told_and_ends_nothing(pc: Pc) -> None:
    (pc.platform.run / "counter.sock").mkdir(parents=True)
    pc.start()

    def told() -> bool:
        status = read_status(pc.platform.run)
        return status is not None and any(one.code == "counter_closed" for one in status.health)

    until(told)


def test_what_fails_on_peoples_side_ends_nothing(pc: Pc, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(RefusalBook, "add", breaks)
    with_stick(pc)
    pc.start()
    pc.policy(3, settings=ENFORCE, rules=(rule(),))
    pc.wait(AgentPolicyApplied, generation=3)
    pc.command(b"d")
    pc.wait(DeviceAttached, action="blocked")
    assert "broken on purpose" in pc.wait(AgentHealth, code="reception_failed").detail
