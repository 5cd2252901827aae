"""Permits: does one cover this, and may this one be granted? Pure functions; records and signatures are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

from policies.addresses import parse_address, parse_network
from policies.model import Control, Permit, PermitKind, Scope, Subject
from policies.ordinance import Ordinance, find_article

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
_IDENTITIES: Mapping[PermitKind, tuple[tuple[str, ...], ...]] = {
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

_SERVED: Mapping[PermitKind, frozenset[Control]] = {
    "device": frozenset({"devices"}),
    "medium": frozenset({"media"}),
    "software": frozenset({"software", "execution"}),
    "confidential_medium": frozenset({"files"}),
    "destination": frozenset({"connections"}),
    "wireless": frozenset({"links"}),
    "joint": frozenset({"links"}),
    "take_out": frozenset({"devices", "media"}),
    "contractor": frozenset({"logons"}),
}
"""Kind of permit → controls, one of which the article must be about."""
_DIGEST_LENGTH = 64
_WIDEST = {4: 1 << 24, 6: 1 << 112}
"""IP version → how many addresses a destination permit may cover."""


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
    return any(all(getattr(subject, name) for name in names) for names in _IDENTITIES[kind])


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
    address = parse_address(seen.network)
    return (
        address is not None
        and parse_network(permitted.network).holds(address)
        and permitted.port in {0, seen.port}
        and permitted.protocol in {"", "any", seen.protocol}
    )


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


# -- granting --------------------------------------------------------------------------------------------------------

PermitRefusal = Literal[
    "no_applicant", "self_approval", "unknown_article", "wrong_article", "not_permittable", "role_not_named", "empty_period", "no_reason",
    "subject_unspecific", "foreign_field", "bad_subject",
]  # fmt: skip


class PermitError(Exception):
    """A permit that may not be granted. ``name`` is stable, ``detail`` says what, ``hint`` what to do."""

    def __init__(self, name: PermitRefusal, detail: str, hint: str = "") -> None:
        super().__init__(f"{name}: {detail}" + (f" ({hint})" if hint else ""))
        self.name: PermitRefusal = name
        self.detail = detail
        self.hint = hint


class PermitRequest(Struct, frozen=True, kw_only=True):
    """A permit about to be granted. ``device_class`` for devices; times are UTC µs, ``until_us`` exclusive."""

    kind: PermitKind
    subject: Subject
    scope: Scope = Scope()
    from_us: int
    until_us: int
    applicant: str
    approver: str
    approver_roles: tuple[str, ...]
    ordinance: str
    article: str
    reason: str
    device_class: str = ""


def validate(
    request: PermitRequest, ordinances: Mapping[str, Ordinance], not_permittable: Iterable[str] = ()
) -> None:
    """Check that a permit may be granted. Raises PermitError.

    ``not_permittable`` are the device classes that no permit can cover.
    """
    if not request.applicant.strip() or not request.approver.strip():
        raise PermitError("no_applicant", "a permit has an applicant and an approver")
    if request.applicant.strip() == request.approver.strip():
        raise PermitError(
            "self_approval", "applicant and approver are one person", "somebody else must approve"
        )
    _check_article(request, ordinances, frozenset(not_permittable))
    if request.until_us <= request.from_us:
        raise PermitError("empty_period", "the permit ends before it begins", "until must be later than from")
    if not request.reason.strip():
        raise PermitError("no_reason", "a permit needs a reason")
    _check_subject(request.kind, request.subject)


def _check_article(
    request: PermitRequest, ordinances: Mapping[str, Ordinance], barred: frozenset[str]
) -> None:
    article = find_article(ordinances, request.ordinance, request.article)
    if article is None:
        raise PermitError("unknown_article", f"{request.ordinance} {request.article} is not loaded")
    if not article.permittable or not article.permit_by:
        raise PermitError(
            "not_permittable", f"{article.number} knows no permit", "cite the article that allows it"
        )
    if _SERVED[request.kind].isdisjoint(article.controls):
        # Otherwise an approver could choose whichever article happens to name the own office.
        raise PermitError(
            "wrong_article", f"{article.number} is not about a {request.kind}", "cite the one that is"
        )
    if request.kind == "device" and request.device_class in barred:
        raise PermitError("not_permittable", f"no permit covers devices of class {request.device_class}")
    approvers = ordinances[request.ordinance].approvers(article)
    if approvers.isdisjoint(request.approver_roles):
        raise PermitError(
            "role_not_named",
            f"{article.number} names {', '.join(sorted(approvers))}",
            "ask somebody who holds one of these offices",
        )


def _check_subject(kind: PermitKind, subject: Subject) -> None:
    """Specific, without fields of another kind, and readable. Raises PermitError."""
    foreign = [
        name for name in subject.__struct_fields__ if getattr(subject, name) and name not in FIELDS[kind]
    ]
    if foreign:
        raise PermitError("foreign_field", f"{', '.join(foreign)} means nothing for a permit of kind {kind}")
    if not is_specific(kind, subject) or subject.package == "*":
        ways = " or ".join(" + ".join(names) for names in _IDENTITIES[kind])
        raise PermitError(
            "subject_unspecific", f"the subject names nothing certain of kind {kind}", f"fill {ways}"
        )
    if subject.digest and (len(subject.digest) != _DIGEST_LENGTH or not _is_hex(subject.digest)):
        raise PermitError("bad_subject", "digest is not a SHA-256 in hex")
    if kind == "destination":
        _check_destination(subject)


def _check_destination(subject: Subject) -> None:
    try:
        network = parse_network(subject.network)
    except ValueError as error:
        raise PermitError("bad_subject", f"not a network: {subject.network}", "e.g. 192.0.2.10/32") from error
    if network.last - network.first >= _WIDEST[network.version]:
        raise PermitError(
            "subject_unspecific", f"{subject.network} is too wide", "at most an IPv4 /8 or an IPv6 /16"
        )
    if not 0 <= subject.port < 1 << 16:
        raise PermitError("bad_subject", f"port {subject.port}")
    if subject.protocol not in {"", "any", "tcp", "udp", "icmp"}:
        raise PermitError("bad_subject", f"protocol {subject.protocol}", "tcp | udp | icmp | any")


def _is_hex(text: str) -> bool:
    return all(char in "0123456789abcdefABCDEF" for char in text)
