"""Files written to real media: found, masked, attributed, and the medium closed."""

import os
import random
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from policies.model import Citation, Permit, Subject
from protocol.events import MediaBlocked
from tests.agent.files_lab import STRANGER, Pc, my_number, policy, run_as
from tests.isolated import isolated
from tests.sticks import loop_stick, mount, run

pytestmark = pytest.mark.needs("root", "mountns", "loop", "ext4", "fanotify")
DICE = random.Random(35)
NUMBER = my_number(DICE)


def _permit(kind: str, *, no_confidential: bool = False, **subject: str) -> Permit:
    return Permit(
        id=f"P-{kind}",
        kind=kind,  # type: ignore[arg-type]
        subject=Subject(**subject),  # type: ignore[arg-type]
        from_us=0,
        until_us=4_000_000_000_000_000,
        article=Citation("nagoya", "第35条第6号"),
        no_confidential=no_confidential,
    )


def _uuid(node: str) -> str:
    return run("blkid", "-p", "-s", "UUID", "-o", "value", node)


def test_numbers_on_a_stick_are_found_masked_and_the_stick_is_closed(tmp_path: Path) -> None:
    def body() -> None:
        stick = Path("/mnt")  # others may not enter pytest's folders
        pc = Pc(tmp_path, policy(tmp_path / "juki", _permit("medium", fs_uuid=_uuid(node))))
        mount(node, stick)
        stick.chmod(0o777)
        pc.until(lambda: str(stick) in {one.mountpoint for one in pc.platform.mounts().mounts()})
        pc.turn()
        begun = time.monotonic()
        run_as(STRANGER, 'printf "氏名 山田 個人番号 %s\n" "$2" > "$1"', str(stick / "meibo.txt"), NUMBER)
        pc.until(lambda: pc.written("meibo.txt"))
        took = time.monotonic() - begun
        (event,) = pc.written("meibo.txt")
        assert (event.my_numbers, event.masked, event.scan) == (1, ("********" + NUMBER[-4:],), "complete")
        assert (event.uid, event.user, event.fs_uuid) == (STRANGER, str(STRANGER), _uuid(node))
        assert NUMBER not in repr(event)
        assert pc.rules(event) == {"mynumber_to_medium"}
        outcome = next(outcome for one, outcome in pc.outcomes if one is event)
        assert outcome is not None
        assert outcome.action == "blocked"
        assert isinstance(outcome.record, MediaBlocked)
        assert outcome.record.method == "read_only"
        with pytest.raises(OSError, match="Read-only"):
            (stick / "more.txt").write_text("x")
        assert NUMBER in (stick / "meibo.txt").read_text()
        assert pc.enforcer.observe() == {"read_only": "1"}
        print(f"written -> told and closed: {took * 1000:.0f} ms")
        pc.close()
        run("umount", str(stick))

    with loop_stick(tmp_path) as node:
        isolated(body)


def test_a_permit_of_its_own_allows_and_the_condition_forbids(tmp_path: Path) -> None:
    def body() -> None:
        stick = tmp_path / "usb"
        mount(node, stick)
        uuid = _uuid(node)
        both = (_permit("medium", fs_uuid=uuid), _permit("confidential_medium", fs_uuid=uuid))
        pc = Pc(tmp_path, policy(tmp_path / "juki", *both))
        (stick / "a.txt").write_text(f"マイナンバー {NUMBER}")
        pc.until(lambda: pc.written("a.txt"))
        (event,) = pc.written("a.txt")
        assert event.my_numbers == 1
        assert pc.rules(event) == set()
        assert pc.view.enrich(event, 1).permit == "granted"
        (stick / "b.txt").write_text("still writable")
        pc.view = policy(tmp_path / "juki", _permit("medium", fs_uuid=uuid, no_confidential=True), both[1])
        assert pc.rules(event) == {"mynumber_to_medium"}
        assert pc.view.enrich(event, 1).permit_id == "P-medium"
        pc.close()
        run("umount", str(stick))

    with loop_stick(tmp_path) as node:
        isolated(body)


def test_what_was_copied_from_where(tmp_path: Path) -> None:
    def body() -> None:
        stick, place = tmp_path / "usb", tmp_path / "juki"
        place.mkdir()
        (place / "plan.txt").write_text("nothing that would be found")
        mount(node, stick)
        pc = Pc(tmp_path, policy(place, mode="observe"))
        pc.turn(0)
        pc.turn(0)
        run("cp", str(place / "plan.txt"), str(stick / "renamed.txt"))
        (stick / "own.txt").write_text("mine")
        pc.until(lambda: pc.written("renamed.txt") and pc.written("own.txt"))
        assert [one.place for one in pc.written("renamed.txt")] == ["juki"]
        assert [one.place for one in pc.written("own.txt")] == [""]
        assert pc.rules(pc.written("renamed.txt")[0]) == {"confidential_copy"}
        assert [outcome for _, outcome in pc.outcomes if outcome] == []
        pc.close()
        run("umount", str(stick))

    with loop_stick(tmp_path) as node:
        isolated(body)


def test_another_mount_namespace_and_a_rename_hide_nothing(tmp_path: Path) -> None:
    def body() -> None:
        stick = tmp_path / "usb"
        mount(node, stick)
        pc = Pc(tmp_path, policy(tmp_path / "juki", mode="observe"))
        script = 'echo "個人番号 $2" > "$1/.part" && mv "$1/.part" "$1/done.txt"'
        subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", str(stick), NUMBER], check=True)
        pc.until(pc.written)
        (event,) = pc.written()
        assert (event.path.lstrip("/"), event.my_numbers) == ("done.txt", 1)
        pc.close()
        run("umount", str(stick))

    with loop_stick(tmp_path) as node:
        isolated(body)


def test_writing_on_and_on_is_told_once_in_a_while_and_the_same_content_not_again(tmp_path: Path) -> None:
    def body() -> int:
        stick = tmp_path / "usb"
        mount(node, stick)
        pc = Pc(tmp_path, policy(tmp_path / "juki", mode="observe"))
        for count in range(200):
            with (stick / "log.txt").open("a") as file:
                file.write(f"line {count}\n")
            pc.turn(0)
        size = (stick / "log.txt").stat().st_size
        pc.until(lambda: pc.written() and pc.written()[-1].file_size == size)
        os.utime(stick / "log.txt")
        with (stick / "log.txt").open("a"):
            pass
        (stick / "last").write_text("x")
        pc.until(lambda: pc.written("last"))
        told = len(pc.written("log.txt"))
        pc.close()
        run("umount", str(stick))
        return told

    with loop_stick(tmp_path) as node:
        assert isolated(body) <= 3


def test_a_thousand_files_and_a_bomb_among_them(tmp_path: Path) -> None:
    def body() -> None:
        stick = tmp_path / "usb"
        mount(node, stick)
        pc = Pc(tmp_path, policy(tmp_path / "juki", mode="observe"))
        with zipfile.ZipFile(stick / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", b"\0" * (300 << 20))
        begun = time.monotonic()
        for count in range(1000):
            (stick / f"{count}.txt").write_text(
                f"個人番号 {my_number(DICE)}" if count % 100 == 0 else f"memo {count}"
            )
        pc.until(lambda: len(pc.written()) >= 1001, seconds=60)
        took = time.monotonic() - begun
        assert sum(one.my_numbers for one in pc.written()) == 10
        assert [one.scan for one in pc.written("bomb.zip")] == ["too_large"]
        assert pc.overflows == 0
        print(f"1,000 files in {took:.1f} s")
        pc.close()
        run("umount", str(stick))

    with loop_stick(tmp_path) as node:
        isolated(body)
