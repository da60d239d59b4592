"""CPU seconds that libdeflate alone needs for the baskets of some columns: FILE COLUMN...

The compressed blocks are found first; only their decompression is timed, the best of three.
"""

import ctypes
import json
import mmap
import struct
import sys
import time

import uproot

HEADER = 9  # bytes before each block: algorithm, compressed size, size


def blocks(data, branch):
    """Offset, compressed and uncompressed size of each block of a branch."""
    count = branch.member("fWriteBasket")
    for seek in branch.member("fBasketSeek")[:count].tolist():
        total, _, _, _, key = struct.unpack_from(">ihiIh", data, seek)
        at, end = seek + key, seek + total
        while at < end:
            if data[at : at + 2] != b"ZL":
                raise ValueError(f"{branch.name}: not compressed by zlib")
            packed = int.from_bytes(data[at + 3 : at + 6], "little")
            size = int.from_bytes(data[at + 6 : at + 9], "little")
            yield at + HEADER, packed, size
            at += HEADER + packed


def main():
    path, *columns = sys.argv[1:]
    tree = uproot.open(path)["Events"]
    with open(path, "rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    found = [block for name in columns for block in blocks(data, tree[name])]
    library = ctypes.CDLL("libdeflate.so.0")
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    decompress = library.libdeflate_zlib_decompress
    pointer, size_t = ctypes.c_void_p, ctypes.c_size_t
    decompress.argtypes = [pointer, pointer, size_t, pointer, size_t, pointer]
    decompressor = library.libdeflate_alloc_decompressor()
    start = ctypes.addressof(ctypes.c_char.from_buffer(data))
    buffer = ctypes.create_string_buffer(max(size for *_, size in found))
    target = ctypes.addressof(buffer)
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for at, packed, size in found:
            if decompress(decompressor, start + at, packed, target, size, None):
                raise ValueError("a block does not decompress")
        best = min(best, time.process_time() - began)
    packed, size = sum(p for _, p, _ in found), sum(s for *_, s in found)
    print(json.dumps({"cpu": best, "packed": packed, "size": size}))


main()
