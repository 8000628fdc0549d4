"""Works in as many sandboxes as its argument says, from 5, while the server under it is killed and started again; told what to do by lines on standard input.

The driver never learns of a restart from the test: what it sees is what a user's program would see.
"""

import asyncio
import json
import os
import sys

import modal

SLOWNESS = float(os.environ["SKERRY_TEST_SLOWNESS"])
RUNNING = int(sys.argv[1])
# Seconds until a sandbox that is to time out does (while the server is down: for no longer than clients repeat a call), and until none of the others may have.
SOON = 4 * min(SLOWNESS, 5)
NEVER = 24 * 3600
IMAGE = modal.Image.from_registry("debian:bookworm-slim")
# Numbered lines over about two seconds. Of one process: gVisor takes longer to start one than it waits between two lines.
WRITER = "exec perl -e '$| = 1; for (1..200) { print qq(line $_\\n); select undef, undef, undef, 0.01 } exit 5'"


def say(**fields):
    print(json.dumps(fields), flush=True)


async def check_output(process):
    expected = 0
    async for line in process.stdout:
        expected += 1
        assert line == f"line {expected}\n", f"expected line {expected}, got {line!r}"
    assert expected == 200, f"the output ended after line {expected}"
    code = await process.wait.aio()
    assert code == 5, f"exit code {code}"


async def write_in(sandbox):
    process = await sandbox.exec.aio("sh", "-c", f"echo run >> /root/runs; {WRITER}", bufsize=1)
    await check_output(process)


async def create_once(app, tag):
    sandbox = await modal.Sandbox.create.aio(app=app, image=IMAGE, tags={"cycle": tag}, timeout=NEVER)
    process = await sandbox.exec.aio("echo", "alive")
    assert await process.stdout.read.aio() == "alive\n"
    found = [s.object_id async for s in modal.Sandbox.list.aio(app_id=app.app_id, tags={"cycle": tag})]
    assert found == [sandbox.object_id], f"one create made {found}"
    await sandbox.terminate.aio()


async def feed(sandbox):
    """Input that is on its way when the server goes arrives whole and once."""
    process = await sandbox.exec.aio("sha256sum")
    for i in range(200):
        process.stdin.write(f"{i:08d}" * 64)
        await process.stdin.drain.aio()
        await asyncio.sleep(0.005)
    process.stdin.write_eof()
    await process.stdin.drain.aio()
    import hashlib

    want = hashlib.sha256("".join(f"{i:08d}" * 64 for i in range(200)).encode()).hexdigest()
    got = (await process.stdout.read.aio()).split()[0]
    assert got == want, "the input arrived with a gap or a repeat"


async def main():
    app = await modal.App.lookup.aio("restart", create_if_missing=True)
    sandboxes = [
        await modal.Sandbox.create.aio("sleep", "infinity", app=app, image=IMAGE, name=f"keeper-{i}", tags={"kind": "keeper"}, timeout=NEVER)
        for i in range(RUNNING)
    ]
    say(event="ready", ids=[s.object_id for s in sandboxes])
    loop = asyncio.get_running_loop()
    cycles = 0
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        if command[0] == "cycle":
            tag = command[1]
            work = asyncio.gather(
                *(write_in(s) for s in sandboxes[:4]), create_once(app, tag), feed(sandboxes[4])
            )
            say(event="working")
            await work
            cycles += 1
            say(event="done")
        elif command[0] == "before-downtime":
            leaving = await modal.Sandbox.create.aio("sh", "-c", "read go; echo bye; exit 7", app=app, image=IMAGE, timeout=NEVER)
            expiring = await modal.Sandbox.create.aio("sleep", "infinity", app=app, image=IMAGE, timeout=int(SOON))
            leaving.stdin.write("go\n")
            await (await leaving.exec.aio("true")).wait.aio()
            waits = asyncio.gather(leaving.wait.aio(), expiring.wait.aio(), return_exceptions=True)
            await (await expiring.exec.aio("true")).wait.aio()
            say(event="sandboxes", seconds=SOON)
            await leaving.stdin.drain.aio()
            say(event="go")
            results = await waits
            assert results[0] is None, results
            assert isinstance(results[1], modal.exception.SandboxTimeoutError), results
            assert leaving.returncode == 7
            assert await leaving.stdout.read.aio() == "bye\n"
            say(event="done")
        elif command[0] == "finish":
            listed = [s.object_id async for s in modal.Sandbox.list.aio(app_id=app.app_id, tags={"kind": "keeper"})]
            assert listed == [s.object_id for s in reversed(sandboxes)], "running sandboxes were lost"
            for i, sandbox in enumerate(sandboxes):
                same = await modal.Sandbox.from_name.aio("restart", f"keeper-{i}")
                assert same.object_id == sandbox.object_id
                assert await sandbox.poll.aio() is None
            for sandbox in sandboxes[:4]:
                runs = await (await sandbox.exec.aio("wc", "-l", "/root/runs")).stdout.read.aio()
                assert runs.split()[0] == str(cycles), f"{cycles} execs ran {runs.split()[0]} times"
            try:
                await modal.Sandbox.create.aio(app=app, image=IMAGE, name="keeper-3")
                raise AssertionError("a name was given away twice")
            except modal.exception.AlreadyExistsError:
                pass
            await asyncio.gather(*(s.terminate.aio() for s in sandboxes))
            say(event="done")
            return


asyncio.run(main())
