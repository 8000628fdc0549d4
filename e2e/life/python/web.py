"""A web server in a sandbox, for the cases that reach it from outside: `../support/web_server.py`."""

import os
import pathlib
import ssl

from harness import running

# The server's own authority, and nothing else.
CA = ssl.create_default_context(cafile=os.environ["LIFE_CA_FILE"])
SERVER = (pathlib.Path(__file__).parent.parent / "support" / "web_server.py").read_text()


def serving(port=8080, address="127.0.0.1", **options):
    return running("python3", "-c", SERVER, address, str(port), **options)


def values(asked, name):
    """Of a header, as the server in the sandbox was sent it."""
    return [value for each, value in asked["headers"] if each.lower().replace("_", "-") == name]
