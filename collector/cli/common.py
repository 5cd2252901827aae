"""What the service's commands share: options, the store, the audit entry of a local change."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import zmq
from sqlalchemy.orm import Session

from collector import bus
from collector.config import DEFAULT_DATA, Layout
from collector.operator.texts import t
from collector.registers import audit
from collector.registers.store import Store, now_us, open_store
from protocol.refusal import RefusedError

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="SEKISHO_DATA",
        help=t("収集サーバーのデータの場所", "the collector's data directory"),
    ),
]
DATA = DEFAULT_DATA


@contextmanager
def opened(data: Path) -> Iterator[Store]:
    """The control database. Raises RefusedError ``not_found`` (no collector there) or ``version``."""
    layout = Layout(data)
    if not layout.control.exists():
        raise RefusedError("not_found", f"no collector in {data}", "sekisho-collector init, or give --data")
    store = open_store(layout.control)
    try:
        yield store
    finally:
        store.close()


def actor() -> str:
    """Who types: the account of this machine."""
    try:
        return f"local:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"local:{os.getuid()}"


def audited(session: Session, command: str, detail: dict[str, Any]) -> None:
    """Put a change into the operators' audit log, in the same transaction."""
    audit.record(
        session,
        time_us=now_us(),
        operator=actor(),
        role="local",
        method="CLI",
        path=f"sekisho-collector {command}",
        status=0,
        detail=detail,
    )


def poke_gateway(data: Path, what: bus.What) -> None:
    """Tell the gateway to look; it would by itself within seconds."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    outlet = bus.outlet(context, Layout(data).run, "gateway")
    outlet.setsockopt(zmq.LINGER, 200)
    bus.poke(outlet, what)
    outlet.close()
    context.term()
