"""What a check and a back-test found, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collector.operator import output
from collector.operator.texts import say
from protocol.text import Text

CHECKED = Text(
    "規則 {rules} 件、試験 {tests} 件、分岐 {branches} 件: {outcome}",
    "{rules} rules, {tests} tests, {branches} branches: {outcome}",
)
SOUND, UNSOUND = Text("誤りはありません", "no error"), Text("誤り {errors} 件", "{errors} errors")
ERROR, WARNING = Text("誤り", "error"), Text("注意", "warning")
EMPTY = Text(
    "試し当て: 対象の記録がまだありません（世代 {against} と比較）",
    "back-test: no stored events to try it on yet (against generation {against})",
)
TRIED = Text(
    "試し当て: {days} 日間、端末 {pcs} 台の記録 {events} 件（世代 {against} と比較、{took} 秒）",
    "back-test: {days} days, {events} events of {pcs} PCs (against generation {against}, {took} s)",
)
CUT = Text("  古い記録は数が多いため見ていません", "  older events were left out: there are too many")
SAME = Text(
    "  検知も停止も、今の方針と変わりません", "  it flags and stops exactly what the policy in force does"
)
NEWLY = Text(
    "  新たに検知: 端末 {pcs} 台、{events} 件", "  would newly have flagged {pcs} PCs ({events} events)"
)
GONE = Text("  検知しなくなる: 端末 {pcs} 台、{events} 件", "  no longer flags {pcs} PCs ({events} events)")
STOPPED = Text(
    "  新たに止める: 端末 {pcs} 台、{events} 件", "  would newly have stopped {pcs} PCs ({events} events)"
)
BROKEN = Text(
    "  ! 規則 {rule} は {errors} 件の記録で評価できません",
    "  ! rule {rule} cannot be evaluated on {errors} events",
)
RULE = Text(
    "  {sign} {rule}（{title}）: 端末 {pcs} 台、{events} 件、うち停止 {stopped} 件",
    "  {sign} {rule} ({title}): {pcs} PCs, {events} events, {stopped} of them stopped",
)
SAMPLE = Text("      例: {host} {time} {what}", "      e.g. {host} {time} {what}")
DAY_US = 86_400_000_000

RULES = (
    (Text("規則", "rule"), "id"),
    (Text("表題", "title"), "title"),
    (Text("検知（件）", "events"), "events"),
    (Text("端末", "PCs"), "pcs"),
    (Text("人", "persons"), "persons"),
    (Text("新たに（端末）", "newly (PCs)"), "newly"),
    (Text("なくなる（端末）", "no longer (PCs)"), "no_longer"),
    (Text("停止（端末）", "stopped (PCs)"), "stopped"),
    (Text("最初", "first"), "first"),
    (Text("最後", "last"), "last"),
    (Text("条", "articles"), "articles"),
)


def check_lines(check: dict[str, Any]) -> Iterator[str]:
    """One line for each remark, then the outcome."""
    errors = [one for one in check["remarks"] if one["severity"] == "error"]
    for one in check["remarks"]:
        word = say(ERROR if one["severity"] == "error" else WARNING)
        yield output.clean(f"{one['where']}: {word}: {one[say.lang]} [{one['name']}]")
    outcome = say(UNSOUND, errors=len(errors)) if errors else say(SOUND)
    yield say(
        CHECKED, rules=check["rules"], tests=check["tests"], branches=check["branches"], outcome=outcome
    )


def backtest_lines(study: dict[str, Any]) -> Iterator[str]:
    """What would have been otherwise: in all, then rule by rule with examples."""
    report = study["report"]
    if not report["events"]:
        yield say(EMPTY, against=report["against"])
        return
    plan = study["plan"]
    # The plan ends a day ahead, for PCs whose clock is.
    days = (plan["until_us"] - plan["since_us"]) // DAY_US - 1
    yield say(
        TRIED, days=days, events=report["events"], pcs=report["pcs"], against=report["against"],
        took=f"{report['took_ms'] / 1000:.1f}",
    )  # fmt: skip
    if report["cut"]:
        yield say(CUT)
    lines = [
        say(text, pcs=report[name]["pcs"], events=report[name]["events"])
        for text, name in ((NEWLY, "newly"), (GONE, "no_longer"), (STOPPED, "newly_stopped"))
        if report[name]["events"]
    ]
    yield from lines or [say(SAME)]
    for rule in report["rules"]:
        yield from _rule_lines(rule)


def _rule_lines(rule: dict[str, Any]) -> Iterator[str]:
    title = rule[f"title_{say.lang}"]
    for sign, name in (("+", "newly"), ("-", "no_longer")):
        one = rule[name]
        if one["events"]:
            stopped = rule["newly_stopped"]["events"] if sign == "+" else 0
            yield say(
                RULE, sign=sign, rule=rule["id"], title=title, pcs=one["pcs"], events=one["events"],
                stopped=stopped,
            )  # fmt: skip
    if rule["new_errors"]:
        yield say(BROKEN, rule=rule["id"], errors=rule["errors"])
    for sample in rule["samples"]:
        if sample["newly"]:
            host, when = sample["hostname"] or sample["agent_id"][:12], output.when(sample["time_us"])
            yield output.clean(say(SAMPLE, host=host, time=when, what=sample["what"]))


def rule_row(rule: dict[str, Any]) -> dict[str, str]:
    """A rule of a back-test as a line of the table."""
    draft = rule["draft"]
    return {
        "id": rule["id"],
        "title": rule[f"title_{say.lang}"],
        "events": str(draft["events"]),
        "pcs": str(draft["pcs"]),
        "persons": str(draft["persons"]),
        "newly": str(rule["newly"]["pcs"]),
        "no_longer": str(rule["no_longer"]["pcs"]),
        "stopped": str(rule["stopped"]["pcs"]),
        "first": output.when(draft["first_us"]),
        "last": output.when(draft["last_us"]),
        "articles": ", ".join(rule["articles"]),
    }
