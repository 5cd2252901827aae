"""inspections: a section's yearly self-inspection, from prefilled facts to the filed sheet."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from collector.fiscal import fiscal_year
from collector.inspections.render import html, sheet_csv
from collector.operator import output
from collector.operator.commands.common import Json, connect
from collector.operator.commands.coverage import STATES
from collector.operator.texts import say, t
from protocol.text import Text

COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("年度", "year"), "year"),
    (Text("課", "section"), "section"),
    (Text("根拠", "ground"), "ground"),
    (Text("状態", "state"), "state"),
    (Text("未回答", "open"), "open"),
    (Text("不適", "findings"), "no"),
    (Text("未是正", "uncorrected"), "uncorrected"),
    (Text("期限切れ", "overdue"), "overdue"),
)
ITEM_COLUMNS = (
    (Text("番号", "id"), "id"),
    (Text("条", "article"), "article"),
    (Text("点検すること", "question"), "question"),
    (Text("事実", "facts"), "facts"),
    (Text("案", "proposal"), "proposal"),
    (Text("回答", "answer"), "answer"),
    (Text("所見・是正", "remark, correction"), "remark"),
)
SHEET_STATES = {
    "open": Text("記入中", "open"),
    "submitted": Text("提出済み", "handed in"),
    "reviewed": Text("確認済み", "reviewed"),
}
ANSWERS = {
    "": Text("", ""),
    "yes": Text("適", "yes"),
    "no": Text("不適", "no"),
    "none": Text("該当なし", "does not apply"),
}
WRITTEN = Text("{path} に書きました", "written to {path}")

Id = Annotated[str, typer.Argument(metavar="INSPECTION", help=t("点検の番号", "id of the inspection"))]
Item = Annotated[int, typer.Argument(min=1, help=t("項目の番号", "id of the question"))]

app = typer.Typer(
    no_args_is_help=True, help=t("自己点検（課ごと・年度ごと）", "self-inspections by section and year")
)


@app.command("list", help=t("点検の一覧", "list inspections"))
def list_inspections(
    context: typer.Context,
    *,
    section: Annotated[str, typer.Option(help=t("この課だけ", "only this section"))] = "",
    json: Json = False,
) -> None:
    """List inspections."""
    with connect(context) as api:
        found = api.get("/inspections", section=section or None)
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_line, found))


@app.command("open", help=t("事実を書き入れた点検票を作る", "make a sheet prefilled from facts"))
def open_inspection(
    context: typer.Context,
    *,
    section: Annotated[str, typer.Option(help=t("課", "section"))],
    ordinance: Annotated[str, typer.Option(help="nagoya | meguro | nerima")],
    year: Annotated[int, typer.Option(help=t("年度（省けば今年度）", "fiscal year; default this one"))] = 0,
    json: Json = False,
) -> None:
    """Begin a section's inspection of a fiscal year."""
    body = {
        "section": section,
        "ordinance": ordinance,
        "year": year or fiscal_year(time.time_ns() // 1000),
    }
    with connect(context) as api:
        _print(api.post("/inspections", body), json=json)


@app.command("show", help=t("点検票を見る", "show a sheet"))
def show(context: typer.Context, inspection: Id, *, json: Json = False) -> None:
    """Show one inspection with its questions."""
    with connect(context) as api:
        _print(api.get(f"/inspections/{inspection}"), json=json)


@app.command("add-item", help=t("課独自の項目を加える", "add a question of the section's own"))
def add_item(
    context: typer.Context,
    inspection: Id,
    question: Annotated[str, typer.Argument(help=t("点検すること", "what to check"))],
    *,
    json: Json = False,
) -> None:
    """Add a question."""
    with connect(context) as api:
        _print(api.post(f"/inspections/{inspection}/items", {"question": question}), json=json)


@app.command("answer", help=t("項目に答える", "answer a question"))
def answer(
    context: typer.Context,
    inspection: Id,
    item: Item,
    said: Annotated[Literal["yes", "no", "none"], typer.Argument(metavar="yes|no|none")],
    *,
    remark: Annotated[str, typer.Option(help=t("所見", "remark"))] = "",
    json: Json = False,
) -> None:
    """Answer one question."""
    with connect(context) as api:
        body = {"answer": said, "remark": remark}
        _print(api.post(f"/inspections/{inspection}/items/{item}/answer", body), json=json)


@app.command("correct", help=t("是正を決める、終える", "plan or finish a correction"))
def correct(
    context: typer.Context,
    inspection: Id,
    item: Item,
    *,
    what: Annotated[str, typer.Option(help=t("何をするか", "what will be done"))] = "",
    due: Annotated[str, typer.Option(help=t("期限 (2027-03-31)", "until when (2027-03-31)"))] = "",
    done: Annotated[bool, typer.Option("--done", help=t("済んだ", "it is done"))] = False,
    json: Json = False,
) -> None:
    """Plan a correction, or say that it is done."""
    try:
        due_us = int(datetime.fromisoformat(due).astimezone().timestamp()) * 1_000_000 if due else 0
    except ValueError as error:
        raise typer.BadParameter("2027-03-31", param_hint="--due") from error
    with connect(context) as api:
        body = {"what": what, "due_us": due_us, "done": done}
        _print(api.post(f"/inspections/{inspection}/items/{item}/correct", body), json=json)


@app.command("submit", help=t("提出する", "hand it in"))
def submit(context: typer.Context, inspection: Id, *, json: Json = False) -> None:
    """Hand an inspection in."""
    with connect(context) as api:
        _print(api.post(f"/inspections/{inspection}/submit", {}), json=json)


@app.command("review", help=t("確認して受け取る、または戻す", "accept it, or give it back"))
def review(
    context: typer.Context,
    inspection: Id,
    text: Annotated[str, typer.Argument(help=t("講評", "what to say about it"))],
    *,
    back: Annotated[bool, typer.Option("--back", help=t("戻す", "give it back"))] = False,
    json: Json = False,
) -> None:
    """Review an inspection that was handed in."""
    with connect(context) as api:
        _print(api.post(f"/inspections/{inspection}/review", {"text": text, "accept": not back}), json=json)


@app.command("export", help=t("点検票を HTML か CSV で書き出す", "write a sheet as HTML or CSV"))
def export(
    context: typer.Context,
    inspection: Id,
    out: Annotated[Path, typer.Argument(help="sheet.html | sheet.csv")],
) -> None:
    """Write a sheet to a file; its ending says the form."""
    if out.suffix not in {".html", ".csv"}:
        raise typer.BadParameter("*.html | *.csv", param_hint="OUT")
    with connect(context) as api:
        sheet = api.get(f"/inspections/{inspection}")
    if out.suffix == ".csv":
        out.write_bytes(sheet_csv(sheet, say.lang))
    else:
        states = {name: say(text) for name, text in STATES.items()}
        answers = {name: say(text) for name, text in ANSWERS.items()}
        page = html("sheet.html", say.lang, sheet=sheet, states=states, answers=answers)
        out.write_text(page, encoding="utf-8")
    output.aside(say(WRITTEN, path=out))


def _line(sheet: dict[str, Any]) -> dict[str, str]:
    counts = sheet["counts"]
    return {
        **{name: str(counts.get(name, 0)) for name in ("open", "no", "uncorrected", "overdue")},
        "id": sheet["id"],
        "year": str(sheet["year"]),
        "section": sheet["section"],
        "ground": f"{sheet['ordinance']} {sheet['ground']}",
        "state": say(SHEET_STATES[sheet["state"]]),
    }


def _print(sheet: dict[str, Any], *, json: bool) -> None:
    if json:
        output.json(sheet)
        return
    output.table(COLUMNS, [_line(sheet)])
    output.table(ITEM_COLUMNS, map(_item_line, sheet["items"]))


def _item_line(item: dict[str, Any]) -> dict[str, str]:
    facts = item["facts"]
    return {
        "id": str(item["id"]),
        "article": f"{item['ordinance']} {item['article']}".strip(),
        "question": say(Text("{ja}", "{en}"), ja=item["question_ja"], en=item["question_en"]),
        "facts": _facts(facts) if facts else "",
        "proposal": say(ANSWERS[item["proposal"]]),
        "answer": say(ANSWERS[item["answer"]]),
        "remark": " / ".join(text for text in (item["remark"], item["correction"]) if text),
    }


def _facts(facts: dict[str, Any]) -> str:
    text = Text(
        "{state} 違反{violations} 許可{permits}", "{state}, violations {violations}, permits {permits}"
    )
    return say(
        text,
        state=say(STATES[facts["state"]]),
        violations=facts["violations"],
        permits=facts["permits"],
    )


def add_to(parent: typer.Typer) -> None:
    """Hang the commands into ``parent``."""
    parent.add_typer(app, name="inspections")
