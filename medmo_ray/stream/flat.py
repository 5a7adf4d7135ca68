"""Several arrays in one buffer: written once, shipped through Ray's object store, read without a copy."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ALIGN = 64
_LENGTH_BYTES = 8

Arrays = dict[str, NDArray[Any]]


def allocate(spec: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[NDArray[np.uint8], Arrays]:
    """A buffer for arrays of these types and shapes, and the arrays as views into it, not initialised.

    Args:
        spec: name → (numpy type, shape).
    """
    header, offset = [], 0
    for name, (kind, shape) in spec.items():
        header.append([name, kind, list(shape), offset])
        offset += _aligned(math.prod(shape) * np.dtype(kind).itemsize)
    text = json.dumps(header).encode()
    base = _aligned(_LENGTH_BYTES + len(text))
    buffer = np.empty(base + offset, np.uint8)
    buffer[:_LENGTH_BYTES] = np.frombuffer(len(text).to_bytes(_LENGTH_BYTES, "little"), np.uint8)
    buffer[_LENGTH_BYTES : _LENGTH_BYTES + len(text)] = np.frombuffer(text, np.uint8)
    return buffer, _views(buffer, header, base)


def arrays(buffer: NDArray[np.uint8]) -> Arrays:
    """The arrays of a buffer that `allocate` laid out: views, read-only if the buffer is."""
    length = int.from_bytes(buffer[:_LENGTH_BYTES].tobytes(), "little")
    header = json.loads(buffer[_LENGTH_BYTES : _LENGTH_BYTES + length].tobytes())
    return _views(buffer, header, _aligned(_LENGTH_BYTES + length))


def to_cell(buffer: NDArray[np.uint8]) -> pa.Array:
    """The buffer as an Arrow column of one value, without a copy."""
    offsets = pa.py_buffer(np.array([0, buffer.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(buffer)])


def ipc_buffer(table: pa.Table) -> NDArray[np.uint8]:
    """A table as an Arrow IPC stream; of what its chunks are views of, only their own bytes are copied, once."""
    mock = pa.MockOutputStream()
    _write_stream(table, mock)
    buffer = np.empty(mock.size(), np.uint8)
    with pa.FixedSizeBufferWriter(pa.py_buffer(buffer)) as sink:
        _write_stream(table, sink)
    return buffer


def ipc_table(buffer: NDArray[np.uint8]) -> pa.Table:
    """The table of `ipc_buffer`, as views of the buffer."""
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as stream:
        return stream.read_all()


def binary_values(column: pa.Array | pa.ChunkedArray) -> list[NDArray[np.uint8]]:
    """The values of a large_binary column as views; taking a scalar out of Arrow would copy each."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    found = []
    for chunk in chunks:
        _, offsets, content = chunk.buffers()
        bounds = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        whole = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
        found += [whole[start:stop] for start, stop in pairwise(bounds.tolist())]
    return found


def _write_stream(table: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _views(buffer: NDArray[np.uint8], header: list[list[Any]], base: int) -> Arrays:
    found: Arrays = {}
    for name, kind, shape, offset in header:
        size = math.prod(shape) * np.dtype(kind).itemsize
        found[name] = buffer[base + offset : base + offset + size].view(kind).reshape(shape)
    return found


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
