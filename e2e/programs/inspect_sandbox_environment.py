"""Has Inspect AI check its Modal sandboxes: what it demands of every kind of sandbox, in one made of a Dockerfile."""

import asyncio
import pathlib
import tempfile
import traceback

import inspect_ai.util._sandbox.self_check as demands
from inspect_sandboxes.modal._modal import ModalSandboxEnvironment

DOCKERFILE = "FROM python:3.11-slim\nRUN useradd -m nonroot\n"
# What no Modal sandbox gives through this package: a user who is not root, an error for a file that is no program, a directory to begin in.
BEYOND = {
    "test_read_file_not_allowed",
    "test_write_text_file_without_permissions",
    "test_write_binary_file_without_permissions",
    "test_exec_permission_error",
    "test_cwd_relative",
}


async def main():
    failures = []
    await ModalSandboxEnvironment.task_init("demands", None)
    with tempfile.TemporaryDirectory() as directory:
        dockerfile = pathlib.Path(directory) / "Dockerfile"
        dockerfile.write_text(DOCKERFILE)
        environments = await ModalSandboxEnvironment.sample_init("demands", str(dockerfile), {})
        for name in sorted(set(dir(demands)) - BEYOND):
            if not name.startswith("test_"):
                continue
            try:
                await getattr(demands, name)(environments["default"])
            except BaseException:
                failures.append(f"{name}\n{traceback.format_exc()}")
        await ModalSandboxEnvironment.sample_cleanup("demands", str(dockerfile), environments, False)
    await ModalSandboxEnvironment.task_cleanup("demands", None, True)
    assert not failures, "\n".join(failures)


asyncio.run(main())
