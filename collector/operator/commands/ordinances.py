"""ordinance list | show | diff | check | schema: the ordinances as files, without a collector.

An ordinance is named by its id (a shipped one) or by the path of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from collector.desk.law import read_file
from collector.operator import output
from collector.operator.commands.common import Json
from collector.operator.texts import say, t
from policies.ordinance import Article, Level, Ordinance
from policies.ordinance_diff import Difference, differences, removed_articles
from policies.ordinance_parts import Role
from policies.shipped import load_shipped, shipped_ordinances
from policies.source import did_you_mean
from protocol.refusal import RefusedError
from protocol.text import Text

LEVELS = {
    "enforce": Text("止める", "enforce"),
    "observe": Text("知らせる", "observe"),
    "record": Text("記録する", "record"),
    "support": Text("助ける", "support"),
    "organisation": Text("組織", "organisation"),
}
EFFECTS = {
    "": Text("", ""),
    "tighter": Text("厳しくなる", "tighter"),
    "looser": Text("緩くなる", "looser"),
    "other": Text("変わる", "other"),
}
LISTED = (
    (Text("条例", "ordinance"), "id"),
    (Text("版", "edition"), "edition"),
    (Text("条項", "articles"), "articles"),
    *((LEVELS[level], level) for level in get_args(Level)),
    (Text("名称", "title"), "title"),
)
SHOWN = (
    (Text("条項", "article"), "number"),
    (Text("内容", "asks"), "asks"),
    (Text("扱い", "level"), "levels"),
    (Text("統制", "controls"), "controls"),
    (Text("重さ", "severity"), "severity"),
    (Text("許可する職", "permit by"), "permit_by"),
    (Text("報告先", "report to"), "report_to"),
    (Text("命じる職", "order by"), "order_by"),
    (Text("保存年数", "years kept"), "years"),
)
CHANGED = (
    (Text("", ""), "sign"),
    (Text("部分", "part"), "part"),
    (Text("名", "name"), "name"),
    (Text("項目", "field"), "field"),
    (Text("前", "before"), "before"),
    (Text("後", "after"), "after"),
    (Text("厳しさ", "effect"), "effect"),
)
KEPT = (Text("保存の終わり", "kept until"), "kept")
NOT_PERMITTABLE = Text("許可できない", "not permittable")
SAME = Text("違いはありません", "no difference")
HEAD = Text("{title}（{old} 版 → {new} 版）", "{title} (edition {old} → {new})")
UNSERVED = Text("なくなる条項を根拠にする規則: {rules}", "rules that cite an article which is gone: {rules}")
GOOD = Text(
    "{file}: 誤りはありません（{count} 条項、{edition} 版）",
    "{file}: no mistake ({count} articles, edition {edition})",
)

Which = Annotated[str, typer.Argument(help=t("条例の id かファイル", "id of an ordinance, or a file"))]
Files = Annotated[list[Path], typer.Argument(help=t("条例のファイル", "ordinance files"))]
OneArticle = Annotated[
    str, typer.Option("--article", help=t("この条項だけ（第35条第4号）", "only this article (第35条第4号)"))
]
Closed = Annotated[
    str,
    typer.Option(
        help=t(
            "この日に完結した記録をいつまで保存するか", "until when records are kept that closed on this day"
        ),
        metavar="YYYY-MM-DD",
    ),
]


def list_ordinances(*, json: Json = False) -> None:
    """List the shipped ordinances."""
    rows = [_counted(ordinance) for ordinance in shipped_ordinances().values()]
    if json:
        output.json(rows)
    else:
        output.table(LISTED, [{**row, "title": say(_title(row))} for row in rows])


def show(which: Which, *, article: OneArticle = "", closed: Closed = "", json: Json = False) -> None:
    """Show what the articles of an ordinance ask, and until when records about them are kept."""
    ordinance, day = find(which), _day(closed)
    articles = ordinance.articles
    if article:
        articles = tuple(one for one in articles if one.number == article)
    if not articles:
        hint = did_you_mean(article, [one.number for one in ordinance.articles])
        raise RefusedError("not_found", f"{ordinance.id} has no {article}", hint)
    kept = {one.number: _kept(ordinance, one, day) for one in articles}
    if json:
        shown = articles[0] if article else ordinance
        output.json({**msgspec.to_builtins(shown), **({"kept_until": kept} if day else {})})
    else:
        rows = ({**_row(ordinance, one), "kept": kept[one.number]} for one in articles)
        output.table((*SHOWN, KEPT) if day else SHOWN, rows)


def diff(old: Which, new: Which, *, json: Json = False) -> None:
    """Compare two editions, field by field."""
    before, after = find(old), find(new)
    found = differences(before, after)
    unserved = _unserved(before, removed_articles(found))
    if json:
        rows = [{"sign": one.sign, **msgspec.to_builtins(one)} for one in found]
        heads = {"old": _head(before), "new": _head(after)}
        output.json({**heads, "differences": rows, "rules_without_article": unserved})
        return
    title = say(Text(after.title_ja, after.title_en))
    output.aside(say(HEAD, title=title, old=before.edition, new=after.edition))
    if not found:
        output.line(say(SAME))
        return
    output.table(CHANGED, map(_difference, found))
    if unserved:
        output.aside(say(UNSERVED, rules=", ".join(unserved)))


def check(files: Files, *, json: Json = False) -> None:
    """Check ordinance files; every mistake of the first file that has any is said with its line."""
    rows = []
    for path in files:
        ordinance = read_file(path)
        rows.append({"file": str(path), "count": len(ordinance.articles), **_head(ordinance)})
    if json:
        output.json(rows)
        return
    for row in rows:
        output.line(say(GOOD, file=row["file"], count=row["count"], edition=row["edition"]))


def schema() -> None:
    """Print the JSON Schema of an ordinance file, for editors that check YAML while one types."""
    output.json(msgspec.json.schema(Ordinance))


def find(which: str) -> Ordinance:
    """The ordinance of an id or a file. Raises RefusedError ``bad_value`` (with file and line) or ``not_found``."""
    if which in shipped_ordinances():
        return shipped_ordinances()[which]
    path = Path(which)
    if path.is_file():
        return read_file(path)
    raise RefusedError("not_found", f"no ordinance {which}", did_you_mean(which, shipped_ordinances()))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise typer.BadParameter("2026-03-31", param_hint="--closed") from error


def _kept(ordinance: Ordinance, article: Article, closed: date | None) -> str:
    return str(ordinance.retention.kept_until(closed, article.retention_years)) if closed else ""


def _head(ordinance: Ordinance) -> dict[str, Any]:
    return {"id": ordinance.id, "edition": ordinance.edition}


def _title(row: dict[str, Any]) -> Text:
    return Text(row["title_ja"], row["title_en"])


def _counted(ordinance: Ordinance) -> dict[str, Any]:
    counts = {level: sum(level in one.levels for one in ordinance.articles) for level in get_args(Level)}
    titles = {"title_ja": ordinance.title_ja, "title_en": ordinance.title_en}
    return {**_head(ordinance), "articles": len(ordinance.articles), **counts, **titles}


def _row(ordinance: Ordinance, article: Article) -> dict[str, str]:
    return {
        "number": article.number,
        "asks": say(Text(article.ja, article.en)),
        "levels": ", ".join(say(LEVELS[level]) for level in article.levels),
        "controls": ", ".join((*article.controls, *article.centre)),
        "severity": article.severity,
        "permit_by": _titles(ordinance, article.permit_by) if article.permittable else say(NOT_PERMITTABLE),
        "report_to": _titles(ordinance, article.report_to),
        "order_by": _titles(ordinance, article.order_by),
        "years": str(article.retention_years),
    }


def _titles(ordinance: Ordinance, roles: Sequence[Role]) -> str:
    """The offices as the city itself calls them."""
    found = [ordinance.offices.get(role) for role in roles]
    return ", ".join(
        say(Text(one.ja, one.en)) if one else role for role, one in zip(roles, found, strict=True)
    )


def _difference(one: Difference) -> dict[str, str]:
    shown = {"before": _shown(one.before), "after": _shown(one.after), "effect": say(EFFECTS[one.effect])}
    return {"sign": one.sign, "part": one.part, "name": one.name, "field": one.field, **shown}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return say(Text(str(value.get("ja", "")), str(value.get("en", ""))))
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _unserved(ordinance: Ordinance, gone: Sequence[str]) -> list[str]:
    """Shipped rules that cite an article which is gone."""
    return sorted(set(_citing(ordinance.id, frozenset(gone)))) if gone else []


def _citing(ordinance: str, numbers: frozenset[str]) -> Iterator[str]:
    for rule in load_shipped()[1]:
        if any(one.ordinance == ordinance and one.article in numbers for one in rule.citations):
            yield rule.id


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("条例（ファイルとして）", "ordinances, as files"))
    group.command("list", help=t("付属の条例", "the shipped ordinances"))(list_ordinances)
    group.command(help=t("条項の内容と扱い", "what the articles ask, and what is done"))(show)
    group.command(help=t("二つの版の違い", "what differs between two editions"))(diff)
    group.command(help=t("条例のファイルを調べる", "check ordinance files"))(check)
    group.command(help=t("条例のファイルの型（JSON Schema）", "JSON Schema of an ordinance file"))(schema)
    app.add_typer(group, name="ordinance")
