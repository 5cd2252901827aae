"""How an application and a permit may go on: one table each. Pure.

    applied ─▶ examined ─▶ granted | refused | withdrawn | lapsed
    pending ─▶ granted ─▶ expired | renewed | revoked

Lapsing, beginning and expiring follow from the time alone; nothing has to run for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from protocol.refusal import RefusedError

ApplicationState = Literal["applied", "examined", "granted", "refused", "withdrawn", "lapsed"]
ApplicationStep = Literal["examine", "grant", "refuse", "withdraw"]
PermitState = Literal["pending", "granted", "expired", "renewed", "revoked"]
PermitStepName = Literal["renew", "revoke"]

DAY_US = 86_400_000_000
LAPSE_US = 60 * DAY_US
"""An application that nobody decided lapses after this."""
OPEN: frozenset[ApplicationState] = frozenset({"applied", "examined"})
NEED_REASON = frozenset({"refuse", "withdraw", "revoke"})

_APPLICATION: Mapping[ApplicationStep, ApplicationState] = {
    "examine": "examined",
    "grant": "granted",
    "refuse": "refused",
    "withdraw": "withdrawn",
}
"""Each leads there from every open state, and from no other."""
_PERMIT: Mapping[PermitStepName, frozenset[PermitState]] = {
    "renew": frozenset({"granted", "expired"}),
    "revoke": frozenset({"pending", "granted"}),
}
"""Step of a permit → states in which it can be taken."""


def application_state(recorded: ApplicationState, applied_us: int, now_us: int) -> ApplicationState:
    """What an application is at ``now_us``, given what is recorded of it."""
    return "lapsed" if recorded in OPEN and now_us >= applied_us + LAPSE_US else recorded


def application_after(state: ApplicationState, step: ApplicationStep, reason: str) -> ApplicationState:
    """State after a step. Raises RefusedError ``wrong_state`` once it is decided, ``bad_value`` without a reason."""
    if state not in OPEN:
        raise RefusedError("wrong_state", f"the application is {state}", "apply again")
    _need_reason(step, reason)
    return _APPLICATION[step]


def permit_state(
    from_us: int, until_us: int, now_us: int, *, revoked: bool = False, renewed: bool = False
) -> PermitState:
    """What a permit is at ``now_us``. One that another follows is ``renewed`` instead of expired."""
    if revoked:
        return "revoked"
    if now_us >= until_us:
        return "renewed" if renewed else "expired"
    return "granted" if from_us <= now_us else "pending"


def check_permit_step(state: PermitState, step: PermitStepName, reason: str) -> None:
    """Whether a permit can be renewed or revoked now. Raises RefusedError ``wrong_state``, ``bad_value``."""
    if state not in _PERMIT[step]:
        raise RefusedError("wrong_state", f"the permit is {state}", "sekisho permits show")
    _need_reason(step, reason)


def _need_reason(step: str, reason: str) -> None:
    if step in NEED_REASON and not reason.strip():
        raise RefusedError("bad_value", f"to {step} needs a reason")
