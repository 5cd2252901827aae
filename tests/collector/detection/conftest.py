from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collector.detection.runtime import Detector
from policies.model import Permit, Rule
from tests.collector.detection.city import City


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Callable[..., City]]:
    cities: list[City] = []

    def make(rules: Sequence[Rule] = (), permits: Sequence[Permit] = ()) -> City:
        cities.append(City(tmp_path, rules, permits))
        return cities[-1]

    yield make
    for city in cities:
        city.close()


@pytest.fixture
def detect() -> Iterator[Callable[[City], Detector]]:
    """A detector that has taken in everything that is there; call it again for what came since."""
    detectors: dict[Path, Detector] = {}

    def run(city: City) -> Detector:
        detector = detectors.get(city.data) or detectors.setdefault(city.data, Detector(city.data))
        detector.settle()
        return detector

    yield run
    for detector in detectors.values():
        detector.close()
