"""Which backends there are: a first-party table, and the entry-point group for everybody else.

A framework is imported when the user names it or passes its tensor, and never before.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .backend import Backend
from .errors import BackendError, InitspecTypeError, InitspecValueError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["FIRST_PARTY", "GROUP", "backend_names", "choose", "get_backend", "offers", "owners"]

GROUP = "initspec.backends"
FIRST_PARTY = {
    "numpy": "initspec_numpy:backend",
    "torch": "initspec_torch:backend",
    "tensorflow": "initspec_tensorflow:backend",
    "jax": "initspec_jax:backend",
    "keras": "initspec_keras:backend",
}
_DISTRIBUTION = "initspec"
_loaded: dict[str, Backend] = {}  # lru_cache would make torch.compile warn
_OWNERS = {"jaxlib": "jax"}  # where the module of a class misleads


def choose(name: str | None, out: Any) -> Backend:
    """The backend that is named, else the one that ``out`` belongs to, else NumPy."""
    if name is None:
        name = "numpy" if out is None else _owner(out)
    return get_backend(name)


def _owner(out: Any) -> str:
    """The backend of the first class of ``out`` that is one of a framework's own."""
    for kind in type(out).__mro__:
        root = kind.__module__.partition(".")[0]
        name = _OWNERS.get(root, root)
        if name in FIRST_PARTY or name in offers():
            return name
    raise InitspecTypeError("out", out, f"a tensor of {backend_names()}", "Pass backend=.")


def get_backend(name: str) -> Backend:
    """The backend of that name; imports its framework.

    Raises:
        InitspecValueError: there is no such backend.
        BackendError: two distributions offer it, or its framework does not import.

    >>> get_backend("numpy").name
    'numpy'
    """
    _ensure(name)
    return _loaded[name]


def _ensure(name: str) -> None:
    if not isinstance(name, str):
        raise InitspecTypeError("backend", name, f"one of {backend_names()}")
    if name not in _loaded:
        _loaded[name] = _load(name)


# torch.compile cannot trace an import by name; this makes it call the function while it traces.
_ensure._dynamo_marked_constant = True  # type: ignore[attr-defined]
# AutoGraph would try to convert the import, and warn that it cannot; so it calls the function too.
_ensure.autograph_info__ = None  # type: ignore[attr-defined]


def _load(name: str) -> Backend:
    offered_by = owners(name)
    if not offered_by:
        advice = did_you_mean(name, backend_names()) or "Is its package installed?"
        raise InitspecValueError("backend", name, f"one of {backend_names()}", advice)
    if len(offered_by) > 1:
        expected = f"one distribution to offer it: {' and '.join(offered_by)} do"
        raise BackendError("backend", name, expected, "Uninstall all but one of them.")
    if name in FIRST_PARTY:
        return _import(name, FIRST_PARTY[name], f"pip install 'initspec[{name}]'")
    owner = offered_by[0]
    target = offers()[name][0].value
    return _import(name, target, f"pip install --force-reinstall {owner}", f"{owner}: ")


def _import(name: str, target: str, install: str, origin: str = "") -> Backend:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a framework may fail in any way while it is imported
        raise _broken(name, error, install) from error
    backend = found() if isinstance(found, type) else found
    if not isinstance(backend, Backend) or backend.name != name:
        expected = f"an initspec Backend named {name!r}"
        raise BackendError("backend", backend, expected, f"{origin}{target}")
    return backend


def _broken(name: str, error: Exception, install: str) -> BackendError:
    if isinstance(error, BackendError):
        return error
    root = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and root and importlib.util.find_spec(root) is None:
        return BackendError("backend", name, f"{root} to be installed", f"Try: {install}")
    reason = f"{type(error).__name__}: {error}"
    advice = f"It is installed but does not import ({reason}). Reinstall it: {install}"
    return BackendError("backend", name, f"a working {name}", advice)


def backend_names() -> list[str]:
    """The names of all backends that are installed, ours first; imports none of them."""
    return [*FIRST_PARTY, *(name for name in offers() if name not in FIRST_PARTY)]


def owners(name: str) -> list[str]:
    """The distributions that offer a backend of this name; more than one is an error."""
    ours = [_DISTRIBUTION] if name in FIRST_PARTY else []
    return ours + sorted(_owner_of(point) for point in offers().get(name, ()))


@lru_cache(maxsize=1)
def offers() -> dict[str, list[EntryPoint]]:
    """What other distributions offer, by name."""
    # Importing it takes longer than the rest of initspec, and `import initspec` does not need it.
    from importlib.metadata import entry_points  # noqa: PLC0415

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if _owner_of(point) != _DISTRIBUTION:
            found.setdefault(point.name, []).append(point)
    return found


def _owner_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"
