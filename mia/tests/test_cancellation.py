"""Tasks that lose a cancellation are ended all the same."""

import asyncio

from mia.lib.cancellation import end_tasks


async def loses_the_first(cancellations: int) -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancellations -= 1
            if cancellations < 0:
                raise


async def all_end(cancellations: int) -> bool:
    tasks = [asyncio.create_task(loses_the_first(cancellations)) for _ in range(2)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    return all(task.cancelled() for task in tasks)


def test_a_lost_cancellation_is_repeated() -> None:
    assert asyncio.run(all_end(0))
    assert asyncio.run(all_end(2))


def test_nothing_to_end_takes_no_time() -> None:
    asyncio.run(end_tasks([]))
