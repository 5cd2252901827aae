import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from collector.registers import audit
from collector.registers.models_audit import AuditEntry
from collector.registers.store import Store


def write(session: Session, count: int = 5) -> None:
    for number in range(count):
        audit.record(
            session,
            time_us=number,
            operator="sato",
            role="it_staff",
            method="POST",
            path=f"/permits/{number}",
            status=201,
            reason="異動のため",
            detail={"b": [1, "二"], "a": {"x": None}},
        )


def test_an_untouched_log_is_whole(store: Store) -> None:
    with store.write() as session:
        assert audit.verify(session) is None
        assert audit.head(session) == audit.Head(0, bytes(32))
        write(session)
    with store.read() as session:
        assert audit.verify(session) is None
        assert audit.head(session).number == 5
        assert audit.verify(session, expected=audit.head(session)) is None


CHANGES = {
    "time_us": 99,
    "operator": "suzuki",
    "role": "ciso",
    "method": "GET",
    "path": "/",
    "status": 500,
    "reason": "",
    "detail": {"b": [1, "三"], "a": {"x": None}},
    "digest": bytes(32),
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_changed_column_shows_where(session: Session, column: str) -> None:
    write(session)
    session.execute(update(AuditEntry).where(AuditEntry.id == 3).values({column: CHANGES[column]}))
    session.expire_all()
    assert audit.verify(session) == audit.Break(3, "digest")


def test_a_removed_entry_shows(session: Session) -> None:
    write(session)
    session.execute(delete(AuditEntry).where(AuditEntry.id == 2))
    assert audit.verify(session) == audit.Break(2, "missing")


def test_renumbering_does_not_hide_a_removal(session: Session) -> None:
    write(session)
    session.execute(delete(AuditEntry).where(AuditEntry.id == 2))
    session.execute(text("UPDATE audit SET id = id - 1 WHERE id > 2"))
    session.expire_all()
    assert audit.verify(session) == audit.Break(2, "link")


def test_a_rewritten_chain_shows_against_a_head_kept_elsewhere(session: Session) -> None:
    write(session)
    kept = audit.head(session)
    session.execute(delete(AuditEntry))
    session.expunge_all()
    write(session, 3)
    assert audit.verify(session) is None
    assert audit.verify(session, expected=kept) == audit.Break(4, "missing")
    write(session, 4)
    rewritten = audit.Head(kept.number, bytes(32))
    assert audit.verify(session, expected=rewritten) == audit.Break(5, "digest")


@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53), st.lists),
    )
)
def test_the_digest_does_not_depend_on_the_order_of_a_map(detail: dict[str, object]) -> None:
    def entry(given_detail: dict[str, object]) -> AuditEntry:
        return AuditEntry(
            id=1, time_us=0, operator="", role="", method="", path="", status=0, reason="",
            detail=given_detail, prev_digest=bytes(32),
        )  # fmt: skip

    backwards = dict(reversed(detail.items()))
    assert audit.entry_digest(entry(detail)) == audit.entry_digest(entry(backwards))
