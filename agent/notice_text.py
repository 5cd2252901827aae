"""What a notice says. Japanese first, English below it: whose language a desktop speaks is not known to the agent."""

from __future__ import annotations

from typing import NamedTuple

from agent.refusals import Refusal
from protocol.text import Lang, Text

SUMMARY = Text("関所：{title}", "Sekisho: {title}")
STOPPED = Text("止めたもの：{what}{times}", "Stopped: {what}{times}")
NOT_STOPPED = Text("止められなかったもの：{what}{times}", "Was to be stopped, and was not: {what}{times}")
TIMES = Text("（{count} 回）", " ({count} times)")
GROUND = Text("根拠：{article}", "Ground: {article}")
ASK = Text(
    "業務に必要なときは、次のコマンドで許可を申請できます：\n  sekisho-agent ask {number} --purpose 用途 --days 日数",
    "If you need it for work, apply for a permit:\n  sekisho-agent ask {number} --purpose PURPOSE --days DAYS",
)
NO_PERMIT = Text(
    "この件は許可の申請では使えるようになりません。所属の情報セキュリティ担当に相談してください。",
    "No permit can help here. Ask the person in charge of information security in your section.",
)
GRANTED = Text("関所：許可されました", "Sekisho: permitted")
GRANTED_BODY = Text(
    "申請 {number} が許可されました：{what}\n一度取り外した機器や媒体は、接続し直すと使えます。",
    "Your application {number} was granted: {what}\nPlug in again what had been cut off.",
)
BUTTON = Text("許可を申請", "Ask for a permit")


class Words(NamedTuple):
    """Head, text and button of a notice."""

    summary: str
    body: str
    button: str


def refused(refusal: Refusal) -> Words:
    """Tell of a refusal: what, why, and how to apply."""
    body = "\n\n".join(_refused(refusal, lang) for lang in ("ja", "en"))
    title = refusal.title_ja or refusal.title_en
    button = f"{BUTTON.ja} / {BUTTON.en}" if refusal.wanted else ""
    return Words(SUMMARY.say("ja", title=title), body, button)


def _refused(refusal: Refusal, lang: Lang) -> str:
    times = TIMES.say(lang, count=refusal.count) if refusal.count > 1 else ""
    lines = [] if lang == "ja" else [SUMMARY.say(lang, title=refusal.title_en)]
    if refusal.what:
        lines.append((NOT_STOPPED if refusal.failed else STOPPED).say(lang, what=refusal.what, times=times))
    if refusal.article:
        lines.append(GROUND.say(lang, article=refusal.article))
    lines.append(ASK.say(lang, number=refusal.number) if refusal.wanted else NO_PERMIT.say(lang))
    return "\n".join(lines)


def granted(refusal: Refusal) -> Words:
    """Tell that an application was granted."""
    body = "\n\n".join(
        GRANTED_BODY.say(lang, number=refusal.number, what=refusal.what) for lang in ("ja", "en")
    )
    return Words(f"{GRANTED.ja} / {GRANTED.en}", body, "")
