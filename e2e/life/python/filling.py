"""Making files until there is no room for more."""

from harness import python

_MAKE_FILES = """
import errno, os, sys
directory, made = sys.argv[1], 0
os.mkdir(directory)
try:
    while True:
        os.close(os.open(f"{directory}/{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EDQUOT), error
print(made)
"""


def make_files(sandbox, directory):
    """Makes empty files in a new directory; how many that were."""
    return int(python(sandbox, _MAKE_FILES, directory))
