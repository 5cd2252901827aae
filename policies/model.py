"""The policy as data: compiled rules, permits, zones, modes — what a signed bundle carries.

Everything here is a plain msgspec Struct; the code that makes it is in ``compile`` and the collector's policy desk, the
code that evaluates it in ``match``, ``permits`` and ``enrich``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=256)]
Control = Literal[
    "devices", "media", "software", "execution", "connections",
    "neighbours", "links", "files", "logons", "posture",
]  # fmt: skip
Mode = Literal["off", "observe", "enforce"]
FailMode = Literal["open", "closed"]
Effect = Literal["block", "flag"]
Level = Literal["informational", "low", "medium", "high", "critical"]

# -- predicates ------------------------------------------------------------------------------------------------------

Scalar = str | int | bool | None
Op = Literal[
    "eq", "contains", "startswith", "endswith", "re", "cidr", "lt", "lte", "gt", "gte", "exists", "fieldref"
]


class Compare(Struct, frozen=True, tag="cmp", tag_field="node"):
    """``field`` ``op`` any (or, with ``every``, all) of ``values``. Text compares without case, as Sigma asks.

    A ``pattern`` with Sigma wildcards is compiled to ``re`` by ``compile``. A missing field matches only ``exists:
    False`` and the value ``None``.
    """

    field: str
    op: Op
    values: tuple[Scalar, ...]
    every: bool = False
    cased: bool = False


class All(Struct, frozen=True, tag="all", tag_field="node"):
    """Every part holds."""

    parts: tuple[Node, ...]


class Any(Struct, frozen=True, tag="any", tag_field="node"):
    """At least one part holds."""

    parts: tuple[Node, ...]


class Not(Struct, frozen=True, tag="not", tag_field="node"):
    """The part does not hold."""

    part: Node


Node = Compare | All | Any | Not


class Citation(Struct, frozen=True):
    """The article a rule serves, e.g. ``nagoya`` ``第35条第4号`` of edition ``2016-04-01``."""

    ordinance: Name
    article: Name
    edition: Name = ""
    summary_ja: str = ""
    summary_en: str = ""


class Rule(Struct, frozen=True, kw_only=True):
    """One compiled rule. ``family`` is the part of the event kind before the dot."""

    id: Name
    version: Name
    title_ja: str
    title_en: str
    family: Name
    control: Control | None
    effect: Effect
    level: Level
    citations: tuple[Citation, ...]
    predicate: Node


class Hit(Struct, frozen=True):
    """A rule that fired (``error`` empty) or could not be evaluated (``error`` says why): never silence."""

    rule: Rule
    error: str = ""


# -- permits ---------------------------------------------------------------------------------------------------------

PermitKind = Literal[
    "device", "medium", "confidential_medium", "software", "destination",
    "wireless", "joint", "take_out", "contractor",
]  # fmt: skip
"""``confidential_medium``: confidential information on a medium that is itself permitted; ``joint``: a second network or
a bridge; ``take_out``: a device or medium leaves the building; ``contractor``: an account of a contractor."""


class Subject(Struct, frozen=True, kw_only=True):
    """What is permitted: all filled fields must match. ``device_id`` or serial + vendor:product; package or hash; …"""

    device_id: Name = ""
    vendor_id: Name = ""
    product_id: Name = ""
    serial: Name = ""
    media_id: Name = ""
    fs_uuid: Name = ""
    source: Name = ""
    package: Name = ""
    digest: Name = ""
    network: Name = ""
    """Destination as CIDR."""
    port: int = 0
    """Destination port; 0 = any."""
    protocol: Name = ""
    name: Name = ""
    """Destination as DNS name; ``*.example.jp`` = every name below."""
    ssid: Name = ""
    mac: Name = ""
    """Access point of a wireless link, or interface of a joint."""
    place: Name = ""
    """Confidential place, for what leaves it."""
    account: Name = ""
    """Login name of a contractor."""


class Scope(Struct, frozen=True, kw_only=True):
    """Where a permit holds: empty = everywhere. All filled fields must match."""

    agents: tuple[Name, ...] = ()
    users: tuple[Name, ...] = ()
    sections: tuple[Name, ...] = ()
    zones: tuple[Name, ...] = ()


class Permit(Struct, frozen=True, kw_only=True):
    """A granted permit as PCs see it. Times are UTC µs; ``until_us`` is exclusive."""

    id: Name
    kind: PermitKind
    subject: Subject
    scope: Scope = Scope()
    from_us: int
    until_us: int
    article: Citation
    read_only: bool = False
    no_confidential: bool = False
    """The medium is permitted, but nothing confidential on it."""
    conditions: tuple[Name, ...] = ()
    """Further conditions in words, shown to the user."""


# -- zones, modes, bundle --------------------------------------------------------------------------------------------


class Destination(Struct, frozen=True):
    """An allowed destination. ``network`` is CIDR (v4 or v6); port 0 = any; protocol ``any`` = all."""

    network: Name
    port: int = 0
    protocol: Literal["tcp", "udp", "icmp", "any"] = "any"


class Zone(Struct, frozen=True, kw_only=True):
    """A network zone: its networks (to name a destination's zone) and where its PCs may connect."""

    name: Name
    title_ja: str
    title_en: str
    networks: tuple[Name, ...] = ()
    allow: tuple[Destination, ...] = ()
    gateways: tuple[Name, ...] = ()
    """Designated gateways (addresses); empty = any."""
    resolvers: tuple[Name, ...] = ()
    """Designated name servers; empty = any."""
    wireless: Literal["allowed", "permit", "forbidden"] = "permit"
    joint: Literal["allowed", "permit", "forbidden"] = "permit"
    """A second network at once, a bridge, a VPN."""


class Grade(Struct, frozen=True):
    """Confidentiality, integrity, availability, 1 (low) to 3 (high) (Nerima 9)."""

    confidentiality: Annotated[int, Meta(ge=1, le=3)] = 1
    integrity: Annotated[int, Meta(ge=1, le=3)] = 1
    availability: Annotated[int, Meta(ge=1, le=3)] = 1


class ConfidentialPlace(Struct, frozen=True, kw_only=True):
    """A tree of files whose use is recorded (Nagoya 56), and who handles it (Meguro 13(1), Nerima 18(8))."""

    name: Name
    title_ja: str
    title_en: str
    path: Name
    """Absolute directory on the PCs that have it."""
    handlers: tuple[Name, ...] = ()
    """Login names; empty = nobody is named, so nobody is a stranger."""
    sections: tuple[Name, ...] = ()
    """Sections whose PCs have it; empty = all."""
    grade: Grade = Grade(3, 2, 2)


class Label(Struct, frozen=True):
    """A confidentiality label, and the marks in a document that show it."""

    name: Name
    marks: tuple[Name, ...]


class Account(Struct, frozen=True, kw_only=True):
    """An account that is not simply one member of staff."""

    user: Name
    kind: Literal["shared", "contractor", "service"]
    section: Name = ""
    contract: Name = ""
    until_us: int = 0
    """End of the contract; 0 = none."""


class Setting(Struct, frozen=True):
    """How one control runs in one zone, and what happens when its enforcer is dead."""

    mode: Mode = "observe"
    fail: FailMode = "open"


class Assignment(Struct, frozen=True):
    """Where a PC belongs."""

    zone: Name
    section: Name = ""


class SoftwareAllow(Struct, frozen=True):
    """Software that may be there and run. ``package`` of ``source`` (``*`` = every package of it), or a SHA-256."""

    source: Name = ""
    package: Name = ""
    digest: Name = ""


AGENT_PACKAGE = SoftwareAllow("dpkg", "sekisho-agent")
"""Every release covers the agent itself; the gate names what lies in the agent's own environment so."""


class Bundle(Struct, frozen=True, kw_only=True):
    """One policy release. ``settings``: control → zone (``*`` = every other) → setting."""

    city: Name
    generation: int
    issued_us: int
    expires_us: int
    ordinances: tuple[Name, ...]
    rules: tuple[Rule, ...]
    permits: tuple[Permit, ...]
    zones: tuple[Zone, ...]
    settings: dict[str, dict[str, Setting]]
    software: tuple[SoftwareAllow, ...] = ()
    devices: tuple[Subject, ...] = ()
    """City-owned devices and media."""
    not_permittable: tuple[Name, ...] = ()
    """Device classes no permit can cover."""
    media_read_only: tuple[Name, ...] = ()
    """Zones where a permitted medium is read-only whatever the permit says."""
    assignments: dict[str, Assignment] = {}
    """agent id → place. A PC keeps only its own."""
    unassigned: Assignment = Assignment("unassigned")
    places: tuple[ConfidentialPlace, ...] = ()
    labels: tuple[Label, ...] = ()
    accounts: tuple[Account, ...] = ()
    lists: dict[str, tuple[str, ...]] = {}
    """Named lists for Sigma's ``expand`` (``%internal_nets%``), as the site file fills them."""


class Enrichment(Struct, frozen=True, kw_only=True):
    """What is known about an event beyond its own fields; rules may name these like fields.

    ``permit`` is empty where no permit applies; ``asset`` is ``city`` or ``unknown``.
    """

    permit: Literal["", "granted", "none", "expired", "not_permittable"] = ""
    permit_id: str = ""
    read_only: bool = False
    asset: Literal["", "city", "unknown"] = ""
    zone: str = ""
    dest_zone: str = ""
    section: str = ""
    office_hours: bool = True
    handler: Literal["", "yes", "no"] = ""
    """Whether the user is a named handler of the confidential place; empty = nobody is named."""
    confidentiality: int = 0
    """Grade of the place, 1 to 3; 0 = no place."""
    account: Literal["", "shared", "contractor", "contractor_expired", "service"] = ""
    designated: Literal["", "yes", "no"] = ""
    """Whether gateway or resolver are those designated for the zone; empty = none are designated."""
    indicator: str = ""
    """Indicator list on which the collector found a value of the event."""
