"""The tables that are measured: each as Arrow, with its hierarchies, and what is asked of it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from anonymize.hierarchies import Hierarchy, build
from anonymize.privacy.models import Model, parse_l, parse_t

HOME = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ANONYMIZE_DATA", HOME.parent / "shared" / "data"))

#: ARX's wall time over ours, at the least: by table, then by suppression limit; of the other models; of local recoding.
FASTER = {"adult": {0.0: 1.0, 0.02: 8.0, 0.05: 8.0, 1.0: 25.0}, "fars": {0.0: 1.0, 0.02: 10.0, 0.05: 10.0, 1.0: 25.0}}
FASTER_WITH_MODELS, FASTER_LOCALLY = 3.0, 15.0
#: Our loss over ARX's, at the most, by local recoding.
LOSS_LOCALLY = 0.88


@dataclass(frozen=True)
class Case:
    """One row of the table. arx_loss, arx_seconds: None where none was measured."""

    dataset: str
    words: str
    k: int
    mode: str
    suppression: float
    models: tuple[Model, ...] = ()
    without: tuple[str, ...] = ()
    arx_loss: float | None = None
    arx_seconds: float | None = None

    @property
    def faster(self) -> float:
        """How many times faster than ARX is asked."""
        if self.mode == "local":
            return FASTER_LOCALLY
        if self.models:
            return FASTER_WITH_MODELS if self.suppression else 1.0
        return FASTER["adult" if self.dataset == "adult" else "fars"].get(self.suppression, 1.0)

    @property
    def loss(self) -> float | None:
        """The loss over ARX's that is allowed."""
        return LOSS_LOCALLY if self.mode == "local" else 1.0


def reference(data: Path = DATA) -> Iterator[Case]:
    """Every row of ARX's file of outcomes."""
    with (data / "tables" / "arx_reference.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            models: tuple[Model, ...] = ()
            if "distinct-l5" in row["model"]:
                models = (parse_l("occupation:5"),)
            elif "t0.2" in row["model"]:
                models = (parse_t("occupation:0.2"),)
            yield Case(
                dataset=row["dataset"],
                words=row["model"],
                k=int(row["k"]),
                mode=row["mode"],
                suppression=float(row["suppression_limit"]),
                models=models,
                without=("occupation",) if models else (),
                arx_loss=float(row["loss"]),
                arx_seconds=float(row["wall_ms_median"]) / 1000 if row["wall_ms_median"] else None,
            )


def of(dataset: str) -> list[Case]:
    """What is asked of one table."""
    if dataset in ("synthea", "diabetes130"):
        return [Case(dataset, "k", 11, mode, suppression) for mode, suppression in (("optimal", 0.05), ("local", 0.0))]
    return [case for case in reference() if case.dataset == dataset]


def load(dataset: str) -> tuple[pa.Table, dict[str, Hierarchy], str | None]:
    """The table, the hierarchies of its quasi-identifiers, and the column that says whose a row is, where a subject has several."""
    if dataset == "synthea":
        return _synthea(), {"birth_date": build("birth-year:2026"), "gender": build("flat"), "zip": build("us-zip3")}, None
    if dataset == "diabetes130":
        folder = HOME / "tests" / "road" / "policies"
        ladders: dict[str, Hierarchy] = {"race": build("flat"), "gender": build("flat"), "age": build("csv:age-intervals.csv", folder)}
        rows = _text(DATA / "diabetes130" / "dataset_diabetes" / "diabetic_data.csv", ",", ["?"])
        return rows.select([*ladders, "patient_nbr"]), ladders, "patient_nbr"
    folder = DATA / "tables" / dataset
    rows = _text(folder / f"{dataset}.csv", ";", [])
    return rows, {name: build(f"csv:{dataset}_hierarchy_{name}.csv", folder) for name in rows.schema.names}, None


def _text(file: Path, delimiter: str, missing: list[str]) -> pa.Table:
    names = file.open(encoding="utf-8").readline().strip().split(delimiter)
    options = pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=missing, strings_can_be_null=True)
    return pc.read_csv(file, parse_options=pc.ParseOptions(delimiter=delimiter), convert_options=options)


def _synthea() -> pa.Table:
    with (DATA / "fhir_bulk_synthea_patients" / "Patient.1000.ndjson").open(encoding="utf-8") as lines:
        people = [json.loads(line) for line in lines]
    zips = [(person["address"][0].get("postalCode") or "00000")[:5] for person in people]
    return pa.table({"birth_date": [p["birthDate"] for p in people], "gender": [p["gender"] for p in people], "zip": zips})
