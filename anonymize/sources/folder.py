"""The files of a folder that a source reads, whatever they are called."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from anonymize.errors import SourceError
from anonymize.sources.opening import file_faults


def data_files(where: str, folder: Path, patterns: Sequence[str] = ("*",)) -> list[Path]:
    """All files under a folder whose name, or path within it, fits one of the patterns, in the order of their paths.

    Hidden ones and those that begin with `_` are no data, by an old convention. Raises SourceError where a file is there both packed and
    unpacked.
    """
    with file_faults(where, folder):
        found = [file for file in folder.rglob("*") if file.is_file() and not any(part[0] in "._" for part in file.relative_to(folder).parts)]
    chosen = sorted(file for file in found if any(fnmatch(name, p) for p in patterns for name in (file.name, str(file.relative_to(folder)))))
    every = set(chosen)
    for file in chosen:
        if file.suffix == ".gz" and file.with_suffix("") in every:
            raise SourceError(f"{where}: {file} is there both packed and unpacked. Remove one, or its records count twice")
    return chosen
