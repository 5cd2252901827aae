"""Who may call what: one table, route → roles. A route without a line here does not start (``create_app`` checks)."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Role = Literal["it_staff", "network_admin", "section_head", "ciso", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)

IT, NET, HEAD, CISO, AUDIT = ROLES
EVERYONE: frozenset[str] = frozenset(ROLES)
PUBLIC: frozenset[str] = frozenset()
"""No sign-in needed."""

API = "/api/v1"

TABLE: dict[tuple[str, str], frozenset[str]] = {
    ("POST", f"{API}/sessions"): PUBLIC,
    ("DELETE", f"{API}/sessions"): EVERYONE,
    ("GET", f"{API}/health"): PUBLIC,
    ("GET", f"{API}/me"): EVERYONE,
    ("GET", f"{API}/hosts"): EVERYONE,
    ("GET", f"{API}/hosts/{{host_id}}"): EVERYONE,
    ("POST", f"{API}/hosts/{{host_id}}/approve"): frozenset({IT, NET}),
    ("POST", f"{API}/hosts/{{host_id}}/revoke"): frozenset({IT, NET, CISO}),
    ("POST", f"{API}/hosts/{{host_id}}/assign"): frozenset({IT, NET}),
    ("POST", f"{API}/hosts/{{host_id}}/release-quarantine"): frozenset({IT, NET}),
    ("GET", f"{API}/alerts"): EVERYONE,
    ("POST", f"{API}/alerts/{{alert_id}}/acknowledge"): frozenset({NET, HEAD, CISO}),
    ("GET", f"{API}/events"): EVERYONE,
    ("GET", f"{API}/events/{{event_id}}/explain"): EVERYONE,
    ("GET", f"{API}/people"): EVERYONE,
    ("POST", f"{API}/people"): frozenset({IT, NET}),
    ("GET", f"{API}/assets"): EVERYONE,
    ("POST", f"{API}/assets"): frozenset({IT, NET}),
    ("GET", f"{API}/neighbours"): EVERYONE,
    ("GET", f"{API}/segments"): EVERYONE,
    ("GET", f"{API}/switch-ports"): EVERYONE,
    ("GET", f"{API}/permits"): EVERYONE,
    ("POST", f"{API}/permits"): frozenset({NET, HEAD}),
    ("GET", f"{API}/permits/{{permit_id}}"): EVERYONE,
    ("GET", f"{API}/permits/{{permit_id}}/use"): EVERYONE,
    ("POST", f"{API}/permits/{{permit_id}}/renew"): frozenset({NET, HEAD}),
    ("POST", f"{API}/permits/{{permit_id}}/revoke"): frozenset({NET, HEAD, CISO}),
    ("GET", f"{API}/applications"): EVERYONE,
    ("POST", f"{API}/applications"): frozenset({IT, NET, HEAD}),
    ("GET", f"{API}/applications/{{application_id}}"): EVERYONE,
    ("POST", f"{API}/applications/{{application_id}}/examine"): frozenset({IT, NET, HEAD}),
    ("POST", f"{API}/applications/{{application_id}}/grant"): frozenset({NET, HEAD}),
    ("POST", f"{API}/applications/{{application_id}}/refuse"): frozenset({NET, HEAD}),
    ("POST", f"{API}/applications/{{application_id}}/withdraw"): frozenset({IT, NET, HEAD}),
    ("GET", f"{API}/policy/permits"): frozenset({NET, CISO}),
    ("POST", f"{API}/policy/permits"): frozenset({NET, CISO}),
    ("GET", f"{API}/policy/current"): EVERYONE,
    ("GET", f"{API}/policy/document"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/policy/draft"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/policy/diff"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/policy/releases"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/policy/releases"): frozenset({NET, CISO}),
    ("POST", f"{API}/policy/releases/{{generation}}/promote"): frozenset({NET, CISO}),
    ("GET", f"{API}/policy/check"): frozenset({NET, CISO, AUDIT}),
    ("POST", f"{API}/policy/backtests"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/studies"): frozenset({IT, NET, CISO, AUDIT}),
    ("GET", f"{API}/studies/{{study_id}}"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/studies/{{study_id}}/cancel"): frozenset({IT, NET, CISO, AUDIT}),
    ("GET", f"{API}/policy/rings"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/policy/rings"): frozenset({IT, NET}),
    ("POST", f"{API}/registers/seed"): frozenset({IT, NET}),
    ("GET", f"{API}/registers/proposals"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/registers/proposals/approve"): frozenset({IT, NET}),
    ("POST", f"{API}/registers/proposals/reject"): frozenset({IT, NET}),
    ("POST", f"{API}/registers/imports"): frozenset({IT, NET}),
    ("GET", f"{API}/registers/batches"): frozenset({IT, NET, CISO, AUDIT}),
    ("GET", f"{API}/registers/batches/{{batch_id}}"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/registers/batches/{{batch_id}}/apply"): frozenset({IT, NET}),
    ("POST", f"{API}/registers/batches/{{batch_id}}/discard"): frozenset({IT, NET}),
    ("POST", f"{API}/registers/batches/{{batch_id}}/undo"): frozenset({IT, NET}),
    ("GET", f"{API}/orders"): EVERYONE,
    ("POST", f"{API}/orders"): frozenset({NET, CISO}),
    ("GET", f"{API}/orders/preview"): frozenset({NET, CISO}),
    ("GET", f"{API}/orders/{{order_id}}"): EVERYONE,
    ("GET", f"{API}/coverage"): EVERYONE,
    ("GET", f"{API}/inspections"): EVERYONE,
    ("POST", f"{API}/inspections"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/inspections/{{inspection_id}}"): EVERYONE,
    ("POST", f"{API}/inspections/{{inspection_id}}/items"): frozenset({HEAD, NET}),
    ("POST", f"{API}/inspections/{{inspection_id}}/items/{{item_id}}/answer"): frozenset({HEAD, NET}),
    ("POST", f"{API}/inspections/{{inspection_id}}/items/{{item_id}}/correct"): frozenset({HEAD, NET}),
    ("POST", f"{API}/inspections/{{inspection_id}}/submit"): frozenset({HEAD, NET}),
    ("POST", f"{API}/inspections/{{inspection_id}}/review"): frozenset({CISO, AUDIT}),
    ("GET", f"{API}/reviews/{{year}}"): frozenset({NET, CISO, AUDIT}),
    ("POST", f"{API}/reviews/{{year}}/remarks"): frozenset({CISO, AUDIT}),
    ("GET", f"{API}/indicators"): frozenset({IT, NET, CISO, AUDIT}),
    ("POST", f"{API}/indicators"): frozenset({NET, CISO}),
    ("POST", f"{API}/indicators/{{list_id}}/withdraw"): frozenset({NET, CISO}),
    ("POST", f"{API}/indicators/{{list_id}}/match"): frozenset({NET, CISO, AUDIT}),
    ("GET", f"{API}/transfers"): EVERYONE,
    ("GET", f"{API}/audit"): frozenset({CISO, AUDIT}),
    ("GET", f"{API}/audit/verify"): frozenset({CISO, AUDIT}),
}

SEES_PEOPLE: frozenset[str] = frozenset({NET, CISO, AUDIT})
"""Roles that see the personal fields of events and alerts (名古屋 第14条, 第54条第4項); others see ``***``."""

OWN_SECTION_ONLY: frozenset[str] = frozenset({HEAD})
"""Roles that see their own section and nothing else."""


class Caller(msgspec.Struct, frozen=True):
    """The operator who calls."""

    name: str
    role: str
    section: str = ""
    person_id: str = ""

    @property
    def sees_people(self) -> bool:
        """Whether personal fields are shown."""
        return self.role in SEES_PEOPLE

    @property
    def only_section(self) -> str | None:
        """The section this caller is limited to, or None for all."""
        return self.section if self.role in OWN_SECTION_ONLY else None
