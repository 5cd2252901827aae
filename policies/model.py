"""The policy as data: compiled rules, permits, zones, modes — what a signed bundle carries.

Everything here is a plain msgspec Struct; the code that makes it is in ``compile`` and the collector's policy desk, the
code that evaluates it in ``match``, ``permits`` and ``enrich``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from policies.model_rules import (
    ANYWHERE,
    All,
    Any,
    Citation,
    Compare,
    Control,
    Correlation,
    CorrelationKind,
    Effect,
    FailMode,
    Hit,
    Level,
    Mode,
    Name,
    Node,
    Not,
    Op,
    Rule,
    Scalar,
    Threshold,
)

__all__ = [
    "AGENT_PACKAGE",
    "ANYWHERE",
    "Account",
    "All",
    "Any",
    "Assignment",
    "Bundle",
    "Citation",
    "Compare",
    "ConfidentialPlace",
    "Control",
    "Correlation",
    "CorrelationKind",
    "Destination",
    "Effect",
    "Enrichment",
    "FailMode",
    "Grade",
    "Hit",
    "Label",
    "Level",
    "Mode",
    "Name",
    "Node",
    "Not",
    "Op",
    "Permit",
    "PermitKind",
    "Rule",
    "Scalar",
    "Scope",
    "Setting",
    "SoftwareAllow",
    "Subject",
    "Threshold",
    "Zone",
]

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
    """Access point of a wireless link or the PC's own adapter; interface of a joint."""
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
    correlations: tuple[Correlation, ...] = ()
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
