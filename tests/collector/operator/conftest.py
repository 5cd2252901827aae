import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from argon2 import PasswordHasher

from collector.console import accounts
from collector.operator import keyfile
from collector.operator.cli import main
from collector.operator.keyfile import save_key
from protocol.keys import write_private
from tests.collector.console.world import PASSWORD, World

PASSPHRASE = "市長の合言葉"
CUT = ["--ground", "nagoya:第35条第4号", "--reason", "不審な通信"]


class Desk:
    """A collector's API on loopback, and one operator's side with its keys and sign-in."""

    def __init__(self, tmp_path: Path, world: World, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.world, self.url = tmp_path, world, url
        self._capsys = capsys
        self.passphrase, self.password = tmp_path / "passphrase", tmp_path / "password"
        write_private(self.passphrase, f"{PASSPHRASE}\n".encode())
        write_private(self.password, f"{PASSWORD}\n".encode())
        for name, pair in (
            ("policy", world.policy_key),
            ("ciso", world.ciso_key),
            ("deputy", world.deputy_key),
        ):
            save_key(tmp_path / f"{name}.key", pair, PASSPHRASE)

    def run(self, *words: str) -> tuple[int, str, str]:
        """One command: exit code, stdout, stderr."""
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def key(self, name: str) -> list[str]:
        """Options that name a key and its passphrase."""
        return ["--key", str(self.path / f"{name}.key"), "--passphrase-file", str(self.passphrase)]

    def login(self, role: str) -> None:
        code, _, err = self.run("login", "--name", role, "--password-file", str(self.password))
        assert code == 0, err


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """The API in a thread, by uvicorn, with the real clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        world = World(tmp_path_factory.mktemp("city"), real_clock=True)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(world.app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield world, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)
            listener.close()
        assert not thread.is_alive()


@pytest.fixture
def desk(
    served: tuple[World, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    monkeypatch.setattr(keyfile, "MEMORY_KIB", 64)
    monkeypatch.setattr(keyfile, "PASSES", 1)
    world, url = served
    monkeypatch.setenv("SEKISHO_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SEKISHO_URL", url)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return Desk(tmp_path, world, url, capsys)


@pytest.fixture
def pc(served: tuple[World, str]) -> Iterator[Callable[..., None]]:
    """A PC that answers the next order in the given states, as gateway and agent do."""
    world, _ = served
    threads: list[threading.Thread] = []

    def answer(*states: str, **result: object) -> None:
        thread = threading.Thread(target=world.answer_next_order, args=(states, result))
        thread.start()
        threads.append(thread)

    yield answer
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
