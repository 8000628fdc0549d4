"""Works in sandboxes while the disk of the server is full; told what to do by lines of JSON on standard input.

What fails is told as the client tells it, and is no failure of this program.
"""

import json
import sys
import threading

import modal

BASE = modal.Image.from_registry("debian:bookworm-slim")
# Takes all room there is, leaves some, or frees all, as it is told, and renames a file after each order it carried out: that needs no room.
FILLER = """
touch /done-0
while read what number bytes; do
  case $what in
    fill) for size in 1M 4k; do dd if=/dev/zero bs=$size oflag=append conv=notrunc of=/fill; done ;;
    leave) truncate -s -$bytes /fill ;;
    free) rm -f /fill ;;
  esac 2>/dev/null
  mv /done-* /done-$number
done
"""
# Numbered lines, as many as it is told, then the end.
PRINTER = 'echo ready; read n; i=0; while [ $i -lt $n ]; do i=$((i+1)); echo "line $i"; done; exit 5'


def say(**fields):
    print(json.dumps(fields), flush=True)


app = modal.App.lookup("full-disk", create_if_missing=True)


def sandbox(*command, **options):
    return modal.Sandbox.create(*command, app=app, image=BASE, **{"timeout": 3600, **options})


sandboxes = {"filler": sandbox("sh", "-c", FILLER), "worker": sandbox("sleep", "3600")}
sandboxes["worker"].exec("sh", "-c", "head -c 24M /dev/urandom > /root/data").wait()
printer = None
executed = []
builds = 0
background = {}


def attempt(work):
    """Its outcome, in words."""
    try:
        return {"ok": True, "value": work()}
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def filler(what, number, bytes=0):
    stdin = sandboxes["filler"].stdin
    stdin.write(f"{what} {number} {bytes}\n")
    stdin.drain()


def make(name, timeout=3600):
    sandboxes[name] = sandbox("sleep", "3600", timeout=timeout)
    sandboxes[name].exec("true").wait()
    return sandboxes[name].object_id


def execute():
    """Runs a program to its end. What it printed may have to wait for room: `read` has it."""
    process = sandboxes["worker"].exec("echo", "hello", timeout=60)
    executed.append(process)
    code = process.wait()
    assert code == 0, f"it ended with {code}"


def read():
    """What `execute` left unread, complete."""
    while executed:
        text = executed.pop().stdout.read()
        assert text == "hello\n", f"it printed {text!r}"


def create():
    made = sandbox("sleep", "3600")
    try:
        made.exec("true").wait()
    finally:
        made.terminate()


def snapshot():
    image = sandboxes["worker"].snapshot_filesystem(timeout=110)
    made = modal.Sandbox.create(app=app, image=image)
    try:
        # What it printed might have to wait for room.
        code = made.exec("sh", "-c", f"[ $(stat -c %s /root/data) = {24 << 20} ]", timeout=60).wait()
    finally:
        made.terminate()
    assert code == 0, "the snapshot lacks something"


def build():
    """An image of its own each time: one that failed is built anew, one that was made is not."""
    global builds
    builds += 1
    BASE.run_commands(f"head -c 24M /dev/urandom > /root/build-{builds}").build(app)


def terminate(name):
    sandboxes[name].terminate(wait=True)


def wait(name):
    sandboxes[name].wait()


def is_gone(object_id):
    try:
        modal.Sandbox.from_id(object_id).poll()
        return False
    except modal.exception.NotFoundError:
        return True


def begin_printing():
    global printer
    printer = sandboxes["worker"].exec("sh", "-c", PRINTER, bufsize=1)
    lines = iter(printer.stdout)
    assert next(lines) == "ready\n"
    printer.lines = lines


def go_on_printing(lines):
    printer.stdin.write(f"{lines}\n")
    printer.stdin.drain()


def end_printing(lines):
    for expected in range(1, lines + 1):
        line = next(printer.lines)
        assert line == f"line {expected}\n", f"expected line {expected}, got {line!r}"
    assert next(printer.lines, None) is None
    assert printer.wait() == 5


WORKS = [filler, make, execute, read, create, snapshot, build, terminate, wait, is_gone, begin_printing, go_on_printing, end_printing]
BY_NAME = {work.__name__: work for work in WORKS}


def begin(key, work):
    """Does it in the background, until `join`."""
    entry = {}

    def run():
        entry["outcome"] = attempt(work)

    entry["thread"] = threading.Thread(target=run, daemon=True)
    entry["thread"].start()
    background[key] = entry


say(event="ready", ids={name: made.object_id for name, made in sandboxes.items()})
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "join":
        entry = background.pop(order["key"])
        entry["thread"].join()
        say(event="done", **entry["outcome"])
        continue

    def work(order=order):
        return BY_NAME[order["do"]](*order.get("with", []))

    if "key" in order:
        begin(order["key"], work)
        say(event="begun")
    else:
        say(event="done", **attempt(work))
