"""What the tests of the command line share."""

import shlex

from initspec.cli import main


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
