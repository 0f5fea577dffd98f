"""Twisted's reactor on asyncio, which Daphne installs when it is imported: whoever wants the reactor gets it here.

uvloop under it gained nothing (343 to 408 µs of CPU per request against 357 to 388): Twisted reads and writes itself.
"""

import asyncio

from daphne import server  # noqa: F401 - before the next line, which would install Twisted's default
from twisted.internet import reactor

loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop

__all__ = ["loop", "reactor"]
