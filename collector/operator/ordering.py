"""Making, signing and watching an order on the operator's side."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any, Literal

from collector.operator import output
from collector.operator.client import Api, ProblemError
from collector.operator.commands.common import ask, open_key
from collector.operator.texts import say, state
from protocol.keys import SignPair, fingerprint
from protocol.orders import Ground, Order, hash_code, sign_order
from protocol.text import Text

GIVE_UP = frozenset({"verified", "failed", "refused", "unreachable"})
"""States after which the command ends; only the first is success."""

RADIUS = Text(
    "{hostname} [{id}]  区域 {zone} / 課 {section} / 応答 {online} / 今 {isolation}\n"
    "  課の人: {people}\n  課のほかの端末（そのまま）: {others} 台\n  止まる通信: {stops}\n"
    "  この1時間の接続: {count} 件  {recent}\n  残る通信: {keeps}",
    "{hostname} [{id}]  zone {zone} / section {section} / online {online} / now {isolation}\n"
    "  people of the section: {people}\n  other PCs of the section (untouched): {others}\n"
    "  stops: {stops}\n  connections of the last hour: {count}  {recent}\n  stays: {keeps}",
)
STEP = Text("{time}  {state}", "{time}  {state}")
PROBES = Text(
    "  通るべき通信が通る: {good} / 止まるべき通信が止まる: {bad} / 切った接続: {sockets} / {latency:.1f} ミリ秒",
    "  must succeed: {good} / must fail: {bad} / sockets ended: {sockets} / {latency:.1f} ms",
)
WAITING = Text(
    "端末が応答しません。命令は残り、端末が戻ったときに届きます",
    "the PC does not answer; the order stays and reaches it when it is back",
)
WARNING = Text("注意: {what}", "note: {what}")


def preview(api: Api, host: str, *, yes: bool) -> dict[str, Any]:
    """Show the blast radius and ask. Returns what making the order needs. Raises ProblemError."""
    before: dict[str, Any] = api.get("/orders/preview", target=host)
    radius = before["radius"]
    text = say(
        RADIUS,
        hostname=radius["hostname"],
        id=radius["host_id"][:12],
        zone=radius["zone"] or "-",
        section=radius["section"] or "-",
        online="○" if radius["online"] else "×",
        isolation=state(radius["isolation"]),
        people=", ".join(radius["people"]) or "-",
        others=radius["section_hosts"],
        stops=", ".join(radius["stops"]),
        count=radius["recent"]["connections"],
        recent=", ".join(radius["recent"]["destinations"]),
        keeps=", ".join(radius["keeps"]),
    )
    output.aside(output.clean(text))
    ask(yes=yes)
    return before


def open_signers(keys: list[tuple[Path | None, Path | None]], before: dict[str, Any]) -> list[SignPair]:
    """Open (key file, passphrase file) pairs and see that they are enough, before anything is made.

    Raises ProblemError ``foreign`` (not a key of the trust root), ``role_missing``; RefusedError of the key file.
    """
    pairs = [open_key(path, passphrase) for path, passphrase in keys if path is not None]
    known = {signer["key_id"] for signer in before["signers"]}
    for pair in pairs:
        if fingerprint(pair.public) not in known:
            holders = ", ".join(f"{signer['holder']} ({signer['role']})" for signer in before["signers"])
            raise ProblemError(
                "foreign", f"key {fingerprint(pair.public)} may not sign orders", f"may sign: {holders}"
            )
    if len({pair.public for pair in pairs}) < before["order_signatures"]:
        detail = f"{len(pairs)} of {before['order_signatures']} signatures"
        raise ProblemError("role_missing", detail, "--cosign-key FILE")
    return pairs


def make_order(
    kind: Literal["isolate", "restore"],
    before: dict[str, Any],
    signer: SignPair,
    *,
    ground: Ground,
    reason: str,
    incident: str,
    valid_us: int,
    expires_in_us: int = 0,
    code: str = "",
) -> Order:
    """An order for the PC of a preview, issued in the name of the holder of ``signer``'s key."""
    now_us = time.time_ns() // 1000
    order_id = f"{kind}-{secrets.token_hex(8)}"
    holder = next(one["holder"] for one in before["signers"] if one["key_id"] == fingerprint(signer.public))
    return Order(
        order_id=order_id,
        kind=kind,
        city=before["city"],
        issuer=holder,
        target=before["radius"]["host_id"],
        ground=ground,
        incident=incident,
        reason=reason,
        issued_us=now_us,
        valid_until_us=now_us + valid_us,
        expires_us=now_us + expires_in_us if expires_in_us else 0,
        nonce=secrets.token_bytes(16),
        release_hash=hash_code(order_id, code) if code else b"",
        restores=before["standing"] if kind == "restore" else "",
    )


def post_and_watch(api: Api, order: Order, pairs: list[SignPair], timeout_s: int) -> dict[str, Any]:
    """Sign, post, and print each state as it comes. Returns the last one seen. Raises ProblemError."""
    view: dict[str, Any] = api.post("/orders", {"document": sign_order(order, pairs)})
    for warning in view["warnings"]:
        output.aside(say(WARNING, what=warning))
    ends = time.monotonic() + timeout_s
    _step(view)
    while view["state"] not in GIVE_UP and (left := ends - time.monotonic()) > 0:
        was = view["state"]
        view = api.get(f"/orders/{order.order_id}", wait_s=min(20.0, left), unless=was)
        if view["state"] != was:
            _step(view)
    return view


def _step(view: dict[str, Any]) -> None:
    output.aside(say(STEP, time=output.when(time.time_ns() // 1000), state=state(view["state"])))
    result = view["result"]
    if result and view["state"] in {"verified", "failed", "refused"}:
        yes_no = {True: "○", False: "×"}
        output.aside(
            say(
                PROBES,
                good=yes_no[bool(result.get("must_succeed"))],
                bad=yes_no[bool(result.get("must_fail"))],
                sockets=result.get("sockets_destroyed", 0),
                latency=result.get("latency_us", 0) / 1000,
            )
        )
        if why := " ".join(filter(None, [result.get("refusal", ""), result.get("detail", "")])):
            output.aside("  " + output.clean(why))
    if view["state"] == "unreachable":
        output.aside(say(WAITING))
