"""Keeps the generated pages of ``docs/generated``: writes them, or says which no longer say what their source says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "generated"


def notice(module: str, source: str) -> str:
    """The first line of a page that ``python -m module`` writes."""
    return f"<!-- Written by `python -m {module}` from {source}. Edit those. -->"


def keep(pages: Mapping[str, str], module: str, folder: Path = FOLDER) -> int:
    """Write the pages, or with ``--check`` on the command line compare them; exit code 1 on drift."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    drifted = []
    for name, text in pages.items():
        page = folder / name
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            drifted.append(name)
    for name in drifted:
        sys.stderr.write(f"docs/generated/{name} does not say what its source says; run python -m {module}\n")
    return 1 if drifted else 0


def cell(text: str) -> str:
    """Text as a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")
