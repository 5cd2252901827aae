"""run | migrate | clock."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec.structs import replace

from collector.cli.common import DATA, Data, audited, opened
from collector.config import Layout, read_config
from collector.gateway.records import CLOCK
from collector.operator import output
from collector.operator.texts import say, t
from collector.registers.models import Setting
from collector.registers.store import migrate, now_us
from collector.runtime import Supervisor
from protocol.refusal import RefusedError
from protocol.text import Text

MIGRATED = Text("データベースを新しくしました", "the database was brought up to date")
UP_TO_DATE = Text("データベースは最新です", "the database is up to date")
CLOCK_TAKEN = Text(
    "今の時刻を正しいものとして受け入れました。収集サーバーを再起動してください",
    "the present time is taken as right; restart the collector",
)


def run(
    *,
    bind: Annotated[
        list[str] | None, typer.Option(help=t("待ち受けるアドレス", "address to listen on"))
    ] = None,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help=t("API のポート", "port of the API"))] = 0,
    data: Data = DATA,
) -> None:
    """Run the service until SIGTERM."""
    with opened(data):
        pass
    layout = Layout(data)
    config = read_config(layout)
    config = replace(config, bind=tuple(bind or config.bind), api_port=api_port or config.api_port)
    raise typer.Exit(Supervisor(layout, config).run())


def migrate_database(*, data: Data = DATA) -> None:
    """Bring the control database to this program's revision. Stop the service first."""
    layout = Layout(data)
    if not layout.control.exists():
        raise RefusedError("not_found", f"no collector in {data}", "sekisho-collector init, or give --data")
    output.line(say(MIGRATED if migrate(layout.control) else UP_TO_DATE))


def clock(*, accept: Annotated[bool, typer.Option("--accept", help=t("今の時刻を正しいとする", "take the present time as right"))], data: Data = DATA) -> None:  # fmt: skip
    """After the clock ran ahead and was corrected: forget the time that was too late."""
    if not accept:
        raise typer.BadParameter("--accept", param_hint="--accept")
    with opened(data) as store, store.write() as session:
        session.merge(Setting(name=CLOCK, value=str(now_us())))
        audited(session, "clock --accept", {})
    output.line(say(CLOCK_TAKEN))


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    app.command(help=t("収集サーバーを動かす", "run the collector"))(run)
    app.command("migrate", help=t("データベースを新しい版に合わせる", "bring the database up to date"))(
        migrate_database
    )
    app.command(help=t("時計が進んでいて直したあとに", "after the clock ran ahead and was corrected"))(clock)
