"""A made table of hospital stays as Parquet, as many rows as wanted, and the policies that take it down the road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from faker.providers.person.en_US import Provider

BLOCK = 1_000_000
STAYS_A_PERSON = 5
SEX = ("F", "M")
RACE = ("White", "Black", "Asian", "Native American", "Pacific Islander", "Other")
_RACE_SHARES = (0.62, 0.17, 0.08, 0.012, 0.003, 0.115)
FIRST_NAMES = {sex: tuple(names) for sex, names in (("F", Provider.first_names_female), ("M", Provider.first_names_male))}
LAST_NAMES = tuple(Provider.last_names)
_CODES = tuple(f"{letter}{number:02}.{digit}" for letter in "ACEIJKMN" for number in range(10, 60) for digit in range(3))
SCHEMA = pa.schema(
    [
        ("stay_id", pa.int64()),
        ("patient_id", pa.string()),
        ("first_name", pa.string()),
        ("last_name", pa.string()),
        ("birth_date", pa.date32()),
        ("sex", pa.string()),
        ("race", pa.string()),
        ("zip", pa.string()),
        ("admitted_on", pa.date32()),
        ("discharged_on", pa.date32()),
        ("diagnosis", pa.string()),
        ("charge", pa.float64()),
    ]
)


def make(folder: Path, rows: int, *, stays: int = STAYS_A_PERSON, seed: int = 7) -> Path:
    """Write `stays.parquet`: stays in the order of their admission, on the average `stays` a person (1: exactly one, in the order of ids).

    A person's own columns are drawn by the person's number, so nothing is held but a block of rows. Skewed as people are: ages, races, places.
    """
    people = max(rows // stays, 1)
    file = folder / "stays.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as out:
        for block, start in enumerate(range(0, rows, BLOCK)):
            rng = np.random.default_rng([seed, block])
            n = min(BLOCK, rows - start)
            person = np.arange(start, start + n) if stays == 1 else (rng.beta(0.9, 1.1, n) * people).astype(np.int64)
            out.write_table(_block(np.arange(start, start + n), person, rows, rng), row_group_size=131_072)
    return file


def _block(stay: np.ndarray, person: np.ndarray, rows: int, rng: np.random.Generator) -> pa.Table:
    n = len(stay)
    sex = (_of(person, 1) < 0.52).astype(np.int32)
    first = [_picked(FIRST_NAMES[one], _of(person, 2) ** 1.6) for one in SEX]
    admitted = (15_000 + stay * 5_000 // max(rows, 1)).astype(np.int32)
    charge = np.exp(rng.normal(8.5, 1.1, n)).round(2)
    days = np.minimum(rng.geometric(0.25, n) - 1, 120).astype(np.int32)
    age = 95 * rng_free_beta(_of(person, 4))
    born = (19_000 - age * 365.25).astype(np.int32)
    zips = np.char.add(
        np.char.zfill((10 + (_of(person, 5) ** 2 * 60).astype(int)).astype(str), 3),
        np.char.zfill((_of(person, 6) * 80).astype(int).astype(str), 2),
    )
    columns = [
        pa.array(7_000_000_000 + stay * 3),
        pa.array(np.char.add("P", np.char.zfill((person * 7 + 1_000_003).astype(str), 9))),
        pa.array(np.where(sex == 0, first[0], first[1])),
        pa.array(_picked(LAST_NAMES, _of(person, 3) ** 1.6)),
        pa.array(born).cast(pa.date32()),
        pa.array(np.array(SEX)[sex]),
        pa.array(np.array(RACE)[np.searchsorted(np.cumsum(_RACE_SHARES)[:-1], _of(person, 7))]),
        pa.array(zips),
        pa.array(admitted).cast(pa.date32()),
        pa.array(admitted + days).cast(pa.date32()),
        pa.array(_picked(_CODES, rng.random(n) ** 2)),
        pa.array(charge),
    ]
    return pa.Table.from_arrays([column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _of(person: np.ndarray, purpose: int) -> np.ndarray:
    """float64 in [0, 1): the same for a person each time. Source: SplitMix64 (Steele et al. 2014)."""
    z = (person.astype(np.uint64) + np.uint64(purpose << 40)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def rng_free_beta(u: np.ndarray) -> np.ndarray:
    """Ages' shape: many in the middle, few over 90."""
    return 1 - (1 - u) ** 0.75 * 0.98 if u.size else u


def _picked(values: tuple[str, ...], at: np.ndarray) -> np.ndarray:
    return np.array(values)[np.minimum((at * len(values)).astype(int), len(values) - 1)]


POLICY = """\
dataset: stays
description: Made-up stays of made-up people.
subject: {subject}
key: env:ANONYMIZE_KEY
workspace: workspace
shift-days: 365
{engine}
sources:
  files: {{type: parquet, path: {source}}}
tables:
  stays:
    columns:
      stay_id: identifier pseudonym
      patient_id: identifier pseudonym
      first_name: identifier drop name
      last_name: identifier drop name
      birth_date: {{role: quasi, hierarchy: "birth-year:2026", kind: date}}
      sex: quasi flat
      race: quasi flat
      zip: quasi us-zip3
      admitted_on: date shift
      discharged_on: date shift
      diagnosis: sensitive
      charge: plain round -1
privacy: {{k: 5, suppression: 0.05}}
release: {{store: store, title: Stays}}
"""


def policy(folder: Path, source: Path, *, engine: str = "", stays: int = STAYS_A_PERSON) -> Path:
    """Write the policy of one road. source: the folder of `stays.parquet`; engine: a line of YAML."""
    file = folder / "policy.yaml"
    file.write_text(POLICY.format(engine=engine, source=source, subject="stays.patient_id" if stays == 1 else "patient_id"))
    return file
