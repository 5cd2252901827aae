"""What is written down before a cut, and which orders come twice, late, or with too few signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers.isolation import IsolationEnforcer
from agent.enforcers.isolation_journal import AHEAD, RULES, Seen, Taken
from tests.agent.isolation_lab import AGENT, NONE, NOW, Pc, enrol, serve
from tests.netns import Lan, lan

pytestmark = pytest.mark.needs("root", "netns", "nft")


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "collector", "other") as made:
        for host in ("collector", "other"):
            made.start(host, serve).hear()
        yield made


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Run ``scenario(pc)`` in the PC's namespace, and leave that free."""

    def run(scenario: Callable[[Pc], Any], **changes: Any) -> Any:
        return net.run("pc", lambda: scenario(Pc(net, tmp_path, **changes)))

    tmp_path.chmod(0o700)
    yield run
    net.command("pc", "nft", "flush ruleset")


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_crash_between_journal_and_cut(on_pc: Callable[..., Any], torn: int) -> None:
    """A whole record is carried on at the next start; a torn one was never acted on."""

    def scenario(pc: Pc) -> None:
        cut = pc.city.order("o1")
        pc.enforcer.tick()
        pc.enforcer._cut.apply = crash  # type: ignore[assignment, method-assign]
        with pytest.raises(KeyboardInterrupt):
            pc.execute(cut)
        ahead = pc.platform.state / AHEAD
        if torn:
            ahead.write_bytes(ahead.read_bytes()[:-torn])
        enrol(pc)
        assert pc.again().tick() == []
        assert pc.enforcer.state() == ("free" if torn else "isolated")
        assert (pc.platform.state / RULES).exists() != bool(torn)
        assert pc.execute(cut).state == "verified"

    on_pc(scenario)


def crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_delivered_twice_is_one_isolation(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        cut, lift = pc.city.order("o1"), pc.city.order("o2", "restore", restores="o1")
        first, second = pc.execute(cut), pc.execute(cut)
        assert (first.state, second.state) == ("verified", "verified")
        assert second.detail.startswith("in force already")
        first, second = pc.execute(lift), pc.execute(lift)
        assert first == second
        assert first.state == "verified"

    on_pc(scenario)


def test_a_clock_set_back_does_not_revive_an_order(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        old = pc.city.order("old", valid_until_us=NOW + 1_000_000)
        pc.execute(pc.city.order("new", issued_us=NOW + 5_000_000))
        pc.execute(pc.city.order("lift", "restore", restores="new"))
        assert pc.execute(old, NOW - 3_600_000_000).refusal == "stale"

    on_pc(scenario)


def test_two_orders_two_restores(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.execute(pc.city.order("o1"))
        assert pc.execute(pc.city.order("o2")).state == "verified"
        assert pc.execute(pc.city.order("r2", "restore", restores="o2")).detail == "order o1 still stands"
        assert pc.enforcer.state() == "isolated"
        assert pc.reach("other") == NONE
        pc.execute(pc.city.order("r1", "restore", restores="o1"))
        assert pc.enforcer.state() == "free"

    on_pc(scenario)


def test_cosigner_is_asked_for(on_pc: Callable[..., Any]) -> None:
    result = on_pc(lambda pc: pc.execute(pc.city.order("o1")), order_signatures=2)
    assert (result.state, result.refusal) == ("refused", "role_missing")


def test_nothing_is_done_that_could_not_be_written_down(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.platform.state = pc.platform.state / "gone"
        enforcer = IsolationEnforcer(pc.platform)
        result = enforcer.execute(pc.city.order("o1"), pc.city.root, AGENT, NOW)
        assert (result.state, result.refusal) == ("refused", "disk_full")
        assert enforcer.state() == "free"

    on_pc(scenario)


def test_seen_forgets_only_what_is_refused_anyway() -> None:
    seen = Seen()
    for number in range(5000):
        seen = (
            seen.plus(Taken(str(number), b"", number))
            if number > 4090
            else Seen(number, 0, (*seen.taken, Taken(str(number), b"", number)))
        )
    assert len(seen.taken) == 4096
    assert seen.find("0") is None
    assert seen.floor_us == 5000 - 4096 - 1
    assert seen.newest_us == 4999
