"""The ordinances of one installation: the shipped ones, the city's own files over them, and what the site file sets.

``data/ordinances/ID.yaml`` replaces the shipped edition of that id, or adds one. A mistake in any of the files is said
with file and line; what was good before stays in force.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from collector.desk.site import load_site
from collector.desk.site_read import Complaint, SiteError
from policies.ordinance import Ordinance, load_ordinances
from policies.ordinance_override import applied
from policies.ordinance_read import OrdinanceError, read_ordinance
from policies.shipped import shipped_ordinances
from policies.source import SourceError, did_you_mean
from protocol.keys import write_private
from protocol.refusal import RefusedError

log = logging.getLogger("sekisho.law")
OWN = "ordinances"
"""Directory of a city's own ordinance files, beside the site file."""
Stamp = tuple[tuple[str, int, int], ...]


def installed_ordinances(data: Path) -> Mapping[str, Ordinance]:
    """The ordinances of a data directory, as their files say. Raises SiteError for the city's own; OSError."""
    own = data / OWN
    if not own.is_dir():
        return shipped_ordinances()
    try:
        return {**shipped_ordinances(), **load_ordinances(own)}
    except OrdinanceError as error:
        raise SiteError([_complaint(one) for one in error.all()]) from error


def _complaint(error: SourceError) -> Complaint:
    return Complaint(f"{OWN}/{Path(error.file).name}", error.line, error.message, error.hint)


def choose(
    known: Mapping[str, Ordinance], names: Iterable[str], files: Iterable[Path]
) -> dict[str, Ordinance]:
    """Ordinances by id, in this order: those of ``known`` by name, then those of files.

    Raises RefusedError ``bad_value`` for one that is not there, named twice, or wrong (with file and line); OSError.
    """
    chosen: dict[str, Ordinance] = {}
    for name in names:
        if name not in known:
            raise RefusedError("bad_value", f"no ordinance {name}", did_you_mean(name, known))
        if name in chosen:
            raise RefusedError("bad_value", f"ordinance {name} is named twice", "name it once")
        chosen[name] = known[name]
    for path in files:
        ordinance = read_file(path)
        if ordinance.id in chosen:
            raise RefusedError(
                "bad_value", f"{path}: ordinance {ordinance.id} is named twice", "name it once"
            )
        chosen[ordinance.id] = ordinance
    return chosen


def read_file(path: Path) -> Ordinance:
    """An ordinance file of any name. Raises RefusedError ``bad_value`` with file and line of every mistake; OSError."""
    try:
        return read_ordinance(path, named=False)
    except OrdinanceError as error:
        first = f"{error.file}:{error.line}: {error.message}"
        where = "\n".join([first, *map(str, error.others)])
        raise RefusedError("bad_value", where, error.hint) from error


def keep_file(data: Path, path: Path) -> None:
    """Copy an ordinance file to where the city's own are read from (0600). Raises like :func:`read_file`."""
    own = data / OWN
    own.mkdir(mode=0o700, exist_ok=True)
    write_private(own / f"{read_file(path).id}.yaml", path.read_bytes())


class LawBook:
    """Reads the ordinances anew when a file changed."""

    def __init__(self, policy: Path) -> None:
        """``policy`` is the site file; its directory is the data directory."""
        self._policy = policy
        self._stamp: Stamp | None = None
        self._good: Mapping[str, Ordinance] = shipped_ordinances()

    def fresh(self) -> Mapping[str, Ordinance]:
        """What the files say now. Raises SiteError and OSError."""
        installed = installed_ordinances(self._policy.parent)
        return applied(installed, load_site(self._policy, lambda: installed).overrides())

    def current(self) -> Mapping[str, Ordinance]:
        """What the files say, or said when they were last without mistake."""
        stamp = self._seen()
        if stamp != self._stamp:
            try:
                self._good = self.fresh()
            except (SiteError, OSError) as error:
                log.warning("the ordinances stay as they were: %s", error)
            self._stamp = stamp
        return self._good

    def _seen(self) -> Stamp:
        files = [self._policy, *sorted((self._policy.parent / OWN).glob("*.yaml"))]
        found = []
        for path in files:
            try:
                state = path.stat()
            except OSError:
                continue
            found.append((path.name, state.st_mtime_ns, state.st_size))
        return tuple(found)
