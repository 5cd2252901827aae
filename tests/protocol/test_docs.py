"""The generated pages say what the types say."""

from __future__ import annotations

from pathlib import Path

from protocol import docs
from protocol.events import KINDS

FOLDER = Path(docs.__file__).parent.parent / "docs" / "generated"


def test_pages_have_not_drifted() -> None:
    assert (FOLDER / "protocol.md").read_text() == docs.protocol_page(), "run: python -m protocol.docs"
    assert (FOLDER / "events.md").read_text() == docs.events_page(), "run: python -m protocol.docs"


def test_every_kind_says_what_its_fields_mean() -> None:
    page = docs.events_page()
    for tag in KINDS:
        section = page.split(f"## {tag}\n", 1)[1].split("\n## ", 1)[0]
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        assert all(len(row[2].strip()) > 3 for row in rows), tag
