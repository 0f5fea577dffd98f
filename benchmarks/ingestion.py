"""How fast a website becomes chunks: fetched, read, cut and stored, before and with embedding; and looked at again.

usage: python -m benchmarks.ingestion [--pages 400] [--directory DIR]

The pages are those of a directory of HTML files, or are made: a page of documentation of about 20 kB, with menus,
headings, code and tables. A web server on this machine serves them and takes its share of the processor.
"""

import argparse
import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from benchmarks.platform import running_database

HOST = "127.0.0.2"
VOCABULARY = (
    "order delivery bicycle frame wheel brake light price return warranty customer service repair workshop payment "
    "invoice address account season saddle battery motor charger distance weight colour size model option advice"
)
WORDS = VOCABULARY.split()


def sentence(dice: random.Random) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(8, 18))).capitalize() + "."


def made_page(number: int) -> bytes:
    dice = random.Random(number)
    menu = "".join(f'<li><a href="/{n}">{sentence(dice)[:30]}</a></li>' for n in range(60))
    parts = []
    for part in range(8):
        text = "".join(f"<p>{' '.join(sentence(dice) for _ in range(5))}</p>" for _ in range(3))
        rows = "".join(f"<tr><td>{sentence(dice)[:20]}</td><td>{dice.randint(1, 999)}</td></tr>" for _ in range(5))
        parts.append(f'<h2 id="p{part}">{sentence(dice)[:40]}</h2>{text}<table>{rows}</table><pre>x = {part}</pre>')
    body = f"<nav><ul>{menu}</ul></nav><main><h1>Page {number}</h1>{''.join(parts)}</main><footer>Imprint</footer>"
    return (
        f'<!doctype html><html lang="en"><head><title>Page {number}</title></head><body>{body}</body></html>'.encode()
    )


@contextlib.contextmanager
def served(pages: list[bytes]) -> Iterator[str]:
    """The pages and a sitemap of them; the address of the sitemap. An unchanged page is not sent again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.strip("/")
            if name == "sitemap.xml":
                self.answer(b"".join([b"<urlset>", *places, b"</urlset>"]), "application/xml")
            elif name.isdigit():
                self.answer(pages[int(name)], "text/html")
            else:
                self.answer(b"", "text/plain", 404)

        def answer(self, body: bytes, media_type: str, status: int = 200) -> None:
            tag = f'"{hash(body)}"'
            if self.headers.get("If-None-Match") == tag:
                body, status = b"", 304
            self.send_response(status)
            self.send_header("ETag", tag)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    address = f"http://{HOST}:{server.server_address[1]}"
    places = [f"<url><loc>{address}/{number}</loc></url>".encode() for number in range(len(pages))]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{address}/sitemap.xml"
    server.shutdown()


def measure(pages: list[bytes]) -> None:
    from django.conf import settings
    from django.db import connections

    from accounts.tenancy import business_scope
    from accounts.tests.factories import BusinessFactory
    from knowledge.models import Chunk
    from knowledge.tests.factories import add_source, queue

    with served(pages) as location:
        settings.OUTBOUND_LOOPBACK_NETWORKS = [f"{HOST}/32"]
        settings.OUTBOUND_ALLOWED_PORTS = [int(location.split(":")[2].split("/")[0])]
        settings.TRAINING_SLICE_S = 3600
        business = BusinessFactory()
        source = add_source(business, kind="sitemap", location=location, page_limit=5000)
        first = timed(business, queue(business, source))
        with business_scope(business.pk):
            chunks = Chunk.objects.count()
        again = timed(business, queue(business, source))
    kilobytes = sum(map(len, pages)) / len(pages) / 1000
    print(f"{len(pages)} pages of {kilobytes:.0f} kB, {chunks} chunks, {settings.TRAINING_READERS} readers\n")
    print("| stage | seconds | CPU ms/page | pages/s |\n|---|---|---|---|")
    rest = Spent(sum(spent.seconds for spent in again.values()), sum(spent.cpu_s for spent in again.values()))
    for name, spent in [*first.items(), ("looked at again, unchanged", rest)]:
        pace = len(pages) / spent.seconds
        print(f"| {name} | {spent.seconds:.1f} | {1000 * spent.cpu_s / len(pages):.1f} | {pace:.0f} |")
    connections.close_all()


@dataclass
class Spent:
    """Time by the clock and of the processor, the web server's and PostgreSQL's included."""

    seconds: float = 0.0
    cpu_s: float = 0.0


def cpu_s() -> float:
    """Of this process and all that it has started; on a busy machine it says more than the clock."""
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def timed(business: object, job: object) -> dict[str, Spent]:
    """What each stage took, as the job's row told it to somebody who looked every 50 ms."""
    from accounts.tenancy import business_scope
    from knowledge import training
    from knowledge.models import TrainingJob

    business_id, job_id = business.pk, job.pk  # type: ignore[attr-defined]
    stages: dict[str, Spent] = {}
    over = threading.Event()

    def look() -> None:
        at, used = time.monotonic(), cpu_s()
        while not over.wait(0.05):
            with business_scope(business_id):
                stage = TrainingJob.objects.filter(pk=job_id).values_list("stage", flat=True).first()
            spent = stages.setdefault(str(stage), Spent())
            spent.seconds, spent.cpu_s = spent.seconds + time.monotonic() - at, spent.cpu_s + cpu_s() - used
            at, used = time.monotonic(), cpu_s()

    watcher = threading.Thread(target=look)
    watcher.start()
    training.train(business_id=business_id, job_id=job_id)
    over.set()
    watcher.join()
    return {name: spent for name, spent in stages.items() if name not in {"waiting", "done"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    if given.directory:
        found = [path.read_bytes() for path in sorted(given.directory.rglob("*.html"))]
        pages = [page for page in found if len(page) < 5_000_000][: given.pages]
    else:
        pages = [made_page(number) for number in range(given.pages)]
    with running_database():
        measure(pages)


if __name__ == "__main__":
    main()
