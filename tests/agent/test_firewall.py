"""The firewall enforcer on a real kernel: what it lets through, what it keeps, who may not change it."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - sockets want it, and after setuid it may not be readable
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.enforcers import Verdict
from agent.enforcers.firewall import FirewallEnforcer
from agent.platform import Platform
from agent.platform.linux.firewall import LinuxFirewall
from protocol.events import AgentTampered, ConnectionBlocked, ConnectionOpened, Event
from tests.agent.firewall_lab import NO, YES, permit, reaches, serve, view
from tests.netns import Lan, lan, own_cgroup, until

pytestmark = pytest.mark.needs("root", "netns", "nft")


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "friend", "other") as made:
        for host in ("friend", "other"):
            made.start(host, serve).hear()
        yield made


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def run(scenario: Callable[[FirewallEnforcer], Any]) -> Any:
        return net.run("pc", lambda: scenario(FirewallEnforcer(Platform(state=tmp_path, run=tmp_path))))

    yield run
    net.command("pc", "nft", "flush ruleset")


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_allowed_works_and_forbidden_fails(on_pc: Callable[..., Any], net: Lan, fail: str) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, fail=fail))
        for host, wanted in (("friend", YES), ("other", NO)):
            for address in (net.ip4(host), net.ip6(host)):
                assert reaches(address) == wanted, address
        observed = enforcer.observe()
        assert (observed["table"], observed["mode"]) == ("as set", "enforce")
        assert observed["owner"] == ("agent" if fail == "open" else "none")

    on_pc(scenario)


def test_observe_stops_nothing(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, "observe"))
        assert reaches(net.ip4("other")) == YES
        assert enforcer.observe()["mode"] == "observe"
        enforcer.apply(view(net, "off"))
        assert enforcer.observe() == {"table": "absent"}

    on_pc(scenario)


def test_inbound_is_answered(on_pc: Callable[..., Any], net: Lan) -> None:
    def accept(pc_ready: Callable[[], None]) -> None:
        with socket.create_server(("", 8080)) as server:
            pc_ready()
            peer, _ = server.accept()
            peer.send(b"hello")
            assert peer.recv(9) == b"bye"
            peer.close()

    def call() -> str:
        one = until(lambda: _connected(net.ip4("pc")), "the PC to listen")
        assert one is not None
        said = one.recv(9).decode()
        one.send(b"bye")
        one.close()
        return said

    child = net.start("other", call)

    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net))
        accept(lambda: None)

    on_pc(scenario)
    assert child.hear() == "hello"


def _connected(address: str) -> socket.socket | None:
    try:
        return socket.create_connection((address, 8080), timeout=0.2)
    except OSError:
        return None


def test_permit_of_one_user_is_only_that_users(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, permits=(permit(net.ip4("other"), users=("1004",)),)))
        assert reaches(net.ip4("other"), 1004)[:2] == (True, True)
        assert reaches(net.ip4("other"), 1005)[:2] == (False, False)

    on_pc(scenario)


def test_permit_of_an_unknown_user_is_nobodys(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, permits=(permit(net.ip4("other"), users=("nobody-here",)),)))
        assert reaches(net.ip4("other")) == NO

    on_pc(scenario)


def test_permit_ends_and_so_does_its_connection(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        now = enforcer.platform.now_us()
        enforcer.apply(view(net, permits=(permit(net.ip4("other"), until_us=now + 400_000),)))
        assert reaches(net.ip4("other")) == YES
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect((net.ip4("other"), 53))
            one.send(b"x")
            assert one.recv(9) == b"x"
            until(lambda: enforcer.platform.now_us() >= now + 400_000, "the permit to end")
            assert enforcer.tick() == []
            with pytest.raises(OSError, match="Destination address required"):  # ended, not only stopped
                one.send(b"x")
        assert reaches(net.ip4("other")) == NO

    on_pc(scenario)


def test_applying_twice_changes_nothing(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        for fail in ("closed", "closed", "open", "open", "closed"):
            enforcer.apply(view(net, fail=fail))
            first = enforcer.platform.firewall.listing("inet", "sekisho")
            enforcer.apply(view(net, fail=fail))
            assert enforcer.platform.firewall.listing("inet", "sekisho") == first
            assert enforcer.observe()["table"] == "as set"

    on_pc(scenario)


def wait_read(enforcer: FirewallEnforcer, timeout: float = 5) -> list[Event]:
    events: list[Event] = []
    ((fileno, _),) = enforcer.filenos()
    deadline = time.monotonic() + timeout
    while not events and (left := deadline - time.monotonic()) > 0:
        if select.select([fileno], [], [], left)[0]:
            events = enforcer.read(fileno)
    return events


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet sekisho",
        "flush chain inet sekisho zone",
        "insert rule inet sekisho zone accept",
    ],
)
def test_plain_table_is_put_back(on_pc: Callable[..., Any], net: Lan, command: str) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net))
        assert wait_read(enforcer, 0.2) == []
        net.command("pc", "nft", command)
        (event,) = wait_read(enforcer)
        assert isinstance(event, AgentTampered)
        assert (event.what, event.repaired, event.by.partition(":")[2]) == ("firewall", True, "nft")
        assert reaches(net.ip4("other")) == NO
        assert reaches(net.ip4("friend")) == YES
        assert enforcer.observe()["table"] == "as set"

    on_pc(scenario)


def test_owned_table_withstands_root(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, fail="open"))
        net.command("pc", "nft", "flush ruleset")
        denied = net.command("pc", "nft", "delete table inet sekisho", check=False)
        assert denied.returncode != 0
        assert wait_read(enforcer, 0.2) == []
        assert enforcer.observe()["table"] == "as set"
        assert reaches(net.ip4("other")) == NO

    on_pc(scenario)


def test_tables_of_others_are_left_alone(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        net.command("pc", "nft", "add table inet theirs")
        enforcer.apply(view(net))
        net.command("pc", "nft", "add chain inet theirs c")
        assert wait_read(enforcer, 0.3) == []
        enforcer.clean()
        assert LinuxFirewall().tables() == {("inet", "theirs")}

    on_pc(scenario)


@pytest.mark.parametrize(("fail", "left"), [("open", False), ("closed", True)])
def test_declared_fail_mode_when_the_agent_is_killed(net: Lan, tmp_path: Path, fail: str, left: bool) -> None:
    def agent() -> Iterator[str]:
        FirewallEnforcer(Platform(state=tmp_path, run=tmp_path)).apply(view(net, fail=fail))
        yield "applied"
        select.select([], [], [])

    child = net.start("pc", agent)
    child.hear()
    child.kill()
    try:
        shown = net.command("pc", "nft", "list", "tables").stdout
        assert ("sekisho" in shown) == left
        assert net.run("pc", reaches, net.ip4("other")) == (NO if left else YES)
        net.run("pc", lambda: FirewallEnforcer(Platform(state=tmp_path, run=tmp_path)).clean())
        assert net.command("pc", "nft", "list", "tables").stdout == ""
    finally:
        net.command("pc", "nft", "flush ruleset")


def test_a_rule_ends_an_open_connection(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        with socket.create_connection((net.ip4("friend"), 443)) as one:
            source = one.getsockname()
            event = ConnectionOpened(
                time_us=1,
                action="allowed",
                protocol="tcp",
                src_ip=source[0],
                src_port=source[1],
                dest_ip=net.ip4("friend"),
                dest_port=443,
                exe="/usr/bin/x",
            )
            assert enforcer.stop(event, Verdict(block=False)).action == "allowed"  # type: ignore[union-attr]
            outcome = enforcer.stop(event, Verdict(block=True, rules=("r1",)))
            assert outcome is not None
            assert outcome.action == "blocked"
            assert isinstance(outcome.record, ConnectionBlocked)
            assert (outcome.record.exe, outcome.record.action) == ("/usr/bin/x", "blocked")
            with pytest.raises(ConnectionAbortedError):
                one.recv(1)
            assert enforcer.stop(event, Verdict(block=True)).action == "failed"  # type: ignore[union-attr]

    on_pc(scenario)


def test_cost_of_an_allowed_connect(net: Lan, tmp_path: Path) -> None:
    """Budget: +5 µs (DESIGN §11). UDP, since its first packet runs the same rules without a peer's noise."""

    def one_round(count: int) -> float:
        times = []
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                started = time.perf_counter_ns()
                one.sendto(b"x", (net.ip4("friend"), 9999))
                times.append(time.perf_counter_ns() - started)
        times.sort()
        return times[count // 2] / 1000

    def scenario(group: Path) -> tuple[float, float]:
        (group / "cgroup.procs").write_text("0")
        os.environ["SEKISHO_CGROUP"] = str(group)
        platform = Platform(state=tmp_path, run=tmp_path)
        one_round(500)
        bare = one_round(2000)
        enforcer = FirewallEnforcer(platform)
        enforcer.apply(view(net))
        platform.sockets  # noqa: B018 - loads the stamps
        one_round(500)
        ruled = one_round(2000)
        return bare, ruled

    with own_cgroup() as group:
        bare, ruled = net.run("pc", scenario, group)
    net.command("pc", "nft", "flush ruleset")
    print(f"first packet of a flow: {bare:.1f} µs bare, {ruled:.1f} µs with rules and stamps")
    assert ruled - bare < 15, "thrice the budget: a noisy machine is no failure, a slow rule is"
