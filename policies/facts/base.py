"""The form of a look-up, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from policies.model import Permit, SoftwareAllow

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place
    from policies.permits import State

LookUp = Callable[["CompiledBundle", Any, "Place", int], dict[str, Any]]
"""(release, event, place of the PC, moment in UTC µs) → fields of ``policies.model.Enrichment``."""


class Facts(NamedTuple):
    """What is looked up for one kind of event."""

    about: tuple[str, ...]
    """Fields of the event that the answer depends on."""
    look_up: LookUp
    user_only_scopes: bool = True
    """``user`` matters only where a permit names users; elsewhere it need not be part of the key."""


class Centre(Protocol):
    """What only the collector knows: its registers and indicator lists. A PC has none, and fields stay empty."""

    def asset_of_mac(self, mac: str) -> str:
        """``city`` or ``unknown`` for a MAC on a segment."""
        ...

    def indicator_of(self, values: tuple[str, ...]) -> str:
        """Name of the indicator list that holds one of these hashes, addresses or names; empty = none does."""
        ...


def permit_facts(state: State, by: Permit | SoftwareAllow | None) -> dict[str, Any]:
    """The enrichment of a permit look-up."""
    return {"permit": state, "permit_id": by.id if isinstance(by, Permit) else ""}
