"""From words, or a function, to a foreign initializer that can be drawn.

Three protocols are known: ``fill``, a function that fills a torch tensor; ``key``, a function of
key, shape and dtype as JAX has them; ``shape``, anything that makes an array from a shape.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initspec.errors import (
    BackendError,
    InitspecTypeError,
    InitspecValueError,
    did_you_mean,
)
from initspec_conformance.foreign.protocols import (
    NAMES,
    PROTOCOLS,
    SEEDS,
    UNKNOWN,
    Foreign,
    parameters,
)

__all__ = ["adapt", "load"]

_BACKENDS = {
    "torch": "torch",
    "timm": "torch",
    "jax": "jax",
    "flax": "jax",
    "haiku": "jax",
    "equinox": "jax",
    "optax": "jax",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "sonnet": "tensorflow",
    "numpy": "numpy",
}
_ROLES = {"tensor": "fill", "key": "key", "shape": "shape"}


# --- from words to a function -----------------------------------------------------------------


def load(text: str, protocol: str | None = None) -> Foreign:
    """The initializer that is named, ready to draw.

    Args:
        text: ``module:name``, where the name may have dots, and arguments that are Python literals:
            ``torch.nn.init:kaiming_normal_(mode='fan_out')``. Nothing else is evaluated.
        protocol: ``fill``, ``key`` or ``shape``; None to find out.

    Returns:
        A `Foreign`; see `adapt`.

    Raises:
        InitspecValueError: the text cannot be read, there is no such name in the module, or the
            protocol cannot be told.
        BackendError: the module is not there, or does not import.
        InitspecTypeError: it cannot be called, or not with these arguments.

    Example:
        >>> load("initspec:he_normal").draw((2, 3), "float32", seed=0).shape
        (2, 3)
    """
    module, name, places, keywords = _parse(text)
    found = _module(module, text)
    for part in name.split("."):
        found = _attribute(found, part, text)
    return _adapt(found, protocol, text, places, keywords)


def _parse(text: str) -> tuple[str, str, list[Any], dict[str, Any]]:
    form = "module:name or module:name(argument=literal)"
    if not isinstance(text, str):
        raise InitspecTypeError("foreign", text, form)
    module, colon, rest = text.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        dotted, _, last = text.partition("(")[0].rpartition(".")
        advice = f"Did you mean '{dotted}:{last}'?" if dotted and last.isidentifier() else ""
        raise InitspecValueError("foreign", text, form, advice)
    try:
        node = ast.parse(rest.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InitspecValueError("foreign", text, form) from error
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not _dotted(call.func):
        raise InitspecValueError("foreign", text, form)
    places = [_literal(each, text) for each in call.args]
    keywords = {str(each.arg): _literal(each.value, text) for each in call.keywords}
    if len(keywords) < len(call.keywords) or any(each.arg is None for each in call.keywords):
        raise InitspecValueError("foreign", text, "each argument by its name, once")
    return module, ast.unparse(call.func), places, keywords


def _dotted(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        given = ast.unparse(node)
        expected = "a number, a string, True, False, None, or a tuple, list or dict of them"
        raise InitspecValueError(f"an argument in {text!r}", given, expected) from error


def _module(name: str, text: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(f"{missing}."):  # something that it imports
            raise _broken(text, name, error) from error
        parent, _, last = missing.rpartition(".")
        owner = importlib.import_module(parent) if parent else None
        if missing == name and hasattr(owner, last):  # an attribute, as flax.nnx.initializers is
            return getattr(owner, last)
        advice = did_you_mean(last, dir(owner)) if owner else ""
        advice = advice or "Is it installed, or its folder on PYTHONPATH?"
        raise BackendError("foreign", text, f"a module {missing!r}", advice) from error
    except (Exception, SystemExit) as error:  # a module may fail in any way, or be a script
        raise _broken(text, name, error) from error


def _broken(text: str, module: str, error: BaseException) -> BackendError:
    reason = f"{type(error).__name__}: {error}"
    return BackendError("foreign", text, f"{module} to import", f"It does not: {reason}.")


def _attribute(owner: Any, name: str, text: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        where = getattr(owner, "__name__", type(owner).__name__)
        known = [each for each in dir(owner) if not each.startswith("_")]
        advice = did_you_mean(name, known)
        expected = f"a name in {where}, which has no {name!r}"
        raise InitspecValueError("foreign", text, expected, advice) from error


# --- from a function to a protocol ------------------------------------------------------------


def adapt(
    function: Callable[..., Any], protocol: str | None = None, name: str | None = None
) -> Foreign:
    """An initializer given as an object, ready to draw.

    The protocol is told by the names of the parameters (tensor, weight, ...: ``fill``; key, rng:
    ``key``; shape, size: ``shape``) and by the package that the function comes from. A function
    that needs no argument and has none of these names makes an initializer: it is called for it.
    Classes are made anew for each seed. Initializers of Keras and Haiku are known.

    Args:
        function: a function, a class, or an object that can be called.
        protocol: ``fill``, ``key`` or ``shape``; None to find out.
        name: what reports call it; None for its own name.

    Returns:
        A `Foreign`, which draws under a seed.

    Raises:
        InitspecTypeError: it cannot be called.
        InitspecValueError: there is no such protocol, or it cannot be told.

    Example:
        >>> import numpy as np
        >>> def tiny(shape, rng):
        ...     return rng.normal(0.0, 0.01, shape)
        >>> foreign = adapt(tiny)
        >>> foreign.protocol, foreign.backend, foreign.draw((2, 3), "float64", seed=0).shape
        ('shape', 'numpy', (2, 3))
    """
    shown = name or getattr(function, "__name__", None) or type(function).__name__
    return _adapt(function, protocol, shown, (), {})


def _adapt(
    function: Any,
    protocol: str | None,
    name: str,
    places: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Foreign:
    if protocol is not None and protocol not in PROTOCOLS:
        advice = did_you_mean(protocol, PROTOCOLS)
        raise InitspecValueError("protocol", protocol, f"one of {list(PROTOCOLS)}", advice)
    if not callable(function):
        raise InitspecTypeError(name, type(function), "something that can be called")
    root = _root(function)
    if _makes_initializers(function, places, keywords):
        function, places, keywords = _made(function, places, keywords, name), (), {}
    keywords = _by_name(function, places, keywords, name)
    if isinstance(function, type):
        made = _made(function, (), keywords, name)
        if not set(SEEDS) & set(parameters(function)):
            function, keywords = made, {}
    kind = PROTOCOLS[protocol or _protocol(function, root, name)]
    _check_complete(function, keywords, kind.protocol, name)
    foreign = kind(
        name=name, function=function, arguments=keywords, backend=_backend(kind, root), root=root
    )
    return foreign.settled()


def _root(function: Any) -> str:
    """The package of a function, or of the class of an object."""
    owner = getattr(function, "__self__", None)  # numpy.random.normal is a method of an object
    module = getattr(function, "__module__", None)
    if module in (None, "builtins"):
        module = type(function if inspect.ismodule(owner) or owner is None else owner).__module__
    return str(module).lstrip("_").partition(".")[0]


def _backend(kind: type[Foreign], root: str) -> str:
    return {"fill": "torch", "key": "jax"}.get(kind.protocol) or _BACKENDS.get(root, UNKNOWN)


def _role(function: Any) -> str | None:
    """What the first parameter is, by its name: tensor, key or shape."""
    called = function.__call__ if isinstance(function, type) else function
    names = [name for name in parameters(called) if name != "self"]
    return next((role for role, known in NAMES.items() if names and names[0] in known), None)


def _makes_initializers(function: Any, places: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    """Whether a function is called for an initializer, rather than being one.

    So it is if the arguments are all that it needs: no tensor, key or shape is missing.
    """
    known = parameters(function)
    loose = not known or any(p.kind is p.VAR_POSITIONAL for p in known.values())
    if not inspect.isroutine(function) or loose or _role(function):
        return False
    try:
        inspect.signature(function).bind(*places, **keywords)
    except TypeError:
        return False
    return True


def _made(function: Any, places: Sequence[Any], keywords: Mapping[str, Any], name: str) -> Any:
    """What a class or a factory gives."""
    try:
        made = function(*places, **keywords)
    except Exception as error:  # whatever a foreign function raises
        given = f"{type(error).__name__}: {error}"
        raise InitspecValueError(name, given, "an initializer to be made") from error
    if not callable(made):
        raise _untold(name, f"It gives {type(made).__name__}, not a function.")
    return made


def _by_name(
    function: Any, places: Sequence[Any], keywords: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """The user's arguments by name, checked against the parameters."""
    known = parameters(function)
    if places and (not isinstance(function, type) or len(places) > len(known)):
        raise InitspecValueError(name, list(places), "arguments by their names")
    arguments = {**dict(zip(known, places, strict=False)), **keywords}
    loose = not known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    for each in arguments:
        if each in SEEDS:
            raise InitspecValueError(name, f"{each}=", "no seed: the suite gives them")
        if each not in known and not loose:
            advice = did_you_mean(each, known)
            raise InitspecTypeError(name, f"{each}=", f"one of {list(known)}", advice)
    return arguments


def _check_complete(function: Any, arguments: Mapping[str, Any], protocol: str, name: str) -> None:
    """Refuse a function that needs more than the protocol and the user give."""
    given = {"dtype", *SEEDS, *arguments, *NAMES["shape"], *NAMES["key"]}
    known = parameters(function)
    places = 0 if isinstance(function, type) else 2 if protocol == "key" else 1
    missing = [
        each
        for place, (each, p) in enumerate(known.items())
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and each not in given
        and place >= places
    ]
    if missing:
        example = ", ".join(f"{each}=..." for each in missing)
        advice = f"Write {name.partition('(')[0]}({example})."
        raise InitspecTypeError(name, f"no {' and no '.join(missing)}", "all it needs", advice)


def _protocol(function: Any, root: str, name: str) -> str:
    role = _role(function)
    if role is not None:
        return _ROLES[role]
    if getattr(function, "__module__", None) == "torch.nn.init":
        return "fill"
    if isinstance(function, type) or root in ("keras", "tensorflow", "haiku", "sonnet"):
        return "shape"
    needed = [each for each, p in parameters(function).items() if p.default is p.empty]
    hint = f"If it makes initializers, give its arguments {needed}." if needed else ""
    raise _untold(name, hint)


def _untold(name: str, hint: str) -> InitspecValueError:
    expected = "a function whose first parameter is called tensor, key or shape"
    ways = "fill: f(tensor); key: f(key, shape, dtype); shape: f(shape) or f(shape, dtype=...)"
    advice = f"{hint} Say which protocol it follows with --protocol ({ways})."
    return InitspecValueError("foreign", name, expected, advice.strip())


# --- cases ------------------------------------------------------------------------------------
