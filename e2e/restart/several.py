"""Works in a sandbox through a server that stands by, while the one that leads is lost and this one takes over; told by lines on standard input what to do."""

import modal
from driven import heard, image, say

app = modal.App.lookup("several", create_if_missing=True)
volume = modal.Volume.from_name("files", create_if_missing=True)
sandbox = modal.Sandbox.create("sh", "-c", "echo begun; sleep 3600", app=app, image=image, name="kept", volumes={"/vol": volume})
program = sandbox.exec("sh", "-c", "echo started; read line; echo $line; exit 7")
lines = iter(program.stdout)
assert next(lines) == "started\n"
sandbox.filesystem.write_text("written", "/file")
sandbox.exec("sh", "-c", "echo kept > /vol/file; sync /vol").wait()
say(event="ready", sandbox=sandbox.object_id)

heard("the leader is lost")
# Whoever calls now waits until another leads; the program has gone on, and so does its output.
program.stdin.write("across")
program.stdin.write_eof()
program.stdin.drain()
assert next(lines) == "across\n"
say(event="goes on")
assert program.wait() == 7
assert modal.Sandbox.from_name("several", "kept").object_id == sandbox.object_id
assert sandbox.filesystem.read_text("/file") == "written"
assert b"".join(volume.read_file("file")) == b"kept\n"
another = modal.Sandbox.create("echo", "new", app=app, image=image)
assert another.stdout.read() == "new\n"
say(event="survived")
