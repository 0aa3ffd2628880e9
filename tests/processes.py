"""Python in a process of its own, with the same modules in reach."""

import os
import subprocess
import sys


def python(*arguments, folders=(), **variables):
    """The finished process; these folders come first on its path."""
    path = os.pathsep.join([*map(str, folders), *sys.path])
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
