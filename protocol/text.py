"""Texts people read, in Japanese and English."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

Lang = Literal["ja", "en"]


class Text(msgspec.Struct, frozen=True):
    """One message in both languages. ``{name}`` marks are filled by :meth:`say`."""

    ja: str
    en: str

    def say(self, lang: Lang, /, **values: object) -> str:
        """Return the text in ``lang`` with its marks filled."""
        return (self.ja if lang == "ja" else self.en).format(**values)


def language(choice: str | None = None) -> Lang:
    """Language for a person: the explicit choice, else the locale (``LC_ALL``, ``LC_MESSAGES``, ``LANG``)."""
    wanted = (
        choice or os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or "en"
    )
    return "ja" if wanted.lower().startswith("ja") else "en"
