"""Sandboxes of an image that has something done first begin where that is done, with the programs of docs/warm-up.md. Needs gVisor."""

import os
import tempfile

import modal
from harness import case, create, equal, image, run, running, sh

PAGE = os.path.join(os.path.dirname(__file__), "../../../docs/warm-up.md")
# Instead of what takes long: something that is made once, and a trace of each time.
LOADS = """
kept = os.urandom(8).hex()
print("kept", os.environ.get("SECRET"), os.environ.get("MODAL_SANDBOX_ID"), file=open("/seen", "a"))
"""
ASK = """python3 -IS /ask.py 'print(kept, os.urandom(8).hex(), os.environ.get("SECRET"))'"""


def ask(sandbox):
    kept, fresh, secret = sh(sandbox, ASK).split()
    equal(secret, "None")
    return kept, fresh


def warm_image(directory):
    with open(PAGE) as file:
        blocks = [block.split("```")[0] for block in file.read().split("```python\n# ")[1:]]
    added = image
    for block in blocks:
        name, program = block.split("\n", 1)
        path = directory + name
        with open(path, "w") as file:
            file.write(program.replace("import pandas\n", LOADS))
        added = added.add_local_file(path, name, copy=True)
    return added.dockerfile_commands('LABEL skerry.warm-up="exec python3 /warm.py"')


@case
def what_is_done_once_is_done_for_all():
    secret = modal.Secret.from_dict({"SECRET": "value"})
    with tempfile.TemporaryDirectory() as directory:
        warm = warm_image(directory)
        with running(image=warm, secrets=[secret]) as first:
            kept, _ = ask(first)
            equal(sh(first, "cat /seen; echo $SECRET"), "kept None None\nvalue\n")
            command = ("sh", "-c", f"{ASK}; echo $MODAL_SANDBOX_ID $SECRET; sleep 1000")
            second = create(*command, image=warm, secrets=[secret], name="warm", block_network=True)
            lines = iter(second.stdout)
            own, fresh, none = next(lines).split()
            equal((own, none), (kept, "None"))
            equal(next(lines), f"{second.object_id} value\n")
            with running(image=warm) as third:
                other, another = ask(third)
                equal(other, kept)
                assert another != fresh, "each has randomness of its own"
                equal(sh(third, "touch /own; cat /seen; echo $SECRET"), "kept None None\n\n")
                copy = third.snapshot_filesystem()
            with running(image=copy) as fourth:
                assert ask(fourth)[0] != kept, "an image of a snapshot has it done itself"
                equal(sh(fourth, "test -e /own; wc -l < /seen"), "2\n")
            second.terminate()


run()
