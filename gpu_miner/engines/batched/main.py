"""The engine process: loads a model, then steps all jobs forward and sends one message for each step."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, BinaryIO

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.batch import Batch
from gpu_miner.engines.batched.generator import Generator, GeneratorOptions, Progress
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.wire import pack, read_message
from gpu_miner.errors import EngineUnavailable
from gpu_miner.packages import how_to_install
from gpu_miner.protocol import JsonObject, as_list, as_object, as_text

logger = logging.getLogger(__name__)

# Steps that bring no words are reported this often, so that the miner knows the engine lives.
SIGN_OF_LIFE_S = 1.0
PARENT_DEATH_SIGNAL = 1
OUT_OF_MEMORY = "OutOfMemoryError"

Load = Callable[[GeneratorOptions, Progress], Generator]


def main() -> None:
    """Until the miner closes our input or something breaks; the exit is hard, since a broken CUDA context may hang."""
    _live_no_longer_than_the_miner()
    out = _take_stdout()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="engine: %(levelname)s %(message)s")
    send = _sender(out)
    commands = _listen(sys.stdin.buffer)
    try:
        _serve(commands, send)
    except EngineUnavailable as error:
        send({"failed": str(error)})
    except Exception as error:
        # The edge of the process: whatever it was, the miner is told and starts another.
        logger.exception("the engine broke")
        memory = any(kind.__name__ == OUT_OF_MEMORY for kind in type(error).__mro__) or isinstance(error, MemoryError)
        send({"broken": {"out_of_memory": memory, "message": f"{type(error).__name__}: {error}"[:500]}})
    os._exit(1)


def _serve(commands: SimpleQueue[JsonObject], send: Callable[[JsonObject], None]) -> None:
    given: dict[str, Any] = as_object(commands.get().get("load"))
    options = GeneratorOptions(**given)
    generator = loader(options.kind)(options, lambda what, share: send({"loading": {"what": what, "share": share}}))
    loaded = generator.loaded
    defaults = ModelFolder(options.model).sampling_defaults if options.model else {}
    batch = Batch(generator, max_output=min(options.max_output, loaded.max_context), defaults=defaults)
    send({"ready": {**vars(loaded), "features": list(loaded.features)}})
    told_at = monotonic()
    while True:
        _obey(commands, batch)
        news = batch.step()
        if news or monotonic() - told_at > SIGN_OF_LIFE_S:
            send(news.as_message())
            told_at = monotonic()


def _obey(commands: SimpleQueue[JsonObject], batch: Batch) -> None:
    """Every command that has come; waits for one when there is nothing to write."""
    while True:
        try:
            command = commands.get(block=batch.is_idle)
        except Empty:
            return
        if command.get("do") == "start":
            batch.add(as_text(command.get("key")), _job(as_object(command.get("job"))))
        elif command.get("do") == "cancel":
            batch.cancel(as_text(command.get("key")))


def _job(raw: JsonObject) -> EngineJob:
    lists = {name: tuple(as_list(raw.get(name))) for name in ("messages", "tools")}
    given: dict[str, Any] = {**raw, **lists}
    return EngineJob(**given)


def loader(kind: str) -> Load:
    """What loads an engine of this kind; its heavy packages are imported here and nowhere else."""
    try:
        module = import_module(f"gpu_miner.engines.batched.{kind}")
    except ModuleNotFoundError as error:
        raise EngineUnavailable(f"the {kind} engine needs {error.name}: {how_to_install(kind)}") from error
    load: Load = getattr(module, f"load_{kind}")
    return load


def _listen(source: BinaryIO) -> SimpleQueue[JsonObject]:
    """Commands as they come, read by a thread of their own so that a long step cannot block the miner's pipe."""
    commands: SimpleQueue[JsonObject] = SimpleQueue()

    def read() -> None:
        while (message := read_message(source)) is not None:
            commands.put(message)
        os._exit(0)

    Thread(target=read, name="commands", daemon=True).start()
    return commands


def _sender(out: int) -> Callable[[JsonObject], None]:
    def send(message: JsonObject) -> None:
        left = memoryview(pack(message))
        while left:
            left = left[os.write(out, left) :]

    return send


def _take_stdout() -> int:
    """The pipe to the miner, out of reach of packages that print."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _live_no_longer_than_the_miner() -> None:
    """The miner decides when to end, not the terminal; and a miner that is killed takes this process with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
