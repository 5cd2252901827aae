"""Loads everything the readers will ever import, while the child may still read it: libraries import as they go along."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import pkgutil
import zipfile

import pypdf

from agent.scan.job import Job
from agent.scan.worker import examine

_ENCODINGS = (
    "ascii", "latin-1", "cp437", "cp1252", "mac_roman", "cp932", "shift_jis", "euc_jp", "iso2022_jp", "utf-7", "utf-8-sig", "utf-16", "utf-16-le",
    "utf-16-be", "utf-32", "unicode_escape", "idna", "raw_unicode_escape",
)  # fmt: skip
_PDF = b"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Count 1/Kids[3 0 R]>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>> endobj
4 0 obj <</Length 47/Filter/ASCIIHexDecode>> stream
4254202f4620313220546620284129204 4a 54>
endstream endobj
5 0 obj <</Type/Font/Subtype/Type0/BaseFont/A/Encoding/UniJIS-UTF16-H/DescendantFonts[<</Type/Font/Subtype/CIDFontType0>>]>> endobj
trailer <</Root 1 0 R>>
"""
_PARTS = {
    "": {"a.txt": "a", "b.gz": "\x1f\x8b"},
    "ooxml": {
        "[Content_Types].xml": "<a/>",
        "word/document.xml": "<a>\n<p>a</p></a>",
        "docProps/core.xml": "<a",
        "xl/worksheets/sheet1.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a/>',
    },
}


def warm_up() -> None:
    """Import, and let every reader run once over a sample, good or broken."""
    for name in _ENCODINGS:
        codecs.lookup(name)
    for module in pkgutil.walk_packages(pypdf.__path__, "pypdf."):
        with contextlib.suppress(ImportError):  # what it would use for encryption is not there
            importlib.import_module(module.name)
    examine(io.BytesIO(_PDF), Job(number=0, name=""))
    for parts in _PARTS.values():
        for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            held = io.BytesIO()
            with zipfile.ZipFile(held, "w", method) as archive:
                for name, text in parts.items():
                    archive.writestr(name, text)
            examine(held, Job(number=0, name=""))
    examine(io.BytesIO(b"a,b\n"), Job(number=0, name="a.csv", marks=(("a", ("a",)),)))
