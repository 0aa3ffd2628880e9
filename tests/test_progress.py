"""The progress bar, on terminals of every kind."""

import os
import re
import subprocess
import sys

import pytest

# --- progress ---------------------------------------------------------------------------------

RUN = """
import sys
from initspec_conformance import progress
{}
with progress.Progress(3) as bar:
    for name in ("zeros", "he_normal" + 200 * "x", "[bold]\\n\\x1b[5m"):
        bar.advance(name)
    print("result")
"""
PLAIN = "progress.find_spec = lambda name: None"


def on_terminal(code, **variables):
    """What a program writes to stdout, which is a pipe, and to stderr, which is a terminal."""
    pty = pytest.importorskip("pty")
    reader, terminal = pty.openpty()
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm", **variables}
    command = [sys.executable, "-P", "-c", code]
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=terminal) as process:
        os.close(terminal)
        written = b""
        try:
            while chunk := os.read(reader, 4096):
                written += chunk
        except OSError:  # Linux says so that nobody writes any more
            pass
        os.close(reader)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, written
    return out.decode(), written.decode()


def test_a_plain_bar_on_a_terminal():
    out, written = on_terminal(RUN.format(PLAIN))
    assert out == "result\n"
    assert [int(n) for n in re.findall(r"\] (\d)/3", written)] == [0, 1, 2, 3]
    assert f"[{'#' * 24}] 3/3  [bold] \\x1b[5m" in written
    drawn = written.split("\r")
    assert max(map(len, drawn)) < 80  # else the line would wrap
    assert "\x1b" not in written
    assert "\n" not in written
    assert not drawn[-2].strip() and not drawn[-1]  # it is gone, and the cursor is at the left


def test_rich_draws_the_bar_where_it_is_installed():
    pytest.importorskip("rich")
    out, written = on_terminal(RUN.format(""))
    assert out == "result\n"
    assert "3/3" in written
    assert "[bold] \\x1b[5m" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back


def test_no_bar_on_a_dumb_terminal():
    assert on_terminal(RUN.format(PLAIN), TERM="dumb") == ("result\n", "")


def test_no_bar_in_a_pipe(capsys):
    exec(RUN.format(""))
    assert capsys.readouterr() == ("result\n", "")


def test_a_run_that_breaks_clears_the_bar():
    code = RUN.format(PLAIN).replace("bar.advance(name)", "sys.exit(0)")
    _, written = on_terminal(code)
    assert not written.split("\r")[-2].strip()
