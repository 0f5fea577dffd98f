"""How the miner makes itself known to the platform and comes by its key."""

import logging

from gpu_miner.backoff import Backoff
from gpu_miner.client import AGENT, Reply
from gpu_miner.errors import NameTaken, PlatformError, Refused, Rejected, Unavailable, Unreachable
from gpu_miner.miner import Miner
from gpu_miner.protocol import GpuCard, Registration, as_text
from gpu_miner.state import Identity, KeyFile

logger = logging.getLogger(__name__)


class Registrar:
    """Registers one miner, however long the platform takes to come up."""

    def __init__(self, miner: Miner, key_file: KeyFile, gpus: list[GpuCard]) -> None:
        self._miner = miner
        self._key_file = key_file
        self._gpus = gpus
        self._identity = key_file.load()
        self._name = self._identity.name if self._identity else miner.settings.name
        self._reply_lost = False

    def register(self) -> bool:
        """True once registered, false when told to stop first; raises what no waiting will cure."""
        backoff = Backoff(self._miner.patience)
        while not self._miner.draining.is_set():
            try:
                self._adopt(self._ask())
            except (Unavailable, Unreachable) as error:
                self._wait(backoff, error)
            else:
                return True
        return False

    def _ask(self) -> Reply:
        self._miner.client.use_key(self._identity.auth_key if self._identity else "")
        try:
            return self._miner.client.register(self._registration())
        except Unreachable:
            self._reply_lost = True
            raise
        except Refused as error:
            raise self._explained(error) from error
        except Rejected as error:
            if error.status != 409:
                raise
            return self._with_another_name(error)

    def _with_another_name(self, error: Rejected) -> Reply:
        """A name that was free until a reply was lost is ours, but its key is gone with that reply."""
        if self._identity is None and self._reply_lost and self._name == self._miner.settings.name:
            self._name = f"{self._name}-{self._miner.client.instance[:4]}"
            logger.warning("the reply with this miner's key was lost; registering as %s instead", self._name)
            return self._ask()
        raise NameTaken(
            f"the name “{self._name}” is taken on {self._miner.settings.url} and this machine has no key for it "
            f"(looked in {self._key_file.path}); choose another --name, or copy that miner's key file here"
        ) from error

    def _explained(self, error: Refused) -> Refused:
        if self._identity is not None:
            hint = f"the platform does not accept the key in {self._key_file.path}; move it away to register anew"
        elif self._miner.settings.enrolment_token:
            hint = "the platform does not accept this enrolment token; ask for a new one"
        else:
            hint = "the platform wants an enrolment token: set --enrolment-token or MIA_ENROLMENT_TOKEN"
        return Refused(f"{hint} (it says: {error})", status=error.status, code=error.code)

    def _registration(self) -> Registration:
        miner = self._miner
        body: Registration = {
            "name": self._name,
            "status": "idle",
            "agent": AGENT,
            "instance": miner.client.instance,
            "models": list(miner.engine.models()),
            "gpus": self._gpus,
            "slots": miner.slots,
            "lanes": list(miner.settings.lanes),
        }
        if miner.bench:
            body["bench"] = miner.bench
        if self._gpus:
            body["gpu_name"] = self._gpus[0]["name"]
            body["gpu_memory_mb"] = sum(gpu["vram_mb"] for gpu in self._gpus)
        if miner.settings.enrolment_token and self._identity is None:
            body["enrolment_token"] = miner.settings.enrolment_token
        return body

    def _adopt(self, reply: Reply) -> None:
        identity = self._issued(reply)
        if identity != self._identity:
            self._key_file.save(identity)
        self._identity = identity
        self._miner.client.use_key(identity.auth_key)
        self._miner.miner_id = identity.miner_id
        state = as_text(reply.body.get("state")) or "ok"
        logger.info("registered as %s (miner %s, %s)", identity.name, identity.miner_id, state)

    def _issued(self, reply: Reply) -> Identity:
        known = self._identity
        miner_id = as_text(reply.body.get("miner_id")) or (known.miner_id if known else "")
        auth_key = as_text(reply.body.get("auth_key")) or (known.auth_key if known else "")
        if not miner_id or not auth_key:
            raise Unreachable("the reply has no miner_id or auth_key; is this address a MIA platform?")
        return Identity(self._miner.settings.url, self._name, miner_id, auth_key)

    def _wait(self, backoff: Backoff, error: PlatformError) -> None:
        wait_s = backoff.next_wait(error.retry_after_s)
        logger.warning("cannot register at %s: %s; trying again in %.0f s", self._miner.settings.url, error, wait_s)
        self._miner.draining.wait(wait_s)
