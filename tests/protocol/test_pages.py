"""Generated pages are written, or found to have drifted."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.pages import cell, keep, notice


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, pages: dict[str, str], *options: str) -> int:
    monkeypatch.setattr("sys.argv", ["docs", *options])
    return keep(pages, "some.docs", folder)


def test_pages_are_written_and_then_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, pages = tmp_path / "docs", {"a.md": "甲\n", "b.md": "b\n"}
    assert run(monkeypatch, folder, pages, "--check") == 1
    assert run(monkeypatch, folder, pages) == 0
    assert (folder / "a.md").read_text(encoding="utf-8") == "甲\n"
    assert run(monkeypatch, folder, pages, "--check") == 0


def test_a_page_that_drifted_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, tmp_path, {"a.md": "a\n", "b.md": "b\n"})
    assert run(monkeypatch, tmp_path, {"a.md": "a\n", "b.md": "c\n"}, "--check") == 1
    said = capsys.readouterr().err
    assert "b.md" in said
    assert "a.md" not in said
    assert "run python -m some.docs" in said
    assert (tmp_path / "b.md").read_text(encoding="utf-8") == "b\n"


def test_text_in_a_table() -> None:
    assert cell("one |\n  two") == "one \\| two"
    assert notice("a.docs", "`a`") == "<!-- Written by `python -m a.docs` from `a`. Edit those. -->"
