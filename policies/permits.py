"""Permits: does one cover this? Pure functions; granting is in ``granting``, records and signatures are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from policies.addresses import parse_address, parse_network
from policies.model import Permit, PermitKind, Scope, Subject

State = Literal["granted", "none", "expired", "not_permittable"]

FIELDS: Mapping[PermitKind, tuple[str, ...]] = {
    "device": ("device_id", "vendor_id", "product_id", "serial"),
    "medium": ("media_id", "fs_uuid", "serial"),
    "confidential_medium": ("media_id", "fs_uuid", "serial", "place"),
    "software": ("source", "package", "digest"),
    "destination": ("network", "port", "protocol", "name"),
    "wireless": ("ssid", "mac"),
    "joint": ("mac", "network"),
    "take_out": ("device_id", "serial", "media_id", "fs_uuid", "place"),
    "contractor": ("account",),
}
"""Fields of a subject that mean something for a kind of permit."""
IDENTITIES: Mapping[PermitKind, tuple[tuple[str, ...], ...]] = {
    "device": (("device_id",), ("vendor_id", "product_id", "serial")),
    "medium": (("media_id",), ("fs_uuid",), ("serial",)),
    "confidential_medium": (("media_id",), ("fs_uuid",), ("serial",)),
    "software": (("source", "package"), ("digest",)),
    "destination": (("network",), ("name",)),
    "wireless": (("ssid",), ("mac",)),
    "joint": (("mac",), ("network",)),
    "take_out": (("device_id",), ("serial",), ("media_id",), ("fs_uuid",)),
    "contractor": (("account",),),
}
"""A subject is specific when all fields of one of these are filled. Vendor and product alone name a whole model."""

JUDGED_BY_USER: frozenset[PermitKind] = frozenset(
    {"software", "destination", "confidential_medium", "contractor"}
)
"""Kinds whose use is judged with the user known; a permit of another kind for certain users would cover nothing."""


class Where(NamedTuple):
    """Whom a scope is compared with. ``user`` empty = not known: a permit for certain users then does not cover."""

    agent_id: str
    section: str = ""
    zone: str = ""
    user: str = ""


def in_scope(scope: Scope, where: Where) -> bool:
    """Tell whether every filled part of ``scope`` names ``where``."""
    return (
        (not scope.agents or where.agent_id in scope.agents)
        and (not scope.users or where.user in scope.users)
        and (not scope.sections or where.section in scope.sections)
        and (not scope.zones or where.zone in scope.zones)
    )


def is_specific(kind: PermitKind, subject: Subject) -> bool:
    """Tell whether ``subject`` names something. One that does not covers nothing."""
    return any(all(getattr(subject, name) for name in names) for names in IDENTITIES[kind])


def covers(kind: PermitKind, permitted: Subject, seen: Subject) -> bool:
    """Tell whether what was seen is what was permitted.

    Every filled field must be the same, text without case. For ``destination`` ``seen.network`` is one address; ``seen``
    without ``source`` (an execution knows the package only) is any source; package ``*`` is every package of a source.
    """
    if not is_specific(kind, permitted):
        return False
    if kind == "destination":
        return _covers_destination(permitted, seen)
    for name in FIELDS[kind]:
        wanted, found = str(getattr(permitted, name)).lower(), str(getattr(seen, name)).lower()
        if wanted in {"", found} or (name == "source" and not found and seen.package):
            continue
        if name == "package" and wanted == "*" and found:
            continue
        return False
    return True


def _covers_destination(permitted: Subject, seen: Subject) -> bool:
    if permitted.network:
        address = parse_address(seen.network)
        if address is None or not parse_network(permitted.network).holds(address):
            return False
    if permitted.name and not name_covers(permitted.name, seen.name):
        return False
    return permitted.port in {0, seen.port} and permitted.protocol in {"", "any", seen.protocol}


def name_covers(permitted: str, seen: str) -> bool:
    """Whether a DNS name is the permitted one, or below it where that is ``*.example.jp``; case and root dot aside."""
    wanted, found = permitted.lower().rstrip("."), seen.lower().rstrip(".")
    if wanted.startswith("*."):
        return found.endswith(wanted[1:]) and len(found) > len(wanted) - 1
    return wanted == found


def pick(permits: Iterable[Permit], where: Where, now_us: int) -> tuple[State, Permit | None]:
    """The state that permits for one subject give: granted before expired before none.

    Of several granted ones the one that allows writing, then the longest, then the first id; of several expired ones
    the latest. A permit that has not begun is none.
    """
    begun = [permit for permit in permits if permit.from_us <= now_us and in_scope(permit.scope, where)]
    granted = [permit for permit in begun if now_us < permit.until_us]
    if granted:
        return "granted", min(granted, key=lambda permit: (permit.read_only, -permit.until_us, permit.id))
    if begun:
        return "expired", max(begun, key=lambda permit: (permit.until_us, permit.id))
    return "none", None


def find(
    permits: Iterable[Permit],
    kind: PermitKind,
    seen: Subject,
    where: Where,
    now_us: int,
    *,
    permittable: bool = True,
) -> tuple[State, Permit | None]:
    """The permit state of what was seen, and the permit that decided it. ``permittable`` False: no permit helps."""
    if not permittable:
        return "not_permittable", None
    fitting = (permit for permit in permits if permit.kind == kind and covers(kind, permit.subject, seen))
    return pick(fitting, where, now_us)
