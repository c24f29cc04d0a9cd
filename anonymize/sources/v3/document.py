"""A CDA document as a nested record: its tree, and beside it what stands anywhere in it: sections, statements, people.

    {document: ClinicalDocument, id, subject: {id, root}, body: {type, text},
     sections:   [{number, code, display, title, text, section, parent}],
     statements: [{category, id, element, statement, section, parent, text, code_text, drug_text, value}],
     people:     [{role, entity, person, organization}],
     identities: [{of, and one of family, given, name, number, ssn, street, city, county, postal_code, phone, email, url, organization}]}

A statement is an act, observation, procedure, encounter, supply, substanceAdministration or organizer, wherever it stands; its category
(`entries.yaml`) goes by its template, else by its section. Texts that are references into the narrative are resolved.

Source: HL7 CDA R2 (2005); C-CDA R1.1, R2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from anonymize.sources.hl7.groups import Late
from anonymize.sources.hl7.values import asks_age, asks_who, is_place_system
from anonymize.sources.mapping import decoded
from anonymize.sources.v3 import narrative
from anonymize.sources.v3.elements import Element, NotXml, local
from anonymize.transform.markup import unreadable_tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element as XmlElement

Node = dict[str, Any]
SSN = "2.16.840.1.113883.4.1"
STATEMENTS = frozenset(
    ("act", "observation", "procedure", "encounter", "supply", "substanceAdministration", "organizer", "observationMedia", "regionOfInterest")
)
#: Who may stand in a document, and which of their parts is a person, which an organization.
ENTITIES = frozenset(
    (
        "assignedAuthor",
        "assignedEntity",
        "relatedEntity",
        "assignedCustodian",
        "intendedRecipient",
        "associatedEntity",
        "healthCareFacility",
        "guardian",
        "participantRole",
        "relatedSubject",
        "providerOrganization",
    )
)
PERSONS: tuple[str, ...] = (
    "assignedPerson",
    "relatedPerson",
    "guardianPerson",
    "informationRecipient",
    "associatedPerson",
    "playingEntity",
    "subject",
    "location",
)
ORGANIZATIONS: tuple[str, ...] = (
    "representedOrganization",
    "scopingOrganization",
    "receivedOrganization",
    "representedCustodianOrganization",
    "scopingEntity",
)
ORGANIZATIONS += ("serviceProviderOrganization", "guardianOrganization")
#: Types of values (xsi:type) that are codes, times, and who or where somebody is. Source: HL7 v3 data types R1.
CODED = frozenset(("CD", "CE", "CV", "CO", "CS", "CR", "SC"))
CODED_PARTS = (("code", "known"), ("local", "local"), ("display", "displayName"), ("system", "system"))
TIMES = frozenset(("TS", "IVL_TS", "PIVL_TS", "EIVL_TS"))
WHO = frozenset(("II", "TEL", "URL", "AD", "EN", "PN", "ON", "TN"))
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


def record(root: XmlElement, id_roots: Sequence[str]) -> Node:
    """A ClinicalDocument as a nested record. id_roots: whose numbers of the patient count, the best first.

    Raises NotXml: `no-subject` where the patient has no number, `several-subjects` where the document is about several.
    """
    document = Element(root)
    targets = document.get("recordTarget")
    if len(targets) > 1:
        raise NotXml("several-subjects")
    walk = _Walk({element.get("ID") or "": element for element in root.iter() if element.get("ID")})
    found: Node = {"document": document, "subject": _subject(targets, id_roots), "body": Late({"text": lambda: _unstructured(document)})}
    walk.below(document, None, None)
    found["id"] = _number_of(document) or f"document of {found['subject']['id']}"
    found |= {"sections": walk.sections, "statements": walk.statements, "people": walk.people}
    found["identities"] = list(_identities(document, walk.people))
    return found


def _number_of(element: Element) -> str | None:
    """Its own id: the number that was given, else the root, which then is one by itself."""
    own = element.one("id")
    found: str | None = own.get("@extension") or own.get("@root") if own is not None else None
    return found


def _subject(targets: Sequence[Element], id_roots: Sequence[str]) -> Node:
    """The patient's number: one of the roots that count; else the first that is neither a social security number nor an address; else any."""
    numbers = [
        number for target in targets for role in target.get("patientRole") for number in role.get("id") if number.get("@nullFlavor") is None
    ]
    best: tuple[int, str, str | None] | None = None
    for number in numbers:
        root, extension = number.get("@root"), number.get("@extension")
        value = extension or root
        if value is None or (id_roots and root not in id_roots):
            continue
        rank = id_roots.index(root) if id_roots else 2 if root == SSN else 1 if "@" in value else 0
        if best is None or rank < best[0]:
            best = (rank, value, root)
    if best is None:
        raise NotXml("no-subject")
    return {"id": best[1], "root": best[2]}


def _identities(document: Element, people: Sequence[Node]) -> Iterator[Node]:
    """Each name, number, address and telephone of the patient and of those who know the patient, in a row of its own, no row twice; the
    names alone of all others, whom texts name too."""
    found: dict[tuple[tuple[str, str], ...], str] = {}
    for of, private, entity in _who(document, people):
        for piece in _pieces(entity, private):
            said = tuple(sorted((name, text.strip()) for name, text in piece.items() if text and text.strip()))
            if said:
                found.setdefault(said, of)
    return ({"of": of, **dict(said)} for said, of in found.items())


def _who(document: Element, people: Sequence[Node]) -> Iterator[tuple[str, bool, Element]]:
    for target in document.get("recordTarget"):
        yield from (("recordTarget", True, role) for role in target.get("patientRole"))
    for one in people:
        yield one["role"], one["entity"].name in ("guardian", "relatedEntity", "relatedSubject", "associatedEntity"), one["entity"]


def _pieces(entity: Element, private: bool) -> Iterator[dict[str, str | None]]:
    """What is said of one. The numbers, addresses and telephones of those who treat are no sign of the patient."""
    for name in (Element(xml) for xml in entity.xml.iter() if local(xml.tag) == "name"):
        families, givens = name.get("family"), name.get("given")
        yield from ({"family": family.text, "given": givens[0].text if givens else None} for family in families)
        yield from ({"given" if families else "name": given.text} for given in givens)
        if not families and not givens:
            yield {"name": name.text} if len(name.xml) == 0 and _is_person(entity, name) else {}
    if not private:
        return
    for number in entity.get("id"):
        yield {"ssn" if number.get("@root") == SSN else "number": number.get("@extension")}
    for address in (Element(xml) for xml in entity.xml.iter() if local(xml.tag) == "addr"):
        lines = [*address.get("streetAddressLine"), *address.get("streetName"), *address.get("unitID")]
        yield from ({"street": line.text} for line in lines)
        whole = address.one("city"), address.one("postalCode"), address.one("county")
        yield {name: one.text for name, one in zip(("city", "postal_code", "county"), whole, strict=True) if one is not None}
        if not address.xml:
            yield {"street": address.text}
    for telecom in (Element(xml) for xml in entity.xml.iter() if local(xml.tag) == "telecom"):
        yield from (
            {name: telecom.get(f"@{scheme}")} for name, scheme in (("phone", "tel"), ("phone", "fax"), ("email", "mailto"), ("url", "http"))
        )


def _is_person(entity: Element, name: Element) -> bool:
    """Whether a name without parts is a person's: an organization's, and a drug's, stand in elements that say so."""
    return any(
        name.xml in list(person.xml)
        for kind in (*PERSONS, "patient")
        for person in entity.get(kind)
        if kind not in ("playingEntity", "location")
    )


def _unstructured(document: Element) -> str | None:
    """The text of a nonXMLBody; a tag where it is none that can be read, or lies elsewhere."""
    text = document.one("component", "nonXMLBody", "text")
    if text is None:
        return None
    if (text.get("@representation") or "").upper() == "B64":
        words = "".join(text.xml.itertext())
        return decoded(words) if words.strip() else None
    if text.one("reference") is not None:
        return unreadable_tag("attachment")
    return narrative.as_text(text.xml)


@dataclass(frozen=True)
class _Categories:
    """`entries.yaml`: template -> category, and (section, element) -> category."""

    templates: dict[str, str]
    sections: dict[tuple[str, str], str]

    def of(self, statement: Element, section: Node | None) -> str:
        roots = [template.get("@root") for template in statement.get("templateId")]
        for root in roots:
            if root in self.templates:
                category = self.templates[root]
                in_section = self.sections.get(((section or {}).get("code") or "", statement.name))
                # Templates before C-CDA have one for drugs and vaccines: the section tells.
                return in_section if {category, in_section} == {"medication", "immunization"} and in_section else category
        if any(str(root).startswith("2.16.840.1.113883.10.20.") for root in roots):
            return "other"
        return self.sections.get(((section or {}).get("code") or "", statement.name), "other")


@cache
def _categories() -> _Categories:
    data = YAML(typ="safe").load((files("anonymize.sources.v3") / "entries.yaml").read_text(encoding="utf-8"))
    templates = {str(root): name for name, spec in data.items() for root in spec.get("templates", ())}
    sections = {(str(code), element): name for name, spec in data.items() for code in spec.get("sections", ()) for element in spec["elements"]}
    return _Categories(templates, sections)


class _Walk:
    """Gathers what stands anywhere in a document, in its order."""

    def __init__(self, named: dict[str, XmlElement]) -> None:
        self.named = named
        self.sections: list[Node] = []
        self.statements: list[Node] = []
        self.people: list[Node] = []

    def below(self, element: Element, section: Node | None, statement: Node | None) -> None:
        for xml in element.xml:
            name = local(xml.tag)
            if name == "text" and element.name == "section":
                continue
            child, within, about = Element(xml), section, statement
            if name == "section":
                within = self._section(child, section)
            elif name in STATEMENTS:
                about = self._statement(child, section, statement)
            elif name in ENTITIES:
                self._entity(child, element.name)
            self.below(child, within, about)

    def _section(self, section: Element, parent: Node | None) -> Node:
        code, title = section.one("code"), section.one("title")
        found: Node = Late(
            {
                "number": str(len(self.sections) + 1),
                "code": code.get("@code") if code is not None else None,
                "display": code.get("@displayName") if code is not None else None,
                "title": title.text if title is not None else None,
                "section": section,
                "parent": parent,
            }
        )
        text = section.one("text")
        found["text"] = lambda: narrative.as_text(text.xml) if text is not None else None
        self.sections.append(found)
        return found

    def _statement(self, statement: Element, section: Node | None, parent: Node | None) -> Node:
        found: Node = Late({"element": statement.name, "statement": statement, "section": section, "parent": parent})
        found["number"] = str(len(self.statements) + 1)
        found["id"] = lambda: _number_of(statement)
        found["category"] = _categories().of(statement, section)
        found["text"] = lambda: self._resolved(statement.one("text"))
        found["code_text"] = lambda: self._resolved(statement.one("code", "originalText"))
        found["value"] = lambda: self._value(statement)
        found["drug_text"] = lambda: self._resolved(
            statement.one("consumable", "manufacturedProduct", "manufacturedMaterial", "code", "originalText")
        )
        self.statements.append(found)
        return found

    def _entity(self, entity: Element, role: str) -> None:
        found: Node = {"role": role, "entity": entity}
        for name, kinds in (("person", PERSONS), ("organization", ORGANIZATIONS)):
            found[name] = next((one for kind in kinds if (one := entity.one(kind)) is not None), None)
        if entity.name == "providerOrganization":
            found["organization"] = entity
        self.people.append(found)

    def _value(self, statement: Element) -> Node:
        """A statement's value by its type: `type`, and of `number`, `age`, `unit`, `low`, `high`, `time`, `code`, `local`, `display`, `system`,
        `null`, `translation`, `text`, `who` those that it has. What is not of its type is a text."""
        value, code = statement.one("value"), statement.one("code")
        if value is None:
            return {}
        kind, said = value.get("@type") or "", value.get("@value")
        found: Node = {"type": kind or None, "null": value.get("@nullFlavor"), "text": self._resolved(value.one("originalText"))}
        words = (code.get("@displayName") or self._resolved(code.one("originalText")) or "") if code is not None else ""
        if kind in WHO or asks_who(words) or is_place_system(value.get("@codeSystem")):
            return {
                "type": found["type"],
                "null": found["null"],
                "who": said or value.get("@displayName") or value.get("@extension") or value.text,
            }
        if value.get("@code") is not None or kind in CODED:
            return found | {name: value.get(f"@{attribute}") for name, attribute in CODED_PARTS} | {"translation": value.get("translation")}
        if kind in TIMES:
            low = value.one("low")
            return found | {"time": said or (low.get("@value") if low is not None else None)}
        for name, one in (("number", value), ("low", value.one("low")), ("high", value.one("high"))):
            number = one.get("@value") if one is not None else None
            if number is not None and NUMBER.fullmatch(number):
                found[name] = number
                found["unit"] = one.get("@unit") if one is not None else None
        if "number" in found and asks_age(code.get("@code") if code is not None else None, words):
            found["age"] = found.pop("number")
        if not {"number", "age", "low", "high"} & found.keys():
            found["text"] = found["text"] or self._resolved(value) or said
        return found

    def _resolved(self, text: Element | None) -> str | None:
        """A text as it stands, or the part of the narrative that it refers to."""
        if text is None:
            return None
        reference = text.one("reference")
        named = self.named.get(str(reference.get("@value") or "").removeprefix("#")) if reference is not None else None
        return narrative.as_text(named) if named is not None else text.text
