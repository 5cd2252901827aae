"""``sekisho ordinance``: works on files, without a collector, in both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.operator.cli import main
from policies.shipped import shipped_directory

NAGOYA = (shipped_directory("ordinances") / "nagoya.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("SEKISHO_URL", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def one(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["ordinance", *words] if words[0] != "--lang" else [*words[:2], "ordinance", *words[2:]])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return one


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The next edition: another date, a graver article, one that is gone, one that is new."""
    text = NAGOYA.replace('edition: "2016-04-01"', 'edition: "2027-04-01"')
    head, _, rest = text.partition("  - number: 第35条第5号\n")
    gone, _, tail = rest.partition("  - number: 第35条第6号\n")
    assert "permittable: false" in gone
    tail = tail.replace("    severity: critical\n", "    severity: high\n", 1)
    path = tmp_path / "nagoya_2027.yaml"
    path.write_text(f"{head}  - number: 第35条第9号\n{gone}  - number: 第35条第6号\n{tail}", encoding="utf-8")
    return path


def test_listing(run: Any) -> None:
    code, out, _ = run("list", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0
    assert set(rows) == {"baseline", "nagoya", "meguro", "nerima", "kameoka"}
    assert rows["nagoya"]["edition"] == "2016-04-01"
    assert rows["meguro"]["articles"] == 35
    assert "目黒区電子情報処理規則" in run("--lang", "ja", "list")[1]


def test_one_article_is_shown_in_both_languages(run: Any) -> None:
    code, out, _ = run("show", "nagoya", "--article", "第35条第5号")
    assert (code, "not permittable" in out, "critical" in out) == (0, True, True)
    assert "section head in charge, network manager" in out
    out = run("--lang", "ja", "show", "nagoya", "--article", "第35条第5号")[1]
    assert "許可できない" in out
    assert "所管課長, ネットワーク管理者" in out
    assert "私物のパソコン" in out
    article = json.loads(run("show", "nagoya", "--article", "第35条第5号", "--json")[1])
    assert (article["number"], article["permittable"]) == ("第35条第5号", False)


def test_until_when_records_are_kept(run: Any) -> None:
    """Nagoya counts from 1 April of the fiscal year after the one in which the matter closed."""
    assert "2032-04-01" in run("show", "nagoya", "--article", "第58条", "--closed", "2026-05-10")[1]
    answer = json.loads(run("show", "nagoya", "--article", "第58条", "--closed", "2027-03-31", "--json")[1])
    assert answer["kept_until"] == {"第58条": "2032-04-01"}
    assert run("show", "nagoya", "--closed", "yesterday")[0] == 2


def test_a_whole_ordinance_is_shown(run: Any) -> None:
    assert run("show", "kameoka")[1].count("\n") == 24
    assert json.loads(run("show", "kameoka", "--json")[1])["edition"] == "2022-11-01"


def test_two_editions_are_compared(run: Any, newer: Path) -> None:
    code, out, err = run("diff", "nagoya", str(newer))
    assert code == 0
    assert "~\tarticle\t第35条第6号\tseverity\tcritical\thigh\tlooser" in out
    assert "\n-\tarticle\t第35条第5号\t" in out
    assert "\n+\tarticle\t第35条第9号\t" in out
    assert "(edition 2016-04-01 → 2027-04-01)" in err
    assert "not_permittable_device" in err


def test_two_editions_are_compared_for_a_program(run: Any, newer: Path) -> None:
    answer = json.loads(run("diff", "nagoya", str(newer), "--json")[1])
    assert (answer["old"]["edition"], answer["new"]["edition"]) == ("2016-04-01", "2027-04-01")
    assert "not_permittable_device" in answer["rules_without_article"]
    signs = {(row["sign"], row["part"], row["name"], row["field"]) for row in answer["differences"]}
    assert signs == {
        ("~", "ordinance", "nagoya", "edition"),
        ("+", "article", "第35条第9号", ""),
        ("-", "article", "第35条第5号", ""),
        ("~", "article", "第35条第6号", "severity"),
    }


def test_an_edition_compared_with_itself(run: Any) -> None:
    assert run("--lang", "ja", "diff", "nerima", "nerima")[1] == "違いはありません\n"
    assert json.loads(run("diff", "nerima", "nerima", "--json")[1])["differences"] == []


def test_a_file_is_checked(run: Any, newer: Path) -> None:
    assert "no mistake (94 articles, edition 2027-04-01)" in run("check", str(newer))[1]
    assert json.loads(run("check", str(newer), "--json")[1])[0]["count"] == 94


@pytest.mark.parametrize("command", [["check"], ["show"], ["diff", "nagoya"]])
def test_a_mistake_is_said_with_file_line_and_hint(run: Any, newer: Path, command: list[str]) -> None:
    text = newer.read_text(encoding="utf-8")
    newer.write_text(text.replace("levels: [organisation]", "levels: [organization]", 1), encoding="utf-8")
    line = text[: text.index("levels: [organisation]")].count("\n") + 1
    code, out, err = run(*command, str(newer))
    assert (code, out) == (1, "")
    assert f"{newer}:{line}: " in err
    assert "one of: enforce, observe, record, support, organisation" in err


def test_every_mistake_is_said_at_once(run: Any, newer: Path) -> None:
    text = newer.read_text(encoding="utf-8")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "permit_by: [committee]" in line]
    newer.write_text(text.replace("permit_by: [committee]", "permit_by: [comittee]"), encoding="utf-8")
    err = run("check", str(newer))[2]
    assert len(lines) > 3
    assert all(f"{newer}:{line}: " in err for line in lines)


def test_the_schema_knows_every_key(run: Any) -> None:
    schema = json.loads(run("schema")[1])
    assert schema["$ref"] == "#/$defs/Ordinance"
    assert {"number", "levels", "permit_by"} <= set(schema["$defs"]["Article"]["properties"])


def test_what_does_not_exist(run: Any) -> None:
    code, _, err = run("show", "nagoia")
    assert (code, "[not_found]" in err, "nagoya" in err) == (1, True, True)
    code, _, err = run("show", "nagoya", "--article", "第35条第55号")
    assert (code, "第35条第5号" in err) == (1, True)
    assert run("check", "/nowhere/x.yaml")[0] == 1
