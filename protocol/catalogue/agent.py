"""What the agent says of itself."""

from __future__ import annotations

from typing import Annotated

from protocol.catalogue.base import Event, Name, Path, Priority, field


class _AgentEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    priority = Priority.CRITICAL
    ocsf = 1008

    detail: Annotated[Path, field("what, where, and what to do next")] = ""


class AgentStarted(_AgentEvent, frozen=True, kw_only=True, tag="agent.started"):
    """The agent started."""

    version: Annotated[Name, field("agent version")] = ""
    boot_id: Annotated[Name, field("kernel boot id")] = ""
    after_crash: Annotated[bool, field("the run before did not end cleanly")] = False


class AgentStopped(_AgentEvent, frozen=True, kw_only=True, tag="agent.stopped"):
    """The agent stopped by request."""


class AgentPolicyApplied(_AgentEvent, frozen=True, kw_only=True, tag="agent.policy_applied"):
    """A policy bundle took effect, or was refused (``action`` failed, ``refusal`` names why)."""

    generation: Annotated[int, field("bundle generation")] = 0
    digest: Annotated[Name, field("SHA-256 of the bundle, hex")] = ""
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentTampered(_AgentEvent, frozen=True, kw_only=True, tag="agent.tampered"):
    """Somebody changed what the agent had set (a ruleset flushed, a gate killed, an authorisation rewritten)."""

    what: Annotated[Name, field("which control")] = ""
    by: Annotated[Name, field("process that did it, if known")] = ""
    repaired: Annotated[bool, field("put back")] = False


class AgentDropped(_AgentEvent, frozen=True, kw_only=True, tag="agent.dropped"):
    """Events that were given up or unreadable, as ranges of sequence numbers."""

    reason: Annotated[Name, field("spool_full | corrupt | sensor_overflow | disk_full")] = ""
    ranges: Annotated[tuple[tuple[int, int], ...], field("first and last sequence number of each range")] = ()
    count: Annotated[int, field("how many; for sensors that overflow: at least how many")] = 0
    source: Annotated[Name, field("sensor, or spool")] = ""


class AgentIsolated(_AgentEvent, frozen=True, kw_only=True, tag="agent.isolated"):
    """An isolation order was carried out (or refused / failed), with the probes that prove it."""

    order_id: Annotated[Name, field("order")] = ""
    must_succeed: Annotated[bool, field("the probe that must succeed did")] = False
    must_fail: Annotated[bool, field("the probe that must fail did fail")] = False
    sockets_destroyed: Annotated[int, field("established sockets ended")] = 0
    latency_us: Annotated[int, field("order accepted to rules in force", unit="µs")] = 0
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentRestored(_AgentEvent, frozen=True, kw_only=True, tag="agent.restored"):
    """Isolation was lifted, by order or by a local release code."""

    order_id: Annotated[Name, field("restore order, or the isolation order a code belonged to")] = ""
    by_code: Annotated[bool, field("lifted on the PC with a one-time code")] = False
    refusal: Annotated[Name, field("name of the refusal")] = ""


class AgentHealth(_AgentEvent, frozen=True, kw_only=True, tag="agent.health"):
    """A control changed its health: a code was raised or cleared."""

    priority = Priority.NOTABLE

    code: Annotated[Name, field("stable health code")] = ""
    raised: Annotated[bool, field("raised, or cleared")] = True
