"""Whether the role that this container runs is alive: `python deploy/healthcheck.py web|worker|dispatcher`."""

import http.client
import os
import socket
import sys
from datetime import UTC, datetime, timedelta

import redis

FRESH = timedelta(minutes=3)


def web() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=4)
    # Django answers only to the names it was given.
    host = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip().lstrip(".*") or "localhost"
    connection.request("GET", "/health", headers={"Host": host})
    return connection.getresponse().status == 200


def worker() -> bool:
    """RQ writes each worker's host and the time of its last heartbeat."""
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=4, decode_responses=True) as client:
        rows = [client.hmget(name, "hostname", "last_heartbeat") for name in client.smembers("rq:workers")]
    now = datetime.now(UTC)
    return any(
        host == socket.gethostname() and now - datetime.fromisoformat(heard) < FRESH for host, heard in rows if heard
    )


def dispatcher() -> bool:
    """The active one of several leaves the time in Redis as it goes round."""
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=4, decode_responses=True) as client:
        beat = client.get("mia:dispatcher:beat")
    return beat is not None and datetime.now(UTC) - datetime.fromisoformat(beat) < FRESH


if __name__ == "__main__":
    roles = {"web": web, "worker": worker, "dispatcher": dispatcher}
    try:
        alive = roles[sys.argv[1]]()
    except (OSError, http.client.HTTPException, redis.RedisError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    sys.exit(0 if alive else f"{sys.argv[1]}: not alive")
