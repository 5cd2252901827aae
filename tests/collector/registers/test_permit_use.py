from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from collector.registers.permit_use import (
    DAY_US,
    MOST_PEOPLE,
    OTHERS,
    Count,
    Total,
    UseKey,
    add_uses,
    day_of,
    totals,
    uses_of,
)

NOW = 1_800_000_000_000_000


def test_a_day_is_one_of_tokyo() -> None:
    midnight = (20_000 * 24 - 9) * 3_600_000_000
    assert [day_of(when) for when in (midnight - 1, midnight, midnight + DAY_US - 1)] == [
        19_999,
        20_000,
        20_000,
    ]


keys = st.tuples(
    st.sampled_from(["p1", "p2"]),
    st.sampled_from(["pc1", "pc2"]),
    st.sampled_from(["", "sato"]),
    st.integers(1, 2),
)
counts = st.builds(Count, st.integers(0, 5), st.integers(0, 5), st.integers(1, 50), st.integers(50, 99))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(keys, counts, max_size=4), max_size=4))
def test_writing_in_pieces_is_writing_at_once(session: Session, pieces: list[dict[UseKey, Count]]) -> None:
    with session.begin_nested() as nested:
        for piece in pieces:
            add_uses(session, piece.items())
        written = [one for piece in pieces for one in piece.items()]
        for permit in ("p1", "p2"):
            ours = [(key, count) for key, count in written if key[0] == permit]
            expected = Total(
                sum(count.count for _, count in ours),
                sum(count.attempts for _, count in ours),
                len({key[1] for key, _ in ours}),
                max((count.last_us for _, count in ours), default=0),
            )
            assert totals(session, [permit]).get(permit, Total()) == expected
            assert len(uses_of(session, permit)) == len({key for key, _ in ours})
        nested.rollback()
    session.expire_all()


def test_a_pc_that_invents_people_fills_nothing(session: Session) -> None:
    uses = [(("p1", "pc1", f"user{number}", 1), Count(1, 0, NOW, NOW)) for number in range(MOST_PEOPLE * 3)]
    add_uses(session, uses[:MOST_PEOPLE])
    add_uses(session, uses[MOST_PEOPLE:])
    rows = {row.person: row.count for row in uses_of(session, "p1")}
    assert len(rows) == MOST_PEOPLE + 1
    assert rows[OTHERS] == MOST_PEOPLE * 2
