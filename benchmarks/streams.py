"""Open event streams on one web process: memory and threads per stream, and how late a delta arrives.

usage: python -m benchmarks.streams [--streams 1000 5000] [--seconds 10]

Every stream follows a conversation of its own. A small event is then published to a twentieth of them twenty times a
second, as a miner's flushes would be, and each reader notes how long it took to arrive.
"""

import argparse
import asyncio
import json
import resource
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from benchmarks.dispatch import prepare, quantile
from benchmarks.platform import Platform, resident_bytes, running_platform, thread_count

OPENERS = 50
SPEAKING_SHARE = 20
FLUSHES_PER_S = 20


@dataclass
class Readers:
    """The open streams and what they have read."""

    delays_ms: list[float] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    refused: int = 0


async def open_stream(platform: Platform, path: str, readers: Readers) -> None:
    reader, writer = await asyncio.open_connection(platform.host, platform.port)
    head = f"GET {path} HTTP/1.1\r\nHost: {platform.host}:{platform.port}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(head.encode())
    status = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    if b" 200 " not in status.split(b"\r\n", 1)[0]:
        readers.refused += 1
        return
    readers.writers.append(writer)
    readers.tasks.append(asyncio.create_task(read_events(reader, readers)))


async def read_events(reader: asyncio.StreamReader, readers: Readers) -> None:
    while line := await reader.readline():
        if b'"typing"' in line and line.startswith(b"data:"):
            sent_at = json.loads(line[line.index(b"{") :])["role"]
            readers.delays_ms.append((time.time() - float(sent_at)) * 1000)


async def measure(platform: Platform, conversations: list[Any], seconds: float) -> Readers:
    from chats.tokens import stream_token

    readers = Readers()
    gate = asyncio.Semaphore(OPENERS)

    async def open_one(conversation: Any) -> None:
        async with gate:
            token = stream_token(conversation_id=conversation.public_id, business_id=conversation.business_id)
            await open_stream(platform, f"/chat/{conversation.public_id}/events?stream_token={token}", readers)

    await asyncio.gather(*[open_one(conversation) for conversation in conversations])
    await asyncio.sleep(2)
    await publish(conversations[::SPEAKING_SHARE], seconds)
    await asyncio.sleep(1)
    return readers


async def publish(conversations: list[Any], seconds: float) -> None:
    from mia.lib.redis import async_redis
    from miners.streams import TOPIC_PREFIX

    until, redis = time.monotonic() + seconds, async_redis()
    while time.monotonic() < until:
        pipeline = redis.pipeline(transaction=False)
        for conversation in conversations:
            # The one field of this event carries the time; only declared fields reach a reader.
            event = {"type": "typing", "role": str(time.time())}
            pipeline.publish(f"{TOPIC_PREFIX}{conversation.topic}", json.dumps(event))
        await pipeline.execute()
        await asyncio.sleep(1 / FLUSHES_PER_S)


def make_conversations(count: int, business_id: int) -> list[Any]:
    from accounts.tenancy import platform_scope
    from chats.models import Bot, Conversation

    with platform_scope():
        bot = Bot.objects.get(business_id=business_id)
        rows = [Conversation(business_id=business_id, bot=bot, public_id=uuid.uuid4()) for _ in range(count)]
        return Conversation.objects.bulk_create(rows, batch_size=1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("streams   open   KB/stream  threads before  after   delay p50   p99 ms   deltas")
    for count in options.streams:
        with running_platform(dispatcher=False) as platform:
            _, _, business_id = prepare(0)
            conversations = make_conversations(count, business_id)
            memory, threads = resident_bytes(platform.web_pid), thread_count(platform.web_pid)
            readers = asyncio.run(measure(platform, conversations, options.seconds))
            per_stream = (resident_bytes(platform.web_pid) - memory) / max(len(readers.writers), 1) / 1024
            delays = readers.delays_ms or [float("nan")]
            after = thread_count(platform.web_pid)
            print(
                f"{count:7d} {len(readers.writers):6d} {per_stream:11.1f} {threads:15d} {after:6d}"
                f" {quantile(delays, 0.5):11.1f} {quantile(delays, 0.99):8.1f} {len(readers.delays_ms):8d}",
                flush=True,
            )


if __name__ == "__main__":
    main()
