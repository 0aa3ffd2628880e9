"""Files of weights: tensors by the names that their framework gives them.

``.npz`` is what NumPy reads; it has no bfloat16, so such tensors are float32 there, which holds
them exactly. ``.safetensors`` has them as they are.
"""

from __future__ import annotations

import io
import json
import math
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from initspec import files, stream
from initspec.errors import InitspecValueError, did_you_mean
from initspec.fill_plan import STORAGE
from initspec.models.model import Knob, Model, Stored, Write, write_pieces
from initspec.models.plans import Plan
from initspec.models.weights import fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORMATS", "Drawing", "check_path", "with_weights", "write_weights"]

FORMATS = (".npz", ".safetensors")
_CODES = MappingProxyType(  # of safetensors; little-endian all
    {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint64": "U64",
        "uint32": "U32",
        "uint16": "U16",
        "uint8": "U8",
        "bool": "BOOL",
    }
)


class _Copy(Model):
    """The same tensors as those of a model, which is never changed."""

    framework: ClassVar[str] = "file"
    backend: ClassVar[str] = "numpy"

    def __init__(self, model: Model) -> None:
        self.model = model

    def tensors(self) -> Sequence[Stored]:
        """Those of the model."""
        return self.model.tensors()

    def knobs(self) -> Sequence[Knob]:
        """Those of the model."""
        return self.model.knobs()

    def read(self, name: str) -> NDArray[Any]:
        """A tensor of the model."""
        return self.model.read(name)

    def write(self, writes: Sequence[Write]) -> Any:
        """What has been written can be read from the result: a tensor is made when it is."""
        return Drawing(self.model, {write.stored.name: write for write in writes})


# --- writing --------------------------------------------------------------------------------------


class Drawing(_Copy):
    """A model as it would be after some writes; every tensor is made when it is read.

    So a model without memory will do, and one tensor at a time is held.
    """

    def __init__(self, model: Model, writes: Mapping[str, Write]) -> None:
        super().__init__(model)
        self._writes = writes

    def read(self, name: str) -> NDArray[Any]:
        """A tensor with its pieces written; bfloat16 as uint16 bit patterns."""
        write = self._writes.get(name)
        if write is None:
            return self.model.read(name)
        array = self._begin(write)
        write_pieces(array, write, fill)
        return array

    def _begin(self, write: Write) -> NDArray[Any]:
        """Memory for the tensor, with its old values where some of them stay."""
        if not write.keeps:
            return np.empty(write.stored.shape, _storage(write.stored))
        return self.model.read(write.stored.name).copy()


def _storage(stored: Stored) -> np.dtype[Any]:
    try:
        return np.dtype(STORAGE.get(stored.dtype, stored.dtype))
    except TypeError:
        expected = "a dtype that NumPy knows, or bfloat16"
        raise InitspecValueError(stored.name, stored.dtype, expected) from None


def check_path(path: Path, where: str) -> None:
    """Refuse a file that `write_weights` could not write; nothing is created.

    Raises:
        InitspecValueError: no such format, or no such folder.
    """
    if path.suffix.lower() not in FORMATS:
        expected = f"a name that ends in {' or '.join(FORMATS)}"
        raise InitspecValueError(where, str(path), expected)
    if path.is_dir() or not path.parent.is_dir():
        raise InitspecValueError(where, str(path), "a file in a folder that exists")


def write_weights(model: Model, path: Path, where: str) -> None:
    """Write all tensors of a model, under every name that they have, as a whole or not at all.

    Args:
        model: whose tensors.
        path: one that `check_path` accepts; a file that is there is replaced.
        where: the option that named the file, for errors.

    Raises:
        InitspecError: a tensor has no values or no dtype of the format; or the disk is full.
    """
    make = _npz if path.suffix.lower() == ".npz" else _safetensors
    files.write(path, make(model), where)


def _names(stored: Stored) -> tuple[str, ...]:
    return (stored.name, *(name for name, _ in stored.aliases))


def _saved(model: Model) -> Iterator[Stored]:
    """What a checkpoint of the framework would hold, too."""
    return (stored for stored in model.tensors() if stored.persistent)


def _npz(model: Model) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for stored in _saved(model):
            array = _plain(model.read(stored.name), stored.dtype)
            for name in _names(stored):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
    return out.getvalue()


def _plain(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """As NumPy alone can read it; wider, and exact, where it has no such dtype."""
    if dtype == "bfloat16":
        return stream.as_float(array).astype(np.float32)
    return array.astype(np.float32) if array.dtype.kind == "V" else array  # 8 bits and fewer


def _safetensors(model: Model) -> bytes:
    """The length of the header, the header, and the tensors one after another."""
    tensors = sorted(_saved(model), key=lambda each: -_storage(each).itemsize)  # so all align
    header, end = {}, 0
    for stored, name in _named(tensors):
        start, end = end, end + math.prod(stored.shape) * _storage(stored).itemsize
        facts = {"dtype": _code(stored), "shape": list(stored.shape), "data_offsets": [start, end]}
        header[name] = facts
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out = io.BytesIO()
    out.write(struct.pack("<Q", len(text)) + text)
    for stored, _ in _named(tensors):
        array = model.read(stored.name)
        out.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return out.getvalue()


def _named(tensors: Sequence[Stored]) -> Iterator[tuple[Stored, str]]:
    return ((stored, name) for stored in tensors for name in _names(stored))


def _code(stored: Stored) -> str:
    if stored.dtype not in _CODES:
        expected = f"a dtype of safetensors: {', '.join(_CODES)}"
        raise InitspecValueError(stored.name, stored.dtype, expected, "Write an .npz file.")
    return _CODES[stored.dtype]


# --- reading --------------------------------------------------------------------------------------


class _Loaded(_Copy):
    """A model with the weights of a file."""

    def __init__(self, model: Model, arrays: Mapping[str, NDArray[Any]], source: str) -> None:
        super().__init__(model)
        self._arrays, self._source = arrays, source
        self._stored = {stored.name: stored for stored in model.tensors()}

    def read(self, name: str) -> NDArray[Any]:
        """The tensor of that name in the file; bfloat16 as uint16 bit patterns."""
        stored = self._stored[name]
        if name not in self._arrays:
            expected = f"a tensor {name!r} in it"
            advice = did_you_mean(name, self._arrays)
            raise InitspecValueError("--weights", self._source, expected, advice)
        array = self._array(name)
        if stored.dtype == "bfloat16" and array.dtype == np.float32:
            array = stream.cast(array.astype(np.float64), "bfloat16")
        given = array.dtype.name, array.shape
        if given != (_storage(stored).name, stored.shape):
            expected = f"{stored.dtype}{list(stored.shape)}, as in the model"
            raise InitspecValueError(
                f"{self._source}: {name}", f"{given[0]}{list(given[1])}", expected
            )
        return array

    def _array(self, name: str) -> NDArray[Any]:
        try:
            return self._arrays[name]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(self._source, str(error)) from error


def with_weights(plan: Plan, path: Path | None) -> Plan:
    """The same plan, of a model with the weights of a file; the plan itself without one.

    Raises:
        InitspecValueError: the file cannot be read, or has no weights of this model.
    """
    if path is None:
        return plan
    arrays = _read(path)
    known = {name for _, name in _named(plan.model.tensors())}
    for name in arrays:
        if name not in known:
            print(f"warning: {path}: {name}: not a tensor of the model", file=sys.stderr)
    return replace(plan, model=_Loaded(plan.model, arrays, str(path)))


def _read(path: Path) -> Mapping[str, NDArray[Any]]:
    if path.suffix.lower() not in FORMATS:
        expected = f"a file that ends in {' or '.join(FORMATS)}"
        raise InitspecValueError("--weights", str(path), expected)
    try:
        return np.load(path) if path.suffix.lower() == ".npz" else _read_safetensors(path)
    except OSError as error:
        raise _unreadable(str(path), error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile) as error:
        raise _unreadable(str(path), str(error)) from error


def _unreadable(path: str, why: str) -> InitspecValueError:
    return InitspecValueError("--weights", path, f"a file of weights that can be read ({why})")


def _read_safetensors(path: Path) -> Mapping[str, NDArray[Any]]:
    data = np.memmap(path, np.uint8, "r")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    return {name: _region(data[8 + length :], facts) for name, facts in header.items()}


def _region(data: NDArray[Any], facts: Mapping[str, Any]) -> NDArray[Any]:
    names = {code: name for name, code in _CODES.items()}
    dtype = names[facts["dtype"]]
    start, end = facts["data_offsets"]
    return data[start:end].view(STORAGE.get(dtype, dtype)).reshape(facts["shape"])
