"""An investigation inside another one's block: a stop goes to the block that it is for."""

import asyncio
from collections.abc import Callable

import pytest

from investigation_sdk import (
    InvestigationCancelled,
    InvestigationInterrupt,
    InvestigationPaused,
    InvestigationSDK,
    tool,
)
from investigation_sdk.recording.frames import current_frame

Make = Callable[..., InvestigationSDK]


@tool
async def step(n: int) -> int:
    return n


@pytest.mark.parametrize("boundary", ["phase", "checkpoint"])
async def test_a_parents_pause_found_inside_its_child_pauses_the_parent(
    url: str, make_sdk: Make, boundary: str
) -> None:
    sdk = make_sdk(url, on_pause="raise")
    reached: list[str] = []
    child = None
    with pytest.raises(InvestigationPaused) as stopped:
        async with sdk.investigation("parent") as parent:
            try:
                async with sdk.investigation("child") as child:
                    await sdk.service.pause(parent.id)
                    if boundary == "phase":
                        await parent.phase("p").__aenter__()
                    else:
                        await parent.checkpoint(1)
            except Exception:
                reached.append("an ordinary except")
    assert reached == []
    assert child is not None
    assert stopped.value.investigation_id == parent.id
    assert (await sdk.get(parent.id)).status == "paused"
    assert (await sdk.get(child.id)).status == "running"
    async with sdk.attach(child.id) as again:  # nobody holds it
        assert await step(1) == 1
    assert again.attempt == 2


async def test_a_childs_cancel_ends_only_the_child(sdk: InvestigationSDK) -> None:
    async with sdk.investigation("parent") as parent:
        with pytest.raises(InvestigationCancelled):
            async with sdk.investigation("child") as child:
                await child.cancel("enough")
        assert await step(2) == 2
    assert (await sdk.get(child.id)).status == "cancelled"
    assert (await sdk.get(parent.id)).status == "completed"


async def test_an_interrupt_of_nobody_known_ends_the_block_that_it_reaches(sdk: InvestigationSDK) -> None:
    with pytest.raises(InvestigationPaused):
        async with sdk.investigation("one"):
            raise InvestigationInterrupt(InvestigationPaused("stop"))


async def test_blocks_that_are_left_elsewhere_do_not_keep_each_other(sdk: InvestigationSDK) -> None:
    """Entered in this context and left in another, as frameworks do it: nothing grows."""
    for _ in range(5):
        opened = sdk.investigation("t")
        await opened.__aenter__()
        await asyncio.create_task(opened.__aexit__(None, None, None))
    depth, frame = 0, current_frame.get()
    while frame is not None:
        depth, frame = depth + 1, getattr(frame, "_around", None)
    assert depth == 1, "the last one, which nobody left here"
