"""Drives LangChain's Modal backend for Deep Agents: commands, and the files an agent reads, writes and searches."""

import warnings

warnings.simplefilter("ignore")

import modal  # noqa: E402
from langchain_modal import ModalSandbox  # noqa: E402

app = modal.App.lookup("langchain", create_if_missing=True)
sandbox = modal.Sandbox.create(app=app, image=modal.Image.from_registry("python:3.11-slim"), timeout=300)
backend = ModalSandbox(sandbox=sandbox)

answer = backend.execute("echo hello; echo err >&2; exit 3")
assert (answer.output, answer.exit_code) == ("hello\n\nerr\n", 3), answer
assert backend.execute("sleep 60", timeout=2).exit_code == -1
data = bytes(range(256)) * 1000
assert [r.error for r in backend.upload_files([("/deep/er/a.bin", data), ("relative", b"")])] == [None, "invalid_path"]
read = backend.download_files(["/deep/er/a.bin", "/nothere", "/tmp"])
assert [r.error for r in read] == [None, "file_not_found", "is_directory"], read
assert read[0].content == data
assert backend.write("/tmp/w/f.txt", "line one\nline two\n").error is None
assert backend.edit("/tmp/w/f.txt", "two", "2").error is None
assert "line 2" in str(backend.read("/tmp/w/f.txt"))
assert backend.read("/tmp/w/nothere").error
assert "f.txt" in str(backend.ls("/tmp/w"))
assert "f.txt" in str(backend.glob("**/*.txt", path="/tmp"))
assert "line 2" in str(backend.grep("line", path="/tmp/w"))
sandbox.terminate(wait=True)
try:
    backend.execute("true")
except modal.exception.Error as error:
    assert "already completed" in str(error), error
else:
    raise AssertionError("an ended sandbox ran a command")
