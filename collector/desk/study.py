"""Long looks at stored events: back-tests of a draft, and what could be put into the registers.

A small one is done at once, where it was asked for. A large one runs in a process of its own, below everything else
(nice 10), so that neither API nor detection wait for it. The row in ``studies`` is the truth: progress, the report, and
the wish to cancel all stand there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from collector.desk.backtest import Side, compare
from collector.desk.backtest_events import Span, StoredEvents
from collector.desk.draft import content_digest
from collector.desk.release import bundle_of, current_release
from collector.desk.seeing import Seeing, seen_kinds
from collector.detection.centre import RegisterCentre, load_centre
from collector.detection.rules import Policy, empty_policy
from collector.registers import seeding
from collector.registers.models import Agent, Release
from collector.registers.models_releases import Study
from collector.registers.store import Store, now_us, open_store
from policies.enrich import CompiledBundle
from policies.model import Bundle
from protocol.events import KINDS
from protocol.refusal import UNREADABLE, RefusedError

PROGRESS_S = 0.5
NICENESS = 10
MOST_EVENTS = 50_000_000


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is looked at. Times are UTC µs; ``section`` empty = all; ``most``: only about so many of the newest events.

    ``ring``: the back-test compares with what this ring has in force. ``kinds``: what seeding looks for.
    """

    since_us: int
    until_us: int
    section: str = ""
    ring: str = ""
    most: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] = MOST_EVENTS
    kinds: tuple[seeding.SeedKind, ...] = ()


class CancelledError(Exception):
    """Somebody cancelled the study."""


class Looker:
    """Does one study over a data directory."""

    def __init__(self, data: Path, store: Store, study_id: int, parent: int = 0) -> None:
        """Reads the plan and measures what is to be read; ends when the process ``parent`` does (0 = no matter).

        Raises RefusedError ``not_found``, ``stale``.
        """
        self._store, self._id, self._parent = store, study_id, parent
        with store.read() as session:
            row = session.get(Study, study_id)
            if row is None:
                raise RefusedError("not_found", f"no study {study_id}")
            self._row = row
            self._plan = msgspec.convert(row.plan, Plan)
            self._agents = _agents(session, self._plan.section)
            self._systems = dict(iter(session.execute(select(Agent.id, Agent.os))))
            self._draft = _draft(session, row.content)
            self._in_force = current_release(session, self._plan.ring) if row.kind == "backtest" else None
            before = bundle_of(self._in_force) if self._in_force else None
            self._centre = load_centre(session, RegisterCentre()) or RegisterCentre()
        policies = (
            Policy(CompiledBundle(self._draft, "draft")),
            Policy(CompiledBundle(before, "")) if before else empty_policy(),
        )
        for policy in policies:
            policy.know(self._centre)
        self._sides = Side(policies[0]), Side(policies[1])
        self.events = StoredEvents(data, self._span())
        self._done, self._next = 0, 0.0

    def _span(self) -> Span:
        kinds = frozenset(KINDS)
        if self._row.kind == "seed":
            kinds = seen_kinds(self._plan.kinds)
        else:
            kinds = frozenset[str]().union(*(side.compiled.matcher.kinds_with_rules for side in self._sides))
        agents = None if not self._plan.section else frozenset(self._agents)
        plan = self._plan
        return Span(
            since_us=plan.since_us, until_us=plan.until_us, most=plan.most, kinds=kinds, agents=agents
        )

    def run(self) -> None:
        """Do it, and write the outcome down. Never raises for what the events hold."""
        began = time.monotonic()
        try:
            report = self._backtest() if self._row.kind == "backtest" else self._seed()
            took_ms = round((time.monotonic() - began) * 1000)
            self._close("done", report={**report, **self._covered(), "took_ms": took_ms})
        except CancelledError:
            self._close("cancelled")
        except (RefusedError, OSError, SQLAlchemyError, *UNREADABLE) as error:
            self._close("failed", error=str(error)[:2000])

    def _backtest(self) -> dict[str, Any]:
        result = compare(*self._sides, self.events.batches(), self._go_on)
        shown: dict[str, Any] = msgspec.to_builtins(result)
        for rule in shown["rules"]:
            for sample in rule["samples"]:
                sample["hostname"] = self._agents.get(sample["agent_id"], ("", ""))[0]
        check = self._row.report["check"]
        broken = any(rule.new_errors for rule in result.rules)
        sound = check["ok"] and not broken and not self._plan.section
        generation = self._in_force.generation if self._in_force else 0
        return {**shown, "check": check, "sound": sound, "against": generation}

    def _seed(self) -> dict[str, Any]:
        compiled = CompiledBundle(self._draft, "", self._centre)
        seeing = Seeing(compiled, self._agents, self._plan.kinds or seeding.SEED_KINDS, self._systems)
        for batch, decoded in self.events.batches():
            seeing.take(batch, decoded)
            self._go_on(batch.count)
        with self._store.write() as session:
            outcome = seeding.propose(session, seeing.found())
        return {**msgspec.to_builtins(outcome), "left_out": seeing.left_out}

    def _covered(self) -> dict[str, Any]:
        return {"cut": self.events.cut, "unreadable": self.events.unreadable, "section": self._plan.section}

    def _go_on(self, count: int) -> bool:
        """Note the progress; raises CancelledError once somebody cancelled."""
        self._done += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_S
            if self._parent and os.getppid() != self._parent:
                raise CancelledError
            with self._store.write() as session:
                mine = update(Study).where(Study.id == self._id, Study.state == "running")
                if not session.execute(mine.values(done=self._done)).rowcount:  # type: ignore[attr-defined]
                    raise CancelledError
        return True

    def _close(self, state: str, *, report: dict[str, Any] | None = None, error: str = "") -> None:
        with self._store.write() as session:
            row = session.get_one(Study, self._id)
            row.done = self._done
            if row.state != "running":
                return  # cancelled meanwhile
            row.state, row.error, row.finished_us = state, error, now_us()
            if report is not None:
                row.report = report


def _agents(session: Session, section: str) -> dict[str, tuple[str, str]]:
    """PC → (host name, section)."""
    query = select(Agent.id, Agent.hostname, Agent.section)
    if section:
        query = query.where(Agent.section == section)
    return {agent: (hostname, place) for agent, hostname, place in session.execute(query)}


def _draft(session: Session, content: str) -> Bundle:
    """The draft that is studied. Raises RefusedError ``stale`` when it is no longer that one."""
    row = session.scalar(select(Release).where(Release.status == "draft"))
    bundle = bundle_of(row) if row else None
    if bundle is None or content_digest(bundle).hex() != content:
        raise RefusedError("stale", "the draft was made anew before it could be looked at", "try again")
    return bundle


def study(data: Path, study_id: int, *, at_once: int | None = None, parent: int = 0) -> bool:
    """Do a waiting study; returns whether it was. With ``at_once``, only one of at most so many events is."""
    store = open_store(data / "control.db")
    try:
        looker = Looker(data, store, study_id, parent)
        if at_once is not None and looker.events.total > at_once:
            return False
        with store.write() as session:
            row = session.get_one(Study, study_id)
            if row.state != "waiting":
                return True
            row.state, row.total = "running", looker.events.total
        looker.run()
    except RefusedError as error:
        with store.write() as session:
            row = session.get_one(Study, study_id)
            row.state, row.error, row.finished_us = "failed", str(error), now_us()
    finally:
        store.close()
    return True


def main(argv: list[str] | None = None, renice: Callable[[int], int] = os.nice) -> int:
    """``python -m collector.desk.study --data DIR --id N --parent PID``."""
    parser = argparse.ArgumentParser(prog="collector.desk.study", description="look at stored events")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(argv)
    # No PR_SET_PDEATHSIG: it would follow the thread that started this, which the API ends when it is idle (prctl(2)).
    renice(NICENESS)
    study(options.data, options.id, parent=options.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
