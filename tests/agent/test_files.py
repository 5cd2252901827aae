"""The access log of confidential places, over real folders on an own file system."""

import subprocess
from pathlib import Path

import pytest

from agent.platform.linux import access_log
from agent.sensors.files import MAX_FOLDS
from protocol.events import AgentHealth
from tests.agent.files_lab import STRANGER, Pc, policy, run_as
from tests.isolated import isolated
from tests.sticks import loop_stick, mount, run

real = pytest.mark.needs("root", "mountns", "loop", "ext4", "fanotify")
PLACE = Path("/mnt/juki")


def _pc(node: str, folder: Path, **options: object) -> Pc:
    """A PC whose place lies on an own ext4, open to everybody."""
    mount(node, Path("/mnt"))
    (PLACE / "2026" / "deep").mkdir(parents=True)
    for path in (PLACE, PLACE / "2026", PLACE / "2026" / "deep"):
        path.chmod(0o777)
    (PLACE / "2026" / "deep" / "a.csv").write_text("secret")
    (PLACE / "2026" / "deep" / "a.csv").chmod(0o666)
    pc = Pc(folder, policy(PLACE, **options), media=False)  # type: ignore[arg-type]
    for _ in range(5):
        pc.turn(0)
    return pc


@real
def test_who_read_wrote_renamed_and_deleted(tmp_path: Path) -> None:
    def body() -> None:
        pc = _pc(node, tmp_path, handlers=("tanaka",))
        deep = PLACE / "2026" / "deep"
        run_as(STRANGER, 'exec 3<"$1/a.csv"; cat <&3; sleep 0.3', str(deep), turn=pc.turn)
        run_as(STRANGER, 'echo x >> "$1/a.csv"; sleep 0.3', str(deep), turn=pc.turn)
        run_as(
            STRANGER,
            'mkdir "$1/new"; sleep 0.2; echo y > "$1/new/b.csv"; sleep 0.3',
            str(PLACE),
            turn=pc.turn,
        )
        run_as(STRANGER, 'mv "$1/new/b.csv" "$1/new/c.csv"; rm "$1/new/c.csv"', str(PLACE), turn=pc.turn)
        pc.until(lambda: pc.accessed("delete", "new/c.csv"))
        (read,) = pc.accessed("read", "deep/a.csv") or pc.accessed("write", "deep/a.csv")[:1]
        assert (read.place, read.path) == ("juki", str(deep / "a.csv"))
        told = {(one.access, one.path.removeprefix(str(PLACE))) for one in pc.accessed()}
        assert {
            ("create", "/new"),
            ("create", "/new/b.csv"),
            ("rename", "/new/b.csv"),
            ("rename", "/new/c.csv"),
        } <= told
        assert "write" in {one.access for one in pc.accessed(path="deep/a.csv")}
        known = [one for one in pc.accessed(path="b.csv") if one.uid >= 0]
        assert known
        assert {(one.uid, one.user) for one in known} == {(STRANGER, str(STRANGER))}
        assert "file_access_by_stranger" in pc.rules(known[0])
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_how_many_short_lived_readers_are_named(tmp_path: Path) -> None:
    """The main loop runs in a thread's place here: as in the agent it sleeps in poll until the kernel has something."""

    def body() -> tuple[int, int, int]:
        pc = _pc(node, tmp_path)
        path = str(PLACE / "2026" / "deep" / "a.csv")
        readers = subprocess.Popen(
            [
                "setpriv",
                f"--reuid={STRANGER}",
                "--clear-groups",
                "sh",
                "-c",
                'for i in $(seq 100); do cat "$1"; done',
                "sh",
                path,
            ],
            stdout=subprocess.DEVNULL,
        )
        while readers.poll() is None:
            pc.turn()
        pc.until(lambda: sum(one.count for one in pc.accessed(path="a.csv")) >= 100)
        named = sum(one.count for one in pc.accessed(path="a.csv") if one.uid == STRANGER)
        exe = sum(one.count for one in pc.accessed(path="a.csv") if one.exe.endswith("cat"))
        wrong = [one for one in pc.accessed(path="a.csv") if one.uid not in {STRANGER, -1}]
        assert wrong == []
        pc.close()
        run("umount", "/mnt")
        return named, exe, sum(one.count for one in pc.accessed(path="a.csv"))

    with loop_stick(tmp_path) as node:
        named, exe, seen = isolated(body)
    print(f"100 runs of cat: {seen} seen, {named} with their user, {exe} with the program")
    assert seen == 100


@real
def test_another_mount_namespace_and_another_path_are_seen(tmp_path: Path) -> None:
    def body() -> None:
        pc = _pc(node, tmp_path)
        script = (
            'mkdir /mnt/other && mount --bind "$1" /mnt/other && exec 3</mnt/other/deep/a.csv && sleep 0.3'
        )
        subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", str(PLACE / "2026")], check=True, timeout=20
        )
        pc.until(lambda: pc.accessed("read", "2026/deep/a.csv"))
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_folders_that_come_late_move_and_leave(tmp_path: Path) -> None:
    def body() -> None:
        mount(node, Path("/mnt"))
        pc = Pc(tmp_path, policy(PLACE), media=False)
        pc.turn(0)
        assert pc.accessed() == []
        run("sh", "-c", "mkdir -p /mnt/juki/x /mnt/tree/y && echo 1 > /mnt/tree/y/z")
        log = pc.platform.access_log
        log._again_s = 0.0  # type: ignore[attr-defined]
        pc.until(lambda: len(log._folders) == 2)  # type: ignore[attr-defined]
        run("mv", "/mnt/tree", "/mnt/juki/tree")
        pc.until(lambda: pc.accessed("rename", "juki/tree"))
        run("cat", "/mnt/juki/tree/y/z")
        pc.until(lambda: pc.accessed("read", "tree/y/z"))
        run("mv", "/mnt/juki/tree", "/mnt/gone")
        pc.until(lambda: len(pc.accessed("rename", "juki/tree")) == 2)
        before = len(pc.events)
        run("cat", "/mnt/gone/y/z")
        run("cp", "/etc/hostname", "/mnt/juki/x/h")
        pc.until(lambda: pc.accessed("create", "x/h"))
        assert not any("gone" in one.path for one in pc.accessed())
        assert len(pc.events) > before
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_what_was_put_into_a_new_folder_before_its_mark_is_told_with_its_owner(tmp_path: Path) -> None:
    def body() -> None:
        pc = _pc(node, tmp_path)
        run_as(STRANGER, 'mkdir -p "$1/p/q"; for i in $(seq 30); do echo $i > "$1/p/q/$i"; done', str(PLACE))
        pc.until(lambda: len({one.path for one in pc.accessed(path="") if "/p/q/" in one.path}) == 30)
        assert {one.uid for one in pc.accessed("create") if "/p/q/" in one.path} <= {STRANGER, -1}
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_a_full_queue_is_told_and_the_log_goes_on(tmp_path: Path) -> None:
    def body() -> None:
        pc = _pc(node, tmp_path)
        fill = 'import os,sys\nfor i in range(20000):\n os.close(os.open(f"{sys.argv[1]}/f{i}", os.O_CREAT | os.O_RDWR))\n os.unlink(f"{sys.argv[1]}/f{i}")'
        run("python3", "-c", fill, str(PLACE))
        pc.until(lambda: pc.overflows and len(pc.accessed("delete")) > MAX_FOLDS // 2)
        pc.until(lambda: len(pc.sensors[0]._folds) < MAX_FOLDS)  # type: ignore[attr-defined]
        run("cat", str(PLACE / "2026/deep/a.csv"))
        pc.until(lambda: pc.accessed("read", "a.csv"))
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)


@real
def test_too_many_folders_is_a_health_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_FOLDERS", 3)

    def body() -> None:
        mount(node, Path("/mnt"))
        for name in "abcdef":
            (PLACE / name).mkdir(parents=True)
        pc = Pc(tmp_path, policy(PLACE), media=False)
        pc.until(lambda: [one for one in pc.events if isinstance(one, AgentHealth)])
        (health, *_) = [one for one in pc.events if isinstance(one, AgentHealth)]
        assert (health.code, health.raised, health.detail) == (
            "sensor_bounded.files",
            True,
            "more than 3 folders",
        )
        pc.close()
        run("umount", "/mnt")

    with loop_stick(tmp_path) as node:
        isolated(body)
