"""Works in sandboxes that several servers keep, through one of them, while others are lost; told by lines on standard input what to do."""

import modal
from driven import heard, image, say

app = modal.App.lookup("sharing", create_if_missing=True)
count = 4


def create(number):
    return modal.Sandbox.create(
        "sh", "-c", "echo begun; sleep 3600", app=app, image=image, name=f"kept-{number}", tags={"number": str(number)}
    )


sandboxes = [create(number) for number in range(count)]
programs = [sandbox.exec("sh", "-c", "echo started; while read line; do echo $line; done; exit 7") for sandbox in sandboxes]
streams = [iter(program.stdout) for program in programs]
for number, (sandbox, stream) in enumerate(zip(sandboxes, streams)):
    assert next(stream) == "started\n"
    sandbox.filesystem.write_text(str(number), "/file")


def echo(word):
    for program, stream in zip(programs, streams):
        program.stdin.write(f"{word}\n")
        program.stdin.drain()
        assert next(stream) == f"{word}\n"


echo("first")
say(event="ready", sandboxes=[sandbox.object_id for sandbox in sandboxes])

for lost in ("one", "leader"):
    heard(f"{lost} is lost")
    echo(lost)
    say(event=f"all go on without {lost}")
    for number, sandbox in enumerate(sandboxes):
        assert sandbox.filesystem.read_text("/file") == str(number)
        assert modal.Sandbox.from_name("sharing", f"kept-{number}").object_id == sandbox.object_id
    another = modal.Sandbox.create("echo", "new", app=app, image=image)
    assert another.stdout.read() == "new\n"
    another.wait()
    assert another.returncode == 0
    say(event=f"{lost} survived")

for program in programs:
    program.stdin.write_eof()
    program.stdin.drain()
    assert program.wait() == 7
for sandbox in sandboxes:
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert sandbox.stdout.read() == "begun\n"
say(event="ended")
