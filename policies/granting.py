"""May a permit be granted? Pure: people, records and signatures are elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from msgspec import Struct

from policies.addresses import parse_network
from policies.model import Control, Name, PermitKind, Scope, Subject
from policies.ordinance import Article, Ordinance, find_article
from policies.ordinance_parts import Role
from policies.permits import FIELDS, IDENTITIES, JUDGED_BY_USER, is_specific

SERVED: Mapping[PermitKind, frozenset[Control]] = {
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
Basis = Literal["", "law", "blanket", "section_head"]
"""On what a take-out stands: a law, a blanket permit, the section head's own permit (名古屋 第32条); else empty."""
PermitRefusal = Literal[
    "no_applicant", "self_approval", "unknown_article", "wrong_article", "not_permittable", "role_not_named", "empty_period", "no_reason",
    "subject_unspecific", "foreign_field", "bad_subject", "no_basis", "no_contract",
]  # fmt: skip
MOST_CONDITIONS = 16

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})+\.?", re.IGNORECASE)
_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_LONGEST_SSID = 32
_WIDEST = {4: 1 << 24, 6: 1 << 112}
"""IP version → how many addresses a permit may cover."""


class PermitError(Exception):
    """A permit that may not be granted. ``name`` is stable, ``detail`` says what, ``hint`` what to do."""

    def __init__(self, name: PermitRefusal, detail: str, hint: str = "") -> None:
        super().__init__(f"{name}: {detail}" + (f" ({hint})" if hint else ""))
        self.name: PermitRefusal = name
        self.detail = detail
        self.hint = hint


class Contract(Struct, frozen=True, kw_only=True):
    """What stands behind a contractor's account (名古屋 第32条の2, 目黒 第19条)."""

    number: Name = ""
    company: Name = ""
    place: Name = ""
    """Where the work is done."""
    device: Name = ""
    """On what."""
    supervisor: Name = ""
    """Login name of the member of staff who answers for it."""


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
    basis: Basis = ""
    contract: Contract = Contract()


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
    check_subject(request.kind, request.subject)
    if request.scope.users and request.kind not in JUDGED_BY_USER:
        raise PermitError(
            "foreign_field", f"a {request.kind} is judged without knowing the user", "limit it to PCs"
        )
    _check_terms(request)


def serving(kind: PermitKind, ordinance: Ordinance) -> list[Article]:
    """Articles under which a permit of this kind can be granted."""
    return [
        article
        for article in ordinance.articles
        if article.permittable and article.permit_by and not SERVED[kind].isdisjoint(article.controls)
    ]


def offices(kind: PermitKind, ordinances: Iterable[Ordinance]) -> frozenset[Role]:
    """Every office that may decide about a permit of this kind, under whichever article."""
    return frozenset().union(
        *(ordinance.approvers(article) for ordinance in ordinances for article in serving(kind, ordinance))
    )


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
    if SERVED[request.kind].isdisjoint(article.controls):
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


def _check_terms(request: PermitRequest) -> None:
    """Basis of a take-out, contract of a contractor: there, and only there. Raises PermitError."""
    if bool(request.basis) != (request.kind == "take_out"):
        raise PermitError(
            "no_basis", "a take-out, and only that, stands on a basis", "law | blanket | section_head"
        )
    if request.kind == "contractor":
        if not request.contract.number.strip() or not request.contract.supervisor.strip():
            raise PermitError("no_contract", "a contractor has a contract number and a supervisor")
    elif request.contract != Contract():
        raise PermitError("foreign_field", f"a contract means nothing for a permit of kind {request.kind}")


def check_subject(kind: PermitKind, subject: Subject) -> None:
    """Specific, without fields of another kind, and readable. Raises PermitError."""
    foreign = [
        name for name in subject.__struct_fields__ if getattr(subject, name) and name not in FIELDS[kind]
    ]
    if foreign:
        raise PermitError("foreign_field", f"{', '.join(foreign)} means nothing for a permit of kind {kind}")
    if not is_specific(kind, subject) or subject.package == "*":
        ways = " or ".join(" + ".join(names) for names in IDENTITIES[kind])
        raise PermitError(
            "subject_unspecific", f"the subject names nothing certain of kind {kind}", f"fill {ways}"
        )
    for name in FIELDS[kind]:
        value = getattr(subject, name)
        if isinstance(value, str) and value and not value.isprintable():
            raise PermitError("bad_subject", f"{name} holds what cannot be printed")
        if value and name in _FORMS and not _FORMS[name][0](value):
            raise PermitError("bad_subject", f"{name}: {value}", _FORMS[name][1])
    if subject.network:
        _check_network(subject.network)


def _check_network(text: str) -> None:
    try:
        network = parse_network(text)
    except ValueError as error:
        raise PermitError("bad_subject", f"not a network: {text}", "e.g. 192.0.2.10/32") from error
    if network.last - network.first >= _WIDEST[network.version]:
        raise PermitError("subject_unspecific", f"{text} is too wide", "at most an IPv4 /8 or an IPv6 /16")


_FORMS: Mapping[str, tuple[Callable[..., object], str]] = {
    "digest": (_DIGEST.fullmatch, "a SHA-256 in hex"),
    "vendor_id": (_HEX4.fullmatch, "four hex digits"),
    "product_id": (_HEX4.fullmatch, "four hex digits"),
    "mac": (_MAC.fullmatch, "aa:bb:cc:dd:ee:ff"),
    "ssid": (lambda text: len(text.encode()) <= _LONGEST_SSID, "at most 32 bytes"),
    "account": (_ACCOUNT.fullmatch, "a login name"),
    "name": (_NAME.fullmatch, "a DNS name, or *.example.jp"),
    "port": (lambda port: 0 < port < 1 << 16, "1 to 65535"),
    "protocol": (lambda text: text in {"any", "tcp", "udp", "icmp"}, "tcp | udp | icmp | any"),
}
"""Field of a subject → whether a filled one is readable, and what to write instead."""
