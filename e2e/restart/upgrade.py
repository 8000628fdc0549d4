"""Has a sandbox with a program under one version of the server, and uses both under the next; told by lines on standard input when that one runs."""

import json
import sys

import modal


def say(**fields):
    print(json.dumps(fields), flush=True)


app = modal.App.lookup("upgraded", create_if_missing=True)
# Of busybox, so that no base has to be made.
image = (
    modal.Image.from_scratch()
    .add_local_file("/bin/busybox", "/bin/busybox", copy=True)
    .dockerfile_commands(['RUN ["/bin/busybox", "--install", "-s", "/bin"]', "ENV PATH=/bin"])
)
secret = modal.Secret.from_dict({"HIDDEN": "opened"})
with modal.Volume.ephemeral() as volume:
    sandbox = modal.Sandbox.create("sh", "-c", "echo begun; sleep 3600", app=app, image=image, name="kept", secrets=[secret], volumes={"/vol": volume})
    program = sandbox.exec("sh", "-c", "echo started; read line; echo $line; exit 7")
    lines = iter(program.stdout)
    assert next(lines) == "started\n"
    sandbox.exec("sh", "-c", "echo written > /file; echo kept > /vol/file").wait()
    say(event="before", sandbox=sandbox.object_id)

    sys.stdin.readline()
    program.stdin.write("across")
    program.stdin.write_eof()
    program.stdin.drain()
    across = next(lines)
    found = modal.Sandbox.from_name("upgraded", "kept")
    read = found.exec("sh", "-c", "cat /file /vol/file; echo $HIDDEN").stdout.read()
    other = modal.Sandbox.create("echo", "new", app=app, image=image)
    printed = other.stdout.read()
    code = program.wait()
    sandbox.terminate()
    begun = sandbox.stdout.read()
    say(event="after", across=across, read=read, printed=printed, code=code, found=found.object_id, begun=begun, result=sandbox.poll())
