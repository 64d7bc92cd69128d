"""The charts' JavaScript: TradingView's own file, found in an installed package and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from klinecore.errors import ChartLibraryError

__all__ = ["FILE_SIZE_MAX", "KNOWN", "ChartLibrary", "chart_library"]

#: sha256 of a file that was read and tried -> its version.
KNOWN = {"756b0ba9f58930226d6b8b9d47ad310448ab85d799ea1f7c2c02304777c10b52": "5.1.0"}
#: Bytes of a chart file; the known one has 189,472.
FILE_SIZE_MAX = 1 << 20

_PACKAGE = "litecharts"
_FILE = Path("js", "lightweight-charts.js")
_CURE = "pip install litecharts==0.2.0, or name a file of your own"

_DEFINES = re.compile(rb"\bLightweightCharts\s*=")
_VERSION = re.compile(rb"Lightweight Charts\S* v(\d+\.\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class ChartLibrary:
    """A file of TradingView Lightweight Charts that sets ``window.LightweightCharts``.

    ``data`` is its text in UTF-8, as it came; ``version`` "" if it does not say.
    """

    data: bytes = field(repr=False)
    version: str
    sha256: str

    @property
    def text(self) -> str:
        """The file as text."""
        return self.data.decode()


def chart_library(path: str | os.PathLike[str] | None = None) -> ChartLibrary:
    """The chart library: of the package ``litecharts``, or the file at ``path``.

    The package's file must be one that is known by its hash; a file of your own is taken as it is,
    as long as it defines ``LightweightCharts``. The package is never imported: that costs 5 MB.

    Raises
    ------
    ChartLibraryError: there is none, or it is not what it should be.
    """
    if path is not None:
        return _own(Path(path))
    found = importlib.util.find_spec(_PACKAGE)
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise ChartLibraryError(f"the package {_PACKAGE} is not installed: {_CURE}")
    data = _read(Path(places[0], _FILE))
    sha256 = hashlib.sha256(data).hexdigest()
    version = KNOWN.get(sha256)
    if version is None:
        raise ChartLibraryError(f"{_PACKAGE} brings a file of unknown hash {sha256}: {_CURE}")
    return ChartLibrary(data, version, sha256)


def _own(path: Path) -> ChartLibrary:
    data = _read(path)
    try:
        data.decode()
    except UnicodeDecodeError:
        raise ChartLibraryError(f"{path} is not text in UTF-8") from None
    if not _DEFINES.search(data):
        raise ChartLibraryError(f"{path} does not define LightweightCharts")
    said = _VERSION.search(data)
    return ChartLibrary(data, said[1].decode() if said else "", hashlib.sha256(data).hexdigest())


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ChartLibraryError(f"{path} is no file: {_CURE}")
        with path.open("rb") as file:
            data = file.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise ChartLibraryError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > FILE_SIZE_MAX:
        raise ChartLibraryError(f"{path} has more than {FILE_SIZE_MAX:,} bytes")
    return data
