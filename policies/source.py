"""YAML that people write: read strictly, and every complaint says file, line, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from policies.declared import Place, declared_at, place_of, words_at

__all__ = ["MAX_BYTES", "Place", "Source", "SourceError", "did_you_mean"]

T = TypeVar("T")
MAX_BYTES = 1 << 20
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_AT = re.compile(r" - at `\$([^`]*)`$")


class SourceError(Exception):
    """Something wrong in a file: ``file``, ``line`` (from 1), ``message``, and ``hint`` what to do next."""

    def __init__(self, file: str, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"{file}:{line}: {message}" + (f" ({hint})" if hint else ""))
        self.file = file
        self.line = line
        self.message = message
        self.hint = hint


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the closest known ones, or all of them when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"


class _Loader(yaml.SafeLoader):
    """Dates stay text, and there are no anchors: a file says what it says."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute of the base class
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


class Source:
    """A parsed file: ``data`` as plain Python, ``lines`` by place. Errors are raised as ``error`` (a SourceError)."""

    def __init__(self, text: str, file: str, error: type[SourceError] = SourceError) -> None:
        self.file = file
        self._error = error
        self.lines: dict[Place, int] = {(): 1}
        if len(text) > MAX_BYTES:
            raise error(file, 1, f"{len(text)} characters, at most {MAX_BYTES}", "split the file")
        loader: _Loader | None = None
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            self._walk(node, ())
            self.data: Any = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or problem.context_mark
            line = mark.line + 1 if mark else 1
            raise error(
                file, line, f"not valid YAML: {problem.problem or problem.context}", "check indent and quotes"
            ) from problem
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            raise error(file, 1, f"not valid YAML: {str(problem).splitlines()[0]}") from problem
        finally:
            if loader is not None:
                loader.dispose()

    @classmethod
    def read_all(cls, path: Path, error: type[SourceError] = SourceError) -> list[Source]:
        """Read every document of a UTF-8 file. Raises ``error`` and OSError."""
        try:
            return cls.documents(path.read_text(encoding="utf-8"), str(path), error)
        except UnicodeDecodeError as problem:
            raise error(str(path), 1, "not UTF-8", "save the file as UTF-8") from problem

    @classmethod
    def read(cls, path: Path, error: type[SourceError] = SourceError) -> Source:
        """Read a UTF-8 file. Raises ``error`` and OSError."""
        try:
            return cls(path.read_text(encoding="utf-8"), str(path), error)
        except UnicodeDecodeError as problem:
            raise error(str(path), 1, "not UTF-8", "save the file as UTF-8") from problem

    @classmethod
    def documents(cls, text: str, file: str, error: type[SourceError] = SourceError) -> list[Source]:
        """Each document of a file with several (``---`` between them); lines are counted in the file."""
        if len(text) > MAX_BYTES:
            raise error(file, 1, f"{len(text)} characters, at most {MAX_BYTES}", "split the file")
        lines = text.split("\n")
        starts = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
        spans = zip([-1, *starts], [*starts, len(lines)], strict=True)
        parts = [(first, "\n".join(lines[first + 1 : end])) for first, end in spans]
        filled = [(first, part) for first, part in parts if part.strip()] or parts[:1]
        return [cls("\n" * (first + 1) + part, file, error) for first, part in filled]

    def _walk(self, node: yaml.Node | None, place: Place) -> None:
        if node is None:
            return
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._walk(item, (*place, index))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    raise self._error(self.file, key.start_mark.line + 1, "a key is text", "put it in quotes")
                inner = (*place, key.value)
                if inner in self.lines:
                    raise self._error(self.file, key.start_mark.line + 1, f"{key.value} stands here twice")
                self.lines[inner] = key.start_mark.line + 1
                self._walk(value, inner)

    def line(self, *place: str | int) -> int:
        """Line of a place, or of the nearest thing around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines[place]

    def fail(self, place: Place, message: str, hint: str = "") -> SourceError:
        """The error for a place, to be raised."""
        return self._error(self.file, self.line(*place), message, hint)

    def convert(self, data: Any, type_: type[T], place: Place = ()) -> T:
        """Type ``data``, found at ``place``. Raises this source's error with the line of what is wrong."""
        try:
            return msgspec.convert(data, type_)
        except msgspec.ValidationError as problem:
            message = _AT.sub("", str(problem))
            where = _AT.search(str(problem))
            inner = place_of(f"${where.group(1)}" if where else "$")
            words = words_at(type_, inner)
            hint = f"one of: {', '.join(word or '(empty)' for word in words)}" if words else ""
            if unknown := _UNKNOWN.search(message):
                kind = declared_at(type_, inner)
                inner = (*inner, unknown.group(1))
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    hint = did_you_mean(unknown.group(1), kind.__struct_encode_fields__)
            at = ".".join(map(str, (*place, *inner)))
            raise self.fail((*place, *inner), f"{at}: {message}" if at else message, hint) from problem
