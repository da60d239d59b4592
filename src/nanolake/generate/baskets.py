"""Columns as ROOT baskets: the bytes of a cluster's values, compressed as zlib streams.

The streams are made here and not by ROOT because all columns of a collection have the same entry
offsets, half of the bytes of an htautau event: they are compressed once, not for each column.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nanolake.schema import TREE, Branch

LEVEL = 1  # that of the published files
LARGEST_BLOCK = 0xFFFFFF  # bytes that ROOT compresses in one piece


class Basket(NamedTuple):
    """What stands behind the key of a basket, and what ROOT notes of it.

    Attributes:
        content: The compressed bytes.
        values: Length of the uncompressed values.
        size: Length of all that was compressed: an array's entry offsets follow its values.
        width: Length of one value.
        largest: The largest value of a counter, by which readers size their buffers; else 0.
    """

    content: np.ndarray
    values: int
    size: int
    width: int
    largest: int


def titles(layout: Sequence[Branch]) -> list[str]:
    """Titles of the baskets: the tree's name, with blanks that make all keys equally long.

    Entry offsets count from the start of a basket's key, which holds its name and title.
    """
    longest = max(len(branch.name) for branch in layout)
    return [TREE.ljust(len(TREE) + longest - len(branch.name)) for branch in layout]


def pack(
    arrays: Sequence[np.ndarray], layout: Sequence[Branch], key_length: int
) -> Iterator[Basket]:
    """The baskets of a cluster, in file order.

    Args:
        arrays: Columns in file order, of the schema's types.
        layout: Their branches.
        key_length: Length of the baskets' keys.

    Raises:
        ValueError: If a column is too long for one block.
    """
    counters = {branch.counter for branch in layout}
    counts = {b.name: a for b, a in zip(layout, arrays, strict=True) if b.name in counters}
    known: dict[tuple[str | None, int], tuple[bytes, bytes]] = {}
    for branch, array in zip(layout, arrays, strict=True):
        kind = branch.counter, array.itemsize
        if kind not in known:
            offsets = b""
            if branch.counter:
                offsets = _offsets(counts[branch.counter], array.itemsize, key_length)
            known[kind] = offsets, _deflated(offsets, flush=zlib.Z_FINISH)
        content, size = _content(array, *known[kind])
        largest = int(array.max()) if branch.name in counters else 0
        yield Basket(content, array.nbytes, size, array.itemsize, largest)


def _offsets(counts: np.ndarray, width: int, key_length: int) -> bytes:
    """Where the values of each event begin, as ROOT writes it: length, offsets, a final 0."""
    words = np.zeros(len(counts) + 2, dtype=">i4")
    words[0] = len(counts) + 1
    words[1] = key_length
    words[2:-1] = key_length + width * np.cumsum(counts[:-1], dtype=np.int64)
    return words.tobytes()


def _strategy(array: np.ndarray) -> int:
    """How zlib shall look at a column: floats that hardly repeat get no search for repetitions.

    Half of the time of level 1 goes into that search, for 2 % of the size at most.
    """
    head = array[:1000]
    varied = array.dtype == np.float32 and 5 * len(np.unique(head)) > len(head)
    return zlib.Z_HUFFMAN_ONLY if varied else zlib.Z_DEFAULT_STRATEGY


def _deflated(
    data: memoryview | bytes, *, flush: int, strategy: int = zlib.Z_DEFAULT_STRATEGY
) -> bytes:
    """A part of a zlib stream that ends on a whole byte and refers to nothing before it."""
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return deflate.compress(data) + deflate.flush(flush)


def _content(array: np.ndarray, offsets: bytes, packed: bytes) -> tuple[np.ndarray, int]:
    """Big-endian values and their offsets as one block of ROOT's, and its uncompressed length."""
    values = array.byteswap().data
    size = values.nbytes + len(offsets)
    if size > LARGEST_BLOCK:
        raise ValueError(f"a column of {size} bytes in one cluster, at most {LARGEST_BLOCK} fit")
    check = zlib.adler32(offsets, zlib.adler32(values))
    # Before a stream stands what zlib writes at level 1, behind it the checksum.
    deflated = _deflated(values, flush=zlib.Z_SYNC_FLUSH, strategy=_strategy(array))
    stream = b"\x78\x01" + deflated + packed + check.to_bytes(4, "big")
    block = b"ZL\x08" + len(stream).to_bytes(3, "little") + size.to_bytes(3, "little") + stream
    if len(block) >= size:  # ROOT takes such a basket for one that is not compressed
        block = values.tobytes() + offsets
    return np.frombuffer(block, dtype=np.uint8), size
