"""The PCs as the gateway's loop knows them: every message is checked against this, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.gateway.clones import Seat
from protocol.messages import Heartbeat
from protocol.refusal import RefusalName, RefusedError

RELEASED = "released:"
"""Beginning of ``agents.status_reason`` that lets a PC take its seat anew; what follows makes it different each time."""

HINTS = {
    "revoked_key": "the key was revoked; enrol the PC again with a new token",
    "quarantined_key": "IT staff: see the finding, then sekisho-collector agents release-quarantine",
    "unknown_key": "enrol the PC first",
}


@dataclass(slots=True)
class Member:
    """A PC with what the gateway needs of its row, and what it saw of it since it started."""

    id: str
    status: str
    sign_key: bytes
    reason: str = ""
    seat: Seat = field(default_factory=Seat)
    control_route: bytes = b""
    address: str = ""
    """Peer address of the machine that holds the seat."""
    other_addresses: set[str] = field(default_factory=set)
    """Peer addresses from which only clones spoke."""
    seen: float = 0.0
    """Last heartbeat, monotonic seconds."""
    beat: Heartbeat | None = None
    ring: str = ""


class Row(NamedTuple):
    """What is read of ``agents``."""

    id: str
    status: str
    sign_key: bytes
    machine_id: str
    reason: str
    ring: str = ""


class Roster:
    """Members by agent id."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self.moved = False
        """A PC went to another ring; whoever acts on it clears it."""

    def __len__(self) -> int:
        return len(self._members)

    def get(self, agent_id: str) -> Member | None:
        """The member, whatever its status."""
        return self._members.get(agent_id)

    def members(self) -> list[Member]:
        """All of them."""
        return list(self._members.values())

    def update(self, rows: Iterable[Row]) -> None:
        """Take over what the control database says now; live state stays."""
        for row in rows:
            member = self._members.get(row.id)
            if member is None:
                member = self._members[row.id] = Member(row.id, row.status, row.sign_key, row.reason)
                member.seat.machine_id, member.ring = row.machine_id, row.ring
                continue
            if row.reason != member.reason and row.reason.startswith(RELEASED):
                member.seat = Seat()
                member.other_addresses.clear()
            member.status, member.sign_key, member.reason = row.status, row.sign_key, row.reason
            self.moved |= member.ring != row.ring
            member.ring = row.ring

    def refusal(self, agent_id: str, lane: str) -> RefusalName | None:
        """Name of the refusal for this sender on ``control`` or ``data``; None = welcome.

        A quarantined PC may speak on the control lane, to be told so.
        """
        member = self._members.get(agent_id)
        if member is None or member.status == "pending":
            return "unknown_key"
        if member.status == "revoked":
            return "revoked_key"
        if member.status == "quarantined" and lane == "data":
            return "quarantined_key"
        return None

    def sender(self, agent_id: str, lane: str) -> Member:
        """The sender of a message. Raises RefusedError ``unknown_key``, ``revoked_key``, ``quarantined_key``."""
        refusal = self.refusal(agent_id, lane)
        if refusal is not None:
            raise RefusedError(refusal, f"this key may not use the {lane} lane", HINTS[refusal])
        return self._members[agent_id]
