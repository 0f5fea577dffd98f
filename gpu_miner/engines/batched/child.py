"""One engine process, seen from the miner: started, spoken to, killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

from gpu_miner.engines.batched.wire import pack, read_message
from gpu_miner.protocol import JsonObject

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from gpu_miner.engines.batched.main import main; main()"
)
READ_BUFFER_BYTES = 256 * 1024


def engine_command() -> list[str]:
    """Starts the engine process with this interpreter, finding what this process finds."""
    return [sys.executable, "-c", BOOT, json.dumps(sys.path)]


class Child:
    """A running engine process. Start it from a thread that lives on: Linux ends it when that thread ends."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=READ_BUFFER_BYTES,
            # A Ctrl-C at the terminal is for the miner, which lets running jobs end first.
            process_group=0 if os.name == "posix" else None,
        )
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        Thread(target=self._send_all, name="engine-commands", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: JsonObject) -> None:
        """Never blocks: a child that reads no more must not stop whoever cancels a job.

        Raises WireBroken for a message that is too large.
        """
        self._outbox.put(pack(message))

    def messages(self) -> Iterator[JsonObject]:
        """Until the child ends; raises WireBroken when it babbles."""
        source = self._process.stdout
        assert source is not None
        while (message := read_message(source)) is not None:
            yield message

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> int:
        """Kill it if it lives, and wait: only then is its memory, that of the GPU too, free again. The exit status."""
        self._process.kill()
        status = self._process.wait()
        self._outbox.put(None)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def _send_all(self) -> None:
        target = self._process.stdin
        assert target is not None
        try:
            while (message := self._outbox.get()) is not None:
                target.write(message)
                target.flush()
            target.close()
        except OSError:
            # It has ended; whoever reads its messages notices.
            return
