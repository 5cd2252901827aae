"""The child's work: which folders to watch, what is installed now, how that differs from the baseline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from agent.inventory.job import Folders, Found, Job, Ready, Said, batches, name_of, sound
from agent.platform import Platform
from agent.platform.ports import Package, SoftwareSource
from agent.software_baseline import BASELINE, Baseline, SoftwareEvent

_EVENT_BYTES = 512
"""Of an event besides its name."""


def look(job: Job, say: Callable[[Said], None], wait: Callable[[], None]) -> None:
    """Do a job. ``wait`` returns once the folders told are watched. Raises OSError or sqlite3.Error."""
    platform = Platform(state=Path(os.fsdecode(job.state)), root=Path(os.fsdecode(job.root)))
    packages = platform.packages
    for source in job.sources:
        for folders in batches(map(os.fsencode, packages.watched(source)), len):
            say(Folders(source, folders))
    say(Ready())
    wait()
    with closing(Baseline(platform.state / BASELINE)) as baseline:
        for source in job.sources:
            _tell(say, _whole(platform, baseline, source))
        for path in map(os.fsdecode, job.paths):
            found = packages.examine(path)
            name = name_of(platform.root, path)
            package = next(_sound([found] if found else []), None)
            _tell(say, baseline.compare_one("user_place", name, package, platform.now_us()))


def _whole(platform: Platform, baseline: Baseline, source: SoftwareSource) -> list[SoftwareEvent]:
    packages, places = platform.packages, source == "user_place"
    known = baseline.digests() if places else {}
    used = packages.recall(known)
    events = baseline.compare(source, _sound(packages.installed(source)), platform.now_us())
    if places:
        baseline.keep_digests(known, used)
    return events


def _tell(say: Callable[[Said], None], events: Iterable[SoftwareEvent]) -> None:
    for batch in batches(events, lambda event: len(event.name) * 4 + _EVENT_BYTES):
        say(Found(batch))


def _sound(packages: Iterable[Package]) -> Iterator[Package]:
    for one in packages:
        yield Package(one.source, sound(one.name), sound(one.version), one.digest, sound(one.owner))
