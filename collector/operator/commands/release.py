"""policy check | backtest | release | apply | promote | rollback | studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.commands.common import Json, PassphraseFile, ReasonOption, Yes, ask, connect
from collector.operator.releasing import Wish, backtest, sign_release
from collector.operator.reports import RULES, backtest_lines, check_lines, rule_row
from collector.operator.texts import say, t
from protocol.text import Text

KeyOption = Annotated[Path, typer.Option("--key", help=t("方針の署名鍵", "policy key"))]
RingOption = Annotated[
    str, typer.Option("--ring", help=t("この組の端末だけに配る", "only to the PCs of this ring"))
]
DaysOption = Annotated[
    int, typer.Option("--days", min=1, max=3650, help=t("さかのぼる日数", "how many days back"))
]
MostOption = Annotated[
    int,
    typer.Option(
        "--most",
        min=1,
        max=50_000_000,
        help=t("見る記録の数（新しいものから）", "at most so many of the newest events"),
    ),
]
WithoutOption = Annotated[
    str,
    typer.Option(
        "--without-backtest",
        metavar="REASON",
        help=t(
            "試し当てをせずに配る理由（記録に残る）", "why it goes without a back-test; kept with the release"
        ),
    ),
]
GenerationArgument = Annotated[int, typer.Argument(metavar="GENERATION", help=t("世代", "generation"))]
MOST = 50_000_000

DONE = Text("世代 {generation}（{digest}）を配りました", "released generation {generation} ({digest})")
DONE_RING = Text(
    "世代 {generation}（{digest}）を組 {ring} に配りました。よければ: sekisho policy promote {generation}",
    "released generation {generation} ({digest}) to ring {ring}; if it is good: sekisho policy promote {generation}",
)
PROMOTING = Text(
    "世代 {generation} を、組 {ring} だけでなく、すべての端末に配ります",
    "generation {generation} goes to all PCs, not only to ring {ring}",
)
PROMOTED = Text("世代 {generation} を、すべての端末に配りました", "generation {generation} went to all PCs")
ROLLED_BACK = Text(
    "許可・機器・端末の割り当ては今日の台帳のままです。方針ファイルは前のままなので、次に配る前に直してください",
    "permits, devices and places are those of today's registers; policy.yaml still says what you went back from: "
    "mend it before the next release",
)
STUDIES = (
    (Text("番号", "number"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("状態", "state"), "state"),
    (Text("見た記録", "looked at"), "done"),
    (Text("全体", "of"), "total"),
    (Text("始めた時", "begun"), "created"),
    (Text("だれが", "by"), "created_by"),
)


def check(context: typer.Context, *, json: Json = False) -> None:
    """Check the draft: rules, their tests, contradictions. Ends with 1 when there is an error."""
    with connect(context) as api:
        found = api.get("/policy/check")
    if json:
        output.json(found)
    else:
        for line in check_lines(found):
            output.line(line)
    if not found["ok"]:
        raise typer.Exit(1)


def try_out(
    context: typer.Context,
    *,
    days: DaysOption = 30,
    section: Annotated[str, typer.Option(help=t("この課の端末だけ", "only PCs of this section"))] = "",
    ring: Annotated[
        str, typer.Option(help=t("この組の方針と比べる", "compare with what this ring has"))
    ] = "",
    most: MostOption = MOST,
    json: Json = False,
) -> None:
    """Try the draft on stored events, against what is in force."""
    with connect(context) as api:
        study = backtest(api, days=days, section=section, ring=ring, most=most)
    if json:
        output.json(study)
        return
    for line in [*check_lines(study["report"]["check"]), *backtest_lines(study)]:
        output.line(line)
    if study["report"]["rules"]:
        output.table(RULES, map(rule_row, study["report"]["rules"]))


def release(
    context: typer.Context,
    *,
    key: KeyOption,
    reason: ReasonOption = "",
    ring: RingOption = "",
    days: DaysOption = 30,
    most: MostOption = MOST,
    without_backtest: WithoutOption = "",
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help=t("変更がなくても出し直す（期限の延長）", "release even without a change (new term)"),
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Check the draft, try it on stored events, sign it and put it in force."""
    wish = Wish(
        reason=reason or "policy release",
        ring=ring,
        without_backtest=without_backtest,
        days=days,
        most=most,
        renew=renew,
        yes=yes,
    )
    _sign(context, key, passphrase_file, wish, json=json)


def rollback(
    context: typer.Context,
    generation: GenerationArgument,
    *,
    key: KeyOption,
    reason: ReasonOption = "",
    ring: RingOption = "",
    days: DaysOption = 30,
    most: MostOption = MOST,
    without_backtest: WithoutOption = "",
    passphrase_file: PassphraseFile = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring the content of an older release back, under a new generation, with today's registers."""
    wish = Wish(
        reason=reason or f"rollback to {generation}",
        ring=ring,
        rollback_of=generation,
        without_backtest=without_backtest,
        days=days,
        most=most,
        renew=True,
        yes=yes,
    )
    _sign(context, key, passphrase_file, wish, json=json)
    output.aside(say(ROLLED_BACK))


def _sign(context: typer.Context, key: Path, passphrase_file: Path | None, wish: Wish, *, json: bool) -> None:
    with connect(context) as api:
        released = sign_release(api, key, passphrase_file, wish)
    if json:
        output.json(released)
    elif released is not None:
        shown = {
            "generation": released["generation"],
            "digest": released["digest"][:12],
            "ring": released["ring"],
        }
        output.line(say(DONE_RING if released["ring"] else DONE, **shown))


def promote(
    context: typer.Context,
    generation: GenerationArgument,
    *,
    reason: ReasonOption = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Give a ring's release to all PCs; it is the same signed document."""
    with connect(context) as api:
        ring = next(
            (one["ring"] for one in api.get("/policy/releases") if one["generation"] == generation), ""
        )
        output.aside(say(PROMOTING, generation=generation, ring=ring))
        ask(yes=yes)
        released = api.post(f"/policy/releases/{generation}/promote", {"reason": reason or "policy promote"})
    if json:
        output.json(released)
    else:
        output.line(say(PROMOTED, generation=generation))


def studies(
    context: typer.Context,
    *,
    cancel: Annotated[int, typer.Option(help=t("この番号をやめさせる", "cancel this one"))] = 0,
    json: Json = False,
) -> None:
    """List back-tests and searches for proposals, or cancel one."""
    with connect(context) as api:
        if cancel:
            api.post(f"/studies/{cancel}/cancel", {})
        rows: list[dict[str, Any]] = api.get("/studies")
    if json:
        output.json(rows)
    else:
        output.table(
            STUDIES,
            [
                {**{name: str(row[name]) for name in row}, "created": output.when(row["created_us"])}
                for row in rows
            ],
        )


def add_to(group: typer.Typer) -> None:
    """Hang the commands into the group ``policy``."""
    group.command(help=t("下書きを確かめる", "check the draft"))(check)
    group.command("backtest", help=t("下書きを記録に当てて試す", "try the draft on stored events"))(try_out)
    group.command(help=t("確かめ、試し、署名して配る", "check, try, sign and release"))(release)
    group.command("apply", help=t("release と同じ", "the same as release"))(release)
    group.command(help=t("組に配った方針を、すべてに配る", "give a ring's release to all"))(promote)
    group.command(help=t("前の方針に戻す", "go back to an older release"))(rollback)
    group.command(help=t("試し当てと台帳の下調べ", "back-tests and searches for proposals"))(studies)
