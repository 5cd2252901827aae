"""Which open connections a change of grants leaves without one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.platform.linux.ruleset import Grant
from agent.platform.ports import Packet
from policies.addresses import Network, parse_address, parse_network


class _Way(NamedTuple):
    network: Network
    port: int
    protocol: str
    uids: tuple[int, ...]


def orphaned(
    before: Sequence[Grant], after: Sequence[Grant], kept: Sequence[str] = ()
) -> Callable[[Packet], bool] | None:
    """Tells whether a connection was granted ``before`` and is not ``after``; None when nothing was withdrawn.

    ``kept`` are addresses that are always allowed.
    """
    still = set(after)
    withdrawn = [_way(grant) for grant in before if grant not in still]
    if not withdrawn:
        return None
    granted, always = [_way(grant) for grant in after], frozenset(kept)

    def judge(packet: Packet) -> bool:
        return (
            packet.dest_ip not in always
            and any(_leads(way, packet) for way in withdrawn)
            and not any(_leads(way, packet) for way in granted)
        )

    return judge


def _way(grant: Grant) -> _Way:
    to = grant.destination
    return _Way(parse_network(to.network), to.port, to.protocol, grant.uids)


def _leads(way: _Way, packet: Packet) -> bool:
    address = parse_address(packet.dest_ip)
    return (
        (not way.uids or packet.uid in way.uids)
        and way.port in {0, packet.dest_port}
        and way.protocol in {"any", packet.protocol}
        and address is not None
        and way.network.holds(address)
    )
