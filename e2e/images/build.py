"""Builds one image of the tests of this folder, looks at it in a sandbox, and prints what it found as one JSON line.

`python build.py WHAT [ARGUMENT...]`, where WHAT is a function below. Written for every Python client from 1.0.5 on.
"""

import json
import os
import sys
import tempfile
import time

import modal

app = modal.App.lookup("images", create_if_missing=True)

LOOK = """
import json, os, platform, shutil, ssl, subprocess, sys, sysconfig, urllib.request
import six

def output(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()

subprocess.run([sys.executable, "-m", "venv", "/tmp/venv"], check=True)
names = sysconfig.get_config_vars().values()
print(json.dumps({
    "version": platform.python_version(),
    "debian": open("/etc/debian_version").read().strip() if os.path.exists("/etc/debian_version") else "",
    "six": six.__version__,
    "programs": [shutil.which(name) for name in ("python", "python3", "python%d.%d" % sys.version_info[:2], "pip")],
    "pip": output("pip", "--version").split("python ")[-1],
    "venv": output("/tmp/venv/bin/pip", "--version").split("python ")[-1],
    "headers": os.path.exists(sysconfig.get_config_h_filename()),
    "strange": [v for v in names if isinstance(v, str) and v.startswith(("/install", "/tools", "/build/Python", "/home", "/__w"))],
    "tls": urllib.request.urlopen("https://pypi.org/simple/six/").status,
}))
"""


def debian_slim(version):
    """What `debian_slim` gives, and whether a package can be built from its source in it."""
    image = modal.Image.debian_slim(python_version=version).pip_install("six")
    report(image, look, build_from_source)


def from_registry(tag):
    report(modal.Image.from_registry(tag).pip_install("six"), look)


def add_python(tag, version):
    report(modal.Image.from_registry(tag, add_python=version).pip_install("six"), look)


def dockerfile_add_python(version):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "Dockerfile")
        with open(path, "w") as file:
            file.write("FROM debian:12-slim\nRUN echo kept > /kept\n")
        image = modal.Image.from_dockerfile(path, add_python=version).pip_install("six")
        report(image, look, lambda sandbox: {"kept": execute(sandbox, "cat", "/kept").strip()})


def uv_pip(tag, *versions):
    """Installs with the newest uv and with those named."""
    base = modal.Image.from_registry(tag)
    for version in (None, *versions):
        report(base.uv_pip_install("six", **({"uv_version": version} if version else {})), six_version, uv_version)


def uv_sync(tag):
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "pyproject.toml"), "w") as file:
            file.write('[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six==1.16.0"]\n')
        image = modal.Image.from_registry(tag).uv_sync(directory)
        report(image, six_version)


def poetry(tag):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "pyproject.toml")
        with open(path, "w") as file:
            file.write(
                '[tool.poetry]\nname = "p"\nversion = "1"\ndescription = ""\nauthors = []\n'
                '[tool.poetry.dependencies]\npython = ">=3.9"\nsix = "1.16.0"\n'
            )
        image = modal.Image.from_registry(tag).poetry_install_from_file(path, ignore_lockfile=True)
        report(image, six_version)


def report(image, *looks):
    """Builds an image and prints a line with what is found in a sandbox of it."""
    started = time.monotonic()
    with modal.enable_output():
        sandbox = modal.Sandbox.create(app=app, image=image, timeout=600)
    found = {"buildSeconds": round(time.monotonic() - started, 1)}
    try:
        for each in looks:
            found.update(each(sandbox))
    finally:
        sandbox.terminate()
    print("\n@" + json.dumps(found), flush=True)


def look(sandbox):
    return json.loads(execute(sandbox, "python", "-c", LOOK))


def build_from_source(sandbox):
    execute(sandbox, "pip", "install", "--quiet", "--no-binary", ":all:", "--no-cache-dir", "markupsafe==2.1.5")
    return {"built": "_speedups" in execute(sandbox, "python", "-c", "import markupsafe._speedups as s; print(s)")}


def six_version(sandbox):
    return {"six": execute(sandbox, "python", "-c", "import six; print(six.__version__)").strip()}


def uv_version(sandbox):
    return {"uv": execute(sandbox, "/.uv/uv", "--version").split()[1]}


def execute(sandbox, *argv):
    process = sandbox.exec(*argv)
    out, err = process.stdout.read(), process.stderr.read()
    if process.wait() != 0:
        raise RuntimeError(f"{argv}: {out}{err}")
    return out


globals()[sys.argv[1]](*sys.argv[2:])
