"""A permit that is taken back ends the connections it allowed, and no others."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.enforcers.firewall import FirewallEnforcer
from agent.enforcers.firewall_grants import orphaned
from agent.platform import Platform
from agent.platform.linux.ruleset import Grant
from agent.platform.ports import Packet
from policies.model import Destination
from tests.agent.firewall_lab import NO, permit, reaches, serve, view
from tests.netns import Lan, lan, until

TIMEOUT = 5.0


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


def is_ended(one: socket.socket) -> bool:
    """Whether the socket was ended under its program, without a packet being sent."""
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


@pytest.mark.needs("root", "netns", "nft")
@pytest.mark.parametrize("fail", ["open", "closed"])
def test_what_the_permit_allowed_is_ended_and_nothing_else(
    on_pc: Callable[..., Any], net: Lan, fail: str
) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        addresses = [net.ip4("other"), net.ip6("other")]
        both = tuple(permit(one) for one in addresses)
        enforcer.apply(view(net, fail=fail, permits=both))
        doomed = [socket.create_connection((one, 443), TIMEOUT) for one in addresses]
        idle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        idle.connect((net.ip4("other"), 53))
        kept = socket.create_connection((net.ip4("friend"), 443), TIMEOUT)
        enforcer.apply(view(net, fail=fail, permits=both))
        assert not any(map(is_ended, (*doomed, idle, kept)))
        enforcer.apply(view(net, fail=fail))
        assert all(map(is_ended, (*doomed, idle)))
        assert not is_ended(kept)
        assert kept.send(b"x") == 1
        assert reaches(net.ip4("other")) == NO
        for one in (*doomed, idle, kept):
            one.close()

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_observing_ends_nothing(on_pc: Callable[..., Any], net: Lan) -> None:
    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, "observe", permits=(permit(net.ip4("other")),)))
        with socket.create_connection((net.ip4("other"), 443), TIMEOUT) as one:
            enforcer.apply(view(net, "observe"))
            assert not is_ended(one)

    on_pc(scenario)


@pytest.mark.needs("root", "netns", "nft")
def test_who_called_us_is_not_hung_up_on(on_pc: Callable[..., Any], net: Lan) -> None:
    def call() -> str:
        one = until(lambda: connected(net.ip4("pc")), "the PC to listen")
        assert one is not None
        with one:
            return one.recv(9).decode()

    child = net.start("other", call)

    def scenario(enforcer: FirewallEnforcer) -> None:
        enforcer.apply(view(net, permits=(permit(net.ip4("other")),)))
        with socket.create_server(("", 8080)) as server:
            peer, _ = server.accept()
            enforcer.apply(view(net))
            assert not is_ended(peer)
            peer.send(b"hello")
            peer.close()

    on_pc(scenario)
    assert child.hear() == "hello"


def connected(address: str) -> socket.socket | None:
    try:
        return socket.create_connection((address, 8080), timeout=0.2)
    except OSError:
        return None


networks = st.sampled_from(["192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"])
grants = st.lists(
    st.builds(
        Grant,
        st.builds(Destination, networks, st.sampled_from([0, 443]), st.sampled_from(["any", "tcp", "udp"])),
        st.sampled_from([(), (1000,)]),
    ),
    max_size=5,
)
packets = st.builds(
    Packet,
    prefix=st.just(""),
    protocol=st.sampled_from(["tcp", "udp"]),
    src_ip=st.just("10.0.0.1"),
    src_port=st.just(40000),
    dest_ip=st.sampled_from(["192.0.2.7", "192.0.2.8", "198.51.100.1", "203.0.113.1", "2001:db8::1"]),
    dest_port=st.sampled_from([443, 53]),
    uid=st.sampled_from([1000, 1001]),
)


def allowed(one: Packet, given: list[Grant]) -> bool:
    return orphaned([], given) is None and (judge := orphaned(given, [])) is not None and judge(one)


@given(grants, grants, packets)
def test_an_orphan_was_granted_and_no_longer_is(before: list[Grant], after: list[Grant], one: Packet) -> None:
    judge = orphaned(before, after, ("203.0.113.1",))
    ended = judge is not None and judge(one)
    assert ended == (allowed(one, before) and not allowed(one, after))
    kept = orphaned(before, after, (one.dest_ip,))
    assert kept is None or not kept(one)
