"""Writes ``docs/generated/sensors.md`` from the sensors themselves; ``--check`` fails when it drifted.

``python -m agent.docs [--check]``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import msgspec

from agent.sensors import Sensor, discover
from protocol.events import Event
from protocol.pages import cell, keep, notice

NOTICE = notice("agent.docs", "the classes in `agent/sensors`")


def sensors_page(sensors: Mapping[str, type[Sensor]]) -> str:
    """Text of ``docs/generated/sensors.md``: what each sensor sees, what it cannot, and an example."""
    lines = [
        NOTICE,
        "# センサー / Sensors",
        "",
        "動かせない端末では「動いていない」と報告します。/ Where a PC cannot run one, it is reported as not running.",
        "",
        "| sensor | control | emits |",
        "| --- | --- | --- |",
    ]
    for name, sensor in sorted(sensors.items()):
        lines.append(f"| [{name}](#{name}) | {sensor.control} | {cell(', '.join(_kinds(sensor)))} |")
    for name, sensor in sorted(sensors.items()):
        lines += ["", *_section(name, sensor)]
    return "\n".join([*lines, ""])


def _kinds(sensor: type[Sensor]) -> list[str]:
    return [f"[{kind}](events.md#{kind.replace('.', '')})" for kind in map(_kind, sensor.emits)]


def _kind(type_: type[Event]) -> str:
    return str(type_.__struct_config__.tag)


def _section(name: str, sensor: type[Sensor]) -> Iterator[str]:
    yield from (f"## {name}", "", sensor.doc.ja, "", sensor.doc.en, "")
    yield from (
        f"**見えないもの**: {sensor.limits.ja}",
        "",
        f"**What it cannot see**: {sensor.limits.en}",
        "",
    )
    period = f"; looks every {sensor.period_s:g} s" if sensor.period_s else ""
    yield from (f"Control `{sensor.control}`{period}. For example:", "", "```json")
    yield from (msgspec.json.format(msgspec.json.encode(sensor.example), indent=2).decode(), "```")


def pages() -> dict[str, str]:
    """Name → text of each page."""
    return {"sensors.md": sensors_page(discover())}


if __name__ == "__main__":
    sys.exit(keep(pages(), "agent.docs"))
