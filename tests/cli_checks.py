"""What the tests of the command line share."""

import json
import shlex
import sys
from pathlib import Path

from initspec.cli import main

CONFIG = """\
initspec = 1
seed = 7
extends = ["initspec:base"]

[[rule]]
name = "head"
match = { path = "head/kernel" }
init = { type = "normal", std = 0.01 }

[[rule]]
name = "kernels"
match = { role = "kernel" }
init = "he_normal"
"""
NAMES = """
[names.numpy]
"stem/w" = { path = "stem/kernel", layout = "IO" }
"stem/b" = { path = "stem/bias", layout = "O" }
"head/w" = { path = "head/kernel", layout = "IO" }
"""
NETS = """\
import numpy as np

print("a module may print")


class Zoo:
    @staticmethod
    def make(width=4, dtype="float32"):
        stem = {"w": np.zeros((3, width), dtype), "b": np.zeros(width, dtype)}
        return {"stem": stem, "head": {"w": np.zeros((width, 2), dtype)}}


make = Zoo.make
constant = make()


def initialised(**arguments):
    from initspec import models

    return models.apply(make(**arguments), "init.toml")


def fails():
    raise RuntimeError("no\\nweights")


def nothing():
    return None


def leaves():
    raise SystemExit(3)
"""


def runner(capsys):
    """Run a command, one text or words, in this process: exit code, stdout, stderr."""

    def run(command):
        words = shlex.split(command) if isinstance(command, str) else command
        try:
            code = main(words)
        except SystemExit as exit:
            code = exit.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def answers(call):
    """What a command prints as JSON, after a check of its exit code."""

    def run(command, code=0):
        found, out, _ = call(f"{command} --json")
        assert found == code
        return json.loads(out)

    return run


def config_and_nets(tmp_path, monkeypatch):
    """A folder with a config and a module, which are those of this test alone."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    write("init.toml", CONFIG + NAMES)
    write("nets.py", NETS)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(name, text):
    Path(name).write_text(text, encoding="utf-8")
