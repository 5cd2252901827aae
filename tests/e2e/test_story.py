"""The demo's story, step by step, with the installed commands in a city hall of namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.story import STEPS, Story

pytestmark = [
    pytest.mark.testbed,
    pytest.mark.needs("root", "netns", "nft", "fanotify", "zram", "umockdev"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with Story() as story:
        yield story


@pytest.mark.timeout(180)
@pytest.mark.parametrize("step", STEPS)
def test_step(story: Story, step: str, request: pytest.FixtureRequest) -> None:
    module = request.node.parent
    if getattr(module, "broken", None):
        pytest.fail(f"the story broke at {module.broken}")
    try:
        told = getattr(story, step)()
    except BaseException:
        module.broken = step
        print(f"logs of the services: {story.keep_logs()}")
        raise
    assert told.what
