"""The resident agent carries little: what it imports, and what it leaves out, held in a process of its own."""

import subprocess
import sys

import pytest

RESIDENT = """
import sys
from agent import cli
options = cli.Options(**vars(cli.parser().parse_args(["run"])))
cli.stay_small()
cli._forget_parser()
from agent import enforcers, sensors
from agent.identity import Identity
from agent.runtime import Runtime
assert sensors.discover() and enforcers.discover()
print(*(name for name, module in sys.modules.items() if module is not None))
"""


@pytest.mark.parametrize(
    "names",
    [
        ("inspect", "ast", "dis", "typing_extensions", "dataclasses", "pkgutil", "argparse", "gettext"),
        ("asyncio", "typer", "rich", "yaml", "sigma", "pyroute2", "scapy", "pypdf", "pydantic", "sqlalchemy"),
        (
            "_hashlib",
            "_ssl",
            "agent.inventory.look",
            "agent.platform.linux.packages_dpkg",
            "agent.scan.formats",
        ),
    ],
)
def test_not_in_the_resident_process(names: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True, timeout=30
    )
    assert not set(names) & set(done.stdout.split())
