"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from initspec.errors import InitspecValueError

__all__ = ["write"]


def write(path: Path, data: bytes, where: str) -> None:
    """Put ``data`` in place in one step: the file is never half-written.

    Args:
        path: the file; one that is there is replaced.
        data: all of it.
        where: the option or argument that named the file, for the error.

    Raises:
        InitspecValueError: the file cannot be written; what was there before stays.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"  # in the same folder: a plain rename
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        raise InitspecValueError(
            where, str(path), "a file that can be written", f"{error.strerror}."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
