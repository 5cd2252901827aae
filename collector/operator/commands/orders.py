"""isolate, restore, orders. The order is made and signed here; the collector only carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from collector.operator import output
from collector.operator.client import ProblemError
from collector.operator.commands.common import (
    HostArgument,
    Json,
    PassphraseFile,
    Yes,
    connect,
    duration_us,
    ground_of,
)
from collector.operator.ordering import make_order, open_signers, post_and_watch, preview
from collector.operator.texts import say, state, t
from protocol.keys import write_private
from protocol.orders import new_code
from protocol.text import Text

GroundOption = Annotated[
    str,
    typer.Option(
        help=t("根拠（条例:条、例 nagoya:第58条）", "ground (ordinance:article, e.g. nagoya:第58条)")
    ),
]
Reason = Annotated[str, typer.Option(help=t("理由", "why"))]
Key = Annotated[Path, typer.Option("--key", help=t("命令の署名鍵（CISO など）", "order key (of the CISO …)"))]
Cosign = Annotated[Path | None, typer.Option("--cosign-key", help=t("連署の鍵", "key of the co-signer"))]
CosignFile = Annotated[
    Path | None, typer.Option(help=t("連署の鍵の合言葉のファイル", "passphrase file of the co-signer"))
]
Incident = Annotated[str, typer.Option(help=t("事案の番号", "incident"))]
Valid = Annotated[
    str,
    typer.Option(
        help=t(
            "届けるのをあきらめるまで（電源の切れた端末のため）",
            "how long delivery is tried (for a PC that is off)",
        )
    ),
]
Expires = Annotated[
    str,
    typer.Option(
        help=t(
            "隔離が自ら終わるまで（4h。なければ復旧まで）",
            "ends by itself after (4h; default: until restored)",
        )
    ),
]
CodeFile = Annotated[
    Path | None, typer.Option(help=t("解除コードの書き先 (0600)", "where to write the release code (0600)"))
]
Timeout = Annotated[
    int, typer.Option(min=1, max=3600, help=t("何秒まで見届けるか", "seconds to watch it take effect"))
]

CODE = Text(
    "解除コード（一度だけ表示します。書き留めて封をしてください）: {code}\n  網がなくても端末で解除できます: sekisho-agent release",
    "release code (shown this once; write it down and seal it): {code}\n  lifts the cut on the PC without a network: sekisho-agent release",
)
CODE_WRITTEN = Text("解除コードを {path} に書きました (0600)", "the release code is in {path} (0600)")
COLUMNS = (
    (Text("命令", "order"), "id"),
    (Text("種類", "kind"), "kind"),
    (Text("端末", "host"), "hostname"),
    (Text("状態", "state"), "state"),
    (Text("根拠", "ground"), "ground"),
    (Text("発令", "issuer"), "issuer"),
    (Text("時刻", "posted"), "posted"),
    (Text("理由", "reason"), "reason"),
)
KINDS = {"isolate": Text("隔離", "isolate"), "restore": Text("復旧", "restore")}


def isolate(
    context: typer.Context,
    host: HostArgument,
    *,
    ground: GroundOption,
    reason: Reason,
    key: Key,
    cosign_key: Cosign = None,
    expires: Expires = "",
    incident: Incident = "",
    valid: Valid = "7d",
    passphrase_file: PassphraseFile = None,
    cosign_passphrase_file: CosignFile = None,
    code_file: CodeFile = None,
    timeout: Timeout = 60,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Cut a PC off from everything but the collector, and watch it take effect."""
    cited, valid_us = ground_of(ground), duration_us(valid, "--valid")
    expires_in_us = duration_us(expires, "--expires") if expires else 0
    if code_file is not None and code_file.exists():
        raise typer.BadParameter(f"{code_file} exists", param_hint="--code-file")
    with connect(context) as api:
        before = preview(api, host, yes=yes)
        pairs = open_signers([(key, passphrase_file), (cosign_key, cosign_passphrase_file)], before)
        code = new_code()
        order = make_order(
            "isolate",
            before,
            pairs[0],
            ground=cited,
            reason=reason,
            incident=incident,
            valid_us=valid_us,
            expires_in_us=expires_in_us,
            code=code,
        )
        # Before the order is posted: a code that is lost afterwards cannot be made again.
        _hand_out(code, code_file, json=json)
        final = post_and_watch(api, order, pairs, timeout)
    _end(final, json=json, code="" if code_file else code)


def restore(
    context: typer.Context,
    host: HostArgument,
    *,
    ground: GroundOption,
    reason: Reason,
    key: Key,
    cosign_key: Cosign = None,
    incident: Incident = "",
    valid: Valid = "7d",
    passphrase_file: PassphraseFile = None,
    cosign_passphrase_file: CosignFile = None,
    timeout: Timeout = 60,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Lift the isolation of a PC, and watch it take effect."""
    cited, valid_us = ground_of(ground), duration_us(valid, "--valid")
    with connect(context) as api:
        before = preview(api, host, yes=yes)
        if not before["standing"]:
            raise ProblemError("not_found", f"{host}: no isolation order to restore", "sekisho orders")
        pairs = open_signers([(key, passphrase_file), (cosign_key, cosign_passphrase_file)], before)
        order = make_order(
            "restore", before, pairs[0], ground=cited, reason=reason, incident=incident, valid_us=valid_us
        )
        final = post_and_watch(api, order, pairs, timeout)
    _end(final, json=json)


def _hand_out(code: str, file: Path | None, *, json: bool) -> None:
    if file is not None:
        write_private(file, f"{code}\n".encode())
        output.aside(say(CODE_WRITTEN, path=file))
    elif not json:
        output.line(say(CODE, code=code))


def _end(final: dict[str, Any], *, json: bool, code: str = "") -> None:
    """The result, and exit code 1 unless the PC proved it."""
    if json:
        output.json({**final, "release_code": code} if code else final)
    else:
        output.table(COLUMNS, [_row(final)])
    if final["state"] != "verified":
        raise typer.Exit(1)


def _row(order: dict[str, Any]) -> dict[str, str]:
    return {
        **{name: str(order[name]) for name in ("id", "hostname", "issuer", "reason")},
        "kind": say(KINDS[order["kind"]]),
        "state": state(order["state"]),
        "ground": f"{order['ordinance']} {order['article']}",
        "posted": output.when(order["received_us"]),
    }


def list_orders(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(help=t("端末", "PC"))] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help=t("多くて何件", "at most so many"))] = 50,
    json: Json = False,
) -> None:
    """List orders, newest first."""
    with connect(context) as api:
        found = api.get("/orders", host=host, limit=limit)
    if json:
        output.json(found)
    else:
        output.table(COLUMNS, map(_row, found))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    app.command(help=t("端末を隔離する（署名する）", "isolate a PC (signs)"))(isolate)
    app.command(help=t("隔離を解く（署名する）", "restore a PC (signs)"))(restore)
    app.command("orders", help=t("命令の一覧", "list orders"))(list_orders)
