import subprocess
import sys
from pathlib import Path

import alembic.autogenerate
import pytest
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from collector.registers import store as store_module
from collector.registers.models import Operator, Setting
from collector.registers.store import Store, migrate, needs_migration, open_store
from collector.registers.tables import Base
from protocol.refusal import RefusedError

COUNTER = """
import sys
from pathlib import Path
from collector.registers.models import Setting
from collector.registers.store import open_store
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with store.write() as session:
        row = session.get(Setting, "counter")
        row.value = str(int(row.value) + 1)
store.close()
"""
MIGRATOR = """
import sys
from pathlib import Path
from collector.registers.store import migrate
print("ready", flush=True)
sys.stdin.readline()
print(migrate(Path(sys.argv[1])))
"""


def together(script: str, *arguments: str, number: int = 2) -> list[str]:
    """Run the script in several processes that start their work at the same moment; returns what they say."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate(timeout=60)[0].strip() for one in running]
    assert [one.returncode for one in running] == [0] * number
    return said


def test_migrations_and_models_do_not_drift(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(path)
    engine = store_module._engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert alembic.autogenerate.compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_migrating_makes_a_private_file_once(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    assert needs_migration(path)
    assert migrate(path)
    assert not needs_migration(path)
    assert not migrate(path)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    assert sorted(together(MIGRATOR, str(tmp_path / "control.db"))) in (["False", "True"], ["True", "True"])
    open_store(tmp_path / "control.db").close()


def test_a_database_of_another_revision_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    with pytest.raises(RefusedError, match="version"):
        open_store(path)
    migrate(path)
    opened = Store(path)
    with opened.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(RefusedError, match="version"):
        open_store(path)


def test_processes_that_write_at_once_lose_no_update(store: Store) -> None:
    with store.write() as session:
        session.add(Setting(name="counter", value="0"))
    together(COUNTER, str(store.path), "100", number=3)
    with store.read() as session:
        assert session.get_one(Setting, "counter").value == "300"


def test_a_reader_goes_on_while_another_writes_and_sees_one_state(store: Store) -> None:
    with store.read() as reader:
        assert reader.get(Setting, "a") is None
        with store.write() as writer:
            writer.add(Setting(name="a", value="1"))
        assert reader.get(Setting, "a") is None
    with store.read() as reader:
        assert reader.get_one(Setting, "a").value == "1"


def test_a_failed_block_is_undone(store: Store) -> None:
    def fail() -> None:
        with store.write() as session:
            session.add(Setting(name="a", value="1"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as session:
        assert session.get(Setting, "a") is None


def test_foreign_keys_are_kept(store: Store) -> None:
    with pytest.raises(IntegrityError), store.write() as session:
        session.add(Operator(name="it", person_id="nobody", role="it_staff", password_hash="", created_us=0))


def test_the_file_is_durable_and_waits_for_locks(store: Store) -> None:
    with store.read() as session:
        values = [
            session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert values == ["wal", 2, 10_000]


def test_a_writer_holds_the_lock_from_its_beginning(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_MS", 10)
    impatient = Store(store.path)
    with store.write() as session:
        session.scalar(text("SELECT 1"))
        with pytest.raises(OperationalError, match="locked"), impatient.write() as second:
            second.scalar(text("SELECT 1"))
    impatient.close()
