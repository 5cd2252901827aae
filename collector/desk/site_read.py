"""Reading a site file: YAML 1.2, strict, and every complaint with its line. Nothing here knows what the keys mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import Struct

from policies.declared import declared_at, place_of, words_at

S = TypeVar("S", bound=Struct)


class Complaint(Struct, frozen=True):
    """One thing wrong with the site file; ``line`` counts from 1."""

    file: str
    line: int
    what: str
    hint: str = ""

    def __str__(self) -> str:
        """Like a compiler: ``file:line: what (hint)``."""
        return f"{self.file}:{self.line}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class SiteError(Exception):
    """The site file cannot be used."""

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("\n".join(map(str, complaints)))
        self.complaints = complaints


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's booleans, so that ``mode: off`` is the word, and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


class Document(Struct, frozen=True):
    """A parsed file: its name, its data as plain Python, and the nodes that know the lines."""

    name: str
    data: Any
    root: yaml.Node

    def complaint(self, path: str, what: str, hint: str = "") -> Complaint:
        """A complaint about the value at a path such as ``$.zones[1].name``."""
        return Complaint(self.name, line_of(self.root, path), what, hint)


def read_document(data: bytes, name: str) -> Document:
    """Parse the bytes of a file called ``name``. Raises SiteError."""
    loader = None
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
        if root is None:
            raise SiteError(
                [Complaint(name, 1, "the file is empty", "sekisho-collector init writes a sample")]
            )
        if doubles := list(_structure(root, name)):
            raise SiteError(doubles)
        return Document(name, loader.construct_document(root), root)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"not YAML: {getattr(error, 'problem', None) or type(error).__name__}"
        raise SiteError([Complaint(name, mark.line + 1 if mark else 1, problem)]) from error
    finally:
        if loader is not None:
            loader.dispose()


def typed(document: Document, type_: type[S]) -> S:
    """The document as ``type_``. Raises SiteError."""
    try:
        return msgspec.convert(document.data, type_, strict=True)
    except msgspec.ValidationError as error:
        raise SiteError([_located(error, document, type_)]) from error


def _structure(node: yaml.Node, name: str) -> Iterator[Complaint]:
    """Doubled keys (YAML would keep the last, silently), and aliases, which this file never needs."""
    seen_nodes: set[int] = set()
    todo = [node]
    while todo:
        node = todo.pop()
        if id(node) in seen_nodes:
            yield Complaint(
                name, node.start_mark.line + 1, "aliases (&, *) are not taken here", "write it out"
            )
            return
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if str(key.value) in keys:
                    yield Complaint(name, key.start_mark.line + 1, f"`{key.value}` stands here twice")
                keys.add(str(key.value))
                todo.append(value)


_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")


def line_of(root: yaml.Node, path: str) -> int:
    """Line (from 1) of the value at a msgspec path such as ``$.zones[1].allow[0].port``; the nearest one that exists."""
    node = root
    for key, index in _STEP.findall(path):
        nearer: yaml.Node | None = None
        if key and isinstance(node, yaml.MappingNode):
            nearer = next((value for name, value in node.value if name.value == key), None)
        elif index and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            nearer = node.value[int(index)]
        if nearer is None:
            break
        node = nearer
    return int(node.start_mark.line) + 1


_FIELD = re.compile(r"unknown field `(.+?)`")


def _located(error: msgspec.ValidationError, document: Document, type_: type[Struct]) -> Complaint:
    text, _, path = str(error).partition(" - at `")
    path = path.rstrip("`") or "$"
    place, at, hint = place_of(path), path, ""
    if unknown := _FIELD.search(text):
        kind, at = declared_at(type_, place), f"{path}.{unknown[1]}"
        fields = kind.__struct_fields__ if isinstance(kind, type) and issubclass(kind, Struct) else ()
        hint = near(unknown[1], fields)
    elif words := words_at(type_, place):
        hint = "one of: " + ", ".join(words)
    return document.complaint(at, f"{path.removeprefix('$.')}: {text}", hint)


def near(wrong: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for a name that is misspelt: the closest known one, or ``otherwise``."""
    found = difflib.get_close_matches(wrong, sorted(known), n=1)
    return f"did you mean `{found[0]}`?" if found else otherwise
