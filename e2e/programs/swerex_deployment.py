"""Drives SWE-ReX's Modal deployment: its server in the sandbox is reached through a tunnel."""

import asyncio

import modal
from swerex.deployment.modal import ModalDeployment
from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest, ReadFileRequest, WriteFileRequest


async def main():
    image = modal.Image.from_registry("python:3.11-slim").pip_install("swe-rex==1.4.0")
    deployment = ModalDeployment(image=image, install_pipx=False, startup_timeout=300)
    await deployment.start()
    assert await deployment.is_alive()
    runtime = deployment.runtime
    ran = await runtime.execute(Command(command=["sh", "-c", "echo out; exit 3"]))
    assert (ran.stdout, ran.exit_code) == ("out\n", 3), ran
    await runtime.create_session(CreateBashSessionRequest())
    await runtime.run_in_session(BashAction(command="cd /tmp; ANSWER=42"))
    said = await runtime.run_in_session(BashAction(command="echo $PWD $ANSWER"))
    assert said.output.strip() == "/tmp 42", said
    await runtime.write_file(WriteFileRequest(path="/tmp/a.txt", content="héllo\n"))
    read = await runtime.read_file(ReadFileRequest(path="/tmp/a.txt"))
    assert read.content == "héllo\n", read
    await deployment.stop()


asyncio.run(main())
