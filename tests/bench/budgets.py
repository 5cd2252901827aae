"""The budgets of DESIGN §11, and how a figure is judged against its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "missed", "not measured", ""]


@dataclass(frozen=True)
class Figure:
    """One measured number: its place in ``bench.json``, what it is, and its budget (None: for information)."""

    key: str
    what: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def judge(self, measured: float | None) -> Verdict:
        """The number against the budget; empty where there is none."""
        if self.at_least is None and self.at_most is None:
            return ""
        if measured is None:
            return "not measured"
        low = self.at_least is None or measured >= self.at_least
        high = self.at_most is None or measured <= self.at_most
        return "ok" if low and high else "missed"

    @property
    def budget(self) -> str:
        """The budget as text."""
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}"
        return f"≤ {self.at_most:,g}" if self.at_most is not None else ""


FIGURES = (
    Figure("ingest.events_per_s", "collected, fsynced, flagged, indexed", "events/s", at_least=400_000),
    Figure("ingest.limit_events_per_s", "the same batches: CURVE + journal + decode only", "events/s"),
    Figure("ingest.ratio", "the collector against that limit", "", at_least=0.25),
    Figure("ingest.acknowledged_per_s", "on the disk and acknowledged", "events/s"),
    Figure("flag.p50_ms", "event → its alert can be read", "ms"),
    Figure("flag.p99_ms", "event → its alert can be read", "ms", at_most=100),
    Figure("flag.stamped_p99_ms", "event → the alert's own stored_us", "ms"),
    Figure("flag.rate", "events sent meanwhile", "events/s"),
    Figure("mynumber.false_positive_rate", "generated documents without one, flagged", "%", at_most=5),
    Figure("mynumber.miss_rate", "numbers in generated documents, not found", "%", at_most=2),
    Figure("mynumber.invented", "other numbers taken for one", "numbers"),
    Figure("mynumber.documents", "generated documents, half of them without", "documents"),
    Figure("mynumber.unread", "of them not looked into completely", "documents"),
    Figure("mynumber.documents_per_s", "text, tables, Office, PDF, archives, mixed", "files/s"),
    Figure("mynumber.text_mb_per_s", "plain text", "MB/s"),
    Figure("rules.events_per_s_10", "judged by 10 rules, one core", "events/s"),
    Figure("rules.events_per_s_1000", "judged by 1,000 rules, one core", "events/s"),
    Figure("rules.ratio_1000_vs_10", "the second against the first", "", at_least=0.1),
    Figure("rules.load_1000_ms", "1,000 compiled rules made ready", "ms"),
    Figure("agent.rss_mib", "resident agent, idle", "MiB", at_most=35),
    Figure("agent.gate_rss_mib", "execution gate (two processes), idle", "MiB"),
    Figure("agent.idle_cpu_percent", "resident agent, idle", "% of a core", at_most=0.3),
    Figure("agent.gate_idle_cpu_percent", "execution gate, idle", "% of a core"),
    Figure("agent.connect_added_us_p50", "what the agent adds to an allowed connect", "µs", at_most=5),
    Figure("agent.connect_us_p50", "an allowed connect without the agent", "µs"),
    Figure("agent.exec_added_us_p50", "what the gate adds to starting a packaged program", "µs", at_most=80),
    Figure("agent.exec_us_p50", "starting it without the agent", "µs"),
    Figure("isolate.host_p50_ms", "API call → last packet a peer sees", "ms"),
    Figure("isolate.host_p95_ms", "API call → last packet a peer sees", "ms", at_most=50),
    Figure("isolate.host_max_ms", "API call → last packet a peer sees", "ms"),
    Figure("isolate.verified_p50_ms", "API call → verified by both probes and recorded", "ms"),
)
"""Everything that is measured, in the order of the table."""


def by_place(figures: dict[str, float]) -> dict[str, dict[str, float]]:
    """``{"ingest.ratio": 1}`` as ``{"ingest": {"ratio": 1}}``."""
    nested: dict[str, dict[str, float]] = {}
    for key, value in figures.items():
        part, _, name = key.partition(".")
        nested.setdefault(part, {})[name] = value
    return nested
