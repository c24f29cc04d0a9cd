"""The sample hospital: made-up records as an EHR really holds them, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

from anonymize.errors import AnonymizeError

__all__ = ["make_sample"]


def make_sample(folder: Path, *, patients: int = 2_000, seed: int = 7) -> dict[str, int]:
    """Write `ehr.db` (SQLite), `fhir/` (a bulk export of every fifth patient) and `truth.jsonl` (where in each note which PHI stands).

    Returns the rows of each table. Raises AnonymizeError where the folder holds a sample already.
    """
    from anonymize.sample.ehr import write_database
    from anonymize.sample.fhir import write_fhir
    from anonymize.sample.notes import write_truth
    from anonymize.sample.people import Hospital

    if (folder / "ehr.db").exists():
        raise AnonymizeError(f"{folder} holds a sample hospital already. Name another folder, or remove it first")
    folder.mkdir(parents=True, exist_ok=True)
    hospital = Hospital(patients, seed)
    write_truth(folder / "truth.jsonl", hospital)
    write_fhir(folder / "fhir", hospital)
    # The database last and in one step: where it stands the sample is whole.
    return write_database(folder / "ehr.db", hospital)
