"""Drives the Modal sandboxes of OpenAI's Agents SDK: a session with files, commands, a terminal, a port, and its resumption from each kind of archive."""

import asyncio
import io
import tempfile
import urllib.request
from pathlib import Path

from agents.extensions.sandbox.modal import ModalImageSelector, ModalSandboxClient, ModalSandboxClientOptions
from agents.sandbox.entries import File
from agents.sandbox.manifest import Manifest
from agents.sandbox.snapshot import LocalSnapshotSpec


async def session(persistence):
    client = ModalSandboxClient(image=ModalImageSelector.from_tag("python:3.11-slim"))
    opened = await client.create(
        options=ModalSandboxClientOptions(app_name="openai-agents", workspace_persistence=persistence, timeout=600, exposed_ports=(8000,)),
        manifest=Manifest(entries={"hello.txt": File(content=b"hi\n")}),
        snapshot=LocalSnapshotSpec(base_path=Path(tempfile.mkdtemp())),
    )
    await opened.start()
    assert await opened.running()
    answer = await opened.exec("pwd; cat hello.txt; echo err >&2; exit 3", shell=True)
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"/workspace\nhi\n", b"err\n", 3), answer
    assert (await opened.exec("no-such-program", shell=False)).exit_code != 0
    content = bytes(range(256)) * 20000
    await opened.write(Path("big.bin"), io.BytesIO(content))
    assert (await opened.read(Path("big.bin"))).read() == content
    try:
        await opened.read(Path("nothere"))
    except Exception as error:
        assert type(error).__name__ == "WorkspaceReadNotFoundError", error
    await opened.mkdir(Path("n/m"), parents=True)
    await opened.rm(Path("n"), recursive=True)
    assert {"big.bin", "hello.txt"} <= {Path(entry.path).name for entry in await opened.ls(Path("."))}
    await opened.exec("nohup python3 -m http.server 8000 > /dev/null 2>&1 &", shell=True)
    port = await opened.resolve_exposed_port(8000)
    assert port.tls, port
    with urllib.request.urlopen(f"https://{port.host}:{port.port}/hello.txt") as fetched:
        assert fetched.read() == b"hi\n"
    shell = await opened.pty_exec_start("sh", "-c", "read x; echo got $x", shell=False, tty=True, yield_time_s=1.0)
    said = await opened.pty_write_stdin(session_id=shell.process_id, chars="yes\n", yield_time_s=5.0)
    assert b"got yes" in said.output, said
    await opened.stop()
    state = opened.state
    await opened.shutdown()
    again = await client.resume(state)
    await again.start()
    assert (await again.read(Path("big.bin"))).read() == content
    await again.shutdown()
    await client.delete(again)


for kind in ["tar", "snapshot_filesystem"]:
    asyncio.run(session(kind))
