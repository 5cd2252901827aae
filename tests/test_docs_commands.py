"""Every command that the guides show exists: it is parsed by the program's own parser, and not run."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDES = ["README.md", "README.ja.md", "docs/first-hour.en.md", "docs/first-hour.ja.md"]
PAGES = [
    *GUIDES, "docs/guide-policy.en.md", "docs/guide-policy.ja.md", "docs/guide-findings.en.md",
    "docs/guide-findings.ja.md", "docs/ordinances.en.md", "docs/ordinances.ja.md", "docs/limits.md", "docs/protocol.md",
    "docs/threat-model.md",
]  # fmt: skip
TWINS = [
    ("README.md", "README.ja.md"),
    ("docs/first-hour.en.md", "docs/first-hour.ja.md"),
    ("docs/guide-policy.en.md", "docs/guide-policy.ja.md"),
    ("docs/guide-findings.en.md", "docs/guide-findings.ja.md"),
    ("docs/ordinances.en.md", "docs/ordinances.ja.md"),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "console"}
CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}
PREFIXES = {"sudo", "$"}
PROGRAMS = {"sekisho", "sekisho-agent", "sekisho-collector", "make", "python"}


class WrongError(Exception):
    """A command that its own parser does not take."""


def words_of(line: str) -> Iterator[list[str]]:
    """The simple commands of a shell line, without prompt, ``sudo``, assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in ENDS:
            words.append(word)
            continue
        while words and (words[0] in PREFIXES or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            # sudo -u NAME
            del words[: 3 if words[0] == "sudo" and words[1:2] == ["-u"] else 1]
        if words:
            yield words
        words = []


class Shown(NamedTuple):
    """A command on a page. ``whole``: in a shell block, so it must work as it stands; else only named in the text."""

    page: str
    words: tuple[str, ...]
    whole: bool


def commands_in(page: str) -> Iterator[Shown]:
    """Commands of ours on a page: in shell blocks, and in code spans that show more than a program's name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [block for language, block in FENCE.findall(text) if language in SHELLS]
    lines = [(line, True) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [(span, False) for span in CODE_SPAN.findall(FENCE.sub("", text)) if " " in span]
    for line, whole in lines:
        if not whole and line.partition(" ")[0] not in PROGRAMS:
            continue
        for words in words_of(line):
            name = Path(words[0]).name
            if name in PROGRAMS:
                yield Shown(page, (name, *words[1:]), whole)


@cache
def typer_command(module: str) -> Any:
    from typer.main import get_command

    return get_command(import_module(module).app)


def parse_typer(command: Any, name: str, arguments: Sequence[str]) -> None:
    """Walk down the groups with the program's own parser; nothing is invoked."""
    context = command.make_context(name, list(arguments))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


def parse_argparse(arguments: Sequence[str]) -> None:
    from agent.cli import parser

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser().parse_args(arguments)
    except SystemExit as error:
        if error.code:
            raise WrongError(said.getvalue().strip().splitlines()[-1]) from error


def parse(words: Sequence[str]) -> None:
    """Have a command parsed by its own parser. Raises WrongError."""
    program, arguments = words[0], words[1:]
    if program == "sekisho-agent":
        parse_argparse(arguments)
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        if unknown := {word for word in arguments if "=" not in word} - set(targets):
            raise WrongError(f"no target {unknown}")
    elif program == "python":
        if arguments[0] != "-m" or find_spec(arguments[1]) is None:
            raise WrongError(f"no module {arguments}")
    else:
        command = typer_command(MODULES[program])
        try:
            parse_typer(command, program, arguments)
        except Exception as error:  # Click's exceptions come from a copy inside typer
            if type(error).__name__ != "Exit":
                message = getattr(error, "message", str(error))
                raise WrongError(f"{type(error).__name__}: {message}") from error


MODULES = {"sekisho": "collector.operator.cli", "sekisho-collector": "collector.cli"}
SHOWN = [shown for page in PAGES for shown in commands_in(page)]
INCOMPLETE = ("MissingParameter", "NoArgsIsHelpError", "arguments are required")
ABSENT = re.compile(r"BadParameter: [Ff]ile '[\w.-]+' does not exist\.")
"""The reader of a guide has that file, the test has not; unknown options are found before this."""


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: f"{shown.page}: {' '.join(shown.words)}")
def test_command_exists(shown: Shown) -> None:
    try:
        parse(shown.words)
    except WrongError as wrong:
        if ABSENT.fullmatch(str(wrong)):
            return
        if shown.whole or not any(sign in str(wrong) for sign in INCOMPLETE):
            pytest.fail(f"{shown.page}: {' '.join(shown.words)}: {wrong}")


@pytest.mark.parametrize(
    "line",
    [
        "sekisho alerts --no-such-option",
        "sekisho no-such-command",
        "sekisho isolate PC --reason x",
        "sekisho-agent doctor --no-such-option",
        "sekisho-agent no-such-command",
        "sekisho-collector no-such-command",
        "make no-such-target",
        "python -m no_such_module",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises(WrongError):
        parse(line.split())


def test_guides_show_the_main_commands() -> None:
    for page in GUIDES:
        shown = {one.words[:2] for one in SHOWN if one.page == page and one.whole}
        wanted = {("make", "demo"), ("make", "test")} if "README" in page else {
            ("sekisho-collector", "init"), ("sekisho-agent", "enrol"), ("sekisho-agent", "doctor"),
            ("sekisho", "policy"), ("sekisho", "permits"), ("sekisho", "isolate"), ("sekisho", "restore"),
            ("sekisho-agent", "release"), ("sekisho", "alerts"),
        }  # fmt: skip
        assert wanted - shown == set(), page


def shape(shown: Shown) -> list[str]:
    """Program and options without values, which may differ between languages."""
    return [shown.words[0], *(word.partition("=")[0] for word in shown.words[1:] if word.startswith("-"))]


@pytest.mark.parametrize(("english", "japanese"), TWINS)
def test_both_languages_show_the_same_commands(english: str, japanese: str) -> None:
    shapes = [[shape(shown) for shown in commands_in(page) if shown.whole] for page in (english, japanese)]
    assert shapes[0] == shapes[1]


def test_the_rule_that_the_guides_show_passes_its_tests(tmp_path: Path) -> None:
    from policies.testing import check_rules

    shown = [re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
             for page in ("docs/guide-findings.en.md", "docs/guide-findings.ja.md")]  # fmt: skip
    assert shown[0] == shown[1]
    for name, text in zip(("night.yml", "night.tests.yml"), shown[0], strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    report = check_rules(tmp_path)
    assert report.ok, str(report)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_python_on_the_protocol_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = [
        block
        for language, block in FENCE.findall((ROOT / "docs/protocol.md").read_text())
        if language == "python"
    ]
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/protocol.md", "exec"), {})  # noqa: S102 - our own page


def test_limits_has_a_word_on_every_sensor_and_enforcer() -> None:
    from agent import enforcers, sensors

    text = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert set(sensors.discover()) - headings == set()
    bold = set(re.findall(r"^- \*\*(\w+)\*\*", text, re.MULTILINE))
    assert set(enforcers.discover()) - bold == set()
