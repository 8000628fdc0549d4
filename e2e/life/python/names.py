"""Finding sandboxes: by id, by name, by tags; names are unique among those that run."""

import concurrent.futures

import modal
from harness import case, create, equal, raised, run, running


@case
def an_id_leads_to_the_sandbox_running_or_ended():
    sandbox = create("sh", "-c", "exec sleep 300")
    equal(modal.Sandbox.from_id(sandbox.object_id).poll(), None)
    sandbox.terminate(wait=True)
    equal(modal.Sandbox.from_id(sandbox.object_id).poll(), 137)


@case
def an_id_of_nothing_is_not_found():
    error = raised(modal.exception.NotFoundError, lambda: modal.Sandbox.from_id("sb-00000000000000000000000000"))
    assert "sb-00000000000000000000000000" in str(error), error


@case
def a_name_leads_to_the_sandbox_while_it_runs_and_is_free_afterwards():
    name = "comes-and-goes"
    raised(modal.exception.NotFoundError, lambda: modal.Sandbox.from_name("life", name))
    first = create(name=name)
    equal(modal.Sandbox.from_name("life", name).object_id, first.object_id)
    error = raised(modal.exception.AlreadyExistsError, lambda: create(name=name))
    assert name in str(error), error
    first.terminate(wait=True)
    raised(modal.exception.NotFoundError, lambda: modal.Sandbox.from_name("life", name))
    equal(modal.Sandbox.from_name("life", name, include_terminated=True).object_id, first.object_id)
    second = create(name=name)
    assert second.object_id != first.object_id
    equal(modal.Sandbox.from_name("life", name, include_terminated=True).object_id, second.object_id)
    second.terminate()


@case
def a_name_is_free_once_the_entrypoint_ended_by_itself():
    first = create("true", name="short-lived")
    first.wait()
    with running(name="short-lived") as second:
        assert second.object_id != first.object_id


@case
def the_same_name_in_another_app_is_another_sandbox():
    other_app = modal.App.lookup("life-other", create_if_missing=True)
    with running(name="twice") as one, running(name="twice", app=other_app) as other:
        equal(modal.Sandbox.from_name("life", "twice").object_id, one.object_id)
        equal(modal.Sandbox.from_name("life-other", "twice").object_id, other.object_id)


@case
def one_of_fifty_that_race_gets_the_name():
    def attempt(_):
        try:
            return create(name="raced-for")
        except modal.exception.AlreadyExistsError:
            return None

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        made = [sandbox for sandbox in pool.map(attempt, range(50)) if sandbox]
    equal(len(made), 1)
    equal(modal.Sandbox.from_name("life", "raced-for").object_id, made[0].object_id)
    made[0].terminate(wait=True)


@case
def a_name_given_later_counts_as_well():
    with running() as sandbox, running() as other:
        sandbox._experimental_set_name("given-later")
        sandbox._experimental_set_name("given-later")
        equal(modal.Sandbox.from_name("life", "given-later").object_id, sandbox.object_id)
        raised(modal.exception.AlreadyExistsError, lambda: other._experimental_set_name("given-later"))
        raised(modal.exception.ConflictError, lambda: sandbox._experimental_set_name("another"))


@case
def tags_are_set_replaced_and_listed_by():
    tag_app = modal.App.lookup("life-tags", create_if_missing=True)

    def ids(**options):
        return {sandbox.object_id for sandbox in modal.Sandbox.list(app_id=tag_app.app_id, **options)}

    with running(app=tag_app, tags={"born": "with"}) as one, running(app=tag_app) as two:
        equal(one.get_tags(), {"born": "with"})
        one.set_tags({"major_version": "1", "minor_version": "1"})
        two.set_tags({"major_version": "1", "minor_version": "2"})
        equal(one.get_tags(), {"major_version": "1", "minor_version": "1"})
        equal(ids(), {one.object_id, two.object_id})
        equal(ids(tags={"major_version": "1"}), {one.object_id, two.object_id})
        equal(ids(tags={"major_version": "1", "minor_version": "2"}), {two.object_id})
        equal(ids(tags={"major_version": "2"}), set())
        equal(ids(tags={"born": "with"}), set())
        one.terminate(wait=True)
        equal(ids(), {two.object_id})
        # What ended keeps its tags.
        equal(modal.Sandbox.from_id(one.object_id).get_tags(), {"major_version": "1", "minor_version": "1"})


@case
def names_and_tags_beyond_bounds_are_refused():
    refused = modal.exception.InvalidError
    for name in ("with space", "sl/ash", "x" * 65, "ap-" + "x" * 22, "\u00fc"):
        raised(refused, lambda name=name: create(name=name))
    with running() as sandbox:
        for tags in (
            {"": "x"},
            {"x" * 129: "x"},
            {"x": "x" * 1025},
            {"nul": "\0"},
            {str(number): "x" for number in range(65)},
        ):
            raised(refused, lambda tags=tags: sandbox.set_tags(tags))
            raised(refused, lambda tags=tags: create(tags=tags))
        equal(sandbox.get_tags(), {})


@case
def sizes_and_times_beyond_bounds_are_refused():
    refused = modal.exception.InvalidError
    for options in (
        {"timeout": 8 * 86_400},
        {"idle_timeout": 8 * 86_400},
        {"memory": 1 << 30},
        {"cpu": 100_000.0},
        {"workdir": "/" + "x" * 5000},
        {"env": {"not a name": "x"}},
        {"env": {"BIG": "x" * (1 << 21)}},
        {"secrets": [modal.Secret.from_dict({"not-a-name": "x"})]},
        {"outbound_cidr_allowlist": ["not-a-range"]},
    ):
        raised(refused, lambda options=options: create(**options))
    raised(refused, lambda: create(*["x" * 1000] * 66))
    with running() as sandbox:
        raised(refused, lambda: sandbox.exec("sleep", "1", timeout=8 * 86_400).wait())
        raised(refused, lambda: sandbox.exec("true", workdir="relative").wait())


run()
