"""ordinances list | use: the ordinances of this installation, and what the city sets otherwise than they do."""

from __future__ import annotations

import json as codec
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from collector.cli.common import DATA, Data, audited, opened
from collector.config import Layout
from collector.desk.law import OWN, choose, installed_ordinances, keep_file
from collector.desk.site import load_site
from collector.operator import output
from collector.operator.commands.common import Json
from collector.operator.texts import say, t
from collector.registers.models import Setting
from policies.ordinance import Ordinance
from policies.ordinance_override import Override
from protocol.text import Text

SETTING, BASELINE = "ordinances", "baseline"
LISTED = (
    (Text("条例", "ordinance"), "id"),
    (Text("版", "edition"), "edition"),
    (Text("効いている", "in force"), "in_force"),
    (Text("もと", "source"), "source"),
    (Text("名称", "title"), "title"),
)
SET = (
    (Text("条例", "ordinance"), "ordinance"),
    (Text("条項", "article"), "article"),
    (Text("市の定め", "set by the city"), "changes"),
    (Text("理由", "ground"), "ground"),
)
YES = Text("○", "yes")
SOURCES = {"shipped": Text("付属", "shipped"), "own": Text("市の版", "the city's own")}
USED = Text(
    "効く条例: {names}。配るまで端末は変わりません: sekisho policy diff、sekisho policy apply",
    "ordinances in force: {names}. PCs change with the next release: sekisho policy diff, sekisho policy apply",
)
Chosen = Annotated[list[str], typer.Argument(help=t("条例の id かファイル", "ordinances by id, or files"))]


def is_file(ordinance: str) -> bool:
    """Whether an argument names a file rather than an id."""
    return ordinance.endswith((".yaml", ".yml")) or "/" in ordinance


def listing(*, data: Data = DATA, json: Json = False) -> None:
    """List the ordinances there are, and what the site file sets."""
    known = installed_ordinances(data)
    with opened(data) as store, store.read() as session:
        used = _used(session, known)
    rows = [_row(data, one, in_force=one.id in used) for one in known.values()]
    overrides = load_site(Layout(data).policy).overrides()
    if json:
        output.json({"ordinances": rows, "articles": [*map(_facts, overrides)]})
        return
    output.table(LISTED, map(_told, rows))
    if overrides:
        output.table(SET, ({**_facts(one), "changes": _shown(one)} for one in overrides))


def use(ordinances: Chosen, *, data: Data = DATA, json: Json = False) -> None:
    """Choose the ordinances of this installation; files are copied, and replace what has their id."""
    files = [Path(one) for one in ordinances if is_file(one)]
    names = [one for one in ordinances if not is_file(one)]
    chosen = choose(installed_ordinances(data), names, files)
    with opened(data) as store, store.write() as session:
        for path in files:
            keep_file(data, path)
        session.merge(Setting(name=SETTING, value=codec.dumps(list(chosen))))
        audited(session, "ordinances use", {"ordinances": {one.id: one.edition for one in chosen.values()}})
    editions = {one.id: one.edition for one in chosen.values()}
    if json:
        output.json({"ordinances": editions})
    else:
        output.line(say(USED, names=", ".join(" ".join(one) for one in editions.items())))


def _used(session: Session, known: Iterable[str]) -> set[str]:
    """Ids in force; all of them where none were chosen."""
    row = session.get(Setting, SETTING)
    return {BASELINE, *(codec.loads(row.value) if row else known)}


def _row(data: Path, ordinance: Ordinance, *, in_force: bool) -> dict[str, Any]:
    return {
        "id": ordinance.id,
        "edition": ordinance.edition,
        "in_force": in_force,
        "source": "own" if (data / OWN / f"{ordinance.id}.yaml").exists() else "shipped",
        "title_ja": ordinance.title_ja,
        "title_en": ordinance.title_en,
    }


def _told(row: dict[str, Any]) -> dict[str, str]:
    return {
        **row,
        "in_force": say(YES) if row["in_force"] else "",
        "source": say(SOURCES[row["source"]]),
        "title": say(Text(row["title_ja"], row["title_en"])),
    }


def _facts(one: Override) -> dict[str, Any]:
    return {"ordinance": one.ordinance, "article": one.article, "changes": one.changes, "ground": one.ground}


def _shown(one: Override) -> str:
    return ", ".join(_pairs(one))


def _pairs(one: Override) -> Iterator[str]:
    for field, value in one.changes.items():
        yield f"{field}: {' '.join(value) or '—' if isinstance(value, tuple) else str(value).lower()}"


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("この市の条例", "the ordinances of this city"))
    group.command("list", help=t("一覧と、市が別に定めたこと", "list them, and what the city set otherwise"))(
        listing
    )
    group.command(help=t("効かせる条例を選ぶ", "choose those in force"))(use)
    app.add_typer(group, name="ordinances")
