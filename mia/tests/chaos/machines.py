"""Miners: the real program in a process of its own, and a hand-driven one that may misbehave in any way."""

import json
import signal
import sys
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import requests

from mia.embedded.processes import Child, Stage, spawn, tail
from mia.tests.chaos.site import ROOT, Site, until


@dataclass
class Machine:
    """One `python -m gpu_miner` with the scripted engine; `acts` is its script."""

    site: Site
    name: str
    acts: list[dict[str, Any]] = field(default_factory=list)
    slots: int = 4
    child: Child | None = None

    def start(self) -> "Machine":
        command = [sys.executable, "-m", "gpu_miner", "--url", self.site.url, "--name", self.name]
        command += ["--engine", "scripted", "--slots", str(self.slots)]
        command += ["--state-dir", str(self.site.directory / "miners" / self.name)]
        if self.acts:
            command += ["--script", json.dumps({"acts": self.acts})]
        environment = self.site.environment | {"MIA_ENROLMENT_TOKEN": self.site.facts["token"]}
        log = self.site.directory / "logs" / f"miner-{self.name}.log"
        self.child = spawn(command, log=log, env=environment, stage=Stage.PROGRAM, cwd=ROOT)
        return self

    def wait_until_online(self) -> "Machine":
        heard = "last_active > now() - interval '3 s' AND status <> 'offline'"
        online = f"SELECT 1 FROM miners_miner WHERE name = %s AND {heard}"
        until(lambda: self.site.sql(online, self.name), f"{self.name} to come; {self.said()}", 30)
        return self

    def said(self) -> str:
        return "\n".join(tail(self.site.directory / "logs" / f"miner-{self.name}.log"))

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child = None

    def freeze(self) -> None:
        assert self.child is not None
        self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.child is not None
        self.child.send(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.exit_code() is None

    @property
    def row(self) -> dict[str, Any]:
        return self.site.miner_named(self.name)


@dataclass
class HandMiner:
    """Speaks the protocol as the test says."""

    site: Site
    id: int
    key: str

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.key}"

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        return self._session.post(self.site.url + path, json=body, timeout=40)

    def next(self, wait: float = 10, slots: int = 1) -> list[dict[str, Any]]:
        query = {"miner_id": self.id, "wait": wait, "slots": slots}
        reply = self._session.get(f"{self.site.url}/job/next", params=query, timeout=wait + 10)
        assert reply.status_code == 200, reply.text
        return list(reply.json()["jobs"])

    def take(self, job_id: str) -> dict[str, Any]:
        """The offer of this very job, acknowledged."""
        (offer,) = self.next()
        assert offer["job_id"] == job_id
        assert self.beat(offer) == "ok"
        return offer

    def beat(self, offer: dict[str, Any], phase: str = "prefill") -> str:
        said = {"job_id": offer["job_id"], "fence": offer["fence"], "phase": phase, "tokens": 0}
        reply = self.post("/heartbeat", {"miner_id": self.id, "status": "busy", "slots_free": 0, "jobs": [said]})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["jobs"][0]["verdict"])

    def chunk(self, offer: dict[str, Any], offset: int, text: str) -> dict[str, Any]:
        piece = {"job_id": offer["job_id"], "fence": offer["fence"], "offset": offset, "text": text, "tokens": 1}
        reply = self.post("/job/chunks", {"jobs": [piece]})
        assert reply.status_code == 200, reply.text
        return dict(reply.json()["jobs"][0])

    def result(self, offer: dict[str, Any], output: str, **fields: Any) -> requests.Response:
        body = {
            "job_id": offer["job_id"],
            "fence": offer["fence"],
            "miner_id": self.id,
            "output": output,
            "success": True,
            "tokens_generated": len(output.split()),
            **fields,
        }
        return self.post("/job/result", body)


def hand_miners(site: Site) -> list[HandMiner]:
    """Those that the site was seeded with."""
    return [HandMiner(site, miner_id, key) for miner_id, key in site.facts["miners"]]


class Keeper:
    """A miner that nobody would give a job to, whose polls show that the platform has somebody to listen to."""

    def __init__(self, hand: HandMiner) -> None:
        self._hand = hand
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Self:
        self._hand.site.sql("UPDATE miners_miner SET trust = -1 WHERE id = %s", self._hand.id)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                assert self._hand.next(wait=2) == []
            except (requests.RequestException, AssertionError):
                self._stop.wait(0.3)
