"""Connections: where this PC may connect, as one nftables table of our own.

Fail mode: where the policy says *closed* the table is a plain one and stays in force when the agent dies. Where it says
*open* the table has an owner flag: no other process, root included, can change or flush it while the agent lives, and the
kernel removes it the moment the agent is gone. A plain table can be flushed by root; that is seen and put back at once.

Inbound connections are not touched; their replies are ``established``. DHCP discovery by broadcast, neighbour discovery
and multicast membership are kept, since a PC without them is cut off from its collector. DNS has no exception.
"""

from __future__ import annotations

import contextlib
import pwd
from typing import TYPE_CHECKING, ClassVar

from agent.enforcers import Enforcer, Outcome, Verdict
from agent.enforcers.firewall_collector import KnownCollector
from agent.enforcers.firewall_grants import orphaned
from agent.enforcers.firewall_names import named_destinations
from agent.enforcers.firewall_table import KeptTable, readiness
from agent.platform.linux.ruleset import TABLE, Grant, render
from agent.platform.ports import Packet, Readiness, UnsupportedError
from policies.model import Control, Destination, Setting
from protocol.events import ConnectionBlocked, ConnectionOpened, Event

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView


class FirewallEnforcer(Enforcer):
    """Control ``connections``."""

    name: ClassVar[str] = "firewall"
    control: ClassVar[Control | None] = "connections"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._policy: PolicyView | None = None
        self._granted: list[Grant] = []
        """Grants of the table as last loaded."""
        self._learnt = 0
        """How many addresses were known by name when grants were made."""
        self._table = KeptTable(platform, TABLE)
        self._collector = KnownCollector(platform)
        self._due_us: int | None = None
        """When a permit next begins or ends."""
        self._uids: dict[str, int | None] = {}

    def readiness(self) -> Readiness:
        """The filter must answer, and be watchable."""
        return readiness(self.platform)

    def apply(self, policy: PolicyView) -> None:
        """Raises OSError with the filter's words, UnsupportedError, or ValueError for a malformed network."""
        self._policy = policy
        self._uids.clear()
        self._bring(policy)

    def _bring(self, policy: PolicyView) -> None:
        self._due_us = policy.next_change_us(self.platform.now_us())
        self._learnt, now_us = self.platform.names.learnt, self.platform.now_us()
        named = named_destinations(policy, self.platform, now_us)
        grants = self._grants([*policy.destinations(now_us), *named])
        self._table.load(self._text(policy, grants))
        before, self._granted = self._granted, grants
        if policy.setting("connections").mode == "enforce":
            self._end_orphans(before)

    def _text(self, policy: PolicyView, grants: list[Grant]) -> str:
        setting: Setting = policy.setting("connections")
        if setting.mode == "off":
            return ""
        return render(grants, setting.mode, self._collector.now(), owned=setting.fail == "open")

    def _end_orphans(self, before: list[Grant]) -> None:
        """End what is still open to destinations no longer granted.

        Nothing more gets out of them, but the other side could still send.
        """
        doomed = orphaned(before, self._granted, self._collector.known.addresses)
        if doomed is not None:
            with contextlib.suppress(UnsupportedError):  # then they are dead when they next send
                self.platform.sockets.destroy_where(doomed)

    def _grants(self, destinations: list[tuple[Destination, tuple[str, ...]]]) -> list[Grant]:
        """A grant for people none of whom this PC knows is left out: without people it would be for everybody."""
        grants: list[Grant] = []
        for destination, users in destinations:
            uids = sorted({uid for user in users if (uid := self._uid(user)) is not None})
            if uids or not users:
                grants.append(Grant(destination, tuple(uids)))
        return grants

    def _uid(self, user: str) -> int | None:
        if user.isascii() and user.isdigit():
            return int(user)
        if user not in self._uids:
            try:
                self._uids[user] = pwd.getpwnam(user).pw_uid
            except (KeyError, ValueError):
                self._uids[user] = None
        return self._uids[user]

    def observe(self) -> dict[str, str]:
        """What the kernel has now, compared with what was set."""
        present = self._table.listing()
        if not present:
            return {"table": "absent"}
        return {
            "table": "as set" if self._table.is_as_set(present) else "foreign",
            "mode": "enforce" if "drop" in present else "observe",
            "owner": "agent" if "flags owner" in present else "none",
            "attribution": self.platform.sockets.why_no_stamps or "bpf",
        }

    def clean(self) -> None:
        """Remove the table, whoever made it."""
        self._policy, self._granted = None, []
        self._table.remove()

    def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
        """Packets were decided in the kernel. A rule may still end an open connection: its socket is destroyed."""
        if isinstance(event, ConnectionBlocked):
            return Outcome(action=event.action)
        if not isinstance(event, ConnectionOpened):
            return None
        if not verdict.block:
            return Outcome(action=event.action)
        ended = self.platform.sockets.destroy(
            Packet(
                prefix="",
                protocol=event.protocol,
                src_ip=event.src_ip,
                src_port=event.src_port,
                dest_ip=event.dest_ip,
                dest_port=event.dest_port,
                uid=event.uid,
            )
        )
        action = "blocked" if ended else "failed"
        facts = {name: getattr(event, name) for name in event.__struct_fields__}
        record = ConnectionBlocked(**{**facts, "action": action, "rules": verdict.rules})
        return Outcome(action=action, record=record)

    def filenos(self) -> list[tuple[int, int]]:
        """The watch."""
        return self._table.filenos()

    def read(self, fileno: int) -> list[Event]:
        """Somebody changed a ruleset."""
        return self._table.read(fileno)

    def tick(self) -> list[Event]:
        """Permits begin and end, the collector moves: then the table is made again."""
        if self._policy is None:
            return []
        known = self._collector.known
        over = self._due_us is not None and self.platform.now_us() >= self._due_us
        if over or self._collector.now() != known or self._knows_more(self._policy):
            self._bring(self._policy)
        return self._table.tick()

    def _knows_more(self, policy: PolicyView) -> bool:
        """Whether addresses were learnt since, and some destination is permitted by name."""
        if not policy.named_destinations(self.platform.now_us()):
            return False
        self.platform.names.settle()
        return self.platform.names.learnt != self._learnt
