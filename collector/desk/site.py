"""The site file ``data/policy.yaml``: what the city itself decides — zones, modes, allowed software.

Read as YAML 1.2 (``off`` is a word, not False), each value checked against :class:`Site`. An error names file, line, what
is wrong and what to write instead; all errors of the meaning check come at once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import yaml
from msgspec import Meta, Struct

from policies.model import Control, Destination, FailMode, Mode, SoftwareAllow

LARGEST = 4 * 1024 * 1024
"""A site file of 3,000 PCs is some 20 KiB."""
EVERY_ZONE = "*"
ZoneName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class Titles(Struct, frozen=True, forbid_unknown_fields=True):
    """A name in both languages."""

    ja: Annotated[str, Meta(min_length=1, max_length=256)]
    en: Annotated[str, Meta(min_length=1, max_length=256)]


class Allow(Struct, frozen=True, forbid_unknown_fields=True):
    """Where PCs of a zone may connect: CIDR, port (0 = any), protocol tcp | udp | icmp | any."""

    network: Annotated[str, Meta(max_length=64)]
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    protocol: Annotated[str, Meta(pattern="^(tcp|udp|icmp|any)$")] = "any"


class SiteZone(Struct, frozen=True, forbid_unknown_fields=True):
    """A network zone of the city."""

    name: ZoneName
    title: Titles
    networks: tuple[Annotated[str, Meta(max_length=64)], ...] = ()
    allow: tuple[Allow, ...] = ()


class SiteSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """How one control runs in one zone (``*`` = every other zone)."""

    control: Control
    mode: Mode
    zone: Annotated[str, Meta(max_length=64)] = EVERY_ZONE
    fail: FailMode = "open"


class Software(Struct, frozen=True, forbid_unknown_fields=True):
    """Software that may be there and run: ``package`` of ``source`` (``*`` = all of it), or a SHA-256 ``digest``."""

    source: Annotated[str, Meta(pattern="^(dpkg|rpm|pip|npm|user_place|)$")] = ""
    package: Annotated[str, Meta(max_length=256)] = ""
    digest: Annotated[str, Meta(pattern="^([0-9a-f]{64}|)$")] = ""


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole site file."""

    zones: Annotated[tuple[SiteZone, ...], Meta(min_length=1, max_length=64)]
    settings: tuple[SiteSetting, ...] = ()
    software: tuple[Software, ...] = ()
    not_permittable: tuple[Annotated[str, Meta(max_length=64)], ...] = ()
    media_read_only: tuple[ZoneName, ...] = ()
    unassigned_zone: ZoneName = "unassigned"
    rules_off: tuple[Annotated[str, Meta(max_length=256)], ...] = ()
    valid_days: Annotated[int, Meta(ge=1, le=3650)] = 400

    def destinations(self, zone: SiteZone) -> tuple[Destination, ...]:
        """Allowed destinations of ``zone`` in the bundle's form, networks in canonical form."""
        return tuple(Destination(_network(a.network), a.port, a.protocol) for a in zone.allow)  # type: ignore[arg-type]

    def allowed_software(self) -> tuple[SoftwareAllow, ...]:
        """Software list in the bundle's form."""
        return tuple(SoftwareAllow(entry.source, entry.package, entry.digest) for entry in self.software)


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
    """SafeLoader with YAML 1.2's booleans, so that ``mode: off`` is the word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def load_site(path: Path) -> Site:
    """Read and check the site file. Raises SiteError; OSError when it cannot be read."""
    if path.stat().st_size > LARGEST:
        raise SiteError([Complaint(path.name, 1, f"larger than {LARGEST} bytes")])
    return parse_site(path.read_bytes(), path.name)


def parse_site(data: bytes, name: str) -> Site:
    """Check the bytes of a site file called ``name``. Raises SiteError."""
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
        site = _convert(loader.construct_document(root), root, name)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise SiteError([Complaint(name, mark.line + 1 if mark else 1, _yaml_problem(error))]) from error
    finally:
        if loader is not None:
            loader.dispose()
    if wrong := list(_meaning(site, root, name)):
        raise SiteError(wrong)
    return site


def _convert(raw: object, root: yaml.Node, name: str) -> Site:
    try:
        return msgspec.convert(raw, Site, strict=True)
    except msgspec.ValidationError as error:
        raise SiteError([_located(error, root, name)]) from error


def _yaml_problem(error: Exception) -> str:
    return f"not YAML: {getattr(error, 'problem', None) or type(error).__name__}"


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
_STRUCTS: dict[str, type[Struct]] = {
    "$": Site,
    "$.zones": SiteZone,
    "$.zones.title": Titles,
    "$.zones.allow": Allow,
    "$.settings": SiteSetting,
    "$.software": Software,
}
_CHOICES = {"control": get_args(Control), "mode": get_args(Mode), "fail": get_args(FailMode)}


def _located(error: msgspec.ValidationError, root: yaml.Node, name: str) -> Complaint:
    text, _, path = str(error).partition(" - at `")
    path = path.rstrip("`") or "$"
    line, hint = line_of(root, path), ""
    if unknown := _FIELD.search(text):
        line = line_of(root, f"{path}.{unknown[1]}")
        fields = _STRUCTS[re.sub(r"\[\d+\]", "", path)].__struct_fields__
        near = difflib.get_close_matches(unknown[1], fields, n=1)
        hint = f"did you mean `{near[0]}`?" if near else ""
    elif choices := _CHOICES.get(path.rpartition(".")[2]):
        hint = "one of: " + ", ".join(choices)
    return Complaint(name, line, f"{path.removeprefix('$.')}: {text}", hint)


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def _meaning(site: Site, root: yaml.Node, name: str) -> Iterator[Complaint]:
    """What types cannot say: networks, zones that exist, nothing twice."""
    names = [zone.name for zone in site.zones]
    for index, zone in enumerate(site.zones):
        where = f"$.zones[{index}]"
        if names.index(zone.name) != index:
            yield Complaint(name, line_of(root, f"{where}.name"), f"zone `{zone.name}` stands here twice")
        texts = [(f"{where}.networks[{i}]", text) for i, text in enumerate(zone.networks)]
        texts += [(f"{where}.allow[{i}].network", allow.network) for i, allow in enumerate(zone.allow)]
        for path, text in texts:
            if problem := _network_problem(text):
                yield Complaint(name, line_of(root, path), problem, "CIDR such as 10.1.0.0/16 or fd00::/8")
    known = {*names, site.unassigned_zone, EVERY_ZONE}
    places: set[tuple[str, str]] = set()
    for index, setting in enumerate(site.settings):
        line = line_of(root, f"$.settings[{index}]")
        if setting.zone not in known:
            yield Complaint(name, line, f"zone `{setting.zone}` is not defined", _near(setting.zone, known))
        if (setting.control, setting.zone) in places:
            yield Complaint(name, line, f"{setting.control} in zone `{setting.zone}` is set twice")
        places.add((setting.control, setting.zone))
    for index, zone_name in enumerate(site.media_read_only):
        if zone_name not in known:
            line = line_of(root, f"$.media_read_only[{index}]")
            yield Complaint(name, line, f"zone `{zone_name}` is not defined", _near(zone_name, known))
    for index, entry in enumerate(site.software):
        if not entry.digest and not (entry.source and entry.package):
            line = line_of(root, f"$.software[{index}]")
            yield Complaint(
                name,
                line,
                "an entry names source and package, or a digest",
                'e.g. {source: dpkg, package: "*"}',
            )


def _network_problem(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"`{text}`: {error}"
    return "" if network.prefixlen or text in {"0.0.0.0/0", "::/0"} else f"`{text}` is every address"


def _near(wrong: str, known: set[str]) -> str:
    near = difflib.get_close_matches(wrong, sorted(known), n=1)
    return f"did you mean `{near[0]}`?" if near else "zones: " + ", ".join(sorted(known))
