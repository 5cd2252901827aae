"""Signing what changes permits only: at once, for all PCs, after checking on this side that it is nothing else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal

import msgspec

from collector.desk.bundles import read_bundle
from collector.desk.diff import diff
from collector.desk.permit_bundle import only_permits_differ, only_takes_away
from collector.operator import output
from collector.operator.client import Api, ProblemError
from collector.operator.commands.common import ask, open_key
from collector.operator.known_base import known_base
from collector.operator.texts import say
from protocol.signed import Signed, seal
from protocol.text import Text

SIGNING = Text(
    "世代 {generation} に署名して、許可だけを配ります:",
    "signing and releasing generation {generation}, permits only:",
)


def release_permits(
    api: Api,
    key: Path,
    passphrase_file: Path | None,
    *,
    reason: str,
    yes: bool,
    extent: Literal["all", "revoked"] = "all",
) -> list[dict[str, Any]]:
    """Fetch what is due, show it, sign and post it; returns the releases, none when PCs are meant to have just that.

    ``extent``: revoked = only take away. Raises ProblemError ``foreign`` when the collector would have something else
    signed under this name, or the release it starts from is signed by nobody known.
    """
    due = api.get("/policy/permits", extent=extent)
    fits = only_takes_away if extent == "revoked" else only_permits_differ
    for one in due:
        base = known_base(msgspec.convert(one["base"], Signed), key)
        if base is None:
            raise ProblemError(
                "foreign",
                f"the release before {one['generation']} is signed by none of this key and the *.pub beside it",
                "put the colleague's .pub beside your key, or look at everything: sekisho policy release",
            )
        bundle = read_bundle(base64.b64decode(one["body"]))
        if not fits(base, bundle):
            raise ProblemError(
                "foreign",
                f"generation {one['generation']} changes more than permits",
                "do not sign; tell IT staff",
            )
        output.aside(say(SIGNING, generation=one["generation"]))
        for change in diff(base, bundle):
            output.aside(f"  {output.clean(str(change))}")
    if not due:
        return []
    ask(yes=yes)
    pair = open_key(key, passphrase_file)
    documents = [seal("policy", base64.b64decode(one["body"]), [pair]) for one in due]
    released: list[dict[str, Any]] = api.post(
        "/policy/permits", {"documents": documents, "reason": reason, "extent": extent}
    )
    return released
