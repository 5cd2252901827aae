"""policy show | diff | draft | apply | releases.

What is signed is shown from the bytes that are signed: the difference is computed here, not believed.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from collector.desk.bundles import read_bundle
from collector.desk.diff import diff
from collector.operator import output
from collector.operator.client import Api, ProblemError
from collector.operator.commands.common import Json, PassphraseFile, ReasonOption, Yes, ask, connect, open_key
from collector.operator.texts import say, state, t
from protocol.keys import SignPair
from protocol.signed import Signed, seal
from protocol.text import Text

KeyOption = Annotated[Path, typer.Option("--key", help=t("方針の署名鍵", "policy key"))]
COLUMNS = (
    (Text("世代", "generation"), "generation"),
    (Text("状態", "status"), "status"),
    (Text("要約値", "digest"), "digest"),
    (Text("配布", "released"), "released"),
    (Text("だれが", "by"), "created_by"),
    (Text("理由", "reason"), "reason"),
)
EXPIRES = (Text("有効期限", "valid until"), "expires")
DUE = Text(
    "まだ配っていない変更があります: sekisho policy diff", "changes wait to be released: sekisho policy diff"
)
SAME = Text("変わるところはありません。何も配りません", "nothing changes; nothing was released")
SIGNING = Text("世代 {generation} に署名して配ります:", "signing and releasing generation {generation}:")
DONE = Text("世代 {generation}（{digest}）を配りました", "released generation {generation} ({digest})")
WRITTEN = Text("{path} に書きました（{size} バイト）", "wrote {path} ({size} bytes)")


def show(context: typer.Context, *, json: Json = False) -> None:
    """Show the release in force."""
    with connect(context) as api:
        current = api.get("/policy/current")
    if json:
        output.json(current)
        return
    output.table((*COLUMNS, EXPIRES), [{**_row(current), "expires": output.when(current["expires_us"])}])
    if current["due"]:
        output.aside(say(DUE))


def releases(context: typer.Context, *, json: Json = False) -> None:
    """List all releases."""
    with connect(context) as api:
        rows = api.get("/policy/releases")
    if json:
        output.json(rows)
    else:
        output.table(COLUMNS, map(_row, rows))


def show_diff(context: typer.Context, *, json: Json = False) -> None:
    """Show what a release made now would change."""
    with connect(context) as api:
        answer = api.get("/policy/diff")
    if json:
        output.json(answer)
        return
    for text in answer["lines"] or [say(SAME)]:
        output.line(output.clean(text))


def draft(
    context: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help=t("書き出す先", "where to write it"))],
    json: Json = False,
) -> None:
    """Write the exact bytes that are to be signed, e.g. to sign them on another machine."""
    with connect(context) as api:
        answer = api.get("/policy/draft")
    body = base64.b64decode(answer["body"])
    out.write_bytes(body)
    if json:
        output.json({"path": str(out), **answer["release"]})
    else:
        output.line(say(WRITTEN, path=out, size=len(body)))


def apply(
    context: typer.Context,
    *,
    key: KeyOption,
    reason: ReasonOption = "",
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
    """Sign the draft and put it in force."""
    with connect(context) as api:
        released = sign_release(api, key, passphrase_file, reason or "policy apply", yes=yes, renew=renew)
    if json:
        output.json(released)
    elif released is not None:
        output.line(say(DONE, generation=released["generation"], digest=released["digest"][:12]))


def sign_release(
    api: Api, key: Path, passphrase_file: Path | None, reason: str, *, yes: bool, renew: bool = False
) -> dict[str, Any] | None:
    """Fetch the draft, show what it changes, sign and post it. None when nothing changes. Raises ProblemError."""
    answer = api.get("/policy/draft")
    body = base64.b64decode(answer["body"])
    changes = diff(_bundle_in_force(api), read_bundle(body))
    if not changes and not renew:
        output.aside(say(SAME))
        return None
    output.aside(say(SIGNING, generation=answer["release"]["generation"]))
    for change in changes:
        output.aside(f"  {output.clean(str(change))}")
    ask(yes=yes)
    pair: SignPair = open_key(key, passphrase_file)
    released: dict[str, Any] = api.post(
        "/policy/releases", {"document": seal("policy", body, [pair]), "reason": reason}
    )
    return released


def _bundle_in_force(api: Api) -> Any:
    try:
        answer = api.get("/policy/document")
    except ProblemError as error:
        if error.name == "not_found":
            return None
        raise
    return read_bundle(msgspec.convert(answer["document"], Signed).body)


def _row(release: dict[str, Any]) -> dict[str, str]:
    return {
        "generation": str(release["generation"]),
        "status": state(release["status"]),
        "digest": release["digest"][:12],
        "released": output.when(release["released_us"]),
        "created_by": release["created_by"],
        "reason": release["reason"],
    }


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("方針", "the policy"))
    group.command(help=t("効いている方針", "the release in force"))(show)
    group.command("diff", help=t("今配ると何が変わるか", "what a release made now would change"))(show_diff)
    group.command(help=t("署名する元を書き出す", "write the bytes to be signed"))(draft)
    group.command(help=t("署名して配る", "sign and release"))(apply)
    group.command(help=t("これまでの方針", "all releases"))(releases)
    app.add_typer(group, name="policy")
