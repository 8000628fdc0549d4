"""GPUs, of which there are two: of the kinds that the test makes, A100-80GB and T4, with no hardware behind them."""

import os
import threading

import modal
from harness import case, create, equal, raised, run, running, sh

LIBRARY = os.environ["LIFE_GPU_LIBRARY"]
# What opening such a device says: no driver behind it, or the kernel lets nobody near it.
OPEN = "python3 -c 'import os; os.open(\"{}\", os.{})' 2>&1 | grep -o 'No such device\\|not permitted\\|No such file' || true"


@case(alone=True)
def a_sandbox_has_the_gpu_it_asked_for_and_no_other():
    with running(gpu="T4") as sandbox, running() as other:
        equal(sh(sandbox, "ls /dev | grep test-gpu"), "test-gpu1\n")
        equal(sh(sandbox, f"cat {LIBRARY}"), "the library\n")
        equal(sh(sandbox, "echo $TEST_GPUS $TEST_GPU_0 $TEST_GPU_1"), "some yes\n")
        equal(sh(sandbox, "stat -c '%t:%T %a %u %g' /dev/test-gpu1"), "f0:1 660 0 4444\n")
        # What the kernel counts for each user is shared with nobody, with a GPU neither: those of the test are under runc alone.
        assert int(sh(sandbox, "cat /proc/self/uid_map").split()[1]) > 65535
        equal(sh(other, "ls /dev | grep -c test-gpu || true; echo $TEST_GPUS; ls /usr/local/lib/test-gpu 2>&1 | wc -l"), "0\n\n1\n")


@case(alone=True)
def the_kernel_holds_to_the_permissions_of_the_specification():
    with running(gpu="any:2") as sandbox:
        equal(sh(sandbox, OPEN.format("/dev/test-gpu0", "O_RDWR")), "No such device\n")
        equal(sh(sandbox, OPEN.format("/dev/test-gpu1", "O_RDONLY")), "No such device\n")
        equal(sh(sandbox, OPEN.format("/dev/test-gpu1", "O_RDWR")), "not permitted\n")


@case(alone=True)
def users_other_than_root_are_in_the_group_of_the_device():
    image = modal.Image.from_registry("python:3.11-slim").dockerfile_commands("RUN useradd -m ann", "USER ann")
    with running(gpu="T4", image=image) as sandbox:
        equal(sh(sandbox, "id -un; id -G | tr ' ' '\\n' | grep 4444"), "ann\n4444\n")
        equal(sh(sandbox, OPEN.format("/dev/test-gpu1", "O_RDONLY")), "No such device\n")


@case(alone=True)
def types_are_matched_in_whatever_case_and_by_the_wider_name():
    for name in ["a100", "A100", "a100-80gb", "A100:1", "T4:1", "t4", "any", "ANY:2", "A100!"]:
        with running(gpu=name) as sandbox:
            sh(sandbox, "ls /dev/test-gpu*")


@case(alone=True)
def two_at_once_are_two():
    with running(gpu="any:2") as sandbox:
        equal(sh(sandbox, "ls /dev | grep test-gpu"), "test-gpu0\ntest-gpu1\n")


@case(alone=True)
def one_that_is_taken_is_refused_at_once_and_free_again_at_the_end():
    with running(gpu="T4"):
        error = raised(modal.exception.ResourceExhaustedError, lambda: create(gpu="T4"))
        assert "T4" in str(error) and "0 of 1 free" in str(error) and "A100-80GB" in str(error), error
        raised(modal.exception.ResourceExhaustedError, lambda: create(gpu="any:2"))
        with running(gpu="any") as other:
            equal(sh(other, "ls /dev | grep test-gpu"), "test-gpu0\n")
    with running(gpu="T4"):
        pass


@case(alone=True)
def what_there_is_not_is_invalid_and_what_there_is_is_named():
    for name in ["H100", "T4:2", "any:3", "A100-40GB"]:
        error = raised(modal.exception.InvalidError, lambda name=name: create(gpu=name))
        assert "1 × A100-80GB, 1 × T4" in str(error), error
    for name in ["", "T4:0", "no such", "x" * 100, "T4/../x"]:
        raised(modal.exception.InvalidError, lambda name=name: create(gpu=name))
    raised(modal.exception.InvalidError, lambda: create(gpu=["T4", "A100"]))


@case(alone=True)
def of_two_creates_that_race_for_the_last_one_gets_it():
    outcomes = []

    def attempt():
        try:
            outcomes.append(create(gpu="T4"))
        except modal.exception.ResourceExhaustedError as error:
            outcomes.append(error)

    for _ in range(5):
        outcomes.clear()
        threads = [threading.Thread(target=attempt) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = [outcome for outcome in outcomes if isinstance(outcome, modal.Sandbox)]
        equal((len(outcomes), len(made)), (4, 1))
        made[0].terminate()


@case(alone=True)
def a_sandbox_that_ends_by_itself_or_cannot_start_gives_it_back():
    create("true", gpu="T4").wait()
    create("no-such-program", gpu="T4").wait(raise_on_termination=False)
    with running(gpu="T4"):
        pass


@case(alone=True)
def a_snapshot_has_nothing_of_the_gpu_in_it():
    with running(gpu="T4") as sandbox:
        image = sandbox.snapshot_filesystem()
    with running(image=image) as sandbox:
        equal(sh(sandbox, f"ls {LIBRARY} 2>&1 | grep -o 'No such file'; ls /dev | grep -c test-gpu || true"), "No such file\n0\n")


@case(alone=True)
def gvisor_is_refused_a_gpu_it_cannot_hand_on():
    error = raised(modal.exception.InvalidError, lambda: create(gpu="T4", runtime="gvisor"))
    assert "gvisor" in str(error) and "runc" in str(error), error


run()
