"""Domains that a sandbox may reach, over a crash of the server: the test runs one case before it and one after it."""

import os

import modal
from harness import case, create, equal, run
from reaching import reach

ADDRESS = os.environ["LIFE_INTERNET"]


def looks(sandbox):
    equal(reach(sandbox, "allowed.test", "other.test"), [f"{ADDRESS} allowed.test", "closed"])


@case
def before_the_restart():
    looks(create("sleep", "600", name="named", outbound_domain_allowlist=["allowed.test"]))


@case
def after_the_restart():
    sandbox = modal.Sandbox.from_name("life", "named")
    looks(sandbox)
    sandbox.terminate()


run()
