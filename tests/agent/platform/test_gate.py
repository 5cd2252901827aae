"""The execution gate on an own file system: what is refused, what runs, and what is told."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.platform.execution_ports import GatePlan
from tests.gatelab import DPKG, REFUSED, gated_pc, program, run
from tests.isolated import isolated
from tests.sticks import loop_stick, mount

pytestmark = pytest.mark.needs("linux", "root", "fanotify", "loop", "mountns", "ext4")


def test_only_what_is_covered_runs(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            good, copy = str(lab.root / "usr/bin/good"), str(lab.root / "home/yamada/good")
            shutil.copy(good, copy)
            own = lab.write("home/yamada/own", program("own"), 0o755)
            own_digest = hashlib.sha256(program("own")).hexdigest()
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG, digests={own_digest: ()}))
            assert run(good) == 0
            assert run(str(lab.root / "bin/good")) == 0
            assert run(own) == 0
            assert run(copy) == REFUSED
            Path(good).write_bytes(program("patched"))
            assert run(good) == REFUSED
            Path(good).write_bytes(program("good"))
            assert run(good) == 0
            lab.until(lambda: len(lab.seen) >= 6)
            found = [(Path(one.target).name, one.denied, one.reason, one.package) for one in lab.seen]
            assert found == [
                ("good", False, "", "good"),
                ("good", False, "", "good"),
                ("own", False, "", ""),
                ("good", True, "no_cover", ""),
                ("good", True, "changed", ""),
                ("good", False, "", "good"),
            ]
            assert {one.ppid for one in lab.seen} == {os.getpid()}
            assert {one.uid for one in lab.seen} == {0}
            assert all("python" in one.exe and "pytest" in one.cmdline for one in lab.seen)
            assert lab.seen[2].digest == own_digest

    isolated(body)


def test_scripts_and_interpreters(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            sh = str(lab.root / "usr/bin/good")
            lab.install("tool", {"usr/bin/tool": f"#!{sh}\n".encode()})
            script = lab.write("home/yamada/script", f"#!{sh}\n# mine\n".encode(), 0o755)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            assert run(str(lab.root / "usr/bin/tool")) == 0
            assert run(script) == REFUSED
            lab.until(lambda: len(lab.seen) >= 3)
            assert [(Path(one.target).name, one.reason) for one in lab.seen][-1] == ("script", "no_cover")

    isolated(body)


def test_loader_belongs_to_its_program_and_is_no_way_around(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            loader = "usr/lib/ld-linux-test.so.2"
            lab.install("libc6", {loader: program("loader", shared=True)})
            lab.install(
                "dynamic", {"usr/bin/dynamic": program("dynamic", interpreter="/lib/ld-linux-test.so.2")}
            )
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))

            def chrooted(path: str, uid: int) -> int:
                child = os.fork()
                if child == 0:
                    os.chroot(lab.root)
                    os.chdir("/")
                    os._exit(run(path, uid=uid) & 0xFF)
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

            assert chrooted("/usr/bin/dynamic", 1000) == 0
            lab.until(lambda: lab.seen)
            assert chrooted("/" + loader, 0) == 0
            assert chrooted("/" + loader, 1000) == REFUSED & 0xFF
            lab.until(lambda: len(lab.seen) >= 3)
            names = [(Path(one.target).name, one.uid, one.denied) for one in lab.seen]
            assert names == [
                ("dynamic", 1000, False),
                ("ld-linux-test.so.2", 0, False),
                ("ld-linux-test.so.2", 1000, True),
            ]

    isolated(body)


def test_nothing_runs_from_media_also_mounted_later(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab, loop_stick(tmp_path) as node:
            digest = hashlib.sha256(program("game")).hexdigest()
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG, digests={digest: ()}))
            place = lab.root / "media/stick"
            mount(node, place)
            lab.until(lambda: lab.state.get("marks") == "2")
            binary, script = place / "game", place / "script"
            binary.write_bytes(program("game"))
            script.write_text(f"#!{lab.root}/usr/bin/good\n")
            for path in (binary, script):
                path.chmod(0o755)
                assert run(str(path)) == REFUSED
            lab.until(lambda: len(lab.seen) >= 2)
            assert [(one.on_media, one.denied, one.reason) for one in lab.seen] == [
                (True, True, "on_media")
            ] * 2

    isolated(body)


def test_part_of_a_foreign_file_system_is_asked_about_only_here(tmp_path: Path) -> None:
    """A folder bound in from elsewhere (container, test PC): the rest of its file system is somebody else's."""

    def body() -> None:
        with gated_pc(tmp_path) as lab, loop_stick(tmp_path) as node:
            mount(node, tmp_path / "elsewhere")
            tool = tmp_path / "elsewhere/part/tool"
            tool.parent.mkdir()
            tool.write_bytes(program("tool"))
            tool.chmod(0o755)
            mount(str(tool.parent), lab.root / "media/part", "bind")
            subprocess.run(["mount", "--make-private", str(tmp_path / "elsewhere")], check=True)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            lab.until(lambda: lab.state.get("marks") == "2")
            assert run(str(lab.root / "media/part/tool")) == REFUSED
            assert run(str(tool)) == 0
            subprocess.run(["umount", str(lab.root / "media/part"), str(tmp_path / "elsewhere")], check=True)

    isolated(body)


def test_observing_refuses_nothing_and_tells(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            lab.load(GatePlan(enforce=False, closed=False, packages=DPKG))
            assert run(own) == 0
            lab.until(lambda: lab.seen)
            assert (lab.seen[0].denied, lab.seen[0].reason, lab.seen[0].package) == (False, "no_cover", "")
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            assert run(own) == REFUSED

    isolated(body)


def test_permit_for_one_user(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            own = lab.write("home/yamada/own", program("own"), 0o755)
            digest = hashlib.sha256(program("own")).hexdigest()
            plan = GatePlan(enforce=True, closed=False, packages=DPKG, digests={digest: ("yamada",)})
            tmp_path.chmod(0o755)
            for parent in tmp_path.parents:
                if str(parent).startswith("/tmp/"):
                    parent.chmod(0o755)
            lab.load(plan)
            assert run(own, uid=1000) == 0
            assert run(own) == REFUSED

    isolated(body)


def test_package_that_is_not_covered(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            lab.install("game", {"usr/bin/game": program("game")})
            lab.load(GatePlan(enforce=True, closed=False, packages={"dpkg": {"good": ()}}))
            assert run(str(lab.root / "usr/bin/good")) == 0
            assert run(str(lab.root / "usr/bin/game")) == REFUSED

    isolated(body)


def test_list_that_would_lock_out_is_not_enforced(tmp_path: Path) -> None:
    def body() -> None:
        with gated_pc(tmp_path) as lab:
            lab.write("usr/bin/sh", program("sh"), 0o755)
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            unsafe = [report for report in lab.reports if report.what == "unsafe"]
            assert unsafe
            assert "/bin/sh" in unsafe[0].detail
            assert run(lab.write("home/yamada/own", program("own"), 0o755)) == 0

    isolated(body)


def test_update_while_the_gate_runs(tmp_path: Path) -> None:
    """New files of a package run as soon as dpkg wrote down their checksums, before any list is built again."""

    def body() -> None:
        with gated_pc(tmp_path) as lab:
            lab.load(GatePlan(enforce=True, closed=False, packages=DPKG))
            good = str(lab.root / "usr/bin/good")
            assert run(good) == 0
            Path(good).write_bytes(program("version 2"))
            assert run(good) == REFUSED
            info = lab.root / "var/lib/dpkg/info"
            digest = hashlib.md5(program("version 2"), usedforsecurity=False).hexdigest()
            (info / "good.md5sums.new").write_text(f"{digest}  usr/bin/good\n")
            (info / "good.md5sums.new").rename(info / "good.md5sums")
            assert run(good) == 0
            lab.install("new", {"usr/bin/new": program("new")})
            assert run(str(lab.root / "usr/bin/new")) == 0
            lab.until(lambda: sum(report.what == "started" for report in lab.reports) >= 2)
            assert run(good) == 0

    isolated(body)
