"""References between resources, so that a person, an encounter, a practitioner has one id however a resource names them.

Relative (`Patient/17`), absolute, `urn:uuid:`, of a version (`/_history/2`), conditional (`Patient?identifier=system|value`), logical
(an `identifier` without a reference) and contained (`#p1`). Those that name no id are looked up among the resources of the source.
Source: HL7 FHIR R4 and R5, "References" (2.3.0), "Literal, logical and contained references"; conditional references as in transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs

from anonymize.sources.mapping import reference_id, reference_type

#: What an element of that name refers to where the reference itself does not say.
NAMED = {
    "subject": "Patient",
    "patient": "Patient",
    "beneficiary": "Patient",
    "encounter": "Encounter",
    "individual": "Practitioner",
    "practitioner": "Practitioner",
    "author": "Practitioner",
    "requester": "Practitioner",
    "performer": "Practitioner",
    "location": "Location",
    "organization": "Organization",
    "serviceProvider": "Organization",
    "managingOrganization": "Organization",
    "custodian": "Organization",
}


class References:
    """Finds the ids behind references. resources: every resource of a kind; read once, when the first reference of that kind has no id.

    In memory: some 150 bytes an identifier of the kinds that are looked up.
    """

    def __init__(self, resources: Callable[[str], Iterable[dict[str, Any]]]) -> None:
        self._resources = resources
        self._ids: dict[str, dict[bytes, str]] = {}

    def id_of(self, node: Any, record: dict[str, Any], element: str, only: str | None) -> str | None:
        """The id behind a reference (an object, or its `reference` alone); None where there is none, or it is of another kind than `only`.

        record: the resource that holds it; element: the name of the element.
        """
        given = node if isinstance(node, dict) else {"reference": node}
        reference, kind = given.get("reference"), only or given.get("type") or NAMED.get(element)
        identifier = given.get("identifier")
        if isinstance(reference, str) and reference.strip():
            reference = reference.strip()
            if reference.startswith("#"):
                return self._contained(reference[1:], record, only)
            said = reference_type(reference) or given.get("type")
            if only is not None and said is not None and said != only:
                return None
            if "?" in reference:
                return self._conditional(reference, kind if said is None else said)
            return reference_id(reference) or None
        if only is not None and given.get("type") not in (None, only):
            return None
        return self._logical(identifier, kind) if isinstance(identifier, dict) else None

    def _conditional(self, reference: str, kind: Any) -> str | None:
        asked = parse_qs(reference.partition("?")[2], keep_blank_values=True)
        if asked.get("_id"):
            return asked["_id"][0]
        system, bar, value = (asked.get("identifier") or [""])[0].rpartition("|")
        return self._looked_up(str(kind), system if bar else None, value) or reference_id(reference)

    def _logical(self, identifier: dict[str, Any], kind: Any) -> str | None:
        system, value = identifier.get("system"), identifier.get("value")
        if not isinstance(value, str) or not value:
            return None
        return self._looked_up(str(kind), system if isinstance(system, str) else None, value) or value

    def _contained(self, id: str, record: dict[str, Any], only: str | None) -> str | None:
        contained = record.get("contained")
        for one in contained if isinstance(contained, list) else []:
            if isinstance(one, dict) and one.get("id") == id:
                kind = one.get("resourceType")
                if only is not None and kind != only:
                    return None
                for identifier in one.get("identifier") or [] if isinstance(one.get("identifier"), list) else []:
                    found = isinstance(identifier, dict) and self._known(identifier, str(kind))
                    if found:
                        return str(found)
        # It lives within its resource alone, so its id does too.
        return f"{record.get('id')}#{id}"

    def _known(self, identifier: dict[str, Any], kind: str) -> str | None:
        system, value = identifier.get("system"), identifier.get("value")
        return self._looked_up(kind, system if isinstance(system, str) else None, value) if isinstance(value, str) else None

    def _looked_up(self, kind: str, system: str | None, value: str) -> str | None:
        if kind not in self._ids:
            self._ids[kind] = self._index(kind)
        # An empty text stands for an identifier that several resources have: it tells none of them.
        return self._ids[kind].get(_key(system, value)) or None

    def _index(self, kind: str) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for resource in self._resources(kind):
            id, identifiers = resource.get("id"), resource.get("identifier")
            if not isinstance(id, str) or not isinstance(identifiers, list):
                continue
            for one in identifiers:
                value = one.get("value") if isinstance(one, dict) else None
                if isinstance(value, str):
                    system = one.get("system")
                    for key in {_key(system if isinstance(system, str) else "", value), _key(None, value)}:
                        if found.setdefault(key, id) != id:
                            found[key] = ""
        return found


def _key(system: str | None, value: str) -> bytes:
    """Of a system and a value; of None and a value, whatever its system is."""
    return blake2b(f"{'' if system is None else '=' + system}|{value}".encode("utf-8", "surrogatepass"), digest_size=12).digest()
