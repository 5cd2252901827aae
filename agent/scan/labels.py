"""Finds confidentiality labels: marks that stand in a document like a stamp, not words in a sentence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

STAMP_CHARACTERS = 80
"""A mark counts in a line of at most so many characters, or between brackets."""
_GOES_ON = r"(?!(?!情報|資料|文書|書類|扱|とする|です)[ぁ-んァ-ヶ一-鿿0-9A-Za-z])"
_BRACKETS = {"【": "】", "[": "]", "(": ")", "<": ">", "《": "》", "「": "」", "〔": "〕", "『": "』"}


def normalise(text: str) -> str:
    """Full-width digits and letters as ASCII, half-width kana as full (Unicode NFKC)."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


class LabelFinder:
    """Looks for the marks of all labels at once; text must be normalised."""

    def __init__(self, labels: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        self._names: list[str] = []
        parts = []
        for name, marks in labels:
            for mark in marks:
                if letters := re.sub(r"\s", "", normalise(mark)):
                    self._names.append(name)
                    parts.append("(" + r"[ \t]?".join(map(re.escape, letters)) + ")")
        self._pattern = re.compile("(?:" + "|".join(parts) + ")" + _GOES_ON, re.IGNORECASE) if parts else None
        self.found: dict[str, None] = {}

    def look(self, text: str) -> None:
        """Look through a block of whole lines."""
        if self._pattern is None:
            return
        for match in self._pattern.finditer(text):
            name = self._names[(match.lastindex or 1) - 1]
            if name not in self.found and _is_stamp(text, match.start(), match.end()):
                self.found[name] = None


def _is_stamp(text: str, start: int, end: int) -> bool:
    before = text[text.rfind("\n", max(0, start - STAMP_CHARACTERS), start) + 1 : start][-STAMP_CHARACTERS:]
    after = text[end : end + STAMP_CHARACTERS].split("\n", 1)[0]
    if len(before) + len(after) + end - start <= STAMP_CHARACTERS:
        return True
    return bool(before) and _BRACKETS.get(before[-1]) == after[:1]
