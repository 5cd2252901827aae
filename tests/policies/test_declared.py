"""Places in a Struct, and the words that may stand there."""

from __future__ import annotations

import pytest

from policies.declared import declared_at, place_of, words_at
from policies.ordinance import Ordinance
from policies.ordinance_parts import Office, Role


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("$", ()),
        ("$.articles[3].levels[0]", ("articles", 3, "levels", 0)),
        ("$[2].event", (2, "event")),
        ("$.lists[...]", ("lists",)),
    ],
)
def test_a_path_is_a_place(path: str, place: tuple[str | int, ...]) -> None:
    assert place_of(path) == place


def test_words_of_a_choice() -> None:
    assert words_at(Ordinance, ("retention", "counting")) == ("event", "next_april")
    assert words_at(Ordinance, ("requirements", 0, "wireless")) == ("allowed", "permit", "forbidden")
    assert "enforce" in words_at(Ordinance, ("articles", 0, "levels", 1))
    assert words_at(Ordinance, ("offices", "ciso", "reports_to", 0))[0] == "mayor"
    assert words_at(Ordinance, ("edition",)) == ()
    assert words_at(Ordinance, ("nowhere", "at", "all")) == ()


def test_what_is_declared() -> None:
    assert declared_at(Ordinance, ("offices", "ciso")) is Office
    assert declared_at(Ordinance, ("articles", 0, "permit_by", 0)) == Role
    assert declared_at(Ordinance, ("id", "deeper")) is None
