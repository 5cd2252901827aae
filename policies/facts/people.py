"""Files of confidential places and accounts: who handles what, and which accounts are not one member of staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from policies.facts.base import Facts, permit_facts
from policies.facts.things import medium_of
from policies.model import Subject
from policies.permits import FIELDS, pick

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place


def _file(release: CompiledBundle, event: Any, _place: Place, _now_us: int) -> dict[str, Any]:
    place = release.places.get(event.place)
    if place is None:
        return {}
    handler = ""
    if place.handlers and event.user:
        handler = "yes" if event.user in place.handlers else "no"
    return {"handler": handler, "confidentiality": place.grade.confidentiality}


def _written(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    """Whether confidential information may be on the medium: a permit of its own, beside that of the medium itself."""
    medium = medium_of(event)
    where = place.where(event.user)
    known = {"asset": "city" if release.city["medium"].find(medium) else "unknown"}
    state, permit = pick(release.permits["medium"].find(medium), where, now_us)
    if state == "granted" and permit is not None and permit.no_confidential:
        return known | permit_facts("none", permit)
    seen = replace(medium, place=event.place)
    return known | permit_facts(*pick(release.permits["confidential_medium"].find(seen), where, now_us))


def _logon(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    account = release.accounts.get(event.user)
    if account is None:
        return {}
    if account.kind != "contractor" or not 0 < account.until_us <= now_us:
        return {"account": account.kind}
    # The contract has ended; a permit for the account may bridge the time until the next one.
    state, permit = pick(
        release.permits["contractor"].find(Subject(account=event.user)), place.where(event.user), now_us
    )
    return {"account": "contractor" if state == "granted" else "contractor_expired"} | permit_facts(
        state, permit
    )


FACTS = {
    "media.file_written": Facts((*FIELDS["confidential_medium"], "user"), _written, user_only_scopes=False),
    "file.accessed": Facts(("place", "user"), _file, user_only_scopes=False),
    "logon.succeeded": Facts(("user",), _logon, user_only_scopes=False),
    "logon.failed": Facts(("user",), _logon, user_only_scopes=False),
    "logon.ended": Facts(("user",), _logon, user_only_scopes=False),
}
