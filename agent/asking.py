"""``sekisho-agent ask`` and ``sekisho-agent notices``: what a user of the PC does at the counter. Needs no rights."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from agent.counter import put_question
from agent.counter_wire import (
    MAX_DAYS,
    MAX_PURPOSE,
    SOCKET,
    Ask,
    Denied,
    Line,
    ListRefusals,
    Question,
    Refusals,
    State,
    Taken,
    read_answer,
)
from agent.enrolment import UNADVISED
from protocol.refusal import RefusedError
from protocol.text import Lang, Text

SAY = {
    "taken": Text(
        "申請 {number} を受け付けました（受付番号 {request}）。許可されると通知します。",
        "Application {number} was taken (reference {request}). You will be told when it is granted.",
    ),
    "again": Text(
        "申請 {number} は受付済みです（受付番号 {request}）。",
        "Application {number} had been taken before (reference {request}).",
    ),
    "none": Text("止められたものはありません。", "Nothing of yours was refused."),
    "how": Text(
        "申請するには：sekisho-agent ask 番号 --purpose 用途 --days 日数",
        "To apply: sekisho-agent ask NUMBER --purpose PURPOSE --days DAYS",
    ),
    "ground": Text("根拠 {article}", "ground {article}"),
}
ADVICE = {
    "counter_closed": Text(
        "エージェントの窓口が開いていません。情報システム担当に連絡してください。",
        "The agent's counter is not open. Tell IT staff.",
    ),
    "not_found": Text(
        "番号は sekisho-agent ask --list で確認できます。", "See the numbers with sekisho-agent ask --list."
    ),
    "bad_value": Text("用途と日数を確認してください。", "Check the purpose and the days."),
    "wrong_state": Text(
        "この件は許可の対象になりません。所属の担当に相談してください。",
        "No permit can help here; ask the person in charge in your section.",
    ),
    "already_there": Text(
        "そのまま使えます。機器や媒体は接続し直してください。",
        "You can use it. Plug in again what had been cut off.",
    ),
    "overloaded": Text("しばらくしてからもう一度実行してください。", "Try again in a while."),
}
STATES: dict[State, Text] = {
    "refused": Text("申請できます", "can be applied for"),
    "no_permit_possible": Text("許可の対象外", "no permit possible"),
    "applied": Text("申請済み", "applied for"),
    "granted": Text("許可済み", "permitted"),
}


def advice(name: str) -> Text:
    """What to do about a refusal."""
    return ADVICE.get(name, UNADVISED)


def listing(run: Path, lang: Lang, *, json: bool) -> str:
    """What was refused to the caller, for a person or as JSON. Raises RefusedError."""
    answer = _ask(run, ListRefusals())
    lines = answer.lines if isinstance(answer, Refusals) else ()
    if json:
        return msgspec.json.encode(lines).decode()
    if not lines:
        return SAY["none"].say(lang)
    texts = [as_text(line, lang) for line in lines]
    if any(line.state == "refused" for line in lines):
        texts.append(SAY["how"].say(lang))
    return "\n".join(texts)


def as_text(line: Line, lang: Lang) -> str:
    """One refusal for a person, two lines."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(line.time_us / 1e6))
    title = line.title_ja if lang == "ja" else line.title_en
    times = f" ×{line.count}" if line.count > 1 else ""
    ground = SAY["ground"].say(lang, article=line.article) if line.article else ""
    state = STATES[line.state].say(lang)
    return f"{line.number:>4}  {when}  {title}{times}  [{state}]\n      {line.what}  {ground}".rstrip()


def apply(run: Path, number: int, purpose: str, days: int, lang: Lang, *, json: bool) -> str:
    """Apply for a permit; what to say of it, or as JSON. Raises RefusedError."""
    if not 0 < len(purpose.strip()) <= MAX_PURPOSE:
        raise RefusedError("bad_value", SAY["purpose"].say(lang, most=MAX_PURPOSE))
    if not 0 < days <= MAX_DAYS:
        raise RefusedError("bad_value", SAY["days"].say(lang, most=MAX_DAYS))
    answer = _ask(run, Ask(max(1, number), purpose, days))
    if not isinstance(answer, Taken):
        raise RefusedError("malformed_body", "the counter answered something else")
    if json:
        return msgspec.json.encode(answer).decode()
    return SAY["again" if answer.again else "taken"].say(lang, number=number, request=answer.request)


def _ask(run: Path, question: Question) -> Refusals | Taken:
    try:
        answer = read_answer(put_question(run, question))
    except OSError as error:
        raise RefusedError("counter_closed", f"{run / SOCKET}: {error.strerror or error}") from error
    if isinstance(answer, Denied):
        raise RefusedError(answer.name, answer.detail)
    return answer
