"""A GPU belongs to its sandbox whichever server runs. `gpus.test.ts` kills the server between the two cases."""

import modal
from harness import case, create, equal, raised, run, running, sh


@case
def before_the_restart():
    create(gpu="T4", name="holder", timeout=600)


@case
def after_the_restart():
    holder = modal.Sandbox.from_name("life", "holder")
    equal(sh(holder, "ls /dev | grep test-gpu; echo $TEST_GPUS"), "test-gpu1\nsome\n")
    raised(modal.exception.ResourceExhaustedError, lambda: create(gpu="T4"))
    holder.terminate()
    with running(gpu="T4"):
        pass


run()
