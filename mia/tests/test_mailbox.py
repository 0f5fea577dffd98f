"""The queue between a connection and its application."""

import asyncio

from mia.server.mailbox import Mailbox


def test_messages_come_out_in_the_order_in_which_they_went_in() -> None:
    async def scenario() -> list[object]:
        mailbox = Mailbox()
        for number in range(3):
            mailbox.put_nowait({"type": str(number)})
        return [(await mailbox.get())["type"] for _ in range(3)]

    assert asyncio.run(scenario()) == ["0", "1", "2"]


def test_a_reader_that_waits_is_woken() -> None:
    async def scenario() -> object:
        mailbox = Mailbox()
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.put_nowait({"type": "a"})
        mailbox.put_nowait({"type": "b"})
        return (await reader)["type"], (await mailbox.get())["type"]

    assert asyncio.run(scenario()) == ("a", "b")


def test_a_reader_that_gives_up_takes_nothing_with_it() -> None:
    async def scenario() -> object:
        mailbox = Mailbox()
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.put_nowait({"type": "a"})
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        return (await mailbox.get())["type"]

    assert asyncio.run(scenario()) == "a"
