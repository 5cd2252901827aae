"""UUID and label out of superblocks, honest and not."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux import superblock


def _block(*parts: tuple[int, bytes]) -> bytes:
    data = bytearray(4096)
    for offset, part in parts:
        data[offset : offset + len(part)] = part
    return bytes(data)


UUID_BYTES, UUID_TEXT = bytes(range(1, 17)), "01020304-0506-0708-090a-0b0c0d0e0f10"


@pytest.mark.parametrize(
    ("block", "offset", "expected"),
    [
        (_block((1080, b"\x53\xef"), (1128, UUID_BYTES), (1144, b"DATA")), 0, (UUID_TEXT, "DATA")),
        (_block((0, b"XFSB"), (32, UUID_BYTES), (108, b"X")), 0, (UUID_TEXT, "X")),
        (
            _block((1024, b"\x10\x20\xf5\xf2"), (1132, UUID_BYTES), (1148, "Ü".encode("utf-16-le"))),
            0,
            (UUID_TEXT, "Ü"),
        ),
        (_block((1024, b"\xe2\xe1\xf5\xe0"), (1072, UUID_BYTES), (1088, b"E")), 0, (UUID_TEXT, "E")),
        (_block((64, b"_BHRfS_M"), (32, UUID_BYTES), (299, b"B")), 65536, (UUID_TEXT, "B")),
        (
            _block((67, b"\x4d\x3c\x2b\x1a"), (71, b"USB STICK  "), (82, b"FAT32   ")),
            0,
            ("1A2B-3C4D", "USB STICK"),
        ),
        (_block((39, b"\x4d\x3c\x2b\x1a"), (43, b"OLD        "), (54, b"FAT16   ")), 0, ("1A2B-3C4D", "OLD")),
        (_block((3, b"EXFAT   "), (100, b"\x4d\x3c\x2b\x1a")), 0, ("1A2B-3C4D", "")),
        (_block((3, b"NTFS    "), (72, bytes(range(1, 9)))), 0, ("0807060504030201", "")),
        (
            _block((1, b"CD001"), (40, b"DISC"), (813, b"2026112123001500")),
            32768,
            ("2026-11-21-23-00-15-00", "DISC"),
        ),
        (_block(), 0, ("", "")),
    ],
)
def test_superblocks(block: bytes, offset: int, expected: tuple[str, str]) -> None:
    assert superblock.identify(block, offset) == expected


@given(st.integers(), st.sampled_from([0, 32768, 65536]))
def test_no_bytes_break_the_superblock_reader(seed: int, offset: int) -> None:
    noise = random.Random(seed).randbytes(4096)
    for magic, at in (
        (b"", 0),
        (b"\x53\xef", 1080),
        (b"CD001", 1),
        (b"\x10\x20\xf5\xf2", 1024),
        (b"_BHRfS_M", 64),
    ):
        block = noise[:at] + magic + noise[at + len(magic) :]
        uuid, label = superblock.identify(block, offset)
        assert (uuid + label).isprintable()


def test_only_the_device_that_was_meant_is_read(tmp_path: Path) -> None:
    file = tmp_path / "sdb1"
    file.write_bytes(_block((1080, b"\x53\xef"), (1128, UUID_BYTES)))
    assert superblock.read(str(file), (8, 17), "ext4") == ("", "")
    assert superblock.read(str(tmp_path / "none"), (8, 17), "ext4") == ("", "")
    assert superblock.read("/dev/null", (1, 3), "ext4") == ("", "")
