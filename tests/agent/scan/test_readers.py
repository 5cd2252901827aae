"""Every format is read; what cannot be is said; and documents built to explode end in a named state, within limits."""

import gzip
import io
import time
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import docx
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from agent.scan.job import Finding, Job, Limits
from agent.scan.markup import column_of, whole_number
from agent.scan.plain import encoding_of
from agent.scan.worker import examine
from tests.bench.corpus_files import as_pdf
from tests.bench.dice import Dice

SAMPLE = "123456789018"
TEXT = f"氏名 山田太郎\n個人番号 {SAMPLE}\n取扱注意\n東京都の役所からの文書です。\n"
MARKS = (("care", ("取扱注意",)), ("city", ("部外秘",)))
SMALL = Limits(
    expanded_bytes=4 << 20,
    ratio_from=1 << 20,
    member_bytes=2 << 20,
    file_bytes=8 << 20,
    entries=200,
    seconds=5,
)


def scan(content: bytes, name: str = "file", limits: Limits | None = None) -> Finding:
    return examine(io.BytesIO(content), Job(number=1, name=name, marks=MARKS, limits=limits or Limits()))


def packed(parts: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return held.getvalue()


def saved(document: Any) -> bytes:
    held = io.BytesIO()
    document.save(held)
    return held.getvalue()


def is_found(finding: Finding) -> bool:
    return (finding.state, finding.my_numbers, finding.masked) == ("complete", 1, ("********9018",))


# -- formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_text_in_every_encoding_of_an_office(encoding: str) -> None:
    finding = scan(TEXT.encode(encoding))
    assert is_found(finding)
    assert finding.labels == ("care",)
    assert len(finding.digest) == 64
    assert is_found(scan(f"氏名,個人番号\r\n山田,{SAMPLE}\r\n".encode(encoding), "a.csv"))


def test_what_is_no_text_has_no_encoding() -> None:
    assert encoding_of(bytes(range(256)) * 8) == ""
    assert encoding_of(b"") == "utf-8"
    assert encoding_of("短い".encode("cp932")) == "cp932"


def word_file() -> bytes:
    document = docx.Document()
    document.add_paragraph("別紙のとおり")
    table = document.add_table(rows=2, cols=2)
    for at, text in enumerate(("氏名", "個人番号", "山田", SAMPLE)):
        table.cell(at // 2, at % 2).text = text
    document.sections[0].header.paragraphs[0].text = "取扱注意"
    document.core_properties.keywords = "部外秘"
    return saved(document)


def book(*, form: Any = int) -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(["氏名", "個人番号"])
    sheet.append(["山田", form(SAMPLE)])
    sheet.oddHeader.center.text = "取扱注意"  # type: ignore[union-attr]
    workbook.properties.title = "部外秘"
    return saved(workbook)


def opendocument(body: str) -> bytes:
    return packed(
        {
            "mimetype": b"application/vnd.oasis.opendocument.text",
            "content.xml": f"<d>{body}</d>".encode(),
            "meta.xml": "<m><k>部外秘</k><k>取扱注意</k></m>".encode(),
        }
    )


def test_office_documents_with_their_headers_and_properties() -> None:
    row = f'<table-row><table-cell><p>個人番号</p></table-cell><table-cell office:value="{SAMPLE}"><p>1.23E+11</p></table-cell></table-row>'
    slides = packed(
        {
            "[Content_Types].xml": b"<a/>",
            "ppt/slides/slide1.xml": f"<s><p><t>部外秘</t></p><p><t>取扱注意</t></p><p><t>個人番号 {SAMPLE}</t></p></s>".encode(),
        }
    )
    for content in (
        word_file(),
        book(),
        book(form=str),
        opendocument(row),
        opendocument(f"<p>個人番号<s/>{SAMPLE}</p>"),
        slides,
    ):
        finding = scan(content)
        assert is_found(finding)
        assert set(finding.labels) == {"care", "city"}


def test_pdf_with_text_and_one_with_a_password() -> None:
    _, content = as_pdf(Dice(1).random, TEXT)
    finding = scan(content)
    assert is_found(finding)
    assert finding.labels == ("care",)
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt("geheim", algorithm="RC4-128")
    held = io.BytesIO()
    writer.write(held)
    assert scan(held.getvalue()).state == "encrypted"
    assert scan(b"%PDF-1.7\nnothing more").state == "unreadable"


def test_archives_and_what_is_in_them() -> None:
    inner = packed({"a/名簿.xlsx": book()})
    assert is_found(scan(packed({"in.zip": inner})))
    assert is_found(scan(gzip.compress(TEXT.encode()), "a.txt.gz"))
    assert scan(packed({"【部外秘】一覧.txt": b"x"})).labels == ("city",)
    assert is_found(scan(packed({"a.txt": TEXT.encode()}, zipfile.ZIP_LZMA)))


def test_rtf_and_old_office_files() -> None:
    escaped = "".join(f"\\'{byte:02x}" for byte in "個人番号 ".encode("cp932"))
    assert is_found(scan(b"{\\rtf1\\ansi " + escaped.encode() + SAMPLE.encode() + b"\\par}"))
    unicode = "".join(f"\\u{ord(letter)}?" for letter in "個人番号 ")
    assert is_found(scan(b"{\\rtf1 " + unicode.encode() + SAMPLE.encode() + b"\\par}"))
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + TEXT.encode("utf-16-le") + bytes(1000)
    finding = scan(old)
    assert (finding.state, finding.my_numbers) == ("unreadable", 1)
    wrapped = old[:512] + "EncryptedPackage".encode("utf-16-le") + bytes(1000)
    assert scan(wrapped).state == "encrypted"


def test_what_has_no_text_and_what_is_not_understood() -> None:
    assert scan(b"\x89PNG\r\n\x1a\n" + bytes(1000)).state == "complete"
    assert scan(b"\x7fELF" + bytes(1000)).state == "complete"
    for head in (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1a\x1d-lh5-", bytes(range(32)) * 4):
        assert scan(head + bytes(100)).state == "unreadable"
    assert scan(b"").state == "complete"
    locked = bytearray(packed({"a.txt": b"secret"}))
    for at in (6, locked.index(b"PK\x01\x02") + 8):
        locked[at] |= 1
    assert scan(bytes(locked)).state == "encrypted"


# -- built to explode ------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    content = packed({"a.txt": TEXT.encode()})
    for _ in range(depth):
        content = packed({"a.zip": content})
    return content


def sheets(count: int) -> bytes:
    return packed(
        {"[Content_Types].xml": b"<a/>", **{f"xl/worksheets/sheet{at}.xml": b"<a/>" for at in range(count)}}
    )


def document(xml: bytes) -> bytes:
    return packed({"[Content_Types].xml": b"<a/>", "word/document.xml": xml})


def pdf(stream: bytes, *, filters: str = "/FlateDecode") -> bytes:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<<>>>>",
        b"<</Length %d/Filter[%s]>>stream\n%s\nendstream" % (len(stream), filters.encode(), stream),
    ]
    body = b"".join(b"%d 0 obj %s endobj\n" % (at, one) for at, one in enumerate(objects, 1))
    return b"%PDF-1.5\n" + body + b"trailer <</Root 1 0 R>>"


ENTITIES = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + at, b"&%c;" % (97 + at) * 10) for at in range(9))
    + b"]><a>&j;</a>"
)
QUADRATIC = b'<!DOCTYPE a [<!ENTITY a "' + b"a" * 100_000 + b'">]><a>' + b"&a;" * 50_000 + b"</a>"
OUTSIDE = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><a>&a;</a>'
ZEROS = zlib.compress(bytes(64 << 20), 9)
BOMBS: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "one large member": (lambda: packed({"a": bytes(64 << 20)}), ("too_large",)),
    "many members, each small": (lambda: packed({str(at): bytes(1 << 20) for at in range(20)}), ("too_large",)),
    "more members than allowed": (lambda: packed({str(at): b"" for at in range(300)}), ("too_large",)),
    "archives in archives": (lambda: nested(4), ("too_deep",)),
    "gzip": (lambda: gzip.compress(bytes(64 << 20)), ("too_large",)),
    "a hundred thousand sheets": (lambda: sheets(100_000), ("too_large",)),
    "elements in elements": (lambda: document(b"<a>" * 100_000), ("too_deep",)),
    "entities of entities": (lambda: document(ENTITIES), ("unreadable",)),
    "one entity very often": (lambda: document(QUADRATIC), ("unreadable",)),
    "an entity from outside": (lambda: document(OUTSIDE), ("unreadable",)),
    "one endless attribute": (lambda: document(b"<a b='" + b"x" * (32 << 20) + b"'/>"), ("too_large",)),
    "shared texts": (lambda: packed({"[Content_Types].xml": b"<a/>", "xl/sharedStrings.xml": b"<s>" + b"<si/>" * 600_000 + b"</s>"}), ("too_large",)),
    "a file larger than the limit": (lambda: b"a " * (5 << 20), ("too_large",)),
    "a stream in a PDF": (lambda: pdf(ZEROS), ("complete", "unreadable", "too_large")),
    "a stream in a stream in a PDF": (lambda: pdf(zlib.compress(ZEROS), filters="/FlateDecode/FlateDecode"), ("complete", "unreadable", "too_large")),
    "a PDF that is its own page": (lambda: pdf(b"").replace(b"[3 0 R]", b"[2 0 R]"), ("complete", "unreadable", "too_deep", "too_large")),
    "a number without end": (lambda: b"1" * (3 << 20), ("complete",)),
    "a quote without end": (lambda: b'"' + b"a,\n" * (1 << 20), ("complete",)),
    "escapes without end": (lambda: b"{\\rtf1" + b"\\'" * (1 << 20), ("complete",)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_explodes(name: str) -> None:
    make, expected = BOMBS[name]
    content = make()
    begin = time.process_time()
    finding = scan(content, "a.csv", SMALL)
    assert finding.state in expected
    assert time.process_time() - begin < 10
    assert finding.my_numbers == 0


def test_what_stands_before_the_bomb_is_told() -> None:
    finding = scan(packed({"a.txt": TEXT.encode(), "b": bytes(64 << 20)}), limits=SMALL)
    assert (finding.state, finding.my_numbers, finding.labels) == ("too_large", 1, ("care",))


def test_time_is_a_limit_too() -> None:
    finding = scan(b"a,b\n" * (1 << 20), "a.csv", Limits(seconds=0.05))
    assert finding.state == "too_slow"


GOOD = (word_file(), book(), opendocument(f"<p>{SAMPLE}</p>"), as_pdf(Dice(2).random, TEXT)[1], gzip.compress(TEXT.encode()), nested(2), pdf(ZEROS[:1000]))  # fmt: skip


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)), max_size=8),
    st.floats(0.01, 1),
)
def test_no_bytes_break_a_reader(content: bytes, wounds: list[tuple[float, bytes]], keep: float) -> None:
    broken = bytearray(content)
    for where, noise in wounds:
        at = int(where * len(broken))
        broken[at : at + len(noise)] = noise
    finding = scan(bytes(broken[: int(len(broken) * keep)]), limits=SMALL)
    assert finding.state in {"complete", "unreadable", "encrypted", "too_deep", "too_large", "too_slow"}


HEADS = (b"", b"PK\x03\x04", b"%PDF-", b"\x1f\x8b", b"{\\rtf", b"\xff\xfe", b"\x1b$B", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(
    st.binary(max_size=2000),
    st.sampled_from(HEADS),
)
def test_no_noise_breaks_a_reader(noise: bytes, head: bytes) -> None:
    assert scan(head + noise, "a.csv", SMALL).state in {"complete", "unreadable", "encrypted"}


@given(st.text(max_size=20))
def test_references_and_numbers_of_sheets(text: str) -> None:
    assert 0 <= column_of(text) <= 18_278
    assert whole_number(text) == "" or whole_number(text).lstrip("-").isdigit()
    assert (column_of("A1"), column_of("AB7"), whole_number("1.23456789018E11")) == (1, 28, SAMPLE)
