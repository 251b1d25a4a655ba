"""The bound on what Serve's proxy holds of a body. tests/service/test_edge.py covers it at work."""

import asyncio
import pickle
from collections import deque

import pytest
from starlette.types import Message

from serve_app.deployments.body_window import WINDOW_BYTES, BodyWindow

PART = bytes(WINDOW_BYTES // 4)
PATIENCE_S = 20.0


async def endless() -> Message:
    return {"type": "http.request", "body": PART, "more_body": True}


async def read(window: BodyWindow, queue: deque[Message]) -> None:
    """Read as Serve's proxy does."""
    while True:
        queue.append(await window())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_reading_stops_at_the_window_until_messages_are_sent() -> None:
    queue: deque[Message] = deque()
    reading = asyncio.create_task(read(BodyWindow(endless), queue))
    await settle()
    assert len(queue) == 4
    for _ in range(3):
        pickle.dumps([queue.popleft(), queue.popleft()])
        await settle()
        assert len(queue) == 4
    reading.cancel()


async def test_a_message_may_be_deleted_by_another_thread() -> None:
    queue: deque[Message] = deque()
    reading = asyncio.create_task(read(BodyWindow(endless), queue))
    await settle()
    await asyncio.to_thread(queue.clear)
    async with asyncio.timeout(PATIENCE_S):
        while len(queue) < 4:  # noqa: ASYNC110 - the task of the reader fills it
            await asyncio.sleep(0)
    reading.cancel()


async def test_messages_reach_the_app_as_plain_dictionaries() -> None:
    message = await BodyWindow(endless)()
    sent = pickle.loads(pickle.dumps([message]))
    assert sent == [await endless()]
    assert type(sent[0]) is dict


async def test_messages_without_a_body_do_not_wait() -> None:
    messages: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request"}]

    async def receive() -> Message:
        return messages.pop()

    window = BodyWindow(receive)
    async with asyncio.timeout(PATIENCE_S):
        assert await window() == {"type": "http.request"}
        assert await window() == {"type": "http.disconnect"}


async def test_errors_of_the_server_are_raised() -> None:
    async def receive() -> Message:
        raise RuntimeError("The socket is gone")

    with pytest.raises(RuntimeError, match="The socket is gone"):
        await BodyWindow(receive)()
