"""Works in sandboxes with volumes while a node of theirs is lost; told what to do by lines on standard input."""

import asyncio
import json
import sys
import time

import modal

IMAGE = modal.Image.from_registry("debian:bookworm-slim")
# Something is always about to be brought to the server.
WRITER = "while :; do head -c 1000000 /dev/urandom > /data/changes; sleep 0.05; done"


def say(**fields):
    print(json.dumps(fields), flush=True)


async def sh(sandbox, script):
    process = await sandbox.exec.aio("sh", "-c", script)
    out = await process.stdout.read.aio()
    assert await process.wait.aio() == 0, out
    return out


async def names(volume):
    return {entry.path for entry in await volume.listdir.aio("/")}


async def content(volume, path):
    return b"".join([chunk async for chunk in volume.read_file.aio(path)]).decode()


class Work:
    def __init__(self, app):
        self.app = app
        self.all = []

    async def create(self, volume):
        return await modal.Sandbox.create.aio(
            app=self.app, image=IMAGE, cpu=(0.005, 1), memory=(64, 128), timeout=3600, volumes={"/data": volume}
        )

    async def write(self, count):
        """So many sandboxes with a volume each, and what of it must stay. Says the address of each."""

        async def one(index):
            volume = modal.Volume.from_name(f"lost-{index}", create_if_missing=True)
            sandbox = await self.create(volume)
            await sh(sandbox, "rm -rf /data/*; echo committed > /data/committed")
            await volume.commit.aio()
            await sh(sandbox, f"({WRITER}) > /dev/null 2>&1 &")
            return volume, sandbox, (await sh(sandbox, "hostname -I")).strip()

        self.all = await asyncio.gather(*(one(index) for index in range(int(count))))
        say(event="written", addresses=[address for _, _, address in self.all])

    async def lose(self, prefix):
        """What becomes of each: those whose address begins so are lost."""
        begin = time.monotonic()
        passed = lambda: time.monotonic() - begin
        lost = [(volume, sandbox) for volume, sandbox, address in self.all if address.startswith(prefix)]
        alive = [(volume, sandbox) for volume, sandbox, address in self.all if not address.startswith(prefix)]

        async def terminate():
            """Before anybody knows that its node is lost."""
            volume, sandbox = lost[0]
            await sandbox.terminate.aio()
            await sandbox.wait.aio(raise_on_termination=False)
            return passed()

        async def fate(volume, sandbox):
            await sandbox.wait.aio(raise_on_termination=False)
            seconds = passed()
            try:
                await sandbox.exec.aio("true")
                return seconds, "it answers"
            except modal.exception.NotFoundError as error:
                return seconds, str(error)

        async def look(volume):
            """By who has no sandbox; one whose node is silent may have him wait."""
            assert "committed" in await names(volume)
            assert await content(volume, "committed") == "committed\n"
            return passed()

        async def others():
            """While the node is silent nobody waits for it who asks for something else."""
            slowest = 0
            for round in range(3):
                for volume, sandbox in alive:
                    asked = time.monotonic()
                    await sh(sandbox, f"echo {round} > /data/round")
                    await volume.commit.aio()
                    assert await content(volume, "round") == f"{round}\n"
                    slowest = max(slowest, time.monotonic() - asked)
            return slowest, passed()

        terminated, looks, fates, (slowest, over) = await asyncio.gather(
            terminate(),
            asyncio.gather(*(look(volume) for volume, _ in lost)),
            asyncio.gather(*(fate(*each) for each in lost[1:])),
            others(),
        )
        say(event="lost", terminated=terminated, looks=looks, fates=fates, slowest=slowest, others=over)

    async def again(self, prefix):
        """What is in the volumes of those that were lost, for sandboxes that come after them."""
        for volume, _, address in self.all:
            if not address.startswith(prefix):
                continue
            sandbox = await self.create(volume)
            assert await sh(sandbox, "cat /data/committed; echo after > /data/after") == "committed\n"
            await sandbox.terminate.aio()
            await sandbox.wait.aio(raise_on_termination=False)
            assert {"committed", "after"} <= await names(volume)
        say(event="again")

    async def close(self, prefix):
        live = [sandbox for _, sandbox, address in self.all if not address.startswith(prefix)]
        await asyncio.gather(*(sandbox.terminate.aio() for sandbox in live))
        await asyncio.gather(*(sandbox.wait.aio(raise_on_termination=False) for sandbox in live))
        say(event="closed")


async def main():
    work = Work(await modal.App.lookup.aio("lost-volumes", create_if_missing=True))
    say(event="ready")
    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        word, *given = command
        await getattr(work, word)(*given)


asyncio.run(main())
