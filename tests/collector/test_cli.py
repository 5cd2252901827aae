"""``sekisho-collector`` as it is typed."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.cli import main
from collector.config import Layout
from collector.operator.frame import take_language
from collector.operator.keyfile import public_text, save_key
from collector.registers import audit
from collector.registers.models import Setting
from collector.registers.store import now_us, open_store
from protocol.keys import new_sign_pair
from tests.collector.gateway.pc import PC, City, free_ports

PASSWORD = "correct horse battery staple"
DAY_US = 86_400_000_000
Run = Callable[..., "Done"]


class Done:
    """Exit code and what was said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: object) -> Done:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, argv)])
        out, err = capsys.readouterr()
        return Done(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> City:
    return City(tmp_path_factory.mktemp("city") / "c")


@pytest.fixture
def city(template: City, tmp_path: Path) -> City:
    return template.copy(tmp_path / "c")


@pytest.fixture
def data(city: City) -> Path:
    return city.layout.data


def password_file(directory: Path) -> Path:
    path = directory / "password"
    path.write_text(PASSWORD + "\n", encoding="ascii")
    path.chmod(0o600)
    return path


# -- init ------------------------------------------------------------------------------------------------------------


def init_options(tmp_path: Path) -> list[object]:
    ports = ",".join(map(str, free_ports().values()))
    return [
        *(
            "init",
            "--data",
            tmp_path / "new",
            "--city",
            "試験市",
            "--ordinance",
            "nagoya",
            "--address",
            "127.0.0.1",
        ),
        *("--admin-password-file", password_file(tmp_path), "--ports", ports, "--bind", "127.0.0.1"),
        *("--api-port", free_ports()["data"]),
    ]


@pytest.mark.parametrize(("lang", "next_step"), [("ja", "次にすること"), ("en", "what to do next")])
def test_init_with_new_keys_says_what_to_do_next_and_passes_its_own_check(
    run: Run, tmp_path: Path, lang: str, next_step: str
) -> None:
    done = run("--lang", lang, *init_options(tmp_path), "--new-keys", tmp_path / "keys")
    assert (done.code, next_step in done.out) == (0, True), done.err
    assert (tmp_path / "keys" / "ciso.key").exists()
    checked = run("check-config", "--data", tmp_path / "new", "--json", "--lang", lang)
    assert {one["name"]: one for one in checked.json["checks"] if one["status"] == "fail"} == {}
    assert (checked.code, checked.json["ok"]) == (0, True)


def test_init_with_keys_made_elsewhere(run: Run, tmp_path: Path) -> None:
    root, policy, ciso = new_sign_pair(), new_sign_pair(), new_sign_pair()
    save_key(tmp_path / "root.key", root, None)
    for name, pair in (("policy", policy), ("ciso", ciso)):
        (tmp_path / f"{name}.pub").write_text(public_text(pair.public), encoding="ascii")
    keys = ["--root-key", tmp_path / "root.key", "--policy-pub", tmp_path / "policy.pub"]
    done = run(*init_options(tmp_path), *keys, "--order-pub", f"{tmp_path / 'ciso.pub'}:ciso:市長", "--json")
    assert done.code == 0, done.err
    assert len(done.json["root"]) == 32
    again = run(*init_options(tmp_path), *keys, "--order-pub", f"{tmp_path / 'ciso.pub'}:ciso:市長")
    assert again.code == 1
    assert "already_there" in again.err


def test_init_without_keys_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    assert run(*init_options(tmp_path)).code == 2
    assert not (tmp_path / "new").exists()


# -- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_are_made_listed_and_revoked(run: Run, data: Path, city: City) -> None:
    made = run(
        *("tokens", "create", "--data", data, "--zone", "lgwan", "--section", "市民課"), "--uses", 3, "--json"
    )
    assert made.code == 0, made.err
    assert made.json["token"].startswith("SKT1-")
    assert (made.json["uses"], made.json["state"]) == (3, "usable")
    (listed,) = run("tokens", "list", "--data", data, "--json").json
    assert "token" not in listed
    assert run("tokens", "revoke", listed["id"], "--data", data).code == 0
    assert run("tokens", "list", "--data", data, "--json").json[0]["state"] == "revoked"
    table = run("tokens", "list", "--data", data, "--lang", "ja")
    assert "取消" in table.out
    with city.store() as store, store.read() as session:
        assert audit.verify(session) is None
        assert audit.head(session).number == 2


def test_a_token_for_a_zone_that_is_not_defined_is_refused_with_the_zones(run: Run, data: Path) -> None:
    done = run("tokens", "create", "--data", data, "--zone", "lgwam", "--lang", "en")
    assert done.code == 1
    assert "[bad_value]" in done.err
    assert "mynumber, lgwan, internet" in done.err


@pytest.mark.parametrize("expires", ["7", "0d", "soon", "-1d"])
def test_a_wrong_term_is_wrong_usage(run: Run, data: Path, expires: str) -> None:
    assert run("tokens", "create", "--data", data, "--zone", "lgwan", f"--expires={expires}").code == 2


# -- agents ----------------------------------------------------------------------------------------------------------


def test_a_waiting_pc_is_approved_placed_and_revoked(run: Run, data: Path, city: City) -> None:
    pc = PC(city, "kikaku-01")
    city.known(pc, "pending")
    (waiting,) = run("agents", "pending", "--data", data, "--json").json
    assert waiting["id"] == pc.id
    done = run(
        "agents", "approve", pc.id[:10], "--data", data, "--zone", "lgwan", "--section", "企画課", "--json"
    )
    assert done.code == 0, done.err
    row = city.agent(pc)
    assert (row.status, row.zone, row.section) == ("active", "lgwan", "企画課")
    assert run("agents", "pending", "--data", data, "--json").json == []
    assert run("agents", "revoke", pc.id, "--data", data, "--reason", "stolen").code == 0
    assert city.agent(pc).status_reason == "stolen"
    assert run("agents", "approve", pc.id, "--data", data, "--zone", "lgwan").code == 1


def test_release_quarantine_frees_the_seat(run: Run, data: Path, city: City) -> None:
    for status in ("active", "quarantined"):
        pc = PC(city)
        city.known(pc, status)
        assert run("agents", "release-quarantine", pc.id, "--data", data).code == 0
        assert (city.agent(pc).status, city.agent(pc).machine_id) == ("active", "")
    pc = PC(city)
    city.known(pc, "pending")
    assert run("agents", "release-quarantine", pc.id, "--data", data).code == 1


@pytest.mark.parametrize("text", ["abc", "%%%%%%%", "zzzzzzzz"])
def test_a_pc_that_is_not_there(run: Run, data: Path, city: City, text: str) -> None:
    city.known(PC(city))
    assert run("agents", "revoke", text, "--data", data, "--reason", "x").code == 1


# -- operators -------------------------------------------------------------------------------------------------------


def test_operators(run: Run, data: Path, tmp_path: Path) -> None:
    password = password_file(tmp_path)
    add = ("operators", "add", "--data", data, "--password-file", password)
    assert run(*add, "kacho", "--role", "section_head").code == 1  # needs a section
    assert run(*add, "kacho", "--role", "section_head", "--section", "市民課").code == 0
    assert run(*add, "kacho", "--role", "ciso").code == 1  # is there
    assert run(*add, "ghost", "--role", "emperor").code == 1
    names = {one["name"]: one for one in run("operators", "list", "--data", data, "--json").json}
    assert set(names) == {"admin", "kacho"}
    assert "password" not in str(names)
    assert run("operators", "disable", "kacho", "--data", data).code == 0
    assert run("operators", "disable", "admin", "--data", data).code == 1  # the last one
    assert run("operators", "passwd", "kacho", "--data", data, "--password-file", password).code == 0
    assert run("operators", "disable", "admin", "--data", data).code == 0


def test_a_password_file_others_can_read_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    password = password_file(tmp_path)
    password.chmod(0o644)
    done = run("operators", "passwd", "admin", "--data", data, "--password-file", password)
    assert done.code == 1
    assert "chmod 600" in done.err


# -- check-config ----------------------------------------------------------------------------------------------------


def failed(done: Done) -> set[str]:
    return {one["name"] for one in done.json["checks"] if one["status"] == "fail"}


def loosen(layout: Layout) -> None:
    layout.data.chmod(0o755)


def open_key(layout: Layout) -> None:
    layout.curve_key.chmod(0o644)


def forget_key(layout: Layout) -> None:
    layout.curve_key.unlink()


def stray(layout: Layout) -> None:
    (layout.data / "ciso.key").write_bytes(b"x")


def bad_toml(layout: Layout) -> None:
    layout.config.write_text("bind = 7\n", encoding="ascii")


def bad_site(layout: Layout) -> None:
    layout.policy.write_text("zones: 7\n", encoding="ascii")


def broken_journal(layout: Layout) -> None:
    layout.journal.write_bytes(b"\xa5" * 8192)


def old_schema(layout: Layout) -> None:
    with closing(sqlite3.connect(layout.control)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'old'")


def forged_trust(layout: Layout) -> None:
    with closing(sqlite3.connect(layout.control)) as database, database:
        (document,) = database.execute("SELECT document FROM trust").fetchone()
        database.execute("UPDATE trust SET document = ?", (document.replace(b"127.0.0.1", b"127.0.0.2"),))


def later(layout: Layout) -> None:
    store = open_store(layout.control)
    with store.write() as session:
        session.merge(Setting(name="clock_high_us", value=str(now_us() + DAY_US)))
    store.close()


def nobody(layout: Layout) -> None:
    with closing(sqlite3.connect(layout.control)) as database, database:
        database.execute("UPDATE operators SET active = 0")


DAMAGE: list[tuple[Callable[[Layout], None], str]] = [
    (loosen, "data_dir"),
    (open_key, "own_key"),
    (forget_key, "own_key"),
    (stray, "stray_keys"),
    (bad_toml, "config"),
    (bad_site, "site_file"),
    (broken_journal, "journal"),
    (old_schema, "control_db"),
    (forged_trust, "trust"),
    (later, "clock"),
    (nobody, "accounts"),
]


@pytest.mark.parametrize(("damage", "name"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_check_config_finds(run: Run, data: Path, damage: Callable[[Layout], None], name: str) -> None:
    assert failed(run("check-config", "--data", data, "--json")) == set()
    damage(Layout(data))
    done = run("check-config", "--data", data, "--json")
    assert done.code == 1
    assert name in failed(done)


def test_after_the_clock_ran_ahead_the_present_time_can_be_accepted(run: Run, data: Path) -> None:
    later(Layout(data))
    assert run("clock", "--accept", "--data", data).code == 0
    assert "clock" not in failed(run("check-config", "--data", data, "--json"))


def test_check_config_of_nothing_is_all_failures_and_no_traceback(run: Run, tmp_path: Path) -> None:
    done = run("check-config", "--data", tmp_path / "absent", "--json")
    assert done.code == 1
    assert {"data_dir", "own_key", "control_db", "trust"} <= failed(done)


# -- the rest --------------------------------------------------------------------------------------------------------


def test_the_shipped_rules_pass_their_tests(run: Run) -> None:
    done = run("rules", "test", "--json")
    assert (done.code, done.json["ok"]) == (0, True), done.out


def test_a_directory_with_a_broken_rule_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("title: x\n", encoding="ascii")
    assert run("rules", "test", tmp_path).code == 1


@pytest.mark.parametrize(
    "command", [("tokens", "list"), ("agents", "list"), ("operators", "list"), ("run",), ("migrate",)]
)
def test_where_there_is_no_collector_every_command_says_what_next(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run(*command, "--data", tmp_path / "absent", "--lang", "en")
    assert done.code == 1
    assert "[not_found]" in done.err
    assert "sekisho-collector init" in done.err


def test_migrate_is_idempotent(run: Run, data: Path) -> None:
    assert "up to date" in run("migrate", "--data", data, "--lang", "en").out


def test_the_language_may_stand_anywhere() -> None:
    assert take_language(["--lang", "ja", "x"]) == ("ja", ["--lang", "ja", "x"])
    assert take_language(["x", "--lang=en"]) == ("en", ["--lang", "en", "x"])
    assert take_language(["x"])[1] == ["x"]


def test_help_speaks_both_languages(run: Run) -> None:
    assert "登録票" in run("--lang", "ja", "--help").out
    assert "enrolment tokens" in run("--lang", "en", "--help").out
