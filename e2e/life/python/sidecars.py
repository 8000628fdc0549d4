"""Sidecars: further containers beside the main one of a sandbox."""

import modal
from harness import app, case, equal, image, raised, run, running, shared


@case
def a_sidecar_runs_beside_the_main_container_and_ends_with_it():
    built = image.build(app)
    with running() as sandbox:
        sidecar = sandbox._experimental_sidecars.create("sh", "-c", "echo from sidecar; exec sleep 300", name="helper", image=built)
        process = sidecar.exec("sh", "-c", "echo exec in sidecar; touch /only-in-sidecar")
        equal((process.stdout.read(), process.wait()), ("exec in sidecar\n", 0))
        equal(sandbox.exec("ls", "/only-in-sidecar").wait(), 2)
        equal([one.name for one in sandbox._experimental_sidecars.list()], ["helper"])
        raised(
            modal.exception.AlreadyExistsError,
            lambda: sandbox._experimental_sidecars.create("sleep", "1", name="helper", image=built),
        )
        sidecar.terminate()
        equal(sidecar.poll(), 137)
        equal(sandbox.exec("echo", "main goes on").stdout.read(), "main goes on\n")


@case
def a_sidecar_shares_the_network_of_the_main_container():
    built = image.build(app)
    serve = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=8765, bind='0.0.0.0')"
    with running("python3", "-c", serve) as sandbox:
        sidecar = sandbox._experimental_sidecars.create(name="caller", image=built)
        dial = """
import time, urllib.request
for attempt in range(100):
    try: print(urllib.request.urlopen("http://127.0.0.1:8765/").status); break
    except OSError: time.sleep(0.1)
"""
        equal(sidecar.exec("python3", "-c", dial).stdout.read(), "200\n")


@case
def the_name_of_the_main_container_is_reserved():
    built = image.build(app)
    raised(
        modal.exception.InvalidError, lambda: shared()._experimental_sidecars.create("true", name="main", image=built)
    )


run()
