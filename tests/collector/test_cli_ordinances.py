"""``sekisho-collector init --ordinance`` and ``ordinances``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from collector.cli import main
from collector.config import Layout
from collector.registers.models import Setting
from collector.registers.models_audit import AuditEntry
from collector.registers.store import open_store
from policies.shipped import shipped_directory

TOWN = """\
id: town
title_ja: 町の規程
title_en: Town
edition: 2020-04-01
articles:
  - {number: 第1条, ja: あ, en: a, levels: [enforce], controls: [devices], report_to: [ciso]}
"""
LOOSER = """\
articles:
  - {ordinance: nagoya, article: 第35条第3号, severity: low, ground: 2027-04-01 委員会の決定}
  - {ordinance: nagoya, article: 第35条第4号, permit_by: []}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def one(*argv: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, argv)])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return one


@pytest.fixture
def town(tmp_path: Path) -> Path:
    path = tmp_path / "our-rules.yaml"
    path.write_text(TOWN, encoding="utf-8")
    return path


def init(run: Any, tmp_path: Path, *ordinances: object) -> tuple[int, str, str]:
    password = tmp_path / "password"
    password.write_text("correct horse battery staple\n", encoding="ascii")
    password.chmod(0o600)
    chosen = [word for one in ordinances for word in ("--ordinance", one)]
    found: tuple[int, str, str] = run(
        "init", "--city", "試験市", "--address", "192.0.2.1", "--data", tmp_path / "c", "--new-keys", tmp_path / "keys",
        "--admin-password-file", password, "--json", *chosen,
    )  # fmt: skip
    return found


def in_use(data: Path) -> Any:
    store = open_store(Layout(data).control)
    with store.read() as session:
        found = json.loads(session.get_one(Setting, "ordinances").value)
    store.close()
    return found


def test_several_ordinances_at_the_set_up(run: Any, tmp_path: Path, town: Path) -> None:
    code, out, err = init(run, tmp_path, "nagoya", "nerima", town)
    assert code == 0, err
    editions = {"nagoya": "2016-04-01", "nerima": "2019-03-15", "town": "2020-04-01"}
    assert json.loads(out)["ordinances"] == editions
    assert in_use(tmp_path / "c") == list(editions)


@pytest.mark.parametrize(
    ("ordinances", "says"), [(["nagoia"], "did you mean nagoya?"), (["nagoya", "nagoya"], "named twice")]
)
def test_a_wrong_choice_makes_neither_keys_nor_collector(
    run: Any, tmp_path: Path, ordinances: list[str], says: str
) -> None:
    code, _, err = init(run, tmp_path, *ordinances)
    assert (code, says in err) == (1, True)
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "keys").exists()


def test_a_wrong_file_is_refused_with_its_line(run: Any, tmp_path: Path, town: Path) -> None:
    town.write_text(TOWN.replace("[enforce]", "[enforced]"), encoding="utf-8")
    code, _, err = init(run, tmp_path, town)
    assert (code, f"{town}:6: " in err) == (1, True)
    assert not (tmp_path / "c").exists()


def test_what_is_in_force_and_what_the_city_set_is_listed(run: Any, tmp_path: Path, town: Path) -> None:
    init(run, tmp_path, "nagoya", town)
    data = tmp_path / "c"
    with (data / "policy.yaml").open("a", encoding="utf-8") as file:
        file.write(LOOSER)
    answer = json.loads(run("ordinances", "list", "--data", data, "--json")[1])
    rows = {row["id"]: (row["in_force"], row["source"]) for row in answer["ordinances"]}
    assert rows["town"] == (True, "own")
    assert rows["baseline"] == (True, "shipped")
    assert rows["meguro"] == (False, "shipped")
    assert [one["changes"] for one in answer["articles"]] == [{"severity": "low"}, {"permit_by": []}]
    out = run("--lang", "ja", "ordinances", "list", "--data", data)[1]
    assert "2027-04-01 委員会の決定" in out
    assert "町の規程" in out


def test_another_choice_and_a_new_edition_later(run: Any, tmp_path: Path) -> None:
    init(run, tmp_path, "nagoya")
    data, newer = tmp_path / "c", tmp_path / "nagoya-2027.yaml"
    text = (shipped_directory("ordinances") / "nagoya.yaml").read_text(encoding="utf-8")
    newer.write_text(text.replace('"2016-04-01"', '"2027-04-01"'), encoding="utf-8")
    code, out, err = run("ordinances", "use", newer, "kameoka", "--data", data)
    assert (code, "nagoya 2027-04-01" in out) == (0, True), err
    assert in_use(data) == ["kameoka", "nagoya"]
    store = open_store(Layout(data).control)
    with store.read() as session:
        paths = [entry.path for entry in session.scalars(select(AuditEntry))]
    store.close()
    assert "sekisho-collector ordinances use" in paths


def test_a_mistake_in_a_new_edition_changes_nothing(run: Any, tmp_path: Path) -> None:
    init(run, tmp_path, "nagoya")
    data, newer = tmp_path / "c", tmp_path / "nagoya-2027.yaml"
    newer.write_text("id: nagoya\n", encoding="utf-8")
    code, _, err = run("ordinances", "use", newer, "--data", data)
    assert (code, f"{newer}:1: " in err) == (1, True)
    assert in_use(data) == ["nagoya"]
    assert not (data / "ordinances").exists()


def test_a_mistake_in_a_kept_file_is_found_by_the_check(run: Any, tmp_path: Path, town: Path) -> None:
    init(run, tmp_path, town)
    kept = tmp_path / "c" / "ordinances" / "town.yaml"
    kept.write_text(TOWN.replace("第1条", "1条"), encoding="utf-8")
    code, out, _ = run("check-config", "--data", tmp_path / "c", "--json")
    (row,) = [row for row in json.loads(out)["checks"] if row["name"] == "site_file"]
    assert (code, row["status"]) == (1, "fail")
    assert "ordinances/town.yaml:6: 1条: not an article number" in row["detail"]
