"""Rules of other products load unchanged through the mappings, or say why not."""

from pathlib import Path

import pytest

from policies.compile import NotLoadedError, RuleError, compile_library, compile_text
from policies.fields import family_fields
from policies.mapping import load_mappings
from policies.match import evaluate
from policies.model import All, Any, Compare, Enrichment, Node, Rule
from policies.shipped import load_shipped
from policies.source import SourceError
from protocol.events import ConnectionOpened, DnsResolved, Event, FileAccessed, LogonFailed, ProcessStarted

ORDINANCES, _ = load_shipped()
HEAD = """\
title: Somebody looks around
id: 6d9ff4a4-6f1c-4f6e-9d0c-0000000000{number:02}
status: test
author: the tests of this project
date: 2026-01-05
modified: 2026-02-06
tags: [attack.discovery]
logsource: {logsource}
level: medium
detection:
"""


def foreign(logsource: str, detection: str, number: int = 1) -> Rule:
    text = HEAD.format(number=number, logsource=logsource) + detection
    return compile_text(text, f"some/place/proc_look_{number}.yml", ORDINANCES)


LINUX = "{product: linux, category: process_creation}"
WINDOWS = "{product: windows, category: process_creation}"


def test_a_rule_loads_unchanged() -> None:
    made = foreign(
        LINUX, "  a:\n    Image|endswith: /whoami\n    CommandLine|contains: ' -a'\n  condition: a\n"
    )
    assert (made.id, made.version, made.title_ja, made.level) == (
        "proc_look_1",
        "2026-02-06",
        "Somebody looks around",
        "medium",
    )
    assert (made.family, made.control, made.effect) == ("process", "execution", "flag")
    assert {citation.ordinance for citation in made.citations} == {"nagoya", "baseline"}
    assert made.predicate == All(
        (
            Compare("target", "startswith", ("/",)),
            All((Compare("target", "endswith", ("/whoami",)), Compare("args", "contains", (" -a",)))),
        )
    )


FIRES: list[tuple[str, str, Event, Event]] = [
    (
        "{category: network_connection, product: linux}",
        "  a:\n    Initiated: 'true'\n    DestinationPort: ['4444', 8443]\n    Image|endswith: /nc\n  condition: a\n",
        ConnectionOpened(time_us=1, dest_port=4444, exe="/bin/nc"),
        ConnectionOpened(time_us=1, dest_port=4444, exe="/bin/nc", direction="in"),
    ),
    (
        "{category: dns_query, product: linux}",
        "  a:\n    QueryName|endswith: .onion.example\n  condition: a\n",
        DnsResolved(time_us=1, query="x.onion.example"),
        DnsResolved(time_us=1, query="onion.example"),
    ),
    (
        "{category: file_event, product: linux}",
        "  a:\n    TargetFilename|startswith: /etc/cron\n  condition: a\n",
        FileAccessed(time_us=1, path="/etc/cron.d/x", access="create"),
        FileAccessed(time_us=1, path="/etc/cron.d/x", access="read"),
    ),
    (
        "{product: windows, service: security}",
        "  a:\n    EventID: 4625\n    SubStatus: '0xC0000064'\n  condition: a\n",
        LogonFailed(time_us=1, reason="unknown_user"),
        LogonFailed(time_us=1, reason="bad_password"),
    ),
    (
        WINDOWS,
        "  a:\n    - Image|endswith: '\\whoami.exe'\n    - OriginalFileName: whoami.exe\n  condition: a\n",
        ProcessStarted(time_us=1, target="C:\\Windows\\System32\\whoami.exe"),
        ProcessStarted(time_us=1, target="/usr/bin/whoami.exe"),
    ),
    (
        WINDOWS,
        "  a:\n    CommandLine|contains: ' /all'\n  condition: a\n",
        ProcessStarted(time_us=1, target="C:\\x.exe", args="x.exe /all"),
        ProcessStarted(time_us=1, target="/usr/bin/x", args="x /all"),
    ),
    (
        LINUX,
        f"  a:\n    Hashes|contains: ['SHA256={'AB' * 32}', 'MD5={'CD' * 16}']\n  condition: a\n",
        ProcessStarted(time_us=1, target="/x", digest="ab" * 32),
        ProcessStarted(time_us=1, target="/x", digest="cd" * 32),
    ),
    (
        LINUX,
        "  a:\n    ParentImage|endswith: /httpd\n    User|fieldref: ParentImage\n  b:\n    Image|endswith: /sh\n  condition: 1 of *\n",
        ProcessStarted(time_us=1, target="/bin/sh", exe="/bin/ls"),
        ProcessStarted(time_us=1, target="/bin/ls", exe="/bin/sh"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("logsource", "detection", "fires", "not_this"), FIRES, ids=range(len(FIRES)))
def test_it_means_what_it_says(logsource: str, detection: str, fires: Event, not_this: Event) -> None:
    predicate = foreign(logsource, detection).predicate
    assert evaluate(predicate, fires, Enrichment())
    assert not evaluate(predicate, not_this, Enrichment())


def fields_of(node: Node) -> set[str]:
    if isinstance(node, Compare):
        return {node.field}
    return set().union(
        *(fields_of(part) for part in (node.parts if isinstance(node, All | Any) else (node.part,)))
    )


NOT_LOADED = [
    ("{product: linux, service: auditd}", "  a:\n    type: EXECVE\n  condition: a\n", "linux auditd is not collected", 8),
    ("{category: webserver}", "  a:\n    cs-method: GET\n  condition: a\n", "webserver is not collected", 8),
    (WINDOWS, "  a:\n    Image|endswith: x\n    IntegrityLevel: High\n  condition: a\n", "field IntegrityLevel is not", 13),
    (WINDOWS, "  a:\n    Image|endswith: x\n  f:\n    Company: y\n  condition: a and not f\n", "an exception needs it", 14),
    (LINUX, "  a:\n    Hashes|contains: 'MD5=00'\n  condition: a\n", "collected as SHA256=", 12),
    ("{product: linux, service: sshd}", "  a: [error]\n  condition: a\n", "raw log line", 0),
    ("{product: windows, service: security}", "  a:\n    EventID: 4697\n  condition: a\n", "EventID 4697 is not", 12),
    ("{product: linux, category: network_connection}", "  a:\n    DestinationPort|contains: '8'\n  condition: a\n", "is a number here", 12),
]  # fmt: skip


@pytest.mark.parametrize(
    ("logsource", "detection", "message", "line"), NOT_LOADED, ids=range(len(NOT_LOADED))
)
def test_what_is_not_collected_is_named(logsource: str, detection: str, message: str, line: int) -> None:
    with pytest.raises(NotLoadedError) as caught:
        foreign(logsource, detection)
    assert message in caught.value.message
    assert not line or caught.value.line == line


def test_a_mistake_is_a_mistake_also_in_a_rule_of_others() -> None:
    with pytest.raises(RuleError) as caught:
        foreign(LINUX, "  a:\n    Image|endswit: x\n  condition: a\n")
    assert not isinstance(caught.value, NotLoadedError)
    assert "did you mean endswith" in caught.value.hint


def test_a_directory_tells_what_it_left_out(tmp_path: Path) -> None:
    good = (
        HEAD.format(number=1, logsource=WINDOWS) + "  a:\n    - Image: x\n    - Product: y\n  condition: a\n"
    )
    other = (
        HEAD.format(number=2, logsource="{product: zeek, service: http}") + "  a: {b: c}\n  condition: a\n"
    )
    wrong = HEAD.format(number=3, logsource=LINUX) + "  a:\n    Image|re: '('\n  condition: a\n"
    (tmp_path / "below").mkdir()
    for name, text in (("good", good), ("below/other", other), ("wrong", wrong)):
        (tmp_path / f"{name}.yml").write_text(text, encoding="utf-8")
    files = sorted(tmp_path.rglob("*.yml"))
    library = compile_library(files, ORDINANCES, go_on=True)
    assert [rule.id for rule in library.rules] == ["good"]
    assert [one.limits for one in library.limited] == [("Product: field Product is not collected",)]
    assert {(one.why, Path(one.file).stem, one.line) for one in library.left_out} == {
        ("not_collected", "other", 8),
        ("refused", "wrong", 12),
    }
    with pytest.raises(RuleError, match=r"wrong\.yml:12"):
        compile_library(files, ORDINANCES)


def test_several_documents_in_one_file(tmp_path: Path) -> None:
    one = HEAD.format(number=1, logsource=LINUX) + "  a:\n    Image: x\n  condition: a\n"
    two = HEAD.format(number=2, logsource=LINUX).replace("status:", "name: second\nstatus:")
    path = tmp_path / "both.yml"
    path.write_text(f"---\n{one}---\n{two}  a:\n    Imagee|re: '('\n  condition: a\n", encoding="utf-8")
    (left,) = compile_library([path], ORDINANCES, go_on=True).left_out
    assert path.read_text(encoding="utf-8").splitlines()[left.line - 1] == "    Imagee|re: '('"


def test_every_mapping_cites_articles_that_exist() -> None:
    for mapping in load_mappings().values():
        known = family_fields(mapping.family)
        assert all((field := mapping.field(name)) and field.to in known for name in mapping.fields)
        for cited in mapping.citations:
            assert ORDINANCES[cited.ordinance].article(cited.article), cited


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- logsource: [{category: x}]\n  family: none\n  citations: []\n  fields: {}\n",
            "unknown family none",
        ),
        (
            "- logsource: [{category: x}]\n  family: dns\n  citations: []\n  fields: {a: quer}\n",
            "did you mean query",
        ),
        (
            "- logsource: [{category: x}, {category: x}]\n  family: dns\n  citations: []\n  fields: {}\n",
            "mapped twice",
        ),
        (
            "- logsource: [{category: x}]\n  family: dns\n  where: {query|is: [a]}\n  citations: []\n  fields: {}\n",
            "no such",
        ),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.yml").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        load_mappings(tmp_path)
