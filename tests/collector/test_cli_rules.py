"""``sekisho-collector rules`` as it is typed, and the city's own rules in its drafts."""

import json
from pathlib import Path

import pytest

from collector.cli import main
from collector.desk.own_rules import RuleBook
from collector.desk.site_read import SiteError

RULE = """\
title: Look around
id: 6d9ff4a4-6f1c-4f6e-9d0c-0000000000{number:02}
logsource: {{product: linux, {logsource}}}
level: low
detection:
  a:
    {item}
  condition: a
"""
GOOD = ("category: process_creation", "Image|endswith: /whoami")


def write(directory: Path, **rules: tuple[str, str]) -> None:
    directory.mkdir(exist_ok=True)
    for number, (name, (logsource, item)) in enumerate(rules.items()):
        text = RULE.format(number=number, logsource=logsource, item=item)
        (directory / f"{name}.yml").write_text(text, encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, argv)])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_check_counts_by_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path / "rules",
        good=GOOD,
        limited=("category: process_creation", "Image: [a, b]\n  b:\n    - Product: x\n    - User: y"),
        audit=("service: auditd", "type: EXECVE"),
        wrong=("category: process_creation", "Image|re: '('"),
    )
    code, out, _ = run(capsys, "rules", "check", "--data", tmp_path, "--json")
    found = json.loads(out)
    assert (code, found["counts"]) == (1, {"loaded": 2, "limited": 0, "not_collected": 1, "refused": 1})
    assert {
        "state": "not_collected",
        "reason": "log source linux auditd is not collected",
        "count": 1,
    } in found["reasons"]
    code, out, _ = run(capsys, "--lang", "en", "rules", "check", tmp_path / "rules")
    assert (code, "REFUSED" in out, "wrong.yml:7" in out) == (1, True, True)
    (tmp_path / "rules" / "wrong.yml").unlink()
    assert run(capsys, "rules", "check", tmp_path / "rules")[0] == 0


def test_check_without_a_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "rules", "check", "--data", tmp_path)
    assert (code, "[not_found]" in err) == (1, True)


def test_own_rules_go_beside_the_shipped_ones(tmp_path: Path) -> None:
    book = RuleBook(tmp_path)
    shipped = book.library()
    assert len(shipped.rules) > 30
    write(tmp_path / "rules", good=GOOD, audit=("service: auditd", "type: EXECVE"))
    library = book.library()
    assert {rule.id for rule in library.rules} - {rule.id for rule in shipped.rules} == {"good"}
    assert [one.why for one in library.left_out] == ["not_collected"]
    assert book.library() is library, "compiled once"


def test_a_mistake_is_told_with_its_place_and_mended_by_the_next_look(tmp_path: Path) -> None:
    book = RuleBook(tmp_path)
    write(tmp_path / "rules", bad=("category: process_creation", "Image|endswit: x"))
    with pytest.raises(
        SiteError, match=r"rules/bad\.yml:7: unknown modifier endswit \(did you mean endswith"
    ):
        book.library()
    write(tmp_path / "rules", bad=GOOD)
    assert "bad" in {rule.id for rule in book.library().rules}


def test_lists_of_the_site_are_put_in(tmp_path: Path) -> None:
    write(tmp_path / "rules", listed=("category: process_creation", "Image|expand: '%tools%'"))
    book = RuleBook(tmp_path)
    with pytest.raises(SiteError, match="no list tools"):
        book.library()
    for tools in (("/a", "/b"), ("/c",)):
        rule = next(one for one in book.library({"tools": tools}).rules if one.id == "listed")
        assert rule.predicate.parts[1].values == tools  # type: ignore[union-attr]


def test_an_own_rule_cannot_take_the_name_of_a_shipped_one(tmp_path: Path) -> None:
    write(tmp_path / "rules", unknown_device=GOOD)
    with pytest.raises(SiteError, match="two rules with one id: unknown_device"):
        RuleBook(tmp_path).library()
