import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.evidence.files import EPOCH_BITS, NewBatch, Tail
from collector.evidence.journal import Journal
from collector.evidence.reader import JournalReader, Loss
from protocol.refusal import RefusedError

PAGE = 8192


def batch(agent: str, first: int, count: int = 2, *, body: bytes = b"", mark: int = 0) -> NewBatch:
    return NewBatch(
        agent_id=agent,
        first_seq=first,
        count=count,
        prev_digest=bytes([mark]) * 32,
        digest=first.to_bytes(16, "big") + agent.encode().ljust(16, b"\0"),
        received_us=1_700_000_000_000_000 + first,
        body=body or b"%d" % first * 20,
        signature=bytes(64),
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def places(journal: Journal) -> list[tuple[str, int, int]]:
    return [(one.agent_id, one.first_seq, one.count) for one in journal.read_after(0)]


def test_what_was_appended_is_read_back_after_reopening(journal: Journal, tmp_path: Path) -> None:
    given_batches = [batch("a", 1), batch("b", 1, 5), batch("a", 3)]
    last = journal.append_many(given_batches[:2])
    assert journal.append_many(given_batches[2:]) == last + 1 == journal.last_rowid
    journal.close()
    again = Journal(tmp_path / "journal.db")
    rows = again.read_after(0)
    assert [replace_rowid(row) for row in rows] == given_batches
    assert again.tail("a") == Tail(4, given_batches[2].digest)
    assert again.tail("nobody") == Tail(0, bytes(32))
    assert again.count_events("b") == 5
    assert again.count_events() == 9
    assert again.last_rowid == last + 1
    again.close()


def replace_rowid(row: NewBatch) -> NewBatch:
    return NewBatch(**{name: getattr(row, name) for name in NewBatch.__struct_fields__})


def test_find_gives_what_lies_at_a_place(journal: Journal) -> None:
    journal.append_many([batch("a", 1, 7)])
    place = journal.find("a", 1)
    assert place is not None
    assert (place.count, place.digest) == (7, batch("a", 1).digest)
    assert journal.find("a", 2) is None


def test_a_cursor_reads_each_row_once_in_limited_steps(journal: Journal) -> None:
    journal.append_many([batch("a", 1 + 2 * at) for at in range(10)])
    seen: list[int] = []
    rowid = 0
    while rows := journal.read_after(rowid, 3):
        assert len(rows) <= 3
        rowid = rows[-1].rowid
        seen += [row.first_seq for row in rows]
    assert seen == [1 + 2 * at for at in range(10)]


def test_only_the_owner_may_read_the_file(journal: Journal) -> None:
    journal.append_many([batch("a", 1)])
    for path in journal.path.parent.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_full_disk_stores_nothing_and_recovers(journal: Journal) -> None:
    journal.append_many([batch("a", 1)])
    database = journal._ready()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count={pages + 2}")
    large = [batch("a", 3, body=bytes(PAGE * 4)), batch("b", 1)]
    with pytest.raises(RefusedError) as caught:
        journal.append_many(large)
    assert caught.value.name == "disk_full"
    assert places(journal) == [("a", 1, 2)]
    assert journal.tail("a").seq == 2
    # The limit is that of a connection; the journal opened a new one.
    journal.append_many(large)
    assert places(journal) == [("a", 1, 2), ("a", 3, 2), ("b", 1, 2)]


def test_a_row_changed_on_disk_is_skipped_counted_and_reported_once(journal: Journal) -> None:
    journal.append_many([batch("a", 1), batch("a", 3), batch("a", 5)])
    with contextlib.closing(sqlite3.connect(journal.path)) as database, database:
        database.execute("UPDATE batches SET body = x'00' WHERE first_seq = 3")
    reader = JournalReader(journal.path)
    assert [row.first_seq for row in reader.read_after(0)] == [1, 5]
    assert [row.first_seq for row in reader.read_after(0)] == [1, 5]
    assert (reader.lost, reader.take_losses()) == (1, [Loss(2, "crc")])
    assert reader.take_losses() == []
    reader.close()


def test_a_stretch_of_nothing_but_damaged_rows_is_not_the_end(journal: Journal) -> None:
    journal.append_many([batch("a", 1 + 2 * at) for at in range(8)])
    with contextlib.closing(sqlite3.connect(journal.path)) as database, database:
        database.execute("UPDATE batches SET crc = crc + 1 WHERE id <= 6")
    reader = JournalReader(journal.path)
    assert [row.first_seq for row in reader.read_after(0, 2)] == [13, 15]
    assert reader.lost == 6
    reader.close()


def corrupt_leaf(path: Path, content: bytes) -> None:
    """Overwrite the page that holds ``content`` with noise."""
    data = bytearray(path.read_bytes())
    page = data.index(content) // PAGE
    assert page > 0
    data[page * PAGE : (page + 1) * PAGE] = b"\xa5" * PAGE
    path.write_bytes(data)


def whole(path: Path) -> None:
    """Bring everything out of the write-ahead log into the file."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_malformed_page_is_skipped_by_readers(journal: Journal) -> None:
    journal.append_many([batch("a", at, 1, body=b"<%03d>" % at * 1000) for at in range(1, 41)])
    journal.close()
    whole(journal.path)
    corrupt_leaf(journal.path, b"<020>" * 50)
    reader = JournalReader(journal.path)
    seen: list[int] = []
    rowid = 0
    while rows := reader.read_after(rowid, 7):
        rowid = rows[-1].rowid
        seen += [row.first_seq for row in rows]
    lost = sorted(set(range(1, 41)) - set(seen))
    assert seen == [at for at in range(1, 41) if at not in lost]
    assert 20 in lost
    assert reader.lost == len(lost) <= 4
    reader.close()


def test_a_file_without_a_header_is_set_aside_and_acknowledged_numbers_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.append_many([batch("a", 1, 10), batch("b", 1, 4)])
    journal.close()
    whole(path)
    path.write_bytes(b"\xa5" * 3 * PAGE)
    journal = Journal(path, {"a": 10, "c": 3})
    (corruption,) = journal.take_corruptions()
    assert corruption.aside == "journal.db.corrupt-0"
    assert (tmp_path / corruption.aside).exists()
    assert journal.tail("a") == Tail(10, None)
    assert journal.tail("b") == Tail(0)
    first = journal.append_many([batch("a", 11)])
    assert first == (1 << EPOCH_BITS) + 1 == corruption.first_rowid
    assert [row.first_seq for row in journal.read_after(0)] == [11]
    journal.close()
    journal = Journal(path, {})
    assert journal.tail("c") == Tail(3, None)
    assert journal.last_rowid == first
    journal.close()


def test_a_file_that_breaks_while_open_is_replaced_and_nothing_readable_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.append_many([batch("a", at, 1, body=b"<%03d>" % at * 1000) for at in range(1, 21)])
    reader = JournalReader(path)
    assert len(reader.read_after(0)) == 20
    journal.close()
    whole(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'batches_place'"
        ).fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * PAGE : root * PAGE] = b"\xa5" * PAGE
    path.write_bytes(data)
    assert journal.tail("a").seq == 20
    journal.append_many([batch("a", 21, 1)])
    assert len(journal.take_corruptions()) == 1
    assert journal.tail("a") == Tail(21, batch("a", 21).digest)
    # A reader that was open all the time goes on through the old file into the new one.
    seen: list[int] = []
    rowid = 0
    while rows := reader.read_after(rowid, 6):
        rowid = rows[-1].rowid
        seen += [row.first_seq for row in rows]
    assert seen == list(range(1, 22))
    reader.close()
    journal.close()


Step = tuple[int, int]


@given(
    groups=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=6), max_size=8
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_groups_give_the_same_journal_with_reopening_in_between(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Step]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    ends = dict.fromkeys("abcd", 0)
    expected: list[NewBatch] = []
    for group in groups:
        journal = Journal(path)
        assert {agent: journal.tail(agent).seq for agent in ends} == ends
        made = []
        for which, count in group:
            agent = "abcd"[which]
            made.append(replace(batch(agent, ends[agent] + 1), count=count))
            ends[agent] += count
        journal.append_many(made)
        expected += made
        journal.close()
    reader = JournalReader(path)
    assert [replace_rowid(row) for row in reader.read_after(0)] == expected
    assert reader.count_events() == sum(ends.values())
    reader.close()
