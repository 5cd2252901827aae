"""A section's self-inspection from facts to the reviewed sheet, and the sheets people file."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from collector.fiscal import fiscal_year
from collector.inspections.render import harmless, html, sheet_csv
from collector.operator.commands.coverage import STATES
from collector.operator.commands.inspections import ANSWERS
from collector.registers.models import Agent
from tests.collector.console.world import START, TAX, WELFARE, Caller, World, release

YEAR = fiscal_year(START)
NEW = {"section": TAX, "year": YEAR, "ordinance": "nagoya"}


@pytest.fixture
def opened(world: World) -> dict[str, Any]:
    assert release(Caller(world, "network_admin"), world).is_success
    with world.console.store.write() as session:
        for row in session.query(Agent):
            row.policy_generation = 1
            row.controls = dict.fromkeys(("devices", "media", "execution"), "enforce")
    world.alert(seq=1)
    found: dict[str, Any] = Caller(world, "auditor").post("/inspections", NEW)
    return found


def _item(sheet: dict[str, Any], article: str, ordinance: str = "nagoya") -> dict[str, Any]:
    return next(one for one in sheet["items"] if (one["ordinance"], one["article"]) == (ordinance, article))


def test_one_article_of_three_cities_asks_for_it(world: World) -> None:
    asking = {
        (ordinance.id, article.number)
        for ordinance in world.console.ordinances.values()
        for article in ordinance.articles
        if "self_inspection" in article.centre
    }
    assert asking == {("nagoya", "第60条"), ("meguro", "第21条"), ("nerima", "第24条")}


def test_facts_fill_the_sheet(opened: dict[str, Any]) -> None:
    assert opened["ground"] == "第60条"
    private = _item(opened, "第35条第4号")
    assert private["facts"]["state"] == "enforced"
    assert (private["facts"]["violations"], private["facts"]["blocked"], private["facts"]["unseen"]) == (
        1,
        1,
        1,
    )
    assert private["proposal"] == "no", "an alert nobody has seen to is a finding"
    assert all(item["article"] for item in opened["items"])


def test_from_answers_to_the_reviewed_sheet(world: World, opened: dict[str, Any]) -> None:
    head, auditor = Caller(world, "section_head"), Caller(world, "auditor")
    path = f"/inspections/{opened['id']}"
    assert head.refused("POST", f"{path}/submit", {}) == (409, "wrong_state")
    head.post(f"{path}/items", {"question": "退庁時に媒体を片付けているか"})
    for item in head.get(path)["items"]:
        head.post(f"{path}/items/{item['id']}/answer", {"answer": "yes", "remark": "確かめた"})
    finding = _item(opened, "第35条第4号")["id"]
    assert head.refused("POST", f"{path}/items/{finding}/answer", {"answer": "no"}) == (422, "bad_value")
    head.post(f"{path}/items/{finding}/answer", {"answer": "no", "remark": "私物が見つかった"})
    assert head.refused("POST", f"{path}/submit", {}) == (409, "wrong_state")
    due = world.now_us + 1_000_000
    head.post(f"{path}/items/{finding}/correct", {"what": "引き出しの鍵", "due_us": due})
    head.post(f"{path}/submit", {})
    assert head.refused("POST", f"{path}/review", {"text": "よし"}) == (403, "forbidden")
    assert auditor.post(f"{path}/review", {"text": "よし"})["state"] == "reviewed"

    world.now_us = due + 1
    assert auditor.get("/inspections")[0]["counts"]["overdue"] == 1
    done = head.post(f"{path}/items/{finding}/correct", {"done": True})
    assert (done["counts"]["overdue"], done["counts"]["uncorrected"]) == (0, 0)
    assert head.refused("POST", f"{path}/items", {"question": "遅い"}) == (409, "wrong_state")


def test_one_sheet_a_year_and_only_for_sections_with_pcs(world: World, opened: dict[str, Any]) -> None:
    auditor = Caller(world, "auditor")
    assert opened["section"] == TAX
    assert auditor.refused("POST", "/inspections", NEW) == (409, "wrong_state")
    assert auditor.refused("POST", "/inspections", {**NEW, "section": "図書館"}) == (404, "not_found")
    assert auditor.refused("POST", "/inspections", {**NEW, "ordinance": "baseline"}) == (422, "bad_value")
    for ordinance in ("meguro", "nerima"):
        auditor.post("/inspections", {**NEW, "section": WELFARE, "ordinance": ordinance})
    assert len(auditor.get("/inspections")) == 3
    assert len(Caller(world, "section_head").get("/inspections")) == 1
    other = next(one for one in auditor.get("/inspections") if one["section"] == WELFARE)
    assert Caller(world, "section_head").refused("GET", f"/inspections/{other['id']}") == (404, "not_found")


def test_sheets_hold_everything_and_nothing_that_runs(world: World, opened: dict[str, Any]) -> None:
    path = f"/inspections/{opened['id']}/items"
    sheet = Caller(world, "section_head").post(
        path, {"question": "=cmd|' /C calc'!A0 <script>alert(1)</script>"}
    )
    for lang in ("ja", "en"):
        states = {name: text.ja for name, text in STATES.items()}
        answers = {name: text.ja for name, text in ANSWERS.items()}
        page = html("sheet.html", lang, sheet=sheet, states=states, answers=answers)
        assert "<script>" not in page
        assert all(item["article"] in page for item in sheet["items"])
    rows = list(csv.DictReader(io.StringIO(sheet_csv(sheet, "ja").decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == [str(item["id"]) for item in sheet["items"]]
    assert rows[-1]["question"].startswith("'=cmd")
    assert harmless(5) == "5"


def test_the_review_has_nine_items_and_keeps_every_word(world: World, opened: dict[str, Any]) -> None:
    ciso = Caller(world, "ciso")
    review = ciso.get(f"/reviews/{YEAR}")
    assert [item["number"] for item in review["items"]] == list(range(1, 10))
    assert all(item["facts"] for item in review["items"])
    sheets = {fact["en"]: fact["value"] for fact in review["items"][2]["facts"]}
    assert sheets["inspection sheets"] == "1"
    incidents = {fact["en"]: fact["value"] for fact in review["items"][6]["facts"]}
    assert incidents["grave alerts"] == "1"
    assert opened["year"] == YEAR
    ciso.post(f"/reviews/{YEAR}/remarks", {"item": 7, "text": "訓練を増やす"})
    said = ciso.post(f"/reviews/{YEAR}/remarks", {"item": 7, "text": "承認", "approved": True})["items"][6][
        "remarks"
    ]
    assert [(one["text"], one["approved"]) for one in said] == [("承認", True), ("訓練を増やす", False)]
    page = html("review.html", "ja", review=ciso.get(f"/reviews/{YEAR}"))
    assert "訓練を増やす" in page
    assert (
        Caller(world, "network_admin").refused("POST", f"/reviews/{YEAR}/remarks", {"item": 1, "text": "x"})[
            0
        ]
        == 403
    )
