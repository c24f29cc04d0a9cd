"""DICOM headers as tables of series and instances, by a mapping in YAML; pixels are never read.

A path's fields are the standard's keywords (`SeriesDescription`), those of a person's name `family`, `given`, `middle`, `prefix`, `suffix` and
`text`; beside them stands `derived` (see `mappings/dicom.yaml`). Private elements, overlays, curves and bytes are closed: no path leads to them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from anonymize.policy.model import Rule
from anonymize.policy.origins import DicomSource
from anonymize.sources.base import Malformed
from anonymize.sources.dicom_profile import objection
from anonymize.sources.mapped import MappedSource
from anonymize.sources.mapping import WHOLE, Mapped, read_mapping
from anonymize.sources.places import Entry, Tree, Unreadable, faults

KINDS = ("instance", "series")
#: What `derived` is made of: the profile is asked about these.
DERIVED = {"age_years": ("PatientAge", "PatientBirthDate", "StudyDate"), "instances": (), "private_elements": ()}
_DIRECTORY = "1.2.840.10008.1.3.10"
_ALWAYS = (
    "PatientID",
    "SeriesInstanceUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "SpecificCharacterSet",
    *DERIVED["age_years"],
    "BurnedInAnnotation",
)
_DEFER = 1 << 20
_TRIED = 3
"""Files of a series that are looked at until one has nothing wrong in it."""
_DEEPEST = 12
_BYTES = {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW", "OB_OW", "US or OW"}


class DicomFolder(MappedSource):
    """The tables that a mapping makes of DICOM files, at any depth and by any name. DICOMDIR files are indexes, and stay aside.

    A `series` is the instances of one SeriesInstanceUID and PatientID; its values are those of its first file by name.
    """

    def __init__(self, name: str, tree: Tree, settings: DicomSource, *, mapping: str, policy_folder: Path) -> None:
        super().__init__(name, read_mapping(mapping, policy_folder))
        self.tree, self.settings = tree, settings
        self._directories = 0
        self._burned: dict[str, Counter[str]] = {}

    def kinds(self) -> Collection[str]:
        return KINDS if any(isinstance(one, Entry) for one in self._files) else ()

    def records(self, kind: str, where: str) -> Iterator[tuple[dict[str, Any], int] | Malformed]:  # noqa: ARG002
        self._directories, self._burned[kind] = 0, Counter()
        yield from self._instances() if kind == "instance" else self._series()

    def unmatched(self, table: str, columns: Collection[str]) -> list[str]:
        """The columns whose path is none of the dictionary's: an attribute that no file here has may be in tomorrow's."""
        mapped = self._mapped(table)
        return sorted(column for column in columns if not _is_known(mapped, column))

    def objection(self, table: str, column: str, rule: Rule) -> str | None:
        """What the standard's confidentiality profile, with the options that the source claims, has against a rule."""
        mapped = self.mapping.get(table)
        return None if mapped is None or column not in mapped.columns else objection(_keywords(mapped, column), rule, self.settings.options)

    def told(self, table: str) -> dict[str, Any]:
        """The number of files, of indexes among them, and of records whose header says that their pixels have annotations burned in."""
        kind = self.mapping[table].kind
        counts: dict[str, Any] = {"files": len(self._files)}
        if self._directories:
            counts["directories"] = self._directories
        if self._burned.get(kind):
            counts["burned-in annotation"] = dict(sorted(self._burned[kind].items()))
        return {**counts, "broken": {}}

    def faults(self, table: str) -> list[tuple[str, str]]:  # noqa: ARG002
        """None: each file is a record, and counts as one."""
        return []

    @cached_property
    def _files(self) -> list[Entry | tuple[str, Unreadable]]:
        if self.tree.only is not None:
            return [Entry(self.tree.only)]
        found = self.tree.walk()
        return [one for one in found if isinstance(one, tuple) or (fnmatchcase(one.name, self.settings.pattern) and one.name != "DICOMDIR")]

    @cached_property
    def _wanted(self) -> frozenset[str]:
        """The attributes that the mapping uses, at the header's first level: no other is turned into text."""
        steps = {path[0].field for mapped in self.mapping.values() for path in _paths(mapped)}
        return frozenset(steps | set(_ALWAYS))

    def _instances(self) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        for one in self._files:
            found = self._read(one, self._wanted)
            if found is None:
                continue
            if not isinstance(found, Malformed):
                self._burned["instance"][found["derived"]["burned_in"]] += 1
            yield found if isinstance(found, Malformed) else (found, _size(found))

    def _series(self) -> Iterator[tuple[dict[str, Any], int] | Malformed]:
        """Two looks at the headers: the first tells which files are of one series, the second reads the first file of each."""
        numbers: Counter[tuple[str, str]] = Counter()
        first: dict[tuple[str, str], list[Entry]] = {}
        for one in self._files:
            found = self._read(one, frozenset(_ALWAYS))
            if isinstance(found, Malformed):
                yield found
            elif found is not None and isinstance(one, Entry):
                uid = found.get("SeriesInstanceUID")
                if not uid:
                    yield Malformed(0, "no-series", "SeriesInstanceUID", file=one.path)
                    continue
                key = (str(uid), str(found.get("PatientID")))
                numbers[key] += 1
                if len(first.setdefault(key, [])) < _TRIED:
                    first[key].append(one)
        for key, several in first.items():
            found = next((one for one in (self._read(entry, self._wanted) for entry in several) if isinstance(one, dict)), None)
            if found is None:
                found = self._read(several[0], self._wanted)
            if isinstance(found, dict):
                found["derived"]["instances"] = numbers[key]
                self._burned["series"][found["derived"]["burned_in"]] += 1
                yield found, _size(found)
            elif found is not None:
                yield found

    def _read(self, one: Entry | tuple[str, Unreadable], wanted: frozenset[str]) -> dict[str, Any] | Malformed | None:
        """A file's header as plain data; None where it is an index."""
        path = one.path if isinstance(one, Entry) else one[0]
        try:
            if not isinstance(one, Entry):
                raise one[1]
            with faults(), self.tree.unpacked(path) as stream:
                found = header(stream, wanted)
        except _BadValue as error:
            return Malformed(0, error.reason, error.keyword, file=path)
        except Unreadable as error:
            return Malformed(0, error.reason, file=path)
        self._directories += found is None
        return found


class _BadValue(Unreadable):
    """An attribute's value is none of its kind."""

    def __init__(self, reason: str, keyword: str) -> None:
        super().__init__(reason)
        self.keyword = keyword


class _Watched:
    """A stream that knows whether a read came to its end in the middle of something."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.cut = stream, False

    def read(self, size: int = -1) -> bytes:
        found = self._stream.read(size)
        self.cut = self.cut or (size > 0 and 0 < len(found) < size)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        pass


def header(stream: BinaryIO, wanted: Collection[str]) -> dict[str, Any] | None:
    """The wanted attributes of a file's header, by keyword, as texts, lists and dictionaries; None where it is a DICOMDIR.

    Raises Unreadable: `not-dicom`, `cut-off`, `damaged`, `unknown-charset`, and with the attribute `bad-value` and `bad-encoding`.
    """
    import pydicom
    from pydicom import charset

    with _quiet():
        marked = stream.read(132)[128:] == b"DICM"
        stream.seek(0)
        watched = _Watched(stream)
        try:
            found = pydicom.dcmread(watched, stop_before_pixels=True, force=not marked, defer_size=_DEFER)
        except EOFError:
            raise Unreadable("cut-off" if marked else "not-dicom") from None
        except Exception:
            raise Unreadable("damaged" if marked else "not-dicom") from None
        if getattr(found, "file_meta", None) is not None and found.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return None
        if not marked and not ("SOPClassUID" in found and ("SeriesInstanceUID" in found or "PatientID" in found)):
            raise Unreadable("not-dicom")
        if watched.cut or _is_cut(found):
            raise Unreadable("cut-off")
        sets = found.get("SpecificCharacterSet") or ""
        names = [sets] if isinstance(sets, str) else list(sets)
        if any(str(name) not in charset.python_encoding for name in names):
            raise Unreadable("unknown-charset")
        values = {keyword: value for keyword in wanted if (value := _attribute(found, keyword)) is not None}
        values["derived"] = _derived(found, values)
        return values


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pydicom warns of what it reads with the values themselves: nothing of that is said."""
    from pydicom import config

    logger = logging.getLogger("pydicom")
    level, mode = logger.level, config.settings.reading_validation_mode
    logger.setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = mode
        logger.setLevel(level)


def _is_cut(found: Any) -> bool:
    """Whether the last element holds fewer bytes than it says."""
    for element in list(found._dict.values())[-1:]:
        length, value = getattr(element, "length", None), getattr(element, "value", None)
        if isinstance(value, bytes) and isinstance(length, int) and length not in (0xFFFFFFFF, len(value)):
            return True
    return False


def _attribute(found: Any, keyword: str) -> Any:
    """One attribute of the header as plain data; None where it is not there, empty or bytes."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None or tag not in found:
        return None
    try:
        value = _plain(found[tag], 0)
    except Unreadable:
        raise
    except Exception:
        raise _BadValue("bad-value", keyword) from None
    if "\ufffd" in str(value):
        raise _BadValue("bad-encoding", keyword)
    return value


def _plain(element: Any, depth: int) -> Any:
    value = element.value
    if element.VR == "SQ":
        return [_item(item, depth + 1) for item in value] or None if depth < _DEEPEST else None
    if element.VR in _BYTES or value is None:
        return None
    if element.VR == "PN":
        names = list(value) if _is_many(value) else [value]
        return _one([_name(name) for name in names if str(name).strip()])
    several = list(value) if _is_many(value) else [value]
    texts = [_text(one, element.VR) for one in several if one is not None and not isinstance(one, bytes)]
    return _one([text for text in texts if text])


def _is_many(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and not hasattr(value, "family_name")


def _one(values: list[Any]) -> Any:
    return None if not values else values[0] if len(values) == 1 else values


def _item(item: Any, depth: int) -> dict[str, Any]:
    """The attributes of a sequence's item that are the standard's."""
    found = ((element.keyword, _plain(element, depth)) for element in item if not element.tag.is_private and element.keyword)
    return {keyword: value for keyword, value in found if value is not None}


def _name(name: Any) -> dict[str, str]:
    parts = {
        "family": name.family_name,
        "given": name.given_name,
        "middle": name.middle_name,
        "prefix": name.name_prefix,
        "suffix": name.name_suffix,
        "ideographic": name.ideographic,
        "phonetic": name.phonetic,
        "text": " ".join(part for part in re.split(r"[\^=]", str(name)) if part),
    }
    return {part: str(value).strip() for part, value in parts.items() if str(value).strip()}


def _text(value: Any, vr: str) -> str:
    """A value as text: days and times in ISO 8601; what is none of the calendar stays, for the policy's rule to find."""
    text = str(value).strip().strip("\0").strip()
    if vr == "DA" and (match := re.fullmatch(r"(\d{4})[.]?(\d{2})[.]?(\d{2})", text)):
        return "-".join(match.groups())
    if vr == "TM" and (match := re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?", text)):
        return f"{match[1]}:{match[2] or '00'}:{match[3] or '00'}{match[4] or ''}"
    if vr == "DT" and (match := re.fullmatch(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?", text)):
        day = "-".join(part for part in match.groups()[:3] if part)
        return day + (f"T{match[4]}:{match[5] or '00'}:{match[6] or '00'}{match[7] or ''}{_zone(match[8])}" if match[4] else "")
    return text


def _zone(offset: str | None) -> str:
    return f"{offset[:3]}:{offset[3:]}" if offset else ""


def _derived(found: Any, values: dict[str, Any]) -> dict[str, Any]:
    private = sum(1 for tag in found.keys() if tag.is_private and not tag.is_private_creator)  # noqa: SIM118 (a Dataset iterates its elements)
    flag = str(values.get("BurnedInAnnotation") or "not said")
    known = {"private_elements": private, "burned_in": flag if flag in ("YES", "NO") else "not said", "age_years": _age(values)}
    return {name: value for name, value in known.items() if value is not None}


def _age(values: dict[str, Any]) -> int | None:
    """Whole years: as the header says, else from the days of birth and study."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", str(values.get("PatientAge") or ""))
    if match:
        return int(int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]])
    days = [re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", str(values.get(name) or "")) for name in ("PatientBirthDate", "StudyDate")]
    if days[0] is None or days[1] is None:
        return None
    born, seen = (tuple(int(part) for part in day.groups()) for day in days if day)
    years = seen[0] - born[0] - (seen[1:] < born[1:])
    return years if 0 <= years < 150 else None


def _size(record: dict[str, Any]) -> int:
    return len(str(record))


def _paths(mapped: Mapped) -> Iterator[tuple[Any, ...]]:
    """Every path of a table that begins at the header."""
    if mapped.each:
        yield mapped.each
    for column in mapped.columns.values():
        if column.path[0].field in WHOLE:
            yield column.path[1:]
        elif not mapped.each:
            yield column.path


def _keywords(mapped: Mapped, column: str) -> list[str]:
    """The attributes that a column is of, outermost first; of what is derived those that it is made of."""
    path = mapped.columns[column].path
    whole = path[1:] if path[0].field in WHOLE else (*mapped.each, *path)
    steps = [step.field for step in whole]
    return list(DERIVED.get(steps[1], ())[:1]) if steps[0] == "derived" and len(steps) > 1 else steps


def _is_known(mapped: Mapped, column: str) -> bool:
    from pydicom.datadict import tag_for_keyword

    path = mapped.columns[column].path
    whole = path[1:] if path[0].field in WHOLE else (*mapped.each, *path)
    first = whole[0].field
    return (first == "derived" and len(whole) == 2 and whole[1].field in (*DERIVED, "burned_in")) or tag_for_keyword(first) is not None
