"""Buckets of the S3 server that `buckets.test.ts` runs."""

import os
import pathlib
import uuid

import modal

KEYS = {name: os.environ[f"LIFE_{name}"] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
secret = modal.Secret.from_dict(KEYS)


def bucket(prefix, name="first", endpoint=os.environ["LIFE_ENDPOINT"], **options):
    """What is in a bucket under a prefix, which ends in a slash; all for none."""
    given = {"secret": secret, "key_prefix": prefix or None, **options}
    return modal.CloudBucketMount(name, bucket_endpoint_url=endpoint, **given)


def _directory(name):
    return pathlib.Path(os.environ["LIFE_BUCKETS"]) / name


def put(objects, prefix=None, name="first"):
    """Puts objects there as somebody else would. Returns the prefix, by default one of their own."""
    prefix = prefix or f"{uuid.uuid4().hex[:12]}/"
    (_directory(name) / prefix).mkdir(parents=True, exist_ok=True)
    for path, content in objects.items():
        file = _directory(name) / prefix / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_name(".new").write_bytes(content)
        file.with_name(".new").rename(file)
    return prefix


def stored(prefix, path, name="first"):
    return (_directory(name) / prefix / path).read_bytes()
