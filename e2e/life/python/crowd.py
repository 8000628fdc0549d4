"""More sandboxes than a machine may hold, and lists of many. Run against a server that allows LIFE_MAX_SANDBOXES."""

import asyncio
import os

import modal
from harness import case, create, equal, image, run

LIMIT = int(os.environ["LIFE_MAX_SANDBOXES"])


@case(alone=True)
def a_thousand_creates_at_once_are_taken_or_refused_and_all_that_run_are_listed():
    async def main():
        crowd = await modal.App.lookup.aio("life-crowd", create_if_missing=True)
        # The client asks for what its calls go with, once, and for the image: with a thousand creates before those a busy machine answers them after the client's own deadlines.
        await (await modal.Sandbox.create.aio(app=crowd, image=image)).terminate.aio(wait=True)

        async def attempt(number):
            try:
                return await modal.Sandbox.create.aio(app=crowd, image=image, tags={"number": str(number)})
            except modal.exception.ResourceExhaustedError as error:
                assert str(LIMIT) in str(error), error
                return None

        made = [sandbox for sandbox in await asyncio.gather(*map(attempt, range(1000))) if sandbox]
        equal(len(made), LIMIT)

        # More than a page: each exactly once.
        listed = [sandbox.object_id async for sandbox in modal.Sandbox.list.aio(app_id=crowd.app_id)]
        equal(len(listed), LIMIT)
        equal(set(listed), {sandbox.object_id for sandbox in made})

        first, last = made[0], made[-1]
        for sandbox in (first, last):
            process = await sandbox.exec.aio("echo", "runs")
            equal(await process.stdout.read.aio(), "runs\n")
        await asyncio.gather(*(sandbox.terminate.aio() for sandbox in made))
        codes = await asyncio.gather(*(sandbox.terminate.aio(wait=True) for sandbox in made))
        equal(set(codes), {137})
        equal([sandbox async for sandbox in modal.Sandbox.list.aio(app_id=crowd.app_id)], [])

    asyncio.run(main())
    sandbox = create()
    equal(sandbox.exec("echo", "room again").stdout.read(), "room again\n")
    sandbox.terminate(wait=True)


run()
