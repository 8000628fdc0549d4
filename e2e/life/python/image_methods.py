"""Every method of `modal.Image` that builds something, on an image whose package managers write down what they are called with: what the client asks for is carried out, by each
client in its own way. `tools` makes that image."""

import inspect
import json
import os
import pathlib
import sys
import tempfile

import modal
from harness import app, case, create, equal, run, running

TOOLS = ["apt-get", "pip", "python", "python3", "poetry", "uv", "micromamba", "debconf-set-selections", "bash"]
CALL = '#!/bin/sh\n[ -t 0 ] || cat >/dev/null\necho "$(basename "$0") $*${MARK:+ MARK=$MARK}" >>/calls\n'
SHELL = '#!/bin/sh\nexec /bin/sh -c "$1"\n'


def tools():
    """Prints the id of the image."""
    commands = ['RUN ["/bin/busybox", "--install", "-s", "/bin"]', "ENV PATH=/bin"]
    for name in TOOLS:
        commands += [f"COPY --chmod=755 <<'END' /bin/{name}", *CALL.rstrip("\n").split("\n"), "END"]
    commands += ["COPY --chmod=755 <<'END' /usr/local/bin/_dockerfile_shell.sh", *SHELL.rstrip("\n").split("\n"), "END"]
    commands += ["RUN ln -s bin/uv /uv && mkdir -p /root /tmp"]
    base = modal.Image.from_scratch().add_local_file("/bin/busybox", "/bin/busybox", copy=True)
    print(base.dockerfile_commands(commands).build(app).object_id)


# Up to 1.0 every image gets the client's requirements, whatever it is made of.
OLD = modal.__version__.startswith("1.0.")
HAS_ENV = "env" in inspect.signature(modal.Image.run_commands).parameters


def given(env, *secrets):
    """Options of a build step; older clients have no `env=`, which is a secret on the wire."""
    if HAS_ENV:
        return {"env": env, "secrets": [modal.Secret.from_dict(each) for each in secrets]}
    return {"secrets": [modal.Secret.from_dict(each) for each in (env, *secrets)]}


def calls(image):
    with running("sleep", "300", image=image) as sandbox:
        return sandbox.exec("cat", "/calls").stdout.read().splitlines()


PYPROJECT = """
[project]
name = "thing"
version = "1"
dependencies = ["from-pyproject>=1"]
[project.optional-dependencies]
more = ["optional"]
[dependency-groups]
group = ["grouped"]
"""


def project():
    # The test's own, and removed with it.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="project-", dir=pathlib.Path.home()))
    for name, content in {
        "pyproject.toml": PYPROJECT,
        "poetry.lock": "",
        "uv.lock": "",
        "requirements.txt": "from-a-file\n",
        "spec.yml": "dependencies: [specified]\n",
    }.items():
        (directory / name).write_text(content)
    return directory


@case
def package_managers_are_called_as_the_methods_say():
    files = project()
    token = modal.Secret.from_dict({"GITHUB_TOKEN": "t0ken"})
    built = (
        modal.Image.debian_slim("3.12")
        .apt_install("one", "two", **given({"MARK": "apt"}))
        .pip_install("six==1", "a", index_url="https://index.example", extra_options="--no-deps", **given({"MARK": "pip"}))
        .pip_install_from_requirements(str(files / "requirements.txt"))
        .pip_install_from_pyproject(str(files / "pyproject.toml"), optional_dependencies=["more"])
        .pip_install_private_repos("github.com/me/private@v1", git_user="me", secrets=[token])
        .poetry_install_from_file(str(files / "pyproject.toml"), with_=["dev"], **({} if OLD else {"poetry_version": "1.8.0"}))
    )
    seen = calls(built)
    # What `debian_slim` begins with depends on the version of the image builder; what is asked for then does not.
    first = seen.index("apt-get install -y one two MARK=apt")
    equal(
        seen[first:],
        [
            "apt-get install -y one two MARK=apt",
            "python -m pip install a six==1 --index-url https://index.example --no-deps MARK=pip",
            "python -m pip install -r /.requirements.txt",
            "python -m pip install from-pyproject>=1 optional",
            seen[first + 4],
            "apt-get update",
            "apt-get install -y git",
            "python3 -m pip install git+https://me:t0ken@github.com/me/private@v1",
            "python -m pip install poetry~=1.7" if OLD else "python -m pip install poetry==1.8.0",
            "poetry config virtualenvs.create false",
            "poetry install --no-root --with dev --compile",
        ],
    )
    assert seen[first + 4].startswith("bash -c [[ -v GITHUB_TOKEN ]]"), seen
    assert "pip install --upgrade pip wheel uv" in seen[:first] and "apt-get update" in seen[:first], seen
    if hasattr(built, "uv_pip_install"):
        more = built.uv_pip_install("x", requirements=[str(files / "requirements.txt")], pre=True).uv_sync(
            str(files), groups=["group"], extras=["more"]
        )
        equal(
            calls(more)[len(seen) :],
            [
                # Which Python is asked for is the shell's to find out.
                "uv pip install --python /bin/python --compile-bytecode --prerelease allow --requirements /.uv/0/requirements.txt x",
                "uv sync --project=/.uv --no-install-workspace --compile-bytecode --group=group --extra=more --frozen",
            ],
        )


@case
def micromamba_has_its_shell_and_its_packages():
    files = project()
    image = modal.Image.micromamba("3.12").micromamba_install("m", spec_file=str(files / "spec.yml"), channels=["c"])
    seen = [call for call in calls(image) if call.startswith("micromamba")]
    equal(
        seen,
        [
            "micromamba install -n base -y python=3.12 pip -c conda-forge",
            "micromamba install m -f /spec.yml -n base -c c --yes",
        ],
    )


def plain():
    return modal.Image.from_registry("tools:1")


@case
def commands_files_and_settings():
    files = project()
    image = (
        plain()
        .run_commands("echo $WORD-$OTHER >/said", **given({"WORD": "word"}, {"OTHER": "x"}))
        .dockerfile_commands(["ARG A=arg", "ENV FROM_ARG=$A", "COPY requirements.txt /copied"], context_dir=files)
        .env({"KEPT": "kept"})
        .workdir("/work")
        .entrypoint([])
        .shell(["/bin/sh", "-uc"])
        .run_commands("pwd >/where; echo ${UNSET:-none} >>/where")
        .cmd(["sleep", "300"])
        .add_local_file(str(files / "spec.yml"), "/added/spec.yml", copy=True)
        .add_local_dir(str(files), "/dir", copy=True)
        .add_local_python_source("image_methods", copy=True)
    )
    copies = ["/added/spec.yml", "/dir/uv.lock", "/root/image_methods.py", "/mounted.yml"]
    if hasattr(image, "copy_local_file"):
        image = image.copy_local_file(files / "spec.yml", "/old/spec.yml").copy_local_dir(files, "/old-dir")
        copies += ["/old/spec.yml", "/old-dir/uv.lock"]
    image = image.add_local_file(str(files / "spec.yml"), "/mounted.yml")
    if hasattr(image, "pipe"):
        assert image.pipe(lambda given, word: (given, word), word="w") == (image, "w")
    with image.imports():
        import not_there_at_all  # noqa: F401  # only a container would miss it
    with running(image=image) as sandbox:
        read = sandbox.exec("sh", "-c", "cat /said /copied /where; echo $KEPT $FROM_ARG ${WORD:-gone} ${OTHER:-gone}; pwd")
        equal(read.stdout.read(), "word-x\nfrom-a-file\n/work\nnone\nkept arg gone gone\n/work\n")
        equal(len(sandbox.exec("ls", *copies).stdout.read().splitlines()), len(copies))


@case
def what_env_says_is_part_of_what_is_built_and_no_part_of_the_image():
    def said(word):
        image = plain().run_commands("echo $WORD >/said", **given({"WORD": word}))
        with running("sleep", "300", image=image) as sandbox:
            return sandbox.exec("sh", "-c", "cat /said; echo ${WORD:-gone}").stdout.read()

    equal([said("a"), said("b"), said("a")], ["a\ngone\n", "b\ngone\n", "a\ngone\n"])


@case
def a_dockerfile_with_its_context_and_arguments():
    files = project()
    (files / "Dockerfile").write_text("FROM tools:1\nARG V=1\nCOPY . /all\nRUN echo $V >/v && ls /all >>/v\n")
    (files / ".dockerignore").write_text("*.lock\n!uv.lock\nDockerfile\n.dockerignore\n")
    options = {"build_args": {"V": "2"}} if not OLD else {}
    image = modal.Image.from_dockerfile(files / "Dockerfile", context_dir=files, **options)
    with running("sleep", "300", image=image) as sandbox:
        found = sandbox.exec("cat", "/v").stdout.read().split()
    equal(found, ["1" if OLD else "2", "pyproject.toml", "requirements.txt", "spec.yml", "uv.lock"])


@case
def private_registries_get_their_credentials():
    host = os.environ["REGISTRY"]
    login = modal.Secret.from_dict({"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret"})
    google = modal.Secret.from_dict({"SERVICE_ACCOUNT_JSON": json.dumps({"type": "service_account"})})
    key = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-1"}
    amazon = modal.Secret.from_dict(key)
    role = modal.Secret.from_dict({"AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_REGION": "eu-west-1"})
    for image in (
        modal.Image.from_registry(f"{host}/team/app:1", secret=login),
        modal.Image.from_gcp_artifact_registry(f"{os.environ['GOOGLE_REGISTRY']}/team/app:1", secret=google),
        modal.Image.from_aws_ecr(f"{os.environ['AMAZON_REGISTRY']}/team/app:1", secret=amazon),
    ):
        if OLD:
            # It goes on to install the client's requirements, for which this image has no shell.
            equal("/bin/sh" in failure(image), True)
        else:
            image.build(app)
    for image, words in (
        (modal.Image.from_registry(f"{host}/team/app:1"), "access was denied"),
        (modal.Image.from_aws_ecr(f"{host}/team/app:1", secret=role), "the registry secret needs AWS_ACCESS_KEY_ID"),
    ):
        told = failure(image)
        assert words in told, told
    # What stands beside the reference may be anybody's text: `image-methods.test.ts` looks at what this registry was told.
    theft = [f"COPY --from={os.environ['OTHER_REGISTRY']}/team/app:1 /file /stolen"]
    told = failure(modal.Image.from_registry(f"{host}/team/app:1", secret=login, setup_dockerfile_commands=theft))
    assert "is not told it" in told, told


def failure(image):
    try:
        create("true", image=image)
    except Exception as error:
        return str(error)
    return "no failure"


@case
def what_there_is_not_is_refused_in_words():
    equal("Image builds with a GPU are not supported" in failure(plain().run_commands("true", gpu="T4")), True)
    words = failure(plain().run_function(project))
    equal("run_function" in words and "not supported" in words, True)


if sys.argv[1:] == ["tools"]:
    tools()
else:
    run()
