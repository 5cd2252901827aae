"""Putting a policy in force, step by step: check → back-test → show what changes → ask → sign here → post.

What is signed is shown from the bytes that are signed: the difference is computed on this side, not believed.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from collector.desk.bundles import read_bundle
from collector.desk.diff import diff
from collector.operator import output
from collector.operator.client import Api, ProblemError
from collector.operator.commands.common import ask, open_key
from collector.operator.following import follow
from collector.operator.known_base import known_base
from collector.operator.reports import backtest_lines, check_lines
from collector.operator.texts import say
from policies.model import Bundle
from protocol.keys import SignPair
from protocol.signed import Signed, seal
from protocol.text import Text

STRANGE = Text(
    "配布中の方針に、この鍵とその隣の *.pub のどの署名もありません。差ではなく全体を示します",
    "the release in force is signed by none of this key and the *.pub beside it; shown is everything, not the difference",
)
SAME = Text("変わるところはありません。何も配りません", "nothing changes; nothing was released")
SIGNING = Text("世代 {generation} に署名して配ります:", "signing and releasing generation {generation}:")
TO_RING = Text("  範囲: 組 {ring} の端末だけ", "  only to the PCs of ring {ring}")
UNTESTED = Text("  試し当てをしていません: {why}", "  not tried on stored events: {why}")
CHECK_FAILED = Text(
    "下書きに誤りがあります。上の行を直してください", "the draft has errors; mend the lines above"
)


class Wish(Struct, frozen=True, kw_only=True):
    """What is to be released, and how. ``rollback_of``: a generation to go back to; ``renew``: even without a change."""

    reason: str
    ring: str = ""
    rollback_of: int = 0
    without_backtest: str = ""
    days: int = 30
    most: int = 50_000_000
    renew: bool = False
    yes: bool = False


def sign_release(api: Api, key: Path, passphrase_file: Path | None, wish: Wish) -> dict[str, Any] | None:
    """Do all steps. None when nothing changes.

    Raises ProblemError: what the collector refuses by name, ``check_failed`` for a draft with errors. The running policy
    stays then.
    """
    answer = api.get("/policy/draft", ring=wish.ring, rollback_of=wish.rollback_of or None)
    body = base64.b64decode(answer["body"])
    base = _known_base(api, wish.ring, key)
    changes = diff(base, read_bundle(body))
    if not changes and not wish.renew:
        output.aside(say(SAME))
        return None
    if not wish.without_backtest:
        body = _tried(api, wish, answer)
        changes = diff(base, read_bundle(body))
    output.aside(say(SIGNING, generation=answer["release"]["generation"]))
    if wish.ring:
        output.aside(say(TO_RING, ring=wish.ring))
    if wish.without_backtest:
        output.aside(output.clean(say(UNTESTED, why=wish.without_backtest)))
    for change in changes:
        output.aside(f"  {output.clean(str(change))}")
    ask(yes=wish.yes)
    pair: SignPair = open_key(key, passphrase_file)
    released: dict[str, Any] = api.post(
        "/policy/releases",
        {
            "document": seal("policy", body, [pair]),
            "reason": wish.reason,
            "ring": wish.ring,
            "without_backtest": wish.without_backtest,
        },
    )
    return released


def _tried(api: Api, wish: Wish, draft: dict[str, Any]) -> bytes:
    """Check the draft and try it on stored events, unless exactly this content was; show what came of it.

    Returns the bytes to sign. Raises ProblemError ``check_failed``.
    """
    if draft["study_id"]:
        study = api.get(f"/studies/{draft['study_id']}")
    else:
        study = backtest(api, days=wish.days, ring=wish.ring, rollback_of=wish.rollback_of, most=wish.most)
    for line in [*check_lines(study["report"]["check"]), *backtest_lines(study)]:
        output.aside(line)
    if not study["report"]["check"]["ok"]:
        raise ProblemError("check_failed", say(CHECK_FAILED), "sekisho policy check")
    answer = api.get("/policy/draft", ring=wish.ring, rollback_of=wish.rollback_of or None)
    return base64.b64decode(answer["body"])


def backtest(api: Api, **plan: Any) -> dict[str, Any]:
    """Run a back-test to its end. Raises ProblemError."""
    return follow(api, api.post("/policy/backtests", plan))


def _known_base(api: Api, ring: str, key: Path) -> Bundle | None:
    """The release in force, as far as somebody known signed it; says so when there is one that nobody known did."""
    try:
        answer = api.get("/policy/document", ring=ring)
    except ProblemError as error:
        if error.name == "not_found":
            return None
        raise
    base = known_base(msgspec.convert(answer["document"], Signed), key)
    if base is None:
        output.aside(say(STRANGE))
    return base
