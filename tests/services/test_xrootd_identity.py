"""What of a damaged or replaced file is noticed at which level; caches: test_xrootd_trust.py."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import uproot
from streams import Streams, become
from testbed.xrootd import Site

from nanolake.errors import InputError

EVENTS = 100_000
ZSTD = 505
LEVELS = ("size", "checksum", "full")


@pytest.fixture(scope="module")
def zlib(site: Site, services_folder: Path) -> Streams:
    """A file as CMS publishes them: zlib has a checksum in every basket."""
    folder = services_folder / "zlib"
    folder.mkdir()
    return Streams(site, folder, EVENTS, ("open",))


@pytest.fixture(scope="module")
def zstd(site: Site, services_folder: Path) -> Streams:
    """The same events without any checksum inside."""
    folder = services_folder / "zstd"
    folder.mkdir()
    return Streams(site, folder, EVENTS, ("open",), ZSTD)


@pytest.fixture(autouse=True)
def _analyst(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, site, "analyst")


def flips(path: Path, column: str, number: int) -> Iterator[bytes]:
    """The file with one bit flipped in a basket of a column, at several places."""
    content = path.read_bytes()
    with uproot.open(path) as file:
        branch = file["Events"][column]
        basket = branch.basket(0)
        begin = branch.member("fBasketSeek")[0] + basket.member("fKeylen")
    size = basket.compressed_bytes
    for place in range(begin + size // 4, begin + 3 * size // 4, size // (2 * number)):
        yield content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def other_identity(path: Path) -> bytes:
    """The file with another UUID: what is another file of the same size."""
    with uproot.open(path) as file:
        own = file.file.uuid.bytes
    return path.read_bytes().replace(own, uuid.uuid4().bytes)


@pytest.mark.parametrize("level", LEVELS)
def test_flipped_bit_in_zlib_is_noticed(zlib: Streams, level: str) -> None:
    for number, content in enumerate(flips(zlib.path, "Muon_pt", 4)):
        name = f"{level}-{number}.root"
        zlib.put("open", name, content)
        with pytest.raises(InputError, match="adler32" if level == "full" else "error while"):
            zlib.run(zlib.url("open", name), verify=level)


def test_flipped_bit_in_zstd_is_noticed_in_full_only(zstd: Streams) -> None:
    silent = 0
    for number, content in enumerate(flips(zstd.path, "Muon_pt", 8)):
        name = f"{number}.root"
        zstd.put("open", name, content)
        with pytest.raises(InputError, match="its adler32 is"):
            zstd.run(zstd.url("open", name), verify="full")
        try:
            silent += zstd.run(zstd.url("open", name))["output"] != zstd.right
        except InputError:
            continue  # what cannot be decompressed is noticed anyhow
    assert silent  # other numbers and no error: why there is `full`


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("way", ["local", "stream"])
def test_other_file_of_the_same_size_is_noticed(
    zlib: Streams, tmp_path: Path, way: str, level: str
) -> None:
    content, path = other_identity(zlib.path), tmp_path / "good.root"
    path.write_bytes(content)
    zlib.put("open", f"other-{level}.root", content)
    url = str(path) if way == "local" else zlib.url("open", f"other-{level}.root")
    # A local file that was touched is compared by its checksum before it is opened.
    words = "adler32" if way == "local" and level != "size" else "its UUID is .* the catalogue says"
    with pytest.raises(InputError, match=words) as caught:
        zlib.run(url, verify=level)
    assert url in str(caught.value)


def test_full_reads_the_file_once_more(zlib: Streams) -> None:
    size = zlib.path.stat().st_size
    read = [zlib.run(zlib.url("open"), verify=level)["bytes_read"] for level in LEVELS]
    assert read[0] == read[1] and read[2] == pytest.approx(read[0] + size, rel=0.01)


def test_local_file_whose_time_was_set_back(zlib: Streams, tmp_path: Path) -> None:
    (content, *_) = flips(zlib.path, "Muon_pt", 1)
    path = tmp_path / "good.root"
    path.write_bytes(content)
    known = zlib.known | {"mtime_ns": path.stat().st_mtime_ns}
    for level, words in (("checksum", "error while reading"), ("full", "its adler32 is")):
        with pytest.raises(InputError, match=words), pytest.MonkeyPatch.context() as patch:
            patch.setattr(zlib, "known", known)
            zlib.run(str(path), verify=level)
    os.utime(path)
