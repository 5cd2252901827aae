"""The ordinances of an installation: own files over shipped ones, and what the site file sets; mistakes change nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from collector.desk.law import OWN, LawBook, installed_ordinances
from collector.desk.sample import SAMPLE
from collector.desk.site import SiteError, load_site
from policies.shipped import shipped_directory, shipped_ordinances
from tests.collector.town import TOWN

TIGHTER = "articles:\n  - {ordinance: nagoya, article: 第35条第3号, severity: critical}\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / OWN).mkdir()
    path = tmp_path / "policy.yaml"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def touch(path: Path, text: str) -> None:
    """Write, with a time of its own: two writes within one tick of the clock are two changes."""
    path.write_text(text, encoding="utf-8")
    touch.ticks += 1_000_000_000  # type: ignore[attr-defined]
    os.utime(path, ns=(touch.ticks, touch.ticks))  # type: ignore[attr-defined]


touch.ticks = 1_800_000_000_000_000_000  # type: ignore[attr-defined]


def severity(book: LawBook) -> str:
    article = book.current()["nagoya"].article("第35条第3号")
    assert article is not None
    return article.severity


def test_without_files_of_its_own_a_city_has_the_shipped_ones(tmp_path: Path) -> None:
    assert installed_ordinances(tmp_path) == shipped_ordinances()


def test_a_file_adds_an_ordinance_or_replaces_an_edition(policy: Path) -> None:
    (policy.parent / OWN / "town.yaml").write_text(TOWN, encoding="utf-8")
    newer = (shipped_directory("ordinances") / "nagoya.yaml").read_text(encoding="utf-8")
    (policy.parent / OWN / "nagoya.yaml").write_text(
        newer.replace('"2016-04-01"', '"2027-04-01"'), encoding="utf-8"
    )
    found = LawBook(policy).fresh()
    assert set(found) == {*shipped_ordinances(), "town"}
    assert found["nagoya"].edition == "2027-04-01"


def test_the_site_file_may_speak_of_the_citys_own_ordinance(policy: Path) -> None:
    (policy.parent / OWN / "town.yaml").write_text(TOWN, encoding="utf-8")
    text = SAMPLE + "articles:\n  - {ordinance: town, article: 第1条, severity: critical}\n"
    policy.write_text(text, encoding="utf-8")
    assert load_site(policy).overrides()[0].ordinance == "town"
    (policy.parent / OWN / "town.yaml").unlink()
    with pytest.raises(SiteError, match="no ordinance `town`"):
        load_site(policy)


def test_a_change_of_the_site_file_is_seen(policy: Path) -> None:
    book = LawBook(policy)
    assert severity(book) == "medium"
    touch(policy, SAMPLE + TIGHTER)
    assert severity(book) == "critical"
    assert book.current() is book.current()


@pytest.mark.parametrize(
    ("name", "spoilt", "says"),
    [
        ("policy.yaml", SAMPLE + TIGHTER.replace("critical", "grave"), "policy.yaml:"),
        ("policy.yaml", SAMPLE + TIGHTER.replace("critical", "low"), "asks less than the ordinance"),
        (f"{OWN}/town.yaml", TOWN.replace("enforce", "enforced"), "ordinances/town.yaml:6: "),
        (f"{OWN}/town.yaml", TOWN.replace("id: town", "id: city"), "ordinances/town.yaml:1: "),
    ],
)
def test_a_mistake_leaves_in_force_what_was_good(
    policy: Path, caplog: pytest.LogCaptureFixture, name: str, spoilt: str, says: str
) -> None:
    touch(policy, SAMPLE + TIGHTER)
    book = LawBook(policy)
    assert severity(book) == "critical"
    touch(policy.parent / name, spoilt)
    with caplog.at_level(logging.WARNING):
        assert severity(book) == "critical"
        assert severity(book) == "critical"
    assert caplog.text.count("stay as they were") == 1
    with pytest.raises(SiteError) as caught:
        book.fresh()
    assert says in str(caught.value)


def test_a_lost_site_file_changes_nothing(policy: Path) -> None:
    touch(policy, SAMPLE + TIGHTER)
    book = LawBook(policy)
    assert severity(book) == "critical"
    policy.unlink()
    assert severity(book) == "critical"
    with pytest.raises(OSError, match=r"policy\.yaml"):
        book.fresh()
