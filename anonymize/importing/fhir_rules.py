"""Rules of other FHIR anonymizers as a policy: each is honoured on the columns that it is about, or refused by name.

Read are the configuration of Microsoft's Tools for Health Data Anonymization (`fhirPathRules`, JSON) and that of fhir-pseudonymizer, which adds
`pseudonymize` (YAML). There, the first rule that is about an element holds, and what no rule is about leaves as it is; here it stays closed.

Source: the formats as documented by github.com/microsoft/Tools-for-Health-Data-Anonymization and github.com/miracum/fhir-pseudonymizer (2026).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anonymize.detect.columns import guess, tells_birth
from anonymize.draft import QUASI
from anonymize.errors import AnonymizeError
from anonymize.importing.fhir_path import Fit, Node, Unreadable, nodes_of, paths, readable
from anonymize.importing.fhir_path import Path as Selector
from anonymize.policy.editing import as_written
from anonymize.policy.model import Kind, Rule
from anonymize.policy.nearest import nearest
from anonymize.policy.reading import Path_, read
from anonymize.policy.writing import written
from anonymize.sources.mapping import Mapped, read_mapping

MAPPING = "us-core"
#: Parameters that hold keys.
KEYS = ("dateShiftKey", "cryptoHashKey", "encryptKey")
_DATES = {"date", "datetime", "instant", "time"}
_CODES = {"code", "uri", "url", "boolean", "decimal", "integer", "positiveint", "canonical"}
#: What a Safe Harbor redaction keeps of a value, where the configuration asks for it.
_PARTIAL = {"enablePartialDatesForRedact": "dates", "enablePartialZipCodesForRedact": "zip", "enablePartialAgesForRedact": "ages"}


#: References whose `display` is a person's name.
_PEOPLE = frozenset(
    {
        "subject",
        "patient",
        "individual",
        "performer",
        "author",
        "requester",
        "practitioner",
        "authenticator",
        "beneficiary",
        "recorder",
        "asserter",
        "actor",
        "member",
        "party",
        "who",
        "collector",
        "subscriber",
        "policyHolder",
        "operator",
        "owner",
        "resultsInterpreter",
        "generalPractitioner",
    }
)


@dataclass(frozen=True)
class FhirRule:
    """One rule of a configuration. number: as it stands there, from 1."""

    number: int
    path: str
    method: str
    words: Mapping[str, Any]

    def __str__(self) -> str:
        return f"rule {self.number} ({self.path}: {self.method})"


@dataclass(frozen=True)
class Decision:
    """What becomes of a column. by: the rule; None: no rule is about it, and it stays closed."""

    rule: str | dict[str, Any]
    why: str
    by: FhirRule | None = None
    refused: str = ""
    part: bool = False
    """Whether the rule is about some of the column's elements alone, or the column about nobody whom the rule could go by."""


@dataclass
class Imported:
    """A configuration as a policy. honoured, refused, elsewhere: sentences, one a rule; notes: what a steward must know."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[Path_, str] = field(default_factory=dict)
    head: str = ""
    honoured: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The policy."""
        return written(self.values, self.reasons, self.head)

    def report(self) -> str:
        """For a person."""
        parts = (
            ("honoured", self.honoured),
            ("about no column that is left for it (not taken out of FHIR, or decided by a rule before it)", self.elsewhere),
            ("REFUSED, the columns stay closed", self.refused),
            ("note", self.notes),
        )
        return "\n".join(line for title, lines in parts if lines for line in (f"{title}:", *(f"  {one}" for one in lines)))


@dataclass(frozen=True)
class _Place:
    """A column of the mapping, with what a method needs to know of it."""

    table: str
    column: str
    nodes: tuple[Node, ...]
    about_subject: bool
    is_key: bool
    others: tuple[_Place, ...] = ()
    """The same by the column's other paths."""

    @property
    def type(self) -> str:
        return self.nodes[-1].type.casefold()

    @property
    def is_date(self) -> bool:
        return self.type in _DATES

    @property
    def is_id(self) -> bool:
        return self.type == "id" or (self.nodes[-1].name == "reference" and self.nodes[-1].type != "Reference")

    @property
    def is_text(self) -> bool:
        guessed = guess(self.column)
        coded = self.nodes[-2].type in ("Coding", "Quantity") if len(self.nodes) > 1 else False
        return self.type in ("markdown", "xhtml", "base64binary") or (guessed is not None and guessed.text and not coded)

    @property
    def kind(self) -> Kind | None:
        """What PHI it holds: as its FHIR types say, else as its name says."""
        types = [node.type for node in self.nodes]
        guessed = guess(self.column)
        named = guessed.kind if guessed else None
        if self.type in _CODES - {"url"} and named not in (Kind.ADDRESS, Kind.DEVICE):
            return None
        if "HumanName" in types:
            return None if self.nodes[-1].name in ("use", "period", "start", "end") else Kind.NAME
        if "Address" in types:
            return Kind.ADDRESS
        if "ContactPoint" in types:
            return named if named in (Kind.PHONE, Kind.EMAIL, Kind.FAX) else Kind.PHONE
        if "Identifier" in types and self.nodes[-1].name == "value":
            return named or Kind.ID
        if self.nodes[-1].name == "display" and self.nodes[-2].name in _PEOPLE:
            return Kind.NAME
        return None if self.is_id or self.is_date else named


def import_rules(file: Path, *, dataset: str, kind: str | None = None, on: str | None = None) -> Imported:
    """The policy that a configuration's rules make of our `us-core` mapping.

    kind: `fhir-rules` (JSON) or `fhir-pseudonymizer` (YAML); default: by its contents. on: a policy (a ready-made one's name, a file) that
    decides on the columns that no rule is about; default: they stay closed. Raises AnonymizeError where the file is none of them.
    """
    rules, parameters = _configuration(file, kind)
    places = list(_places(read_mapping(MAPPING, Path())))
    found = Imported(notes=list(_notes(rules, parameters)))
    selected = [(rule, _selectors(rule)) for rule in rules]
    decided = {(place.table, place.column): _by_all_paths(place, selected, parameters) for place in places}
    _tell(found, selected, decided)
    shifted = any(rule.method == "dateshift" for rule in rules)
    found.values, found.reasons = _policy(places, decided, dataset=dataset, on=on, shifted=shifted)
    found.head = f"From the rules of {file.name}. Read every line; what no rule is about is {'as the policy below has it' if on else 'closed'}."
    return found


def _configuration(file: Path, kind: str | None) -> tuple[list[FhirRule], dict[str, Any]]:
    """The rules and parameters of a file: JSON is YAML too."""
    values = _values(file)
    listed = values.get("fhirPathRules")
    if not isinstance(listed, list):
        hint = nearest("fhirPathRules", values)
        raise AnonymizeError(f"{file}: holds no list 'fhirPathRules', so it is no configuration of a FHIR anonymizer.{hint}")
    if kind == "fhir-rules" and any(str(_words(rule).get("method")).lower() == "pseudonymize" for rule in listed):
        raise AnonymizeError(f"{file}: 'pseudonymize' is a method of fhir-pseudonymizer: say --kind fhir-pseudonymizer")
    rules = [
        FhirRule(number, str(_words(rule).get("path", "")), str(_words(rule).get("method", "")).lower(), _words(rule))
        for number, rule in enumerate(listed, 1)
    ]
    parameters = values.get("parameters")
    return rules, dict(parameters) if isinstance(parameters, dict) else {}


def _values(file: Path) -> dict[str, Any]:
    """A file's plain values. Raises AnonymizeError, without a word of what stands in it: that may be a key."""
    try:
        values = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise AnonymizeError(f"{file} cannot be read: {error.strerror or 'input/output error'}") from None
    except ValueError:
        return read(file).values
    if not isinstance(values, dict):
        raise AnonymizeError(f"{file}: is no JSON object with 'fhirPathRules'")
    return values


def _words(rule: Any) -> dict[str, Any]:
    return rule if isinstance(rule, dict) else {}


def _places(mapping: Mapping[str, Mapped]) -> Iterator[_Place]:
    for table, mapped in mapping.items():
        key = _key(table, mapped)
        for name, column in mapped.columns.items():
            ways = tuple(_Place(table, name, nodes, key is not None, name == key) for nodes in nodes_of(mapped, column))
            yield replace(ways[0], others=ways[1:])


def _key(table: str, mapped: Mapped) -> str | None:
    """The column of a mapped table with the patient's id."""
    return "id" if table == "patient" else "patient_id" if "patient_id" in mapped.columns else None


def _selectors(rule: FhirRule) -> tuple[list[Selector], str]:
    """What a rule is about, and why it cannot be read; then it is about the longest beginning that can."""
    try:
        return paths(rule.path), ""
    except Unreadable as error:
        return [readable(rule.path)], str(error)


Selected = list[tuple[FhirRule, tuple[list[Selector], str]]]


def _by_all_paths(place: _Place, selected: Selected, parameters: Mapping[str, Any]) -> Decision:
    """What is decided alike on all paths of a column; else it is closed, for its values come from any of them."""
    ways = [_decided(one, selected, parameters) for one in (place, *place.others)]
    # The other ways are the same element in another version of FHIR, of which the rules may not know.
    first, *others = [way for way in ways if way.by is not None] or ways
    if all(other.rule == first.rule for other in others):
        return first
    closed = [one for one in (first, *others) if "drop" in as_words(one.rule)]
    if closed:
        return closed[0]
    return _closed(place, "rules decide differently on the paths that its values come from")


def as_words(rule: str | dict[str, Any]) -> list[str]:
    """A rule's short form, word by word."""
    return _said(rule).split()


def _decided(place: _Place, selected: Selected, parameters: Mapping[str, Any]) -> Decision:
    """By the first rule that is about a column."""
    for rule, (selectors, unreadable) in selected:
        fits = [selector.fit(place.nodes) for selector in selectors]
        if unreadable:
            if any(fit is not Fit.NOT for fit in fits) or not any(selector.steps for selector in selectors):
                return _closed(place, f"{rule} cannot be read", rule, refused=f"its path cannot be read: {unreadable}")
            continue
        if Fit.ALL in fits:
            known = METHODS.get(rule.method)
            if known is None:
                what = f"no method '{_shown(rule.method)}'.{nearest(rule.method, METHODS)}"
                return _closed(place, f"{rule}: no such method", rule, refused=what)
            return known(place, rule, parameters)
        if Fit.PART in fits:
            what = "it is about some of the column's elements, and the column holds others too; a mapping can have them as a column of their own"
            return replace(_closed(place, str(rule), rule, refused="" if rule.method == "redact" else what), part=True)
    return _closed(place, "no rule is about it")


def _closed(place: _Place, why: str, rule: FhirRule | None = None, *, refused: str = "") -> Decision:
    kind = place.kind
    said = f"drop {kind}" if kind is None or not place.about_subject else f"identifier drop {kind}"
    return Decision(said.removesuffix(" None"), why, rule, refused)


def _keep(place: _Place, rule: FhirRule, _: Mapping[str, Any]) -> Decision:
    if place.is_id:
        return _closed(
            place, str(rule), rule, refused="an id that leaves as it is points at a record of the hospital; take cryptoHash: pseudonyms join too"
        )
    if place.is_text:
        return _closed(place, str(rule), rule, refused="free text does not leave as it is; open it as 'text', which is scrubbed")
    if place.about_subject and place.kind is not None and place.column not in _GEOGRAPHY:
        what = f"its values are of kind '{place.kind}' and point at a person: the leak gate would stop the release"
        return _closed(place, str(rule), rule, refused=what)
    if place.is_date and tells_birth(place.column):
        return Decision({"role": "quasi", "hierarchy": "date", "kind": "date"}, f"{rule}: kept, as exact as k allows", rule)
    if place.about_subject and (place.column in _GEOGRAPHY or QUASI.match(place.column)):
        hierarchy = _GEOGRAPHY.get(place.column, "flat")
        return Decision(f"quasi {hierarchy}", f"{rule}: kept, as exact as k allows", rule)
    return Decision("plain", f"{rule}", rule)


#: What somebody may know of where a person lives, and how it becomes less precise.
_GEOGRAPHY = {
    "state": "us-state",
    "country": "country",
    "city": "flat",
    "district": "flat",
    "postal_code": "us-zip",
    "birth_place_state": "us-state",
    "birth_place_country": "country",
    "birth_place_city": "flat",
}


def _redact(place: _Place, rule: FhirRule, parameters: Mapping[str, Any]) -> Decision:
    partial = {word for name, word in _PARTIAL.items() if parameters.get(name) is True}
    if place.is_date and "dates" in partial:
        if tells_birth(place.column):
            return Decision(
                {"role": "quasi", "hierarchy": "birth-year", "kind": "date"}, f"{rule}: the year, but where it tells an age over 89", rule
            )
        return Decision("date year", f"{rule}: the year stays", rule)
    if place.nodes[-1].name == "postalCode" and "zip" in partial and place.about_subject:
        return Decision("quasi us-zip3", f"{rule}: three digits, 000 for areas of 20,000 people or fewer", rule)
    return _closed(place, str(rule), rule)


def _hash(place: _Place, rule: FhirRule, _: Mapping[str, Any]) -> Decision:
    if place.is_date or place.is_text or place.type in _CODES:
        return _closed(
            place, str(rule), rule, refused=f"a pseudonym of a {'date' if place.is_date else 'text' if place.is_text else 'code'} joins nothing"
        )
    kind = place.kind
    return Decision(f"identifier pseudonym {kind}".removesuffix(" None"), f"{rule}: a keyed hash, made anew for this project", rule)


def _pseudonymize(place: _Place, rule: FhirRule, parameters: Mapping[str, Any]) -> Decision:
    decision = _hash(place, rule, parameters)
    domain = rule.words.get("domain") or rule.words.get("namespace")
    if decision.refused or place.is_key or not isinstance(domain, str):
        return decision
    said = {"role": "identifier", "method": "pseudonym", **({"kind": place.kind.value} if place.kind else {}), "namespace": domain}
    return Decision(said, f"{rule}: pseudonyms of the domain", rule)


def _shift(place: _Place, rule: FhirRule, _: Mapping[str, Any]) -> Decision:
    if not place.is_date:
        return _closed(place, str(rule), rule, refused="it holds no date")
    if not place.about_subject:
        return replace(_closed(place, str(rule), rule, refused="it is about no patient whose constant would move it"), part=True)
    return Decision("date", f"{rule}: by the patient's own constant", rule)


def _substitute(place: _Place, rule: FhirRule, _: Mapping[str, Any]) -> Decision:
    if place.is_date or place.type in _CODES:
        return _closed(
            place, str(rule), rule, refused="its type holds no word in the place of a value; it can be closed, or coded in the mapping"
        )
    said = "identifier redact" if place.kind else "plain redact"
    return Decision(f"{said} {place.kind}".removesuffix(" None"), f"{rule}: a tag stands where a word of your own stood", rule)


def _cannot(why: str) -> Callable[[_Place, FhirRule, Mapping[str, Any]], Decision]:
    return lambda place, rule, _: _closed(place, str(rule), rule, refused=why)


METHODS: dict[str, Callable[[_Place, FhirRule, Mapping[str, Any]], Decision]] = {
    "keep": _keep,
    "redact": _redact,
    "cryptohash": _hash,
    "pseudonymize": _pseudonymize,
    "dateshift": _shift,
    "substitute": _substitute,
    "encrypt": _cannot("an encrypted value can be turned back by whoever holds the key; take cryptoHash, whose pseudonyms nobody turns back"),
    "perturb": _cannot("no noise is added to values here; 'plain round DIGITS' or 'quasi ranges:…' makes them less precise"),
    "generalize": _cannot(
        "its cases are expressions that only FHIRPath computes; name a hierarchy in the policy ('quasi ranges:…', 'quasi csv:FILE')"
    ),
}


def _notes(rules: Iterable[FhirRule], parameters: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration's parameters mean here."""
    for name in KEYS:
        if parameters.get(name) not in (None, ""):
            yield (f"parameters.{name} holds a key: it is spent, for everybody who read the file has it. It is not taken over; the policy says "
                   "'key: env:ANONYMIZE_KEY', and that variable takes a new secret")  # fmt: skip
    methods = {rule.method for rule in rules}
    if "dateshift" in methods:
        scope = parameters.get("dateShiftScope")
        if scope in ("resource", "file", "folder"):
            yield (f"dateShiftScope '{scope}' moves a patient's dates by several constants, so that intervals are lost. "
                   "Here each patient has one constant, in all tables and texts")  # fmt: skip
        if parameters.get("dateShiftFixedOffsetInDays") is not None:
            yield "dateShiftFixedOffsetInDays moves all people alike, and one known date undoes it. Here each patient has a constant"
    zips = parameters.get("restrictedZipCodeTabulationAreas")
    if parameters.get("enablePartialZipCodesForRedact") is True and isinstance(zips, list):
        yield f"restrictedZipCodeTabulationAreas ({len(zips)}): 'us-zip3' restricts all areas of the known lists; own counts: 'us-zip3:FILE'"
    if "substitute" in methods:
        yield "substitute: a tag as [NAME] stands in the place of the words that the rules say ('replaceWith')"


def _tell(found: Imported, selected: Selected, decided: Mapping[tuple[str, str], Decision]) -> None:
    """Each rule in one sentence."""
    for rule, (_, unreadable) in selected:
        mine = {at: decision for at, decision in decided.items() if decision.by is rule}
        whole = any(not decision.part for decision in mine.values())
        # A column that a rule is about in part is closed; that refuses the rule only where it is about no column as a whole.
        refused = {at: decision.refused for at, decision in mine.items() if decision.refused and not (whole and decision.part)}
        held = {at: decision.rule for at, decision in mine.items() if not decision.refused}
        aside = [(at, decision.refused) for at, decision in mine.items() if decision.refused and at not in refused]
        for why in dict.fromkeys(why for _, why in aside):
            found.notes.append(f"{rule}: {', '.join('.'.join(at) for at, other in aside if other == why)} stays closed: {why}")
        if refused:
            for why in dict.fromkeys(refused.values()):
                names = [f"{table}.{column}" for (table, column), other in refused.items() if other == why]
                found.refused.append(f"{rule}: {why}. Columns: {', '.join(names)}")
        elif unreadable or rule.method not in METHODS:
            what = (
                f"its path cannot be read: {unreadable}" if unreadable else f"no method '{_shown(rule.method)}'.{nearest(rule.method, METHODS)}"
            )
            found.refused.append(f"{rule}: {what}. Columns: none that another rule before it has not decided")
        elif not held:
            found.elsewhere.append(str(rule))
        if held:
            found.honoured.append(f"{rule}: " + ", ".join(f"{t}.{c} -> {_said(said)}" for (t, c), said in held.items()))


def _said(rule: str | dict[str, Any]) -> str:
    return rule if isinstance(rule, str) else str(as_written(Rule.model_validate(rule)))


def _policy(
    places: list[_Place], decided: Mapping[tuple[str, str], Decision], *, dataset: str, on: str | None, shifted: bool
) -> tuple[dict[str, Any], dict[Path_, str]]:
    """The policy's values, and the reason of each column."""
    tables: dict[str, Any] = {}
    reasons: dict[Path_, str] = {}
    keys = {place.table: place.column for place in places if place.is_key}
    for table in dict.fromkeys(place.table for place in places):
        mine = {place.column: decided[table, place.column] for place in places if place.table == table}
        if on is not None:
            mine = {column: decision for column, decision in mine.items() if decision.by is not None}
        opened = any(decision.by and "drop" not in as_words(decision.rule) for decision in mine.values())
        if not mine or (on is None and table != "patient" and not opened):
            continue
        subject = {} if table == "patient" or on is not None else {"subject": keys.get(table)}
        tables[table] = {**subject, "columns": {column: decision.rule for column, decision in mine.items()}}
        reasons |= {("tables", table, "columns", column): decision.why for column, decision in mine.items()}
    values: dict[str, Any] = {**({"extends": on} if on else {}), "dataset": dataset}
    if on is None:
        values |= {
            "profile": "hipaa-expert-determination",
            "subject": "patient.id",
            "key": "env:ANONYMIZE_KEY",
            "sources": {"fhir": {"type": "fhir", "path": "${FHIR_EXPORT}", "mapping": MAPPING}},
            "text": {"dates": "shift" if shifted else "tag"},
            "release": {"store": "store"},
        }
    return {**values, "tables": tables}, reasons


def _shown(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]{1,30}", text) else "…"
