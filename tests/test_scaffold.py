"""The frame the rest stands in: the lock, the packages, the borders between them, the skip mechanism."""

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.capabilities import PROBES, why_missing
from tests.conftest import expected_skips

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ["agent", "collector", "policies", "protocol"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def _canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def test_every_locked_package_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK)
    pinned = [block for block in blocks if re.match(r"[a-z0-9][\w.-]*==", block)]
    assert len(pinned) > 50
    assert [block.split("==")[0] for block in pinned if "--hash=sha256:" not in block] == []


def test_lock_covers_every_declared_dependency() -> None:
    project = PROJECT["project"]
    declared = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    locked = set(re.findall(r"^([a-z0-9][\w.-]*)==", LOCK, re.MULTILINE))
    assert {_canonical(one) for one in declared} - locked == set()


@pytest.mark.parametrize(
    "name", ["requirements.lock", "pyproject.toml", "Makefile", "scripts/setup.sh", ".ci/run"]
)
def test_set_up_names_no_host_and_no_place_of_one_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert (
        re.findall(r"\w+://\S+|--(?:extra-)?index-url.*|--find-links.*|/(?:opt|home|root|srv)/\S*", text)
        == []
    )


def test_agent_base_stays_small() -> None:
    """A further base dependency is carried by every PC: change this list only with a measurement."""
    base = {_canonical(one) for one in PROJECT["project"]["dependencies"]}
    assert base == {"pyzmq", "msgspec", "pynacl", "zstandard", "typer"}


@pytest.mark.parametrize("name", PACKAGES)
def test_package_is_this_checkout(name: str) -> None:
    assert Path(str(import_module(name).__file__)).parent == ROOT / name


@pytest.mark.parametrize("name", sorted(PROJECT["project"]["scripts"]))
def test_command_is_installed_as_declared(name: str) -> None:
    (found,) = entry_points(group="console_scripts", name=name)
    assert found.value == PROJECT["project"]["scripts"][name]


FORBIDDEN = {
    ("agent", "collector"): "a PC carries nothing of the collector",
    ("agent", "sqlalchemy"): "a PC carries no collector dependency",
    ("agent", "litestar"): "a PC carries no collector dependency",
    ("agent", "sigma"): "rules reach the PC compiled",
    ("agent", "scapy"): "slow and large; only tests and child processes use it",
    ("collector", "agent"): "the two share protocol/ and policies/ only",
    ("protocol", "agent"): "protocol is below both sides",
    ("protocol", "collector"): "protocol is below both sides",
    ("policies", "agent"): "policies are below both sides",
    ("policies", "collector"): "policies are below both sides",
}
"""(package, what it must not import) → why."""
IN_CHILDREN = {("agent/platform/linux/lldp_child.py", "scapy")}
"""What short-lived child processes import all the same: (file, package)."""


def _imports(package: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_borders_between_packages(package: str) -> None:
    crossings = {
        f"{path.relative_to(ROOT)} imports {name}: {FORBIDDEN[package, name]}"
        for path, name in _imports(package)
        if (package, name) in FORBIDDEN and (str(path.relative_to(ROOT)), name) not in IN_CHILDREN
    }
    assert crossings == set()


NOT_AT_START = {
    "collector.operator.cli": {
        "sigma",
        "sqlalchemy",
        "alembic",
        "litestar",
        "jinja2",
        "zmq",
        "httpx",
        "asyncio",
    },
    "collector.cli": {"sigma", "litestar", "jinja2", "httpx"},
}
"""Module of a command → what only some of its subcommands need; imported at the top it would slow down all of them."""


@pytest.mark.parametrize("module", sorted(NOT_AT_START))
def test_a_command_starts_without_what_few_subcommands_need(module: str) -> None:
    told = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True, cwd=ROOT)
    assert NOT_AT_START[module] & set(ran.stdout.split()) == set()


@pytest.mark.parametrize("name", sorted(PROBES))
def test_probe_answers_without_raising(name: str) -> None:
    reason = why_missing(name)
    assert reason is None or reason


def test_expected_skips_reads_names_and_ignores_comments() -> None:
    assert expected_skips("# head\n\nbpf   # no CAP_BPF here\nzram\n") == {"bpf", "zram"}


STRICT_CASES = [
    ("@pytest.mark.needs('linux')\ndef test_it(): pass", 0, "1 passed"),
    (
        "@pytest.mark.needs('absent')\ndef test_it(): pass",
        1,
        "unexpected skip: needs absent: removed on purpose",
    ),
    ("def test_it(requires): requires('absent')", 1, "unexpected skip: needs absent"),
    ("def test_it(): pytest.skip('no reason')", 1, "unexpected skip: no reason"),
    ("@pytest.mark.needs('typo')\ndef test_it(): pass", 4, "needs('typo') has no probe"),
]


@pytest.mark.parametrize(("body", "status", "says"), STRICT_CASES)
@pytest.mark.needs("linux")
def test_strict_skips(tmp_path: Path, body: str, status: int, says: str) -> None:
    """Run a one-test session with the real conftest, in which the capability "absent" is missing."""
    plugin = (
        "from tests import capabilities\n"
        "def absent(): raise capabilities.Missing('removed on purpose')\n"
        "capabilities.PROBES['absent'] = absent\n"
    )
    (tmp_path / "absent_plugin.py").write_text(plugin, encoding="utf-8")
    case = tmp_path / "test_case.py"
    case.write_text(f"import pytest\n{body}\n", encoding="utf-8")
    plugins = ["-p", "tests.conftest", "-p", "absent_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            ROOT / "pyproject.toml",
            "--rootdir",
            tmp_path,
            *plugins,
            case,
        ],
        env={**os.environ, "SEKISHO_STRICT_SKIPS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert says in done.stdout + done.stderr
    assert done.returncode == status, done.stdout


def test_set_up_is_quick_and_quiet_when_nothing_changed() -> None:
    if not (ROOT / ".venv" / ".setup-stamp").exists():
        pytest.fail("run scripts/setup.sh first (make test does)")
    before = time.monotonic()
    done = subprocess.run(
        [ROOT / "scripts" / "setup.sh"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "locked packages" not in done.stdout
    assert time.monotonic() - before < 5
