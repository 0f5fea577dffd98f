"""Twisted's reactor on uvloop, installed before Daphne is imported, because Daphne takes the one that it finds."""

import asyncio
import sys

import uvloop
from twisted.internet import asyncioreactor

if "twisted.internet.reactor" not in sys.modules:
    asyncioreactor.install(uvloop.new_event_loop())

from twisted.internet import reactor  # whichever is installed by now

loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop

__all__ = ["loop", "reactor"]
