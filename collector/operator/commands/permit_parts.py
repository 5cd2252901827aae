"""What the commands for permits and applications share: options, subjects, tables, the release that follows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from collector.operator import output
from collector.operator.client import Api
from collector.operator.commands.alerts import moment_us
from collector.operator.commands.common import duration_us
from collector.operator.commands.registers import filled
from collector.operator.permit_signing import release_permits
from collector.operator.texts import say, state, t
from protocol.text import Text

KINDS_HELP = "device | medium | confidential_medium | software | destination | wireless | joint | take_out | contractor"
KindArgument = Annotated[str, typer.Argument(metavar="KIND", help=KINDS_HELP)]
PermitArgument = Annotated[str, typer.Argument(metavar="PERMIT", help=t("許可の番号", "id of the permit"))]
Many = Annotated[
    list[str] | None,
    typer.Option(help=t("範囲（繰り返せる。なければどこでも）", "scope (repeatable; default: everywhere)")),
]
What = Annotated[
    list[str] | None,
    typer.Option(
        "--what",
        metavar="FIELD=VALUE",
        help=t(
            "対象（繰り返せる）: device_id serial media_id fs_uuid digest network ssid mac place account name …",
            "what for (repeatable): device_id serial media_id fs_uuid digest network ssid mac place account name …",
        ),
    ),
]
Condition = Annotated[
    list[str] | None, typer.Option("--condition", help=t("条件（繰り返せる）", "condition (repeatable)"))
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help=t("読むだけ", "reading only"))]
NoConfidential = Annotated[
    bool, typer.Option("--no-confidential", help=t("機密情報は書き込まない", "nothing confidential on it"))
]
Basis = Annotated[
    str,
    typer.Option(
        help=t("持ち出しの根拠: law | blanket | section_head", "take-out: law | blanket | section_head")
    ),
]
ContractOption = Annotated[
    list[str] | None,
    typer.Option(
        "--contract",
        metavar="FIELD=VALUE",
        help=t(
            "委託契約（繰り返せる）: number company place device supervisor",
            "contract (repeatable): number company place device supervisor",
        ),
    ),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help=t("方針の署名鍵。すぐに配る", "policy key: release at once"))
]

COLUMNS = (
    (Text("許可", "permit"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("状態", "state"), "state"),
    (Text("対象", "subject"), "subject"),
    (Text("範囲", "scope"), "scope"),
    (Text("条件", "conditions"), "terms"),
    (Text("申請", "applicant"), "applicant"),
    (Text("許可者", "approver"), "approver"),
    (Text("条", "article"), "article"),
    (Text("まで", "until"), "until"),
    (Text("使用", "used"), "used"),
    (Text("理由", "reason"), "reason"),
)
STEPS = (
    (Text("日時", "when"), "when"),
    (Text("手続", "step"), "step"),
    (Text("状態", "state"), "state"),
    (Text("だれが", "who"), "person"),
    (Text("職", "office"), "office"),
    (Text("操作", "account"), "operator"),
    (Text("理由", "reason"), "reason"),
)
USES = (
    (Text("日", "day"), "day"),
    (Text("端末", "host"), "host"),
    (Text("だれが", "who"), "person"),
    (Text("回数", "times"), "count"),
    (Text("範囲外・期限後", "not covered"), "attempts"),
    (Text("最後", "last"), "last"),
)
DUE = Text(
    "端末にはまだ届いていません。署名して配ってください: sekisho permits release --key FILE",
    "PCs do not know yet. Sign and release: sekisho permits release --key FILE",
)
DONE = Text("世代 {generation}（{digest}）を配りました", "released generation {generation} ({digest})")
UP_TO_DATE = Text(
    "端末に配る許可の変更はありません", "PCs are meant to have just these permits; nothing was released"
)


STATES = {
    "applied": Text("申請中", "applied"),
    "examined": Text("審査済み", "examined"),
    "refused": Text("不許可", "refused"),
    "withdrawn": Text("取り下げ", "withdrawn"),
    "lapsed": Text("時間切れ", "lapsed"),
    "pending": Text("開始前", "not begun"),
    "renewed": Text("更新済み", "renewed"),
}
"""States of applications and permits that mean something else elsewhere."""


def state_name(name: str) -> str:
    """A state of an application or a permit in the language of this run."""
    return say(STATES[name]) if name in STATES else state(name)


def pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """``FIELD=VALUE`` … as a map. Raises typer.BadParameter."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            raise typer.BadParameter("FIELD=VALUE, each field once", param_hint=option)
        found[name.strip()] = value
    return found


def subject_of(what: Iterable[str] | None) -> dict[str, Any]:
    """The subject that ``--what`` gives. Raises typer.BadParameter."""
    subject: dict[str, Any] = pairs(what, "--what")
    if "port" in subject:
        if not subject["port"].isdigit():
            raise typer.BadParameter("port=443", param_hint="--what")
        subject["port"] = int(subject["port"])
    return subject


def scope_of(
    host: list[str] | None, user: list[str] | None, section: list[str] | None, zone: list[str] | None
) -> dict[str, list[str]]:
    """The scope that the options give."""
    return {"agents": host or [], "users": user or [], "sections": section or [], "zones": zone or []}


def begin_us(text: str) -> int:
    """A date, or now."""
    now_us = time.time_ns() // 1000
    return moment_us(text, "--from", now_us) if text else now_us


def end_us(text: str, from_us: int) -> int:
    """A date, or a duration counted from the beginning."""
    if "-" in text:
        return moment_us(text, "--until", from_us)
    return from_us + duration_us(text, "--until")


def permit_row(permit: dict[str, Any]) -> dict[str, str]:
    """A permit as the table shows it."""
    used = permit["used"]
    return {
        **{name: str(permit[name]) for name in ("id", "kind", "applicant", "approver", "reason")},
        "state": state_name(permit["state"]),
        "subject": filled(permit["subject"]),
        "scope": filled(permit["scope"]),
        "terms": terms_of(permit),
        "article": f"{permit['ordinance']} {permit['article']}",
        "until": output.when(permit["until_us"]),
        "used": f"{used['count']} ({output.when(used['last_us'])})" if used["last_us"] else "0",
    }


def terms_of(permit: dict[str, Any]) -> str:
    """What a permit is bound to, in one line."""
    flags = [name for name in ("read_only", "no_confidential") if permit[name]]
    basis = [f"basis={permit['basis']}"] if permit["basis"] else []
    return " / ".join([*flags, *basis, *permit["conditions"], *filter(None, [filled(permit["contract"])])])


def step_row(step: dict[str, Any]) -> dict[str, str]:
    """A step of a paper trail as the table shows it."""
    return {**step, "when": output.when(step["time_us"]), "state": state_name(step["state"])}


def use_row(use: dict[str, Any]) -> dict[str, str]:
    """A line of a use log as the table shows it."""
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=use["day"])
    return {
        "day": f"{day:%Y-%m-%d}",
        "host": use["hostname"] or use["agent_id"][:12],
        "person": use["person"],
        "count": str(use["count"]),
        "attempts": str(use["attempts"]),
        "last": output.when(use["last_us"]),
    }


def finish(
    api: Api,
    changed: dict[str, Any],
    key: Path | None,
    passphrase_file: Path | None,
    *,
    yes: bool,
    json: bool,
    extent: Literal["all", "revoked"] = "all",
) -> None:
    """Show a permit that was granted or revoked, and release when the key is at hand."""
    permit = changed["permit"]
    if not json:
        output.table(COLUMNS, [permit_row(permit)])
    released: list[dict[str, Any]] = []
    if key is not None:
        why = f"{permit['id']}: {permit['state']}"
        released = release_permits(api, key, passphrase_file, reason=why, yes=yes, extent=extent)
    tell(changed, released, json=json)


def tell(changed: dict[str, Any], released: list[dict[str, Any]], *, json: bool) -> None:
    """Say what was released, or that nothing was yet."""
    if json:
        due = changed["release_due"] and not released
        output.json({**changed, "release_due": due, "release": released[0] if released else None})
    elif released:
        for one in released:
            output.line(say(DONE, generation=one["generation"], digest=one["digest"][:12]))
    else:
        output.aside(say(DUE))
