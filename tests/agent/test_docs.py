"""The page of sensors lists every sensor with its limits."""

from agent import docs
from agent.sensors import discover
from protocol.pages import FOLDER


def test_the_page_has_not_drifted() -> None:
    for name, text in docs.pages().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run: python -m agent.docs"


def test_every_sensor_is_listed_with_what_it_cannot_see() -> None:
    page = docs.pages()["sensors.md"]
    for name, sensor in discover().items():
        section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert sensor.limits.ja in section
        assert sensor.limits.en in section
        kinds = [str(kind.__struct_config__.tag).replace(".", "") for kind in sensor.emits]
        assert all(f"](events.md#{kind})" in page for kind in kinds)


def test_every_kind_that_is_linked_stands_on_the_page_of_events() -> None:
    events = (FOLDER / "events.md").read_text(encoding="utf-8")
    anchors = {
        line.removeprefix("## ").replace(".", "") for line in events.splitlines() if line.startswith("## ")
    }
    linked = {part.split(")")[0] for part in docs.pages()["sensors.md"].split("](events.md#")[1:]}
    assert linked <= anchors
