"""Domains that a sandbox may reach, over a crash of the server: the test runs one case before it and one after it."""

import os

import modal
import modal.experimental
from harness import case, create, equal, run
from reaching import authorize, reach

ADDRESS = os.environ["LIFE_INTERNET"]


def looks(sandbox):
    equal(reach(sandbox, "allowed.test", "other.test"), [f"{ADDRESS} allowed.test", "closed"])


def knows(sandbox):
    equal(authorize(sandbox, "allowed.test", "other.test"), [os.environ["LIFE_SECRET_VALUE"], "placeholder"])


@case
def before_the_restart():
    policy = modal.experimental.OutboundPolicy()
    keyed = policy.with_header_replacement(domain="*", headers={"Authorization": "of the create"})
    sandbox = create("sleep", "600", name="named", outbound_domain_allowlist=["other.test"])
    sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["allowed.test"])
    looks(sandbox)
    other = create("sleep", "600", name="keyed", _experimental_outbound_policy=keyed)
    value = {"Authorization": os.environ["LIFE_SECRET_VALUE"]}
    other._experimental_update_outbound_policy(policy.with_header_replacement(domain="allowed.test", headers=value))
    knows(other)


@case
def after_the_restart():
    sandbox = modal.Sandbox.from_name("life", "named")
    looks(sandbox)
    sandbox.terminate()
    other = modal.Sandbox.from_name("life", "keyed")
    knows(other)
    other.terminate()


run()
