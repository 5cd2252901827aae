"""What a regular expression cannot do without: plain text that stands in everything it matches."""

from __future__ import annotations

import re

_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")
_REPEAT = re.compile(r"\{\d+(,\d*)?\}")


def required_text(pattern: str) -> str:
    """The longest such text of an RE2 pattern, in lower case; empty: none was seen.

    Errs on the side of empty: groups and classes end a run, an alternative at the top means none.
    """
    flags = _FLAGS.match(pattern)
    folds = flags is not None and "i" in flags[1]
    at = flags.end() if flags else 0
    runs = [""]
    while at < len(pattern):
        literal, size = _token(pattern, at)
        if size == 0 or literal == "|":
            return ""
        at += size
        repeat = _REPEAT.match(pattern, at)
        following = "{" if repeat else pattern[at : at + 1]
        plain = literal.removeprefix("\\").lower()
        if not plain or following in {"*", "?", "{"} or not _same_in_lower_case(plain, folds=folds):
            runs.append("")
        else:
            runs[-1] += plain
            if following == "+":
                runs.append("")
        if repeat:
            at = repeat.end()
    return max(runs, key=len)


def _same_in_lower_case(char: str, *, folds: bool) -> bool:
    """Whether all that RE2 takes for a character is the same in lower case.

    Where case is ignored, ``s`` also matches the long s. Beyond ASCII only characters without case are sure.
    """
    if char.isascii():
        return not (folds and char == "s")
    return char.upper() == char.lower()


def _token(pattern: str, at: int) -> tuple[str, int]:
    """What stands at a place: a literal (``|`` alone: an alternative) or nothing, and its length; 0: not understood."""
    char = pattern[at]
    if char == "\\":
        following = pattern[at + 1 : at + 2]
        if not following or following.isdigit() or following in "pPxQE":
            return "", 0
        return ("" if following.isalnum() else "\\" + following), 2
    if char == "[":
        return "", _class_size(pattern, at)
    if char == "(":
        return "", _group_size(pattern, at)
    return ("" if char in ".^$*+?{" else char), 1


def _class_size(pattern: str, at: int) -> int:
    end = at + 1
    if pattern[end : end + 1] == "^":
        end += 1
    if pattern[end : end + 1] == "]":
        end += 1  # one that comes first is one of the class
    while end < len(pattern) and pattern[end] != "]":
        if pattern.startswith("[:", end):
            end = pattern.find(":]", end) + 2
            if end == 1:
                return 0
        else:
            end += 2 if pattern[end] == "\\" else 1
    return end + 1 - at if end < len(pattern) else 0


def _group_size(pattern: str, at: int) -> int:
    """0 also for flags in the middle of a pattern: they change what follows."""
    if _FLAGS.match(pattern, at):
        return 0
    depth, end = 0, at
    while end < len(pattern):
        char = pattern[end]
        if char == "\\":
            end += 1
        elif char == "[":
            size = _class_size(pattern, end)
            if not size:
                return 0
            end += size - 1
        else:
            depth += (char == "(") - (char == ")")
        end += 1
        if depth == 0:
            return end - at
    return 0
