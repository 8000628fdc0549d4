"""Resolves names in a sandbox, one after the other, while the server under it comes and goes; told by lines on standard input to look at the results."""

import asyncio
import json
import sys

import modal

IMAGE = modal.Image.from_registry("debian:bookworm-slim")
# Each question is asked once, over UDP and then over TCP: with another try glibc would hide a question that was lost.
LOOP = """
i=0
while :; do
  i=$((i+1))
  for how in "" use-vc; do
    if RES_OPTIONS="attempts:1 $how" getent ahostsv4 "n$i.skerry.test" > /dev/null; then echo "$i${how:+ $how} yes"; else echo "$i${how:+ $how} no"; fi
  done
  sleep 0.1
done
"""
MORE = 20


def say(**fields):
    print(json.dumps(fields), flush=True)


async def main():
    app = await modal.App.lookup.aio("names", create_if_missing=True)
    sandbox = await modal.Sandbox.create.aio("sleep", "3600", app=app, image=IMAGE)
    process = await sandbox.exec.aio("bash", "-c", LOOP, bufsize=1)
    results = []
    came = asyncio.Condition()

    async def read():
        async for line in process.stdout:
            async with came:
                results.append(line.strip())
                came.notify()

    reader = asyncio.create_task(read())
    loop = asyncio.get_running_loop()

    async def until(count):
        async with came:
            await came.wait_for(lambda: len(results) >= count or reader.done())
        if reader.done():
            await reader
            raise AssertionError("the program in the sandbox ended")

    await until(MORE)
    say(event="resolving")
    while (command := (await loop.run_in_executor(None, sys.stdin.readline)).strip()):
        if command == "results":
            await until(len(results) + MORE)
            say(event="results", count=len(results), failed=[line for line in results if not line.endswith(" yes")])
        elif command == "finish":
            reader.cancel()
            await sandbox.terminate.aio()
            say(event="done")
            return


asyncio.run(main())
