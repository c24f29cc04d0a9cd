"""How a file is opened, and how its faults are said: by its name and what to do, never by its content."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa

from anonymize.errors import SourceError


@contextmanager
def file_faults(where: str, file: Path) -> Iterator[None]:
    """Turn what reading a file can raise into SourceError(where, file). The library's message can hold bytes of a record: withheld."""
    try:
        yield
    except PermissionError:
        raise SourceError(f"{where}: no permission to read {file}. Let the run's user read it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SourceError(f"{where}: {file} is no whole gzip file: it was cut off or damaged. Export it again") from None
    except UnicodeError:
        raise SourceError(f"{where}: {file} is not in the encoding that the policy says. Set 'encoding' of the source") from None
    except pa.ArrowInvalid:
        raise SourceError(f"{where}: {file} is no whole Parquet file: it was cut off or damaged. Export it again") from None
    except OSError as error:
        raise SourceError(f"{where}: {file} cannot be read: {error.strerror or type(error).__name__}") from None


def open_bytes(file: Path) -> BinaryIO:
    """The file's bytes, unpacked where it is gzip."""
    return cast(BinaryIO, gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def open_text(file: Path, encoding: str) -> TextIO:
    """The file as text, lines as they stand. A byte that is no text becomes a surrogate, so that its record alone falls out.

    Raises SourceError where there is no such encoding.
    """
    return as_text_stream(open_bytes(file), encoding)


def as_text_stream(stream: BinaryIO, encoding: str) -> TextIO:
    """As `open_text`, of a stream of bytes."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise SourceError(f"there is no encoding '{encoding}'. Usual ones: auto, utf-8, cp1252, iso-8859-1, utf-16") from None
    # A byte order mark is no part of the first column's name.
    name = "utf-8-sig" if name == "utf-8" else name
    return io.TextIOWrapper(stream, encoding=name, errors="surrogateescape", newline="")
