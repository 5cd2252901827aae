"""The life of applications and permits: every order of steps, at any time."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.registers.procedure import (
    LAPSE_US,
    OPEN,
    ApplicationState,
    ApplicationStep,
    application_after,
    application_state,
    check_permit_step,
    permit_state,
)
from protocol.refusal import RefusedError

STEPS = st.sampled_from(get_args(ApplicationStep))
STATES = get_args(ApplicationState)
moments = st.integers(0, 2 * LAPSE_US)


class Life(RuleBasedStateMachine):
    """One application: time goes on, people take steps."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: ApplicationState = "applied"
        self.now_us = 0
        self.history: list[ApplicationState] = ["applied"]

    @property
    def state(self) -> ApplicationState:
        return application_state(self.recorded, 0, self.now_us)

    @rule(by_us=st.sampled_from([1, LAPSE_US // 3]))
    def time_goes_on(self, by_us: int) -> None:
        self.now_us += by_us

    @precondition(lambda self: self.state in OPEN)
    @rule(step=STEPS)
    def a_step(self, step: ApplicationStep) -> None:
        self.recorded = application_after(self.state, step, "because")
        self.history.append(self.recorded)

    @precondition(lambda self: self.state not in OPEN)
    @rule(step=STEPS)
    def too_late(self, step: ApplicationStep) -> None:
        with pytest.raises(RefusedError, match="wrong_state"):
            application_after(self.state, step, "because")

    @invariant()
    def what_is_decided_stays_decided(self) -> None:
        ends = [state for state in self.history if state not in OPEN]
        assert len(ends) <= 1
        assert not ends or self.state == ends[0] == self.history[-1]

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        assert self.state not in OPEN or self.now_us < LAPSE_US


TestLife = Life.TestCase


@pytest.mark.parametrize("step", ["refuse", "withdraw"])
def test_a_no_needs_a_reason(step: ApplicationStep) -> None:
    with pytest.raises(RefusedError, match="bad_value"):
        application_after("applied", step, " ")


@given(st.sampled_from(STATES), moments, moments)
def test_only_what_is_open_lapses(recorded: ApplicationState, applied: int, now: int) -> None:
    state = application_state(recorded, applied, now)
    assert (state == "lapsed") == (recorded == "lapsed" or (recorded in OPEN and now >= applied + LAPSE_US))
    assert state in {recorded, "lapsed"}


@given(st.integers(0, 50), st.integers(1, 50), st.lists(st.integers(0, 120)), st.booleans(), st.booleans())
def test_a_permit_goes_one_way(
    start: int, length: int, times: list[int], revoked: bool, renewed: bool
) -> None:
    order = ["pending", "granted", "renewed" if renewed else "expired"]
    states = [
        permit_state(start, start + length, now, revoked=revoked, renewed=renewed) for now in sorted(times)
    ]
    if revoked:
        assert set(states) <= {"revoked"}
    else:
        assert states == sorted(states, key=order.index)


@pytest.mark.parametrize(
    ("state", "renew", "revoke"),
    [
        ("pending", False, True),
        ("granted", True, True),
        ("expired", True, False),
        ("renewed", False, False),
        ("revoked", False, False),
    ],
)
def test_which_permits_can_be_renewed_and_revoked(state: str, renew: bool, revoke: bool) -> None:
    for step, may in (("renew", renew), ("revoke", revoke)):
        if may:
            check_permit_step(state, step, "because")  # type: ignore[arg-type]
        else:
            with pytest.raises(RefusedError, match="wrong_state"):
                check_permit_step(state, step, "because")  # type: ignore[arg-type]
