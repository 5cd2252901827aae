"""CSV files for the registers: what is taken, what is left out and why, and that nothing is ever half applied."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers import batches, csv_file, imports
from collector.registers.assets import add_asset
from collector.registers.imports import Register, Staged, stage_file
from collector.registers.models import Asset, Operator, Person
from collector.registers.models_releases import ChangeRow
from collector.registers.store import Store
from policies.model import Subject
from protocol.refusal import RefusedError

NOW = 1_800_000_000_000_000
KEPT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def stage(session: Session, text: str | bytes, register: Register = "assets") -> Staged:
    data = text if isinstance(text, bytes) else text.encode()
    return stage_file(session, register, "test.csv", data, created_by="it", now_us=NOW)


def bad(staged: Staged) -> list[tuple[int, str, str]]:
    return [(row["line"], row["column"], row["name"]) for row in staged.batch.bad]


def state_of(session: Session) -> dict[str, Any]:
    """Everything the registers say."""
    session.expire_all()
    keys = {
        "assets": session.scalars(select(Asset.id)).all(),
        "people": session.scalars(select(Person.id)).all(),
    }
    return {
        register: {key: batches.entry(session, register, key) for key in ours}
        for register, ours in keys.items()
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_the_encodings_of_spreadsheets(session: Session, encoding: str) -> None:
    text = "資産番号,種類,製造番号,課,備考\r\nA-1,媒体,S1,税務課,〜①\r\n"
    if encoding != "cp932":
        text = text.replace("①", "①𠮷")
    staged = stage(session, text.encode(encoding))
    (row,) = batches.rows_of(session, staged.batch.id, 10)
    assert (row.key, row.after["kind"], row.after["section"]) == ("A-1", "medium", "税務課")


def test_good_rows_are_staged_and_bad_ones_listed_with_line_and_reason(session: Session) -> None:
    add_asset(session, "A-9", "medium", Subject(serial="S9"), created_by="it", now_us=NOW)
    staged = stage(
        session,
        "id,kind,serial,vendor_id,product_id,note,active\n"
        'A-1,medium,S1,,,"two\nlines",1\n'
        "A-2,car,S2,,,,\n"
        ",medium,S3,,,,\n"
        "A-4,device,S4,xyz1,5581,,\n"
        "A-5,device,,0781,5581,,\n"
        "A-6,medium,S1,,,,\n"
        "A-1,medium,S7,,,,\n"
        "A-8,medium,S9,,,,\n"
        "\n"
        "A-10,medium,S10\n"
        "A-11,medium,S11,,,,maybe\n"
        f"{'A' * 65},medium,S12,,,,\n"
        "A-13,medium,S\x0713,,,,\n"
        "A-14,medium,S14,,,,無効\n",
    )
    assert bad(staged) == [
        (4, "kind", "unknown_kind"),
        (5, "id", "missing"),
        (6, "vendor_id", "bad_form"),
        (7, "", "unspecific"),
        (8, "", "twice_in_file"),
        (9, "", "twice_in_file"),
        (10, "", "other_entry"),
        (12, "", "cells"),
        (13, "active", "yes_or_no"),
        (14, "id", "too_long"),
        (15, "serial", "control_character"),
    ]
    assert [row.key for row in batches.rows_of(session, staged.batch.id, 10)] == ["A-1", "A-14"]
    assert staged.batch.bad[4] == {
        "line": 8, "column": "", "name": "twice_in_file", "ja": "2 行目と同じです", "en": "the same as line 2"
    }  # fmt: skip
    assert session.get(Asset, "A-1") is None


@pytest.mark.parametrize(
    ("data", "name", "what"),
    [
        (b"id,kind,colour\n", "bad_value", "unknown column 'colour'"),
        (b"id,id,kind\n", "bad_value", "twice"),
        (b"id,serial\n", "bad_value", "lacks kind"),
        (b"", "bad_value", "lacks id, kind"),
        (b'id,kind\nA-1,"medium', "bad_value", "line 2: not CSV"),
        (b"\xff\xfe\x00", "bad_value", "neither"),
        (b"id,kind\n\0", "bad_value", "neither"),
        (bytes(csv_file.LARGEST + 1), "oversized", "at most"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(
    session: Session, data: bytes, name: str, what: str
) -> None:
    with pytest.raises(RefusedError, match=what) as caught:
        stage(session, data)
    assert caught.value.name == name


def test_a_misspelt_column_is_guessed_at(session: Session) -> None:
    with pytest.raises(RefusedError) as caught:
        stage(session, "id,kind,seriel\n")
    assert caught.value.hint == "did you mean serial?"


def test_too_many_rows_are_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_ROWS", 2)
    with pytest.raises(RefusedError, match="at most 2"):
        stage(session, "id,name\n" + "".join(f"p{i},n\n" for i in range(3)), "people")


def test_bad_rows_beyond_the_limit_are_counted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST_BAD", 2)
    staged = stage(session, "id,name\n" + ",n\n" * 5, "people")
    assert (len(staged.batch.bad), staged.left_out) == (2, 5)


def test_importing_twice_changes_nothing(session: Session) -> None:
    text = "id,name,section,roles\nsato,佐藤,税務課,section_head;network_manager\n"
    first = stage(session, text, "people")
    batches.apply(session, first.batch.id, by="it", now_us=NOW)
    again = stage(session, text, "people")
    assert (again.batch.rows, again.batch.unchanged) == (0, 1)
    assert session.get_one(Person, "sato").roles == ["network_manager", "section_head"]


def test_columns_that_are_not_there_leave_the_entry_as_it_is(session: Session) -> None:
    session.add(Person(id="sato", name="佐藤", section="税務課", roles=["ciso"], active=True))
    session.flush()
    staged = stage(session, "id,name\nsato,佐藤 花子\n", "people")
    batches.apply(session, staged.batch.id, by="it", now_us=NOW)
    row = session.get_one(Person, "sato")
    assert (row.name, row.section, row.roles) == ("佐藤 花子", "税務課", ["ciso"])
    unknown = stage(session, "id,name,roles\nsato,佐藤,shogun\n", "people")
    assert bad(unknown) == [(2, "roles", "unknown_role")]


def test_a_batch_is_applied_only_while_the_register_says_what_it_said(session: Session) -> None:
    staged = stage(session, "id,name\nsato,佐藤\nueda,上田\n", "people")
    session.add(Person(id="ueda", name="上田 一郎", section="", roles=[], active=True))
    session.flush()
    with pytest.raises(RefusedError, match=r"stale.*ueda"):
        batches.apply(session, staged.batch.id, by="it", now_us=NOW)
    assert session.get(Person, "sato") is None


def test_nobodys_later_work_is_undone(session: Session) -> None:
    staged = stage(session, "id,name\nsato,佐藤\n", "people")
    batches.apply(session, staged.batch.id, by="it", now_us=NOW)
    session.get_one(Person, "sato").section = "税務課"
    session.flush()
    with pytest.raises(RefusedError, match="stale"):
        batches.undo(session, staged.batch.id, by="it", now_us=NOW)
    assert session.get(Person, "sato") is not None


def test_a_person_with_an_account_is_not_taken_away(session: Session) -> None:
    staged = stage(session, "id,name\nsato,佐藤\n", "people")
    batches.apply(session, staged.batch.id, by="it", now_us=NOW)
    session.add(Operator(name="s", person_id="sato", role="ciso", password_hash="", created_us=0))
    session.flush()
    with pytest.raises(RefusedError, match="an operator's account"):
        batches.undo(session, staged.batch.id, by="it", now_us=NOW)


def test_a_batch_that_fails_leaves_nothing_behind(store: Store) -> None:
    with store.write() as session:
        staged = stage(session, "id,name\nsato,佐藤\nueda,上田\n", "people")
        session.scalars(select(ChangeRow)).all()[1].after = {"name": None}
    with pytest.raises(Exception, match="NOT NULL"), store.write() as session:
        batches.apply(session, staged.batch.id, by="it", now_us=NOW)
    with store.read() as session:
        assert list(session.scalars(select(Person))) == []
        assert batches.get_batch(session, staged.batch.id).state == "staged"


# -- properties ------------------------------------------------------------------------------------------------------

CELLS = st.text(alphabet='ab1 ;,"\n税課', max_size=6)
PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["p1", "p2", "p3", ""]), CELLS, st.sampled_from(["", "ciso", "x", "ciso;auditor"])
    ),
    max_size=6,
)


def quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


@KEPT
@given(files=st.lists(PEOPLE, max_size=4), data=st.data())
def test_undoing_gives_back_what_was(store: Store, files: list[Any], data: st.DataObject) -> None:
    """Staging changes nothing; undoing the newest batch gives back the state before it, whatever the files held."""
    with store.write() as session:
        states, applied = [state_of(session)], []
        for rows in files:
            lines = [",".join(map(quoted, row)) for row in rows]
            staged = stage(session, "\n".join(["id,name,roles", *lines]) + "\n", "people")
            assert state_of(session) == states[-1]
            assert staged.batch.rows + staged.batch.unchanged + staged.left_out <= len(rows)
            if data.draw(st.booleans()):
                batches.discard(session, staged.batch.id, by="it", now_us=NOW)
                continue
            batches.apply(session, staged.batch.id, by="it", now_us=NOW)
            applied.append(staged.batch.id)
            states.append(state_of(session))
        while applied:
            states.pop()
            batches.undo(session, applied.pop(), by="it", now_us=NOW)
            assert state_of(session) == states[-1]
        session.rollback()


def taken(session: Session, data: bytes, register: Register) -> str:
    """State of the batch, or the name it was refused by."""
    try:
        return stage(session, data, register).batch.state
    except RefusedError as error:
        return error.name


@KEPT
@given(data=st.binary(max_size=300), register=st.sampled_from(["assets", "people"]))
def test_any_bytes_are_refused_by_name_or_read(store: Store, data: bytes, register: Register) -> None:
    with store.write() as session:
        assert taken(session, data, register) in {"staged", "bad_value", "oversized"}
        session.rollback()


@KEPT
@given(body=st.text(max_size=200), register=st.sampled_from(["assets", "people"]))
def test_any_text_below_good_titles_is_read_or_refused(store: Store, body: str, register: Register) -> None:
    titles = "id,kind,serial,mac,vendor_id" if register == "assets" else "id,name,roles,active"
    with store.write() as session:
        data = f"{titles}\n{body}".encode(errors="surrogatepass")
        if taken(session, data, register) == "staged":
            (batch,) = batches.list_batches(session)
            batches.apply(session, batch.id, by="it", now_us=NOW)
            batches.undo(session, batch.id, by="it", now_us=NOW)
        assert state_of(session) == {"assets": {}, "people": {}}
        session.rollback()
