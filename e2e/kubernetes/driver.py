"""Works in sandboxes of a cluster while nodes and the server are taken from it; told what to do by lines on standard input."""

import asyncio
import json
import sys
import time

import modal

IMAGE = modal.Image.from_registry("debian:bookworm-slim")
# Numbered lines until somebody says that it is enough; then how many there were.
WRITER = 'i=0; until [ -e /tmp/enough ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo "end $i"'


def say(**fields):
    print(json.dumps(fields), flush=True)


class Work:
    def __init__(self, app):
        self.app = app
        self.sandboxes = []

    async def create(self):
        # As little as a node can be asked for, so that many fit.
        sandbox = await modal.Sandbox.create.aio(app=self.app, image=IMAGE, cpu=(0.005, 1), memory=(64, 64), timeout=3600)
        self.sandboxes.append(sandbox)
        return sandbox

    async def first_output(self):
        begin = time.monotonic()
        sandbox = await self.create()
        process = await sandbox.exec.aio("echo", "here")
        assert await process.stdout.read.aio() == "here\n"
        return time.monotonic() - begin

    async def open(self, count):
        """So many at once."""
        begin = time.monotonic()
        each = await asyncio.gather(*(self.first_output() for _ in range(int(count))))
        say(event="open", each=each, all=time.monotonic() - begin)

    async def close(self):
        begin = time.monotonic()
        await asyncio.gather(*(sandbox.terminate.aio() for sandbox in self.sandboxes))
        await asyncio.gather(*(sandbox.wait.aio(raise_on_termination=False) for sandbox in self.sandboxes))
        self.sandboxes = []
        say(event="closed", all=time.monotonic() - begin)

    async def stream(self):
        """Output that is read while the server goes and another comes."""
        sandbox = await self.create()
        process = await sandbox.exec.aio("sh", "-c", WRITER, bufsize=1)
        lines = 0
        more = asyncio.Event()

        async def read():
            nonlocal lines
            async for line in process.stdout:
                if line.startswith("end"):
                    return line.strip()
                lines += 1
                assert line == f"line {lines}\n", f"expected line {lines}, got {line!r}"
                more.set()

        async def until(count):
            while lines < count:
                assert not reading.done(), reading
                more.clear()
                await more.wait()

        reading = asyncio.ensure_future(read())
        await until(100)
        say(event="streaming", lines=lines)
        yield
        before = lines
        await until(before + 100)
        await (await sandbox.exec.aio("touch", "/tmp/enough")).wait.aio()
        end = await reading
        assert end == f"end {lines}", f"{lines} lines, then {end!r}"
        assert await process.wait.aio() == 0
        say(event="streamed", lines=lines, after=lines - before)

    async def survive(self):
        """What becomes of each sandbox: it answers, or it has ended for a reason."""
        begin = time.monotonic()

        async def said(sandbox):
            process = await sandbox.exec.aio("echo", "here")
            assert await process.stdout.read.aio() == "here\n"
            return "here"

        async def fate(sandbox):
            try:
                return await said(sandbox)
            except Exception:
                await sandbox.wait.aio(raise_on_termination=False)
                try:
                    return await said(sandbox)
                except modal.exception.NotFoundError as error:
                    return str(error)

        fates = await asyncio.gather(*(fate(sandbox) for sandbox in self.sandboxes))
        say(event="fates", fates=fates, all=time.monotonic() - begin)


async def main():
    work = Work(await modal.App.lookup.aio("nodes", create_if_missing=True))
    say(event="ready")
    loop = asyncio.get_running_loop()
    streaming = None
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        word, *given = command
        if word == "stream":
            streaming = work.stream()
            await anext(streaming)
        elif word == "finish":
            assert [_ async for _ in streaming] == []
        else:
            await getattr(work, word)(*given)


asyncio.run(main())
