"""``sekisho-agent``: enrol | run | status | doctor | ask | notices | release."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from agent.small import stay_small
from protocol.refusal import RefusedError
from protocol.text import Lang, Text, language

if TYPE_CHECKING:
    import argparse

    from agent.platform import Platform
    from agent.runtime import Runtime

FAILED, MISUSED = 1, 2
Options = SimpleNamespace
"""What was asked for. Not argparse's own class, which would keep argparse in the resident process."""
Add = Callable[..., "argparse.ArgumentParser"]
"""(name, help=…): add a command."""

SAY = {
    "enrolled": Text("登録しました。端末 ID: {id}（{city}）", "Enrolled. This PC is {id} ({city})."),
    "pending": Text(
        "承認待ちです（残り {left} 秒）。端末 ID {id} を管理者に伝えてください。",
        "Waiting for approval ({left} s left). Tell the administrator this id: {id}",
    ),
    "refused": Text("拒否されました [{name}]: {detail}", "Refused [{name}]: {detail}"),
    "not_running": Text("エージェントは動作していません。", "The agent is not running."),
    "not_permitted": Text(
        "{path} を読み書きできません。管理者権限で実行してください。",
        "{path}: not permitted. Run it as root.",
    ),
    "released": Text("隔離を解除しました（命令 {order}）。", "Isolation was lifted (order {order})."),
    "no_isolation": Text("この端末は隔離に対応していません。", "This PC has no isolation."),
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns 0, 1 when refused or not sound, 2 for wrong usage."""
    options = Options(**vars(parser().parse_args(arguments)))
    lang = language(options.lang)
    try:
        command: Callable[[Options, Lang], int] = options.command
        return command(options, lang)
    except RefusedError as refusal:
        from agent.enrolment import advice

        print(SAY["refused"].say(lang, name=refusal.name, detail=refusal.detail), file=sys.stderr)
        print(advice(refusal.name).say(lang), file=sys.stderr)
        return FAILED
    except PermissionError as error:
        print(SAY["not_permitted"].say(lang, path=error.filename), file=sys.stderr)
        return FAILED


def parser() -> argparse.ArgumentParser:
    """The command line."""
    import argparse

    top = argparse.ArgumentParser(
        prog="sekisho-agent", description="関所エージェント / the Sekisho agent of this PC"
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    add: Add = partial(commands.add_parser, parents=[_common()])
    _add_enrol(add)

    run = add("run", help="常駐 / run in the foreground")
    run.set_defaults(command=_run)
    run.add_argument("--beat", type=float, default=10.0, metavar="SECONDS", help="heartbeat interval")
    run.add_argument("--spool-mib", type=int, default=128, metavar="MIB", help="how much the spool may take")

    for name, command, text in (
        ("status", _status, "状態 / what the agent does now"),
        ("doctor", _doctor, "診断 / what this PC can enforce"),
    ):
        sub = add(name, help=text)
        sub.set_defaults(command=command)
        sub.add_argument("--json", action="store_true")

    _add_counter(add)

    release = add("release", help="隔離の解除 / lift isolation by a one-time code")
    release.set_defaults(command=_release)
    release.add_argument("--code", help="the code; without it, it is read from standard input")
    return top


def _add_enrol(add: Add) -> None:
    enrol = add("enrol", help="収集サーバーに登録 / join a collector")
    enrol.set_defaults(command=_enrol)
    enrol.add_argument("--collector", required=True, metavar="ADDRESS", help="address of the collector")
    enrol.add_argument("--port", type=int, default=7460)
    enrol.add_argument("--token", help="one-time token; - reads it from standard input")
    enrol.add_argument("--collector-key", metavar="HEX", help="without a token: the collector's CURVE key")
    enrol.add_argument("--root", metavar="FINGERPRINT", help="without a token: fingerprint of the root key")
    enrol.add_argument("--wait", type=float, metavar="SECONDS", help="default 30, without a token 3600")


def _add_counter(add: Add) -> None:
    """What users of the PC ask the counter for."""
    ask = add("ask", help="許可の申請 / apply for a permit for what was refused")
    ask.set_defaults(command=_ask)
    ask.add_argument("number", type=int, nargs="?", help="number of the refusal; without it they are listed")
    ask.add_argument("--list", action="store_true", help="what was refused to you")
    ask.add_argument("--purpose", default="", help="what you need it for")
    ask.add_argument("--days", type=int, default=30, help="for how long; default 30")
    ask.add_argument("--json", action="store_true")

    notices = add(
        "notices",
        help="止められたもの / what was refused to you, and how far your applications are",
    )
    notices.set_defaults(command=_ask, number=None, list=True)
    notices.add_argument("--json", action="store_true")


def _common() -> argparse.ArgumentParser:
    """Options that every command takes."""
    import argparse

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--lang", choices=("ja", "en"), help="表示言語 / language; default: the locale")
    common.add_argument(
        "--state", type=Path, default=Path("/var/lib/sekisho-agent"), help="keys, spool, policy"
    )
    common.add_argument("--run", type=Path, default=Path("/run/sekisho-agent"), help="status and sockets")
    return common


def _platform(options: Options) -> Platform:
    from agent.platform import Platform

    return Platform(state=options.state, run=options.run)


def _enrol(options: Options, lang: Lang) -> int:
    from agent.enrolment import enrol
    from agent.identity import Identity, parse_pin, parse_token

    from_stdin = options.token == "-"  # noqa: S105 - "-" is not a token
    token = sys.stdin.readline() if from_stdin else options.token
    if bool(token) == bool(options.collector_key and options.root):
        print("sekisho-agent enrol: --token, or --collector-key and --root", file=sys.stderr)
        return MISUSED
    target = parse_token(token) if token else parse_pin(options.collector_key, options.root)
    identity = Identity.load_or_make(options.state)

    def progress(left: float) -> None:
        print(SAY["pending"].say(lang, left=round(left), id=identity.agent_id), flush=True)

    wait_s = options.wait or (30.0 if token else 3600.0)
    enrol(
        identity, target, address=options.collector, port=options.port, deadline_s=wait_s, progress=progress
    )
    print(SAY["enrolled"].say(lang, id=identity.agent_id, city=identity.root.city))
    return 0


def _run(options: Options, _lang: Lang) -> int:
    stay_small()
    _forget_parser()
    from agent.identity import Identity
    from agent.runtime import Runtime

    try:
        identity = Identity.load(options.state)
    except FileNotFoundError as error:
        raise RefusedError("foreign", "this PC is not enrolled", "run sekisho-agent enrol") from error
    _ = identity.root
    os.umask(0o077)
    platform = _platform(options)
    platform.share_heap()
    runtime = Runtime(platform, identity, beat_s=options.beat, spool_bytes=options.spool_mib << 20)
    watch_signals(runtime)
    runtime.run()
    return 0


def _forget_parser() -> None:
    """Free argparse, which a running agent has no more use for: 0.3 MiB that the modules to come take up."""
    for name in ("argparse", "gettext"):
        sys.modules.pop(name, None)
    gc.collect()


def watch_signals(runtime: Runtime) -> None:
    """SIGTERM and SIGINT end the agent cleanly, SIGHUP makes it look again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runtime.stop())
    signal.signal(signal.SIGHUP, lambda *_: runtime.reload())


def _status(options: Options, lang: Lang) -> int:
    from agent.status import as_text, is_running, read_status

    status = read_status(options.run)
    if status is None or not is_running(status):
        print(SAY["not_running"].say(lang), file=sys.stderr)
        return FAILED
    if options.json:
        import msgspec

        print(msgspec.json.encode(status).decode())
    else:
        print(as_text(status, lang))
    return 0


def _doctor(options: Options, lang: Lang) -> int:
    from agent import enforcers, sensors
    from agent.doctor import as_table, examine, is_sound
    from agent.status import is_running, read_status

    status = read_status(options.run)
    seen = status.sensors if status is not None and is_running(status) else None
    findings = examine(_platform(options), sensors.discover(), enforcers.discover(), seen)
    if options.json:
        import msgspec

        print(msgspec.json.encode(findings).decode())
    else:
        print(as_table(findings, lang))
    return 0 if is_sound(findings) else FAILED


def _ask(options: Options, lang: Lang) -> int:
    """Works for every user of the PC: the agent's counter knows by the socket who asks."""
    from agent.asking import advice, apply, listing

    try:
        if options.list or options.number is None:
            print(listing(options.run, lang, json=options.json))
        else:
            print(apply(options.run, options.number, options.purpose, options.days, lang, json=options.json))
    except RefusedError as refusal:
        print(SAY["refused"].say(lang, name=refusal.name, detail=refusal.detail), file=sys.stderr)
        print(advice(refusal.name).say(lang), file=sys.stderr)
        return FAILED
    return 0


def _release(options: Options, lang: Lang) -> int:
    """Works without the resident agent: the rules and the order lie on disk."""
    from agent import enforcers
    from agent.isolating import NAME, isolator
    from agent.left_reports import leave_report
    from agent.status import is_running, read_status

    kinds = enforcers.discover()
    if NAME not in kinds:
        print(SAY["no_isolation"].say(lang), file=sys.stderr)
        return FAILED
    enforcer = isolator({NAME: kinds[NAME](_platform(options))})
    code = options.code or sys.stdin.readline().strip()
    event = enforcer.restore_with_code(code) if enforcer else None
    if event is None:
        return FAILED
    leave_report(options.state, event)
    status = read_status(options.run)
    if status is not None and is_running(status):
        os.kill(status.pid, signal.SIGHUP)
    if event.refusal:
        raise RefusedError("wrong_code", event.detail)
    print(SAY["released"].say(lang, order=event.order_id))
    return 0


if __name__ == "__main__":
    sys.exit(main())
