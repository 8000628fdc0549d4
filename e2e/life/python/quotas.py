"""What a token may take, which is one sandbox, and twelve creates a minute: what the client does when it is more."""

import json
import os
import urllib.error
import urllib.request

import modal
from harness import case, create, equal, raised, run, running


def take_all():
    """Has the token make as many sandboxes as it may just now: of an image that is not there, so there are none."""
    request = urllib.request.Request(
        f"{os.environ['MODAL_SERVER_URL']}/v1/sandboxes",
        json.dumps({"image": "im-none"}).encode(),
        {
            "Authorization": f"Bearer {os.environ['MODAL_TOKEN_ID']}:{os.environ['MODAL_TOKEN_SECRET']}",
            "Content-Type": "application/json",
        },
    )
    while True:
        try:
            urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            if error.code == 429:
                return int(error.headers["Retry-After"])
            equal(error.code, 404)


@case(alone=True)
def a_quota_is_told_at_once():
    with running():
        error = raised(modal.exception.ResourceExhaustedError, create)
        assert "quota of sandboxes is 1" in str(error), error


@case(alone=True)
def who_made_too_many_in_a_minute_waits_as_long_as_the_server_says():
    os.environ["MODAL_MAX_THROTTLE_WAIT"] = "0"
    wait = take_all()
    assert 1 <= wait <= 5, f"told to wait {wait} s"
    error = raised(modal.exception.ResourceExhaustedError, create)
    assert "may be made in a minute. Try again in" in str(error), error
    del os.environ["MODAL_MAX_THROTTLE_WAIT"]
    with running() as sandbox:
        equal(sandbox.exec("echo", "up").stdout.read(), "up\n")


run()
