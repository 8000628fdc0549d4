"""Works in a sandbox of a server whose records are in PostgreSQL, while server and database are killed and come back; told by lines on standard input what to do."""

import modal
from driven import heard, image, say


def listed(**tags):
    return [s.object_id for s in modal.Sandbox.list(app_id=app.app_id, tags=tags)]


app = modal.App.lookup("records", create_if_missing=True)
hostile = {"it's": "\\u0000 \\ \" ' €", "kind": "first"}
secret = modal.Secret.from_dict({"HIDDEN": "opened"})
volume = modal.Volume.from_name("files", create_if_missing=True)
first = modal.Sandbox.create("sh", "-c", "echo begun; sleep 3600", app=app, image=image, name="kept", tags=hostile, secrets=[secret], volumes={"/vol": volume})
second = modal.Sandbox.create("sh", "-c", "read line; exit 7", app=app, image=image, tags={"kind": "second"})
program = first.exec("sh", "-c", "echo started; read line; echo $line; exit 7")
lines = iter(program.stdout)
assert next(lines) == "started\n"
first.exec("sh", "-c", "echo written > /file; echo kept > /vol/file; sync /vol").wait()
assert listed() == [second.object_id, first.object_id]
assert listed(kind="first") == listed(**hostile) == [first.object_id]
say(event="ready")

heard("server was killed")
program.stdin.write("across")
program.stdin.write_eof()
program.stdin.drain()
assert next(lines) == "across\n"
assert program.wait() == 7
found = modal.Sandbox.from_name("records", "kept")
assert found.object_id == first.object_id
assert found.get_tags() == hostile
assert found.exec("sh", "-c", "cat /file /vol/file; echo $HIDDEN").stdout.read() == "written\nkept\nopened\n"
assert b"".join(volume.read_file("file")) == b"kept\n"
assert [v.name for v in modal.Volume.objects.list()] == ["files"]
try:
    modal.Sandbox.create("true", app=app, image=image, name="kept")
    raise AssertionError("a name was given away twice")
except modal.exception.AlreadyExistsError:
    pass
running = found.exec("sh", "-c", "read line; echo $line")
say(event="survived")

heard("database was killed")
# What runs goes on without records; what needs them is refused.
running.stdin.write("meanwhile")
running.stdin.write_eof()
running.stdin.drain()
assert running.stdout.read() == "meanwhile\n"
try:
    modal.Sandbox.create("true", app=app, image=image)
    raise AssertionError("a sandbox of which nothing is known")
except modal.exception.ServiceError as error:
    refused = str(error)
say(event="without", refused=refused)

heard("database is back")
third = modal.Sandbox.create("echo", "new", app=app, image=image)
assert third.stdout.read() == "new\n"
third.wait()
second.stdin.write("go\n")
second.stdin.write_eof()
second.stdin.drain()
second.wait(raise_on_termination=False)
assert second.returncode == 7
first.terminate()
assert first.stdout.read() == "begun\n"
assert listed() == []
say(event="done")
