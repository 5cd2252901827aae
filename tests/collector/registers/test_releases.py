"""Which generation which ring is meant to have, against a plain model of the same."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from collector.registers import releases
from collector.registers.models import Release
from collector.registers.store import Store
from protocol.refusal import RefusedError

RINGS = ("", "pilot", "second")


def add(session: Session, generation: int, ring: str = "", status: str = "released") -> None:
    session.add(
        Release(
            generation=generation, status=status, document=b"", digest="", created_us=0, created_by="x", ring=ring
        )
    )  # fmt: skip
    session.flush()


def test_a_draft_is_meant_for_nobody(session: Session) -> None:
    add(session, 1, status="draft")
    assert releases.targets(session) == {}
    assert releases.in_force(session) is None
    assert releases.newest(session) is None


def test_names_of_rings(session: Session) -> None:
    for good in ("pilot", "2", "a.b-c_d", ""):
        assert releases.check_ring(good) == good
    for wrong in ("Pilot", "a b", "x" * 33, "-a", "組"):
        with pytest.raises(RefusedError, match="bad_value"):
            releases.set_ring(session, wrong, [])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("release"), st.sampled_from(RINGS)),
        st.tuples(st.just("promote"), st.integers(1, 8)),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(STEPS)
def test_targets_are_the_newest_meant_for_each_ring(store: Store, steps: list[tuple[str, object]]) -> None:
    common, of_ring = 0, {}
    made: dict[int, str] = {}
    with store.write() as session:
        for what, value in steps:
            if what == "release":
                generation = len(made) + 1
                made[generation] = str(value)
                add(session, generation, str(value))
                if value:
                    of_ring[value] = generation
                else:
                    common = generation
                continue
            assert isinstance(value, int)
            if made.get(value) and value > common:
                releases.promote(session, value, 1)
                made[value], common = "", value
            else:
                with pytest.raises(RefusedError):
                    releases.promote(session, value, 1)
        meant = releases.targets(session)
        for ring in RINGS:
            assert releases.target_of(meant, ring) == max(common, of_ring.get(ring, 0) if ring else 0)
        session.rollback()
