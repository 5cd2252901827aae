"""The wire is plain MessagePack: frozen frames, read by the independent ``msgpack`` library.

After a deliberate change of the wire: raise the protocol version, add a folder beside ``golden/v1`` with
``SEKISHO_GOLDEN=write``, and keep the old one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from protocol import events, messages, wire
from tests.protocol import samples

FOLDER = Path(__file__).parent / "golden" / f"v{messages.VERSION}"
FRAMES: dict[str, bytes] = {
    **{f"message.{name}": wire.encode(message) for name, message in samples.MESSAGES.items()},
    **{f"event.{name}": events.encode_event(event) for name, event in samples.EVENTS.items()},
    "document.order": msgspec.msgpack.encode(samples.ORDER),
    "document.trust": msgspec.msgpack.encode(samples.TRUST),
}


def plain(value: Any) -> Any:
    """What a foreign decoder must see, by way of msgspec's own conversion to builtins."""
    return msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=False)


def test_golden_set_is_whole() -> None:
    if os.environ.get("SEKISHO_GOLDEN") == "write":
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, frame in FRAMES.items():
            (FOLDER / f"{name}.msgpack").write_bytes(frame)
    assert {path.stem for path in FOLDER.iterdir()} == set(FRAMES)
    assert {name.partition(".")[2] for name in FRAMES if name.startswith("event.")} == set(events.KINDS)


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_frame_is_frozen_and_plain_messagepack(name: str) -> None:
    frozen = (FOLDER / f"{name}.msgpack").read_bytes()
    assert FRAMES[name] == frozen
    kind, _, rest = name.partition(".")
    documents: dict[str, Any] = {"order": samples.ORDER, "trust": samples.TRUST}
    sources: dict[str, Any] = {"message": samples.MESSAGES, "event": samples.EVENTS, "document": documents}
    source = sources[kind][rest]
    assert msgpack.unpackb(frozen) == _lists(plain(source))


def _lists(value: Any) -> Any:
    """MessagePack has arrays, not tuples."""
    if isinstance(value, dict):
        return {key: _lists(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(part) for part in value]
    return value


def test_every_message_of_the_tables_has_a_golden_frame() -> None:
    tags = {kind.__struct_config__.tag for table in messages.LIMITS.values() for kind in table}
    assert tags == set(samples.MESSAGES)


def test_event_array_made_by_joining_is_plain_messagepack() -> None:
    parts = [events.encode_event(event) for event in samples.EVENTS.values()]
    joined = events.join_encoded(parts)
    assert msgpack.unpackb(joined) == [msgpack.unpackb(part) for part in parts]
    assert events.decode_events(joined) == list(samples.EVENTS.values())
