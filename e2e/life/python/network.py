"""What a sandbox may reach by name. The internet is a machine of the test's own at LIFE_INTERNET, and has every name that stands here."""

import os

import modal
import modal.experimental
from harness import app, case, create, equal, eventually, image, raised, run, running
from modal import exception
from reaching import authorize, reach

ADDRESS = os.environ["LIFE_INTERNET"]
# The test looks for this value in the server's log and files.
VALUE = os.environ["LIFE_SECRET_VALUE"]


def putting(value, secret=None, domain="allowed.test"):
    policy = modal.experimental.OutboundPolicy()
    return policy.with_header_replacement(domain=domain, headers={"Authorization": value}, secret=secret)


@case
def domains_are_reached_by_name_and_nothing_else_is():
    what = ["allowed.test", "x.below.test", "other.test", f"other.test@{ADDRESS}", "HTTP:allowed.test", f"TCP:{ADDRESS}"]
    with running() as sandbox:
        names = [f"{ADDRESS} {name}" for name in ("allowed.test", "x.below.test", "other.test", "other.test")]
        equal(reach(sandbox, *what), [*names, f"(200, '{ADDRESS}')", f"{ADDRESS} plain"])
    with running(outbound_domain_allowlist=["Allowed.test", "*.below.test"]) as sandbox:
        names = [f"{ADDRESS} allowed.test", f"{ADDRESS} x.below.test", "closed", "closed"]
        equal(reach(sandbox, *what), [*names, f"(200, '{ADDRESS}')", "closed"])
    both = {"outbound_cidr_allowlist": [f"{ADDRESS}/32"], "outbound_domain_allowlist": ["allowed.test"]}
    with running(**both) as sandbox:
        equal(reach(sandbox, f"other.test@{ADDRESS}", f"TCP:{ADDRESS}"), [f"{ADDRESS} other.test", f"{ADDRESS} plain"])


@case
def domains_are_changed_while_it_runs():
    with running() as sandbox:
        what = ["allowed.test", "other.test"]
        both = [f"{ADDRESS} {name}" for name in what]
        equal(reach(sandbox, *what), both)
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["other.test"])
        equal(reach(sandbox, *what), ["closed", both[1]])
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=[])
        equal(reach(sandbox, *what), ["closed", "closed"])
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["*"])
        equal(reach(sandbox, *what), both)
        sandbox._experimental_set_outbound_network_policy()
        equal(reach(sandbox, *what, f"TCP:{ADDRESS}"), [*both, f"{ADDRESS} plain"])


@case
def a_sidecar_is_held_to_the_policy_of_its_sandbox():
    with running(outbound_domain_allowlist=["allowed.test"]) as sandbox:
        sidecar = sandbox._experimental_sidecars.create("sleep", "600", name="beside", image=image.build(app))
        equal(reach(sidecar, "allowed.test", "other.test"), [f"{ADDRESS} allowed.test", "closed"])


@case
def what_it_reaches_is_in_its_log_where_it_is_audited():
    options = {"audit": "network"}
    with running(outbound_domain_allowlist=["allowed.test"], experimental_options=options) as sandbox:
        equal(reach(sandbox, "allowed.test", f"other.test@{ADDRESS}"), [f"{ADDRESS} allowed.test", "closed"])
        expected = [
            f"Network: allowed tls allowed.test at {ADDRESS}:443.",
            f"Network: ended tls allowed.test at {ADDRESS}:443, ",
            "Network: refused tls other.test: not allowed.",
        ]

        def told():
            lines = [str(entry) for entry in sandbox.logs.tail(50)]
            return all(any(words in line for line in lines) for words in expected)

        eventually(told, "the log tells of all three")
        sandbox._experimental_set_outbound_network_policy()
        equal(reach(sandbox, "other.test"), [f"{ADDRESS} other.test"])
        expected = [f"Network: allowed tcp other.test at {ADDRESS}:443."]
        eventually(told, "the log goes on to tell when all may be reached")
    raised(exception.InvalidError, lambda: create(experimental_options={"audit": "all"}))


@case
def headers_are_put_in_that_the_sandbox_does_not_know():
    modal.Secret.objects.delete("header-secret", allow_missing=True)
    modal.Secret.objects.create("header-secret", {"KEY": VALUE})
    policy = putting("Bearer $KEY", modal.Secret.from_name("header-secret"))
    hosts = ["allowed.test", "other.test"]
    with running(_experimental_outbound_policy=policy) as sandbox, running() as another:
        equal(authorize(sandbox, *hosts), [f"Bearer {VALUE}", "placeholder"])
        equal(authorize(another, *hosts), ["placeholder", "placeholder"])
        equal(reach(sandbox, f"TCP:{ADDRESS}", "other.test"), [f"{ADDRESS} plain", f"{ADDRESS} other.test"])
        search = f"grep -rla {VALUE[:-1]}[{VALUE[-1]}] /proc/[0-9]*/environ /etc /run /tmp /__modal 2>/dev/null; grep -rl 'PRIVATE KEY' /__modal /run /etc"
        equal(sandbox.exec("sh", "-c", search).stdout.read(), "")
        equal(sandbox.exec("sh", "-c", ": >> $SSL_CERT_FILE").wait() != 0, True)
        sidecar = sandbox._experimental_sidecars.create("sleep", "600", name="beside", image=image.build(app))
        equal(authorize(sidecar, "allowed.test"), [f"Bearer {VALUE}"])
        update = sandbox._experimental_update_outbound_policy
        update(putting("changed", domain="*"))
        equal(authorize(sandbox, *hosts), ["changed", "changed"])
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["allowed.test"])
        equal(authorize(sandbox, "allowed.test"), ["changed"])
        equal(reach(sandbox, "other.test", f"TCP:{ADDRESS}"), ["closed", "closed"])
        sandbox._experimental_set_outbound_network_policy(outbound_cidr_allowlist=[f"{ADDRESS}/32"])
        equal(authorize(sandbox, "allowed.test", "other.test"), ["changed", "changed"])
        equal(reach(sandbox, f"TCP:{ADDRESS}"), [f"{ADDRESS} plain"])
        sandbox._experimental_set_outbound_network_policy(outbound_cidr_allowlist=["192.0.2.0/24"])
        equal(reach(sandbox, "allowed.test", "other.test", f"TCP:{ADDRESS}"), ["closed"] * 3)
        sandbox._experimental_set_outbound_network_policy(outbound_domain_allowlist=["allowed.test"])
        update(modal.experimental.OutboundPolicy())
        equal(authorize(sandbox, "allowed.test"), ["placeholder"])
        raised(exception.NotFoundError, lambda: update(putting("$KEY", modal.Secret.from_name("no-such-secret"))))
        error = raised(exception.ConflictError, lambda: another._experimental_update_outbound_policy(policy))
        assert "without an outbound policy" in str(error), error
        error = raised(exception.InvalidError, lambda: update(putting("x $NONE", modal.Secret.from_name("header-secret"))))
        assert "NONE" in str(error) and VALUE not in str(error), error


@case
def headers_are_put_in_where_a_snapshot_of_the_memory_goes_on():
    if os.environ["LIFE_RUNTIME"] != "gvisor":
        return  # which has no such snapshots
    modal.Secret.objects.delete("snapshot-secret", allow_missing=True)
    modal.Secret.objects.create("snapshot-secret", {"KEY": VALUE})
    policy = putting("Bearer $KEY", modal.Secret.from_name("snapshot-secret"))
    with running(_experimental_outbound_policy=policy, _experimental_enable_snapshot=True) as sandbox:
        equal(authorize(sandbox, "allowed.test"), [f"Bearer {VALUE}"])
        snapshot = sandbox._experimental_snapshot()
        copy = modal.Sandbox._experimental_from_snapshot(snapshot, name=None)
        equal(authorize(copy, "allowed.test", "other.test"), [f"Bearer {VALUE}", "placeholder"])
        copy._experimental_update_outbound_policy(putting("changed"))
        equal([authorize(each, "allowed.test") for each in (copy, sandbox)], [["changed"], [f"Bearer {VALUE}"]])
        copy.terminate()


@case
def a_policy_of_a_sandbox_that_ended_or_that_is_none_is_refused():
    with running() as sandbox:
        update = sandbox._experimental_set_outbound_network_policy
        for wrong, words in [
            ({"outbound_domain_allowlist": ["no domain"]}, "Invalid domain: no domain"),
            ({"outbound_cidr_allowlist": ["10.0.0.0/33"]}, "Invalid CIDR: 10.0.0.0/33"),
        ]:
            error = raised(exception.InvalidError, lambda: update(**wrong))
            assert words in str(error), error
        equal(reach(sandbox, "allowed.test"), [f"{ADDRESS} allowed.test"])
        sandbox.terminate(wait=True)
        raised(exception.NotFoundError, lambda: update(outbound_domain_allowlist=["allowed.test"]))


@case
def what_is_no_domain_is_invalid():
    for bad in ["no domain", "192.0.2.1", "localhost", "https://example.com", "*.com"]:
        error = raised(exception.InvalidError, lambda: create(outbound_domain_allowlist=[bad]))
        assert f"Invalid domain: {bad}" in str(error), str(error)


run()
