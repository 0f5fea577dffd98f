"""Loaders: words of every kind of file, and a clear reason for each file that was made to break a reader."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator

import docx
import psutil
import pytest

from knowledge.chunking import cut
from knowledge.limits import MAX_FILE_BYTES
from knowledge.loaders import Prepared
from knowledge.loaders import pdf as pdfs
from knowledge.loaders.base import LoadedSection, LoadError
from knowledge.loaders.readers import Readers
from knowledge.loaders.sitemap import load_sitemap

READ_S = 20.0
Read = Callable[..., Prepared]


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    readers = Readers(1, timeout_s=READ_S)
    yield readers
    readers.end()


@pytest.fixture
def read(readers: Readers) -> Read:
    return lambda content, name="a", **more: readers.prepare(content, name=name, **more)


def refusal(read: Read, content: bytes, name: str = "a", **more: str) -> str:
    with pytest.raises(LoadError) as raised:
        read(content, name, **more)
    return str(raised.value)


def page(body: str, head: str = "") -> bytes:
    return (
        f'<!doctype html><html lang="de-CH"><head><title>Seite</title>{head}</head><body>{body}</body></html>'.encode()
    )


def pdf(*texts: str, title: str = "") -> bytes:
    """A small PDF, written by hand: one page for each text, and an image of nothing for an empty one."""
    pages = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(texts)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{pages}]/Count {len(texts)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, text in enumerate(texts):
        lines = " ".join(f"({line}) Tj 0 -14 Td" for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 72 720 Td {lines} ET".encode() if text else b"q 1 0 0 1 0 0 cm Q"
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {5 + 2 * number} 0 R>>".encode(),
            b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        ]
    return assembled([*objects, f"<</Title({title})>>".encode()], info=len(objects) + 1)


def assembled(objects: list[bytes], info: int = 0) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    more = b"/Info %d 0 R" % info if info else b""
    return bytes(out) + b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, more, table)


def word(*, heading: str = "Returns", text: str = "Within a month.", rows: int = 1) -> bytes:
    document = docx.Document()
    document.add_heading(heading, level=1)
    document.add_paragraph(text)
    table = document.add_table(rows=0, cols=2)
    for number in range(rows):
        for cell, words in zip(table.add_row().cells, (f"Bicycle {number}", "900 francs"), strict=True):
            cell.text = words
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


class TestWords:
    def test_of_a_page_without_its_menus(self, read: Read) -> None:
        menu = "<nav><a href='/x'>Start</a> <a href='https://other.example/'>Anderswo</a></nav>"
        text = "<main><h1>Preise</h1><h2 id='velo'>Velos</h2><p>" + "Ein Velo kostet 900 Franken. " * 5 + "</p></main>"
        prepared = read(page(menu + text + "<footer>Impressum</footer>"), "https://a.example/preise")
        assert (prepared["title"], prepared["language"]) == ("Seite", "de-CH")
        assert [section["anchor"] for section in prepared["sections"]] == ["#velo"]
        words = prepared["pieces"][0]["words"]
        assert "900 Franken" in words
        assert "Impressum" not in words
        assert prepared["pieces"][0]["heading"] == "Seite › Preise › Velos"
        assert prepared["links"] == ["https://a.example/x", "https://other.example/"]

    def test_of_a_pdf_by_page(self, read: Read) -> None:
        prepared = read(pdf("We open at nine.", "Tandems cost 1200 francs.", title="Price list"), "prices.pdf")
        assert prepared["title"] == "Price list"
        assert [section["anchor"] for section in prepared["sections"]] == ["page=1"]
        assert "Tandems cost 1200 francs." in prepared["pieces"][0]["words"]

    def test_of_a_word_document_with_its_table(self, read: Read) -> None:
        prepared = read(word(), "rules.docx")
        assert prepared["pieces"][0]["heading"] == "rules › Returns"
        assert "Within a month." in prepared["pieces"][0]["words"]
        assert "Bicycle 0 | 900 francs" in prepared["pieces"][0]["words"]

    def test_of_a_table_with_the_names_of_its_columns(self, read: Read) -> None:
        prepared = read(b"Velo;Preis\nRenner;900\nTandem;1200\n", "preise.csv")
        assert prepared["pieces"][0]["words"] == "Velo: Renner; Preis: 900\nVelo: Tandem; Preis: 1200"

    def test_of_markdown_by_heading_and_not_within_fences(self, read: Read) -> None:
        text = "---\ntitle: Guide\n---\n# One\n\nFirst.\n\n```sh\n# no heading\n```\n\nTwo\n===\n\nSecond.\n"
        prepared = read(text.encode(), "guide.md")
        assert [piece["heading"] for piece in prepared["pieces"]] == ["Guide › One", "Guide › Two"]
        assert "# no heading" in prepared["pieces"][0]["words"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_in_the_encodings_that_people_save_in(self, read: Read, encoding: str) -> None:
        assert read("Größe: 5 m² – für Gäste".encode(encoding), "a.txt")["pieces"][0]["words"].startswith("Größe: 5 m²")

    def test_without_what_no_database_takes(self, read: Read) -> None:
        prepared = read(page("<main><p>" + "Words &#0; and &#xD800; more words. " * 5 + "</p></main>"))
        assert "\x00" not in prepared["pieces"][0]["words"]
        prepared["pieces"][0]["words"].encode()


class TestRefusals:
    def test_content_counts_and_not_the_name(self, read: Read) -> None:
        assert "We open" in read(pdf("We open at nine."), "page.html")["pieces"][0]["words"]
        assert "no kind of file" in refusal(read, b"\x7fELF" + bytes(100), "manual.pdf")
        assert "no kind of file" in refusal(read, b"\x89PNG\r\n\x1a\n" + bytes(100), "manual.html")
        assert "is empty" in refusal(read, b" \n", "a.txt")

    def test_a_scanned_pdf_says_that_it_holds_no_text(self, read: Read) -> None:
        assert "holds no text: its pages are images" in refusal(read, pdf("", "", ""), "scan.pdf")

    def test_a_damaged_pdf(self, read: Read) -> None:
        assert "PDF is damaged" in refusal(read, b"%PDF-1.7\n" + b"junk " * 100, "a.pdf")

    def test_a_pdf_whose_pages_lead_back_to_themselves(self, read: Read) -> None:
        ring = assembled([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R]/Count 1>>"])
        assert refusal(read, ring, "a.pdf")

    def test_a_pdf_that_says_it_has_a_million_pages(self, read: Read) -> None:
        kids = b"3 0 R " * 4_000
        many = assembled(
            [
                b"<</Type/Catalog/Pages 2 0 R>>",
                b"<</Type/Pages/Kids[%s]/Count 4000>>" % kids,
                b"<</Type/Page/Parent 2 0 R>>",
            ]
        )
        assert "at most 3,000" in refusal(read, many, "a.pdf")

    def test_a_pdf_stream_that_unpacks_to_gigabytes(self, read: Read) -> None:
        packed = zlib.compress(zlib.compress(b"(a) Tj " * 40_000_000, 9), 9)
        stream = b"<</Length %d/Filter[/FlateDecode/FlateDecode]>>stream\n%s\nendstream" % (len(packed), packed)
        bomb = assembled(
            [
                b"<</Type/Catalog/Pages 2 0 R>>",
                b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
                stream,
            ]
        )
        assert len(bomb) < 100_000
        assert refusal(read, bomb, "a.pdf")

    def test_a_word_document_that_is_a_zip_bomb(self, read: Read) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", b" " * 150_000_000)
        assert len(out.getvalue()) < 200_000
        assert "looks like a bomb" in refusal(read, out.getvalue(), "a.docx")

    def test_a_word_document_with_an_entity_bomb(self, read: Read) -> None:
        tens = [f"&e{number};" * 10 for number in range(9)]
        entities = "".join(f"<!ENTITY e{number} '{ten}'>" for number, ten in enumerate(tens, start=1))
        xml = f"<!DOCTYPE x [<!ENTITY e0 'aaaaaaaaaa'>{entities}]><x>&e9;</x>"
        out = io.BytesIO(word())
        with zipfile.ZipFile(out) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**parts, "word/document.xml": xml.encode()}.items():
                archive.writestr(name, content)
        assert refusal(read, out.getvalue(), "a.docx")

    def test_an_archive_of_something_else(self, read: Read) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.txt", "words")
        assert "is an archive" in refusal(read, out.getvalue(), "a.docx")
        assert "damaged" in refusal(read, b"PK\x03\x04" + bytes(50), "a.docx")

    def test_a_page_nested_a_hundred_thousand_deep(self, read: Read) -> None:
        assert "nested more than" in refusal(read, page("<div>" * 100_000 + "words"))

    def test_a_page_that_is_one_huge_table(self, read: Read) -> None:
        table = "<table>" + "<tr>" + "<td>1</td>" * 100 + "</tr>"
        assert "elements" in refusal(read, page(table * 2_000)) or "cells" in refusal(read, page(table * 2_000))

    def test_a_table_of_too_many_rows_or_columns(self, read: Read) -> None:
        assert "rows" in refusal(read, b"a,b\n" + b"1,2\n" * 60_000, "a.csv")
        assert "columns" in refusal(read, b"," * 1_000 + b"\n1,2\n", "a.csv")
        assert "cannot be read" in refusal(read, b'a,b\n"' + b"x" * 100_000, "a.csv")

    def test_a_page_without_words(self, read: Read) -> None:
        assert "holds no text" in refusal(read, page("<div id='app'></div><script>render()</script>"))

    def test_a_text_of_endless_length(self, read: Read) -> None:
        assert "characters" in refusal(read, b"word " * 1_200_000, "a.txt")

    def test_a_sitemap_is_told_from_a_page(self, read: Read) -> None:
        assert "is a sitemap" in refusal(read, b"<urlset><url><loc>https://a.example/</loc></url></urlset>")


class TestConfinement:
    def test_a_reader_that_died_is_replaced(self, read: Read) -> None:
        read(b"Words.", "a.txt")
        children = [child for child in psutil.Process().children() if "knowledge.loaders.child" in child.cmdline()]
        for child in children:
            child.kill()
            child.wait(5)
        assert children
        assert read(b"Words.", "a.txt")["pieces"]

    def test_a_file_that_takes_too_long_is_given_up(self) -> None:
        slow = Readers(1, timeout_s=0.05)
        text = page("<main>" + "<p>Words and more words. <b>And</b> others.</p>" * 30_000 + "</main>")
        with pytest.raises(LoadError, match="seconds to read"):
            slow.prepare(text, name="a")
        assert slow._idle.get_nowait() is None

    def test_a_reader_sees_nothing_of_ours(self) -> None:
        import subprocess
        import sys

        from knowledge.loaders.readers import ROOT, reader_environment

        assert not {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"} & set(reader_environment())
        script = (
            "from knowledge.loaders.child import confine; confine()\n"
            "write = lambda: open('/dev/shm/mia-loader-test', 'wb', buffering=0).write(b'x' * 9)\n"
            "for act in (write, lambda: bytearray(2_000_000_000)):\n"
            "    try: act(); print('done')\n"
            "    except (OSError, MemoryError) as error: print(type(error).__name__)\n"
            "import sys; print('django' in sys.modules)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=reader_environment(),
            check=False,
        )
        assert ran.stdout.split() == ["OSError", "MemoryError", "False"]


def test_a_packed_sitemap_is_unpacked_so_far_and_no_further() -> None:
    import gzip

    listed = b"<urlset><url><loc>https://a.example/x</loc></url></urlset>"
    assert load_sitemap(gzip.compress(listed)).pages == ["https://a.example/x"]
    with pytest.raises(LoadError, match="50 MB"):
        load_sitemap(gzip.compress(b" " * 60_000_000))


def test_a_file_has_its_limit() -> None:
    assert MAX_FILE_BYTES == 25_000_000


class TestReferences:
    def test_a_term_with_a_place_is_a_heading_and_can_be_linked_to(self, read: Read) -> None:
        body = """<html><head><title>shop — Docs</title></head><body><main><h1>shop<a href="#">¶</a></h1>
        <p>The shop module sells\nbicycles to everybody who asks for one.</p>
        <dl><dt id="shop.open">shop.<b>open</b>(hour)</dt><dd><p>Opens the shop at that hour. """
        page = f"{body}{'It stays open. ' * 90}</p></dd></dl></main></body></html>"
        prepared = read(page.encode(), "https://a.example/shop")
        assert [(section["heading"], section["anchor"]) for section in prepared["sections"]] == [
            ("shop", ""),
            ("shop › shop.open(hour)", "#shop.open"),
        ]
        assert "sells bicycles" in prepared["sections"][0]["text"]
        assert prepared["pieces"][0]["heading"] == "shop"


class TestTitlesOfPdfs:
    def test_numbered_titles_cut_a_pdf_without_an_outline(self) -> None:
        pages = [
            ["1. Prices", "All prices are in francs.", "1.1. Tyres", "A tyre costs 30."],
            ["2. Hours", "From nine."],
        ]
        titles = {page: [path[-1] for path in paths] for page, paths in pdfs._numbered(pages).items()}
        assert titles == {0: ["1. Prices", "1.1. Tyres"], 1: ["2. Hours"]}
        assert [
            (part.headings[-1], part.text, part.anchor) for part in pdfs._sections(pages, pdfs._numbered(pages))
        ] == [
            ("1. Prices", "All prices are in francs.", "page=1"),
            ("1.1. Tyres", "A tyre costs 30.", "page=1"),
            ("2. Hours", "From nine.", "page=2"),
        ]

    def test_running_heads_and_tables_of_contents_are_left_out(self) -> None:
        contents = ["Contents", "Prices . . . . . . 3", "Hours . . . . . . 4"]
        words = ("tyres", "brakes", "lamps", "bells", "locks", "pumps")
        pages = [
            ["Price list", f"Of {word}:", f"{word} are sold here", "for francs", f"{7 * len(word)}"] for word in words
        ]
        kept = pdfs._without_furniture([contents, *pages])
        assert kept[0] == []
        assert kept[1] == ["Of tyres:", "tyres are sold here"]

    def test_wrapped_lines_are_made_one(self) -> None:
        lines = ["A long line of a paragraph that was wrapped by its writer at", "Basel goes on here.", "• a point"]
        assert pdfs._unwrapped(lines) == [f"{lines[0]} {lines[1]}", "• a point"]


def test_a_program_that_is_cut_in_two_is_marked_as_one_in_both() -> None:
    program = "\n".join(f"print({number}, 'a line of a program')" for number in range(120))
    pieces = list(cut("Page", [LoadedSection((), f"Words before.\n\n```\n{program}\n```\nWords after.")]))
    assert len(pieces) > 1
    assert all(piece.words.count("```") % 2 == 0 for piece in pieces)
