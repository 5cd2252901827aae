"""What this PC refused, numbered, so that people can be told of it and apply for a permit. Bounded; kept over restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from agent.counter_wire import Line, State
from policies.model import PermitKind, Rule, Subject
from policies.permits import FIELDS, is_specific
from protocol.events import (
    ActorEvent,
    ConnectionBlocked,
    ConnectionOpened,
    DeviceAttached,
    DeviceBlocked,
    Event,
    LinkBlocked,
    LinkChanged,
    LogonSucceeded,
    MediaFileWritten,
    MediaMounted,
    PostureReported,
    ProcessDenied,
    ProcessStarted,
    SoftwareChanged,
    SoftwareInstalled,
    encode_event,
    kind_of,
)

MAX_REFUSALS, MAX_REQUESTS = 200, 64
FOLD_US = 86_400_000_000
"""The same refusal within a day is the same number with a higher count."""
MAX_WHAT, MAX_EVENT = 160, 2048


class Refusal(Struct, kw_only=True):
    """One refusal. ``owners``: user ids it is shown to, empty = everybody at the PC; times are UTC µs."""

    number: int
    time_us: int
    about: str
    """Kind of the event."""
    what: str
    rule: str
    title_ja: str
    title_en: str
    article: str
    owners: tuple[int, ...] = ()
    wanted: str = ""
    subject: dict[str, str] = {}
    count: int = 1
    requests: dict[int, str] = {}
    """User id → the application made for it."""
    event: bytes = b""
    """The event itself, to notice when a policy permits it; empty when it is too long to keep."""
    granted: bool = False
    failed: bool = False
    """It was due to be stopped, and was not."""

    def is_for(self, uid: int) -> bool:
        """Whether a user may see it. Root may see all."""
        return not self.owners or uid in self.owners or uid == 0

    def state(self, uid: int) -> State:
        """How far it is for a user."""
        if self.granted:
            return "granted"
        if uid in self.requests:
            return "applied"
        return "refused" if self.wanted else "no_permit_possible"

    def line(self, uid: int) -> Line:
        """The refusal as the counter shows it to a user."""
        return Line(
            number=self.number,
            time_us=self.time_us,
            about=self.about,
            what=self.what,
            title_ja=self.title_ja,
            title_en=self.title_en,
            article=self.article,
            count=self.count,
            wanted=self.wanted,
            state=self.state(uid),
            request=self.requests.get(uid, ""),
        )


class Kept(Struct):
    """State ``refusals.json``."""

    next_number: int = 1
    refusals: tuple[Refusal, ...] = ()


class RefusalBook:
    """The newest refusals; the oldest gives way, one that somebody applied for last of all."""

    def __init__(self, kept: Kept | None = None) -> None:
        kept = kept or Kept()
        self._next = max(1, kept.next_number)
        self._refusals = {one.number: one for one in kept.refusals[-MAX_REFUSALS:]}

    def kept(self) -> Kept:
        """What is to be kept on disk."""
        return Kept(self._next, tuple(self._refusals.values()))

    def add(self, event: Event, rule: Rule, owners: tuple[int, ...]) -> Refusal:
        """Write down an event that was refused by ``rule``; the same one again only counts."""
        wanted, subject = wanted_of(event)
        what, about = what_of(event), kind_of(event)
        for there in reversed(self._refusals.values()):
            same = (there.rule, there.about, there.what, there.subject) == (rule.id, about, what, subject)
            if same and there.owners == owners and 0 <= event.time_us - there.time_us < FOLD_US:
                there.count += getattr(event, "count", 1)
                there.time_us, there.failed = event.time_us, event.action == "failed"
                return there
        encoded = encode_event(event)
        refusal = Refusal(
            number=self._next,
            time_us=event.time_us,
            about=about,
            what=what,
            rule=rule.id,
            title_ja=rule.title_ja,
            title_en=rule.title_en,
            article=article_of(rule),
            owners=owners,
            wanted=wanted,
            subject=subject,
            count=getattr(event, "count", 1),
            failed=event.action == "failed",
            event=encoded if len(encoded) <= MAX_EVENT else b"",
        )
        self._next += 1
        self._refusals[refusal.number] = refusal
        self._forget()
        return refusal

    def get(self, number: int, uid: int) -> Refusal | None:
        """A refusal that a user may see."""
        found = self._refusals.get(number)
        return found if found is not None and found.is_for(uid) else None

    def of(self, uid: int, most: int) -> list[Refusal]:
        """The newest refusals that a user may see, newest first."""
        found = [one for one in self._refusals.values() if one.is_for(uid)]
        return sorted(found, key=lambda one: (-one.time_us, -one.number))[:most]

    def waiting(self) -> list[Refusal]:
        """Those somebody applied for, not granted yet."""
        return [one for one in self._refusals.values() if one.requests and not one.granted]

    def _forget(self) -> None:
        """Whoever fills the book loses the own entries first: nobody can push out those of others."""
        while len(self._refusals) > MAX_REFUSALS:
            (owners, _) = Counter(one.owners for one in self._refusals.values()).most_common(1)[0]
            theirs = [one for one in self._refusals.values() if one.owners == owners]
            del self._refusals[min(theirs, key=lambda one: (bool(one.requests), one.number)).number]


def article_of(rule: Rule) -> str:
    """``ordinance article`` of the first ground that is not the common baseline."""
    cited = sorted(rule.citations, key=lambda one: one.ordinance == "baseline")
    return f"{cited[0].ordinance} {cited[0].article}" if cited else ""


# -- what a permit would be for ------------------------------------------------------------------------------------------

_KINDS: dict[type[Event], PermitKind] = {
    DeviceAttached: "device",
    DeviceBlocked: "device",
    MediaMounted: "medium",
    MediaFileWritten: "confidential_medium",
    SoftwareInstalled: "software",
    SoftwareChanged: "software",
    ProcessStarted: "software",
    ProcessDenied: "software",
    ConnectionOpened: "destination",
    ConnectionBlocked: "destination",
}


def wanted_of(event: Event) -> tuple[str, dict[str, str]]:
    """Kind of permit, and its subject in the event's words; ("", {}) where no permit can help or nothing is named."""
    if event.permit == "not_permittable":
        return "", {}
    if isinstance(event, LinkChanged | LinkBlocked):
        wireless = event.link_type == "wireless"
        kind: PermitKind | None = "wireless" if wireless else "joint"
        given = {"ssid": event.ssid, "mac": getattr(event, "bssid" if wireless else "mac", "")}
    elif isinstance(event, LogonSucceeded):
        kind, given = "contractor", {"account": event.user}
    else:
        kind, given = _KINDS.get(type(event)), _named(event)
    if kind is None:
        return "", {}
    subject = {name: given[name] for name in FIELDS[kind] if given.get(name)}
    numbers = {name: int(value) for name, value in subject.items() if name == "port"}
    named = Subject(**(subject | numbers))  # type: ignore[arg-type]
    return (kind, subject) if is_specific(kind, named) else ("", {})


def _named(event: Event) -> dict[str, str]:
    """Fields of a subject that an event fills, as text."""
    if isinstance(event, ConnectionOpened | ConnectionBlocked):
        port = str(event.dest_port) if event.protocol in {"tcp", "udp"} else ""
        # A service keeps its name and changes its addresses.
        where = {"name": event.dest_name} if event.dest_name else {"network": event.dest_ip}
        return {**where, "port": port, "protocol": _protocol(event.protocol)}
    if isinstance(event, ProcessStarted | ProcessDenied):
        return {"digest": event.digest}
    if isinstance(event, SoftwareInstalled | SoftwareChanged):
        # A program of a user place is named by its content: whoever has the path may put another one there.
        by_package = {"source": event.source, "package": event.name}
        return {"digest": event.digest} if event.digest else by_package
    return {
        name: str(value) for name, value in msgspec.structs.asdict(event).items() if isinstance(value, str)
    }


def _protocol(name: str) -> str:
    known = {"icmpv6": "icmp"}.get(name, name)
    return known if known in {"tcp", "udp", "icmp"} else ""


def what_of(event: Event) -> str:
    """The thing in a few words, for people: no event text is trusted, control characters become blanks."""
    names: Iterable[str] = ()
    if isinstance(event, DeviceAttached | DeviceBlocked):
        names = (event.label or event.device_class, event.serial)
    elif isinstance(event, MediaMounted):
        names = (event.label or event.source, event.serial)
    elif isinstance(event, MediaFileWritten):
        names = (event.path.rpartition("/")[2], event.serial)
    elif isinstance(event, SoftwareInstalled | SoftwareChanged):
        names = (event.name, event.version)
    elif isinstance(event, ProcessStarted | ProcessDenied):
        names = (event.target,)
    elif isinstance(event, ConnectionOpened | ConnectionBlocked):
        where = f"{getattr(event, 'dest_name', '') or event.dest_ip} {event.protocol}/{event.dest_port}"
        names = (where, event.exe.rpartition("/")[2])
    elif isinstance(event, LinkChanged | LinkBlocked):
        names = (event.interface, event.ssid)
    elif isinstance(event, PostureReported):
        names = ("外部への接続 / connections to the outside",)
    elif isinstance(event, ActorEvent):
        names = (event.exe.rpartition("/")[2],)
    text = " ".join(name for name in names if name)
    return "".join(one if one.isprintable() else " " for one in text)[:MAX_WHAT]
