"""Generated requests to every operation of the schema, on a real server: no defects, replies as the schema has them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.tests.factories import ORIGIN
from mia.tests.chaos.site import Site

SECONDS_PER_KEY = 7
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
WAITING = ("/chat/{session_id}/events", "/job/next", "/job/claim")
"""Held open for as long as half a minute by design; their inputs are tested one by one in test_bad_input."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("fuzzed"))
    try:
        made.start(miners=1)
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("holder", ["secret", "publishable", "client", "miner", "nobody"])
def test_no_generated_request_finds_a_defect(site: Site, holder: str, tmp_path: Path) -> None:
    keys = {**site.facts, "secret": site.facts["keys"][0], "miner": site.facts["miners"][0][1], "nobody": ""}
    credential = ["--header", f"Authorization: Bearer {keys[holder]}"] if keys[holder] else []
    if holder == "publishable":
        credential += ["--header", f"Origin: {ORIGIN}"]
    skipped = [argument for path in WAITING for argument in ("--exclude-path", path)]
    finished = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{site.url}/openapi.json", "--phases", "examples,coverage,fuzzing", "--checks", CHECKS),
            *("--max-time", str(SECONDS_PER_KEY), "--max-examples", "15", "--seed", "20261121"),
            *("--request-timeout", "15", "--suppress-health-check", "all", "--warnings", "off"),
            *credential,
            *skipped,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=180,
    )
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert "generated, " in finished.stdout  # It did ask.
