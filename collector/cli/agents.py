"""agents list | pending | approve | revoke | release-quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.cli.common import DATA, Data, audited, opened, poke_gateway
from collector.cli.tokens import check_zone
from collector.gateway.seats import release
from collector.operator import output
from collector.operator.commands.common import Json
from collector.operator.texts import say, state, t
from collector.registers.agents import list_agents, place, set_status
from collector.registers.models import Agent
from collector.registers.store import now_us
from protocol.refusal import RefusedError
from protocol.text import Text

COLUMNS = (
    (Text("指紋", "fingerprint"), "id"),
    (Text("端末名（自称）", "host name (as it says)"), "hostname"),
    (Text("状態", "status"), "status"),
    (Text("区域", "zone"), "zone"),
    (Text("課", "section"), "section"),
    (Text("登録", "enrolled"), "enrolled"),
    (Text("最後に見た時", "last seen"), "seen"),
)
DONE = Text("{hostname} {id}: {status}", "{hostname} {id}: {status}")
NEXT_RELEASE = Text(
    "区域は次の方針の配布から効きます: sekisho policy apply",
    "the zone takes effect with the next policy release: sekisho policy apply",
)
SHORTEST = 6
Fingerprint = Annotated[
    str,
    typer.Argument(
        metavar="FP", help=t("指紋、または初めの6文字以上", "fingerprint, or at least its first 6 letters")
    ),
]


def find(session: Session, text: str) -> Agent:
    """The PC whose fingerprint begins so. Raises RefusedError ``not_found`` or ``bad_value`` (several, too short)."""
    if len(text) < SHORTEST:
        raise RefusedError(
            "bad_value", f"{text!r} is too short", "give at least 6 letters of the fingerprint"
        )
    found = list(
        session.scalars(select(Agent).where(Agent.id.startswith(text.lower(), autoescape=True)).limit(2))
    )
    if not found:
        raise RefusedError("not_found", f"no PC {text}", "sekisho-collector agents list")
    if len(found) > 1:
        raise RefusedError("bad_value", f"several PCs begin with {text}", "give more of the fingerprint")
    return found[0]


def facts(row: Agent) -> dict[str, Any]:
    """A PC for a program."""
    return {
        "id": row.id,
        "hostname": row.hostname,
        "status": row.status,
        "status_reason": row.status_reason,
        "zone": row.zone,
        "section": row.section,
        "machine_id": row.machine_id,
        "os": row.os,
        "agent_version": row.agent_version,
        "enrolled_us": row.enrolled_us,
        "last_seen_us": row.last_seen_us,
        "policy_generation": row.policy_generation,
        "isolation": row.isolation,
        "health": row.health,
    }


def _show(data: Path, status: str, *, json: bool) -> None:
    with opened(data) as store, store.read() as session:
        found = [facts(row) for row in list_agents(session, status=status)]
    if json:
        output.json(found)
        return
    output.table(
        COLUMNS,
        [
            {
                **one,
                "status": state(one["status"]),
                "enrolled": output.when(one["enrolled_us"]),
                "seen": output.when(one["last_seen_us"]),
            }
            for one in found
        ],
    )


def listing(
    *,
    status: Annotated[str, typer.Option(help=t("これだけ", "only these"))] = "",
    data: Data = DATA,
    json: Json = False,
) -> None:
    """List PCs."""
    _show(data, status, json=json)


def pending(*, data: Data = DATA, json: Json = False) -> None:
    """List PCs that wait for approval."""
    _show(data, "pending", json=json)


def _told(data: Path, shown: dict[str, Any], *, json: bool) -> None:
    poke_gateway(data, "agents")
    if json:
        output.json(shown)
    else:
        output.line(say(DONE, hostname=shown["hostname"], id=shown["id"], status=state(shown["status"])))


def approve(
    agent: Fingerprint,
    *,
    zone: Annotated[str, typer.Option(help=t("区域", "zone"))],
    section: Annotated[str, typer.Option(help=t("所管課", "section"))] = "",
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Let a waiting PC join; compare the fingerprint with the one on its screen first."""
    check_zone(data, zone)
    with opened(data) as store, store.write() as session:
        row = find(session, agent)
        set_status(session, row.id, "active")
        place(session, row.id, zone=zone, section=section)
        audited(session, "agents approve", {"id": row.id, "zone": zone, "section": section})
        shown = facts(row)
    _told(data, shown, json=json)
    output.aside(say(NEXT_RELEASE))


def revoke(
    agent: Fingerprint,
    *,
    reason: Annotated[str, typer.Option(help=t("理由", "why"))],
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Never take anything from this key again."""
    with opened(data) as store, store.write() as session:
        row = set_status(session, find(session, agent).id, "revoked", reason)
        audited(session, "agents revoke", {"id": row.id, "reason": reason})
        shown = facts(row)
    _told(data, shown, json=json)


def release_quarantine(agent: Fingerprint, *, data: Data = DATA, json: Json = False) -> None:
    """Let the machine that speaks next with this key take it over, after its double was taken away."""
    with opened(data) as store, store.write() as session:
        row = release(session, find(session, agent).id, now_us())
        audited(session, "agents release-quarantine", {"id": row.id})
        shown = facts(row)
    _told(data, shown, json=json)


def add_to(app: typer.Typer) -> None:
    """Hang the commands into ``app``."""
    group = typer.Typer(no_args_is_help=True, help=t("端末", "PCs"))
    group.command("list", help=t("一覧", "list them"))(listing)
    group.command(help=t("承認待ちの一覧", "those that wait for approval"))(pending)
    group.command(help=t("承認する", "approve one"))(approve)
    group.command(help=t("失効させる（戻せない）", "revoke one (there is no way back)"))(revoke)
    group.command(
        "release-quarantine",
        help=t("検疫を解く（複製の片付け後）", "release from quarantine (after the copy is gone)"),
    )(release_quarantine)
    app.add_typer(group, name="agents")
