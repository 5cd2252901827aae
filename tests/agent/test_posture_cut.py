"""A PC without protection loses the outside and nothing else, on a real kernel, and has it back once protected."""

import contextlib
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checkpoint import Checkpoint
from agent.enforcers.firewall import FirewallEnforcer
from agent.enforcers.posture import PostureEnforcer
from agent.enforcers.posture_ways import kept_ways
from agent.enforcing import EnforcerHost
from agent.health import Health
from agent.platform import Platform
from agent.spool import Spool
from policies.model import Assignment, Bundle, Citation, Destination, Permit, Scope, Setting, Subject, Zone
from policies.shipped import load_shipped
from policies.view import PolicyView
from protocol.events import AgentTampered, Event, PostureReported
from protocol.refusal import RefusedError
from tests.agent.isolation_lab import ALL, NONE, PORTS, Pc, enrol, serve, tcp
from tests.netns import Lan, lan

on_a_kernel = pytest.mark.needs("root", "netns", "nft")
ARTICLE = Citation("nagoya", "第54条第2項")
RULES = tuple(one for one in load_shipped()[1] if one.id == "outside_access_without_protection")
CUT, OPEN = ("blocked", "cut"), ("allowed", "open")
TIMEOUT = 5.0


def view(inside: tuple[str, ...], mode: str = "enforce", fail: str = "closed", **changes: Any) -> PolicyView:
    """A policy that lets the PC of the Internet zone talk to anybody, protected."""
    everywhere = (Destination("0.0.0.0/0"), Destination("::/0"))
    zone = Zone(name="internet", title_ja="", title_en="", allow=everywhere)
    values: dict[str, Any] = {
        "city": "test", "generation": 1, "issued_us": 0, "expires_us": 2**62, "ordinances": (), "rules": RULES, "permits": (),
        "zones": (zone, Zone(name="hall", title_ja="", title_en="", networks=inside)),
        "settings": {"posture": {"*": Setting(mode, fail)}, "connections": {"*": Setting("enforce", fail)}},  # type: ignore[arg-type]
        "assignments": {"pc": Assignment("internet", "課")},
    }  # fmt: skip
    return PolicyView(Bundle(**{**values, **changes}), "0" * 64, "pc")


def permit(network: str, article: Citation = ARTICLE, **changes: Any) -> Permit:
    subject, scope = Subject(network=network), Scope(sections=("課",))
    values: dict[str, Any] = {
        "id": network, "kind": "destination", "subject": subject, "scope": scope, "from_us": 0, "until_us": 2**62,
        "article": article,
    }  # fmt: skip
    return Permit(**{**values, **changes})


class Hall:
    """The agent's checkpoint in the namespace of the PC, with the enforcers that matter here."""

    def __init__(self, net: Lan, state: Path) -> None:
        self.net, self.pc = net, Pc(net, state)
        self.inside = (f"{net.ip4('inside')}/32", f"{net.ip6('inside')}/128")
        self.judged: list[Event] = []
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.platform = Platform(state=self.pc.platform.state, run=self.pc.platform.state)
        self.health = Health()
        kinds = {"posture": PostureEnforcer, "firewall": FirewallEnforcer}
        self.host = EnforcerHost(self.platform, kinds, self.health)
        spool = Spool(self.platform.state / "spool.db", limit_bytes=1 << 24)
        self.checkpoint = Checkpoint(self.platform, self.host, spool, self.health)
        self.checkpoint.on_judged = lambda event, _view: self.judged.append(event)

    def apply(self, policy: PolicyView) -> list[str]:
        self.checkpoint.view = policy
        return self.host.apply(policy)

    def says(self, *, protected: bool) -> tuple[str, str]:
        """A posture comes in; what became of it and of the outside."""
        firewall = "on" if protected else "off"
        self.checkpoint.handle(
            PostureReported(time_us=self.platform.now_us(), firewall=firewall, antivirus_running=True)
        )
        return self.judged[-1].action, self.host.observed()["posture"]["outside"]

    def reach(self, host: str) -> dict[str, bool]:
        return self.pc.reach(host)

    def reaches_collector(self) -> bool:
        return all(tcp(address, port) for address in self.pc.addresses for port in PORTS)


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    with lan("pc", "collector", "inside", "outside") as made:
        for host in made.hosts[1:]:
            made.start(host, serve).hear()
        yield made


@pytest.fixture
def on_pc(net: Lan, tmp_path: Path) -> Iterator[Callable[..., None]]:
    def run(scenario: Callable[[Hall], None], *, enrolled: bool = True) -> None:
        def inside() -> None:
            hall = Hall(net, tmp_path)
            if enrolled:
                enrol(hall.pc)
            scenario(hall)

        net.run("pc", inside)

    yield run
    net.command("pc", "nft", "flush ruleset")


def is_ended(one: socket.socket) -> bool:
    """Whether the socket was ended under its program, without a packet being sent."""
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


@on_a_kernel
@pytest.mark.parametrize("fail", ["open", "closed"])
def test_without_protection_no_outside_and_with_it_again(on_pc: Callable[..., None], fail: str) -> None:
    def scenario(hall: Hall) -> None:
        assert hall.apply(view(hall.inside, fail=fail)) == []
        assert (hall.says(protected=True), hall.reach("outside")) == (("observed", "open"), ALL)
        for _ in range(2):  # told again, nothing changes
            assert (hall.says(protected=False), hall.reach("outside")) == (CUT, NONE)
            assert hall.reach("inside") == ALL
            assert hall.reaches_collector()
            assert not tcp(hall.pc.addresses[0], 443)  # the collector's own ports, no more
        assert hall.judged[-1].rules == ("outside_access_without_protection",)
        assert (hall.says(protected=True), hall.reach("outside")) == (OPEN, ALL)
        assert hall.says(protected=True) == ("observed", "open")

    on_pc(scenario)


@on_a_kernel
def test_open_connections_to_the_outside_are_ended_and_no_others(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        hall.apply(view(hall.inside))
        with contextlib.ExitStack() as stack:

            def connect(address: str, port: int = 443) -> socket.socket:
                return stack.enter_context(socket.create_connection((address, port), TIMEOUT))

            doomed = [connect(hall.net.ip4("outside")), connect(hall.net.ip6("outside"))]
            kept = [connect(hall.net.ip4("inside")), connect(hall.pc.addresses[1], PORTS[1])]
            assert hall.says(protected=False) == CUT
            assert all(map(is_ended, doomed))
            assert not any(map(is_ended, kept))
            assert [one.send(b"x") for one in kept] == [1, 1]

    on_pc(scenario)


@on_a_kernel
def test_observing_only_flags(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        hall.apply(view(hall.inside, "observe"))
        assert hall.says(protected=False) == ("observed", "open")
        assert hall.judged[-1].rules == ("outside_access_without_protection",)
        assert hall.reach("outside") == ALL
        hall.apply(view(hall.inside))
        assert hall.says(protected=False) == CUT
        hall.apply(view(hall.inside, "observe"))
        assert hall.reach("outside") == ALL

    on_pc(scenario)


@on_a_kernel
def test_a_cut_outlives_the_agent_and_ends_with_the_next_posture(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        for protected, wanted, found in ((False, CUT, NONE), (True, OPEN, ALL)):
            hall.apply(view(hall.inside))
            hall.says(protected=False)
            hall.host.clean(hall.checkpoint.view)  # fail: closed, so it stands
            hall.start()
            assert hall.reach("outside") == NONE
            assert hall.apply(view(hall.inside)) == []
            assert hall.reach("outside") == NONE
            assert hall.says(protected=protected) == wanted
            assert hall.reach("outside") == found
        hall.says(protected=False)
        hall.apply(view(hall.inside, fail="open"))
        hall.host.clean(hall.checkpoint.view)
        assert hall.reach("outside") == ALL

    on_pc(scenario)


@on_a_kernel
def test_what_is_flushed_is_put_back(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        hall.apply(view(hall.inside))
        hall.says(protected=False)
        enforcer = hall.host.enforcers["posture"]
        ((fileno, _),) = enforcer.filenos()
        assert enforcer.read(fileno) == []
        hall.net.command("pc", "nft", "flush ruleset")
        assert select.select([fileno], [], [], TIMEOUT)[0]
        (event,) = enforcer.read(fileno)
        assert isinstance(event, AgentTampered)
        assert (event.what, event.repaired, event.by.partition(":")[2]) == ("firewall", True, "nft")
        assert "sekisho_posture" in event.detail
        assert hall.reach("outside") == NONE
        assert hall.says(protected=True) == OPEN
        assert enforcer.filenos() == []

    on_pc(scenario)


@on_a_kernel
def test_without_networks_of_zones_nothing_is_cut(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        hall.apply(view(()))
        assert hall.says(protected=False) == ("failed", "open")
        assert hall.health.is_raised("enforcer_failed.posture")
        assert hall.reach("outside") == ALL
        assert hall.apply(view(hall.inside)) == []  # what was due is done as soon as it can be
        assert hall.reach("outside") == NONE
        assert not hall.health.is_raised("enforcer_failed.posture")

    on_pc(scenario)


@on_a_kernel
def test_without_a_way_to_the_collector_nothing_is_cut(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        hall.apply(view(hall.inside))
        assert hall.says(protected=False) == ("failed", "open")
        enrol(hall.pc)
        assert hall.host.tick() == []
        assert hall.reach("outside") == NONE
        assert hall.reaches_collector()
        hall.host.enforcers["posture"].clean()
        assert hall.reach("outside") == ALL

    on_pc(scenario, enrolled=False)


@on_a_kernel
def test_the_committee_may_let_a_destination_stand(on_pc: Callable[..., None]) -> None:
    def scenario(hall: Hall) -> None:
        other = permit(f"{hall.net.ip4('outside')}/32", Citation("nagoya", "第54条第1項"))
        hall.apply(view(hall.inside, permits=(other,)))
        assert hall.says(protected=False) == CUT
        assert not tcp(hall.net.ip4("outside"), 443)
        hall.apply(view(hall.inside, permits=(permit(f"{hall.net.ip4('outside')}/32"),)))
        assert tcp(hall.net.ip4("outside"), 443)
        assert not tcp(hall.net.ip6("outside"), 443)

    on_pc(scenario)


# -- what is outside ---------------------------------------------------------------------------------------------------


def networks(policy: PolicyView) -> set[str]:
    return {one.network for one in kept_ways(policy, 1)}


def test_private_servers_of_the_zone_are_kept_and_public_ones_are_outside() -> None:
    served = Zone(
        name="internet", title_ja="", title_en="", gateways=("10.9.0.1",), resolvers=("10.9.0.53", "8.8.8.8", "fd00::53"),
        networks=("10.3.0.0/16",),
    )  # fmt: skip
    found = networks(view((), zones=(served,)))
    assert {"10.3.0.0/16", "10.9.0.1", "10.9.0.53", "fd00::53", "fe80::/10"} <= found
    assert "8.8.8.8" not in found


@pytest.mark.parametrize(
    "changes",
    [
        {"article": Citation("meguro", "第54条第2項")},
        {"kind": "joint"},
        {"until_us": 1},
        {"from_us": 2},
        {"scope": Scope(sections=("他課",))},
        {"scope": Scope(users=("sato",))},
        {"subject": Subject(network="192.0.2.7", name="update.example")},
    ],
)
def test_a_permit_that_is_not_for_this_does_not_count(changes: dict[str, Any]) -> None:
    assert "192.0.2.7" in networks(view(("10.0.0.0/8",), permits=(permit("192.0.2.7"),)))
    assert "192.0.2.7" not in networks(view(("10.0.0.0/8",), permits=(permit("192.0.2.7", **changes),)))


def test_without_networks_nothing_can_be_told_from_the_outside() -> None:
    with pytest.raises(RefusedError, match="no zone of the policy names its networks"):
        kept_ways(view(()), 1)


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=5))
def test_every_network_of_every_zone_is_kept(addresses: list[str]) -> None:
    zones = tuple(
        Zone(name=f"z{number}", title_ja="", title_en="", networks=(one,))
        for number, one in enumerate(addresses)
    )
    assert set(addresses) <= networks(view((), zones=zones))
