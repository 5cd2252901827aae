"""Isolation that stays: crashes, boots, tampering, new devices; and how it ends: by code, by itself."""

from __future__ import annotations

import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers.isolation_journal import RULES, SEEN, SIGNED, Journal, Tries
from agent.platform.linux.isolation_rules import NAME
from protocol.events import AgentRestored, AgentTampered
from protocol.orders import hash_code, new_code
from protocol.refusal import RefusedError
from protocol.signed import Signed
from tests.agent.isolation_lab import ALL, NONE, City, Pc, enrol, serve, tcp, wait_read
from tests.netns import Lan, lan, until

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


def test_files_are_private_and_load_at_boot(on_pc: Callable[..., Any], net: Lan, tmp_path: Path) -> None:
    on_pc(lambda pc: pc.execute(pc.city.order("o1")))
    for name in (SIGNED, RULES, SEEN):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    net.command("pc", "nft", "flush ruleset")
    for _ in range(2):
        net.command("pc", "nft", "-f", str(tmp_path / RULES))
    shown = net.command("pc", "nft", "list", "tables").stdout
    assert f"table inet {NAME}" in shown
    assert f"table arp {NAME}" in shown
    assert "netdev" not in shown, "at boot there are no devices yet"


def test_survives_kill_and_the_next_process_goes_on(
    on_pc: Callable[..., Any], net: Lan, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)

    def isolate_and_wait() -> Iterator[Any]:
        pc = Pc(net, tmp_path)
        yield pc.execute(pc.city.order("o1")), pc.city.ciso, pc.city.root
        select.select([], [], [])

    child = net.start("pc", isolate_and_wait)
    result, ciso, root = child.hear()
    assert result.state == "verified"
    child.kill()

    def scenario(pc: Pc) -> None:
        pc.city.ciso, pc.city.root = ciso, root
        assert pc.enforcer.state() == "isolated"
        assert pc.reach("other") == NONE
        assert pc.enforcer.tick() == []
        assert pc.enforcer.current_order().order_id == "o1"  # type: ignore[union-attr]
        assert pc.execute(pc.city.order("o2", "restore", restores="o1")).state == "verified"
        assert pc.reach("other") == ALL

    on_pc(scenario)


@pytest.mark.parametrize("enrolled", [True, False])
def test_missing_tables_come_back_at_start(on_pc: Callable[..., Any], enrolled: bool) -> None:
    def scenario(pc: Pc) -> None:
        if enrolled:
            enrol(pc)
        pc.execute(pc.city.order("o1"))
        pc.net.command("pc", "nft", "flush ruleset")
        events = pc.again().tick()
        assert [type(event) for event in events] == [AgentTampered]
        assert pc.enforcer.state() == "isolated"
        assert pc.reach("other") == NONE
        assert tcp(pc.net.ip4("collector"), 7461)

    on_pc(scenario)


def test_flush_by_another_root_process_is_repaired(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        enrol(pc)
        pc.execute(pc.city.order("o1"))
        assert pc.enforcer.tick() == []
        ((fileno, _),) = pc.enforcer.filenos()
        assert wait_read(pc.enforcer, fileno, 0.2) == []
        for command in ("flush ruleset", f"flush chain inet {NAME} output", f"delete table netdev {NAME}"):
            pc.net.command("pc", "nft", command)
            (event,) = wait_read(pc.enforcer, fileno)
            assert isinstance(event, AgentTampered)
            assert event.repaired
            assert event.by.endswith(":nft"), event
            assert pc.reach("other") == NONE
            assert pc.enforcer.observe()["families"] == "arp inet netdev"

    on_pc(scenario)


def test_a_new_device_is_covered(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.execute(pc.city.order("o1"))
        pc.net.command("pc", "ip", "link", "add", "usb0", "type", "veth", "peer", "name", "usb1")
        try:
            pc.enforcer.tick()
            shown = pc.net.command("pc", "nft", "list", "table", "netdev", NAME).stdout
            assert 'egress device "usb0"' in shown
            assert 'ingress device "usb1"' in shown
        finally:
            pc.net.command("pc", "ip", "link", "del", "usb0")
        pc.enforcer.tick()
        assert pc.enforcer.observe()["devices"] == "eth0"

    on_pc(scenario)


def test_ends_by_itself(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        end = pc.platform.now_us() + 300_000
        pc.execute(pc.city.order("o1", expires_us=end))
        assert pc.enforcer.tick() == []
        assert pc.enforcer.state() == "isolated"
        (event,) = until(pc.enforcer.tick, "the isolation to end")
        assert isinstance(event, AgentRestored)
        assert pc.platform.now_us() >= end
        assert event.detail == "expired"
        assert pc.enforcer.state() == "free"

    on_pc(scenario)


CODE = new_code()


def with_code(city: City) -> Signed:
    return city.order("o1", release_hash=hash_code("o1", CODE))


def test_code_works_once_and_without_the_resident_agent(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        resident = pc.enforcer
        cut = with_code(pc.city)
        pc.execute(cut)
        beside = pc.again()
        event = beside.restore_with_code(CODE.lower().replace("-", " "))
        assert (event.order_id, event.by_code, event.refusal) == ("o1", True, "")
        assert resident.tick() == [], "the resident agent takes it for what it is"
        assert resident.state() == "free"
        assert pc.reach("other") == ALL
        with pytest.raises(RefusedError, match="not_isolated"):
            beside.restore_with_code(CODE)
        assert pc.execute(cut).refusal == "replayed"

    on_pc(scenario)


def test_wrong_codes_are_refused_and_slowed_down(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.execute(with_code(pc.city))
        for _ in range(10):
            assert pc.again().restore_with_code(new_code()).refusal == "wrong_code"
        late = pc.again().restore_with_code(CODE)
        assert (late.refusal, late.detail[:20]) == ("wrong_code", "too many wrong codes")
        assert pc.enforcer.state() == "isolated"
        Journal(pc.platform.state).note_wrong(Tries(10, pc.platform.now_us() - 60_000_000))
        assert pc.again().restore_with_code(CODE).refusal == ""
        assert pc.enforcer.state() == "free"

    on_pc(scenario)


def test_order_without_a_code_has_none(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.execute(pc.city.order("o1"))
        assert pc.enforcer.restore_with_code("").refusal == "wrong_code"
        assert pc.enforcer.state() == "isolated"

    on_pc(scenario)


def test_removing_the_files_and_tables_is_no_release(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        enrol(pc)
        pc.execute(with_code(pc.city))
        for name in (SIGNED, RULES):
            (pc.platform.state / name).unlink()
        pc.net.command("pc", "nft", "flush ruleset")
        events = pc.enforcer.tick()
        assert [type(event) for event in events] == [AgentTampered]
        assert pc.enforcer.state() == "isolated"
        assert (pc.platform.state / SIGNED).exists()
        assert (pc.platform.state / RULES).exists()

    on_pc(scenario)


def test_clean_never_lifts_a_standing_order(on_pc: Callable[..., Any]) -> None:
    def scenario(pc: Pc) -> None:
        pc.execute(pc.city.order("o1"))
        pc.enforcer.clean()
        assert pc.enforcer.state() == "isolated"
        for name in (SIGNED, RULES):
            (pc.platform.state / name).unlink()
        pc.again().clean()
        assert pc.enforcer.state() == "free"

    on_pc(scenario)
