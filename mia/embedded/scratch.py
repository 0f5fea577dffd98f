"""Runs a command on a PostgreSQL and a Redis that are gone afterwards: `python -m mia.embedded.scratch COMMAND …`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mia.embedded.errors import EmbeddedServiceError
from mia.embedded.postgres import Postgres
from mia.embedded.processes import our_guardian
from mia.embedded.redis import Redis


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="mia-scratch-") as directory:
        our_guardian().remove_directory_at_the_end(Path(directory))
        postgres, redis = Postgres(Path(directory), durable=False), Redis(Path(directory), durable=False)
        try:
            postgres.start()
            redis.start()
            addresses = {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
            return subprocess.run(command, env=os.environ | addresses, check=False).returncode
        finally:
            redis.stop()
            postgres.stop()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EmbeddedServiceError as error:
        sys.exit(str(error))
