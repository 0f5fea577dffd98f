"""A keep-alive HTTP/1.1 client that costs little, so that the machine's two cores go to what is measured."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection, one request at a time."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self.host, self.port, self.key = host, port, key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def get(self, path: str) -> Reply:
        return await self._request("GET", path, b"")

    async def post(self, path: str, data: Any) -> Reply:
        return await self._request("POST", path, json.dumps(data).encode())

    async def _request(self, method: str, path: str, body: bytes) -> Reply:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        return await self._read_reply(self._reader)

    async def _read_reply(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if "transfer-encoding: chunked" in head:
            return Reply(status, await self._read_chunked(reader))
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        return Reply(status, await reader.readexactly(length))

    async def _read_chunked(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)
