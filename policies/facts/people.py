"""Files of confidential places and accounts: who handles what, and which accounts are not one member of staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policies.facts.base import Facts

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place


def _file(release: CompiledBundle, event: Any, _place: Place, _now_us: int) -> dict[str, Any]:
    place = release.places.get(event.place)
    if place is None:
        return {}
    handler = ("yes" if event.user in place.handlers else "no") if place.handlers else ""
    return {"handler": handler, "confidentiality": place.grade.confidentiality}


def _logon(release: CompiledBundle, event: Any, _place: Place, now_us: int) -> dict[str, Any]:
    account = release.accounts.get(event.user)
    if account is None:
        return {}
    ended = account.kind == "contractor" and 0 < account.until_us <= now_us
    return {"account": "contractor_expired" if ended else account.kind}


FACTS = {
    "file.accessed": Facts(("place", "user"), _file, user_only_scopes=False),
    "logon.succeeded": Facts(("user",), _logon, user_only_scopes=False),
    "logon.failed": Facts(("user",), _logon, user_only_scopes=False),
    "logon.ended": Facts(("user",), _logon, user_only_scopes=False),
}
