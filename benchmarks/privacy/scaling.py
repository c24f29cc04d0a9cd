"""Synthetic people, as many as wanted, and how long the whole way takes: tally, search, apply, recount, from a file to a file."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anonymize.generalizing import Asked, generalize

_SIZES = {"age": 100, "sex": 2, "zip": 1000, "race": 6, "ethnicity": 3, "marital": 6, "education": 16, "language": 12}
_BLOCK = 1_000_000


def make(folder: Path, rows: int, seed: int = 7) -> Path:
    """Write `people.parquet` and its hierarchies: eight quasi-identifiers, skewed, at 10 million rows about 9 million distinct tuples."""
    rng = np.random.default_rng(seed)
    shares = {name: rng.dirichlet(np.full(size, 2.0 if name in ("age", "zip") else 0.7)) for name, size in _SIZES.items()}
    shares = {name: share if name in ("age", "zip") else np.sort(share)[::-1] for name, share in shares.items()}
    leaves = {name: [f"{name} {i}" for i in range(size)] for name, size in _SIZES.items()}
    leaves["age"], leaves["zip"] = [str(age) for age in range(100)], [f"{number:05}" for number in range(10_000, 47_000, 37)]
    file = folder / "people.parquet"
    with pq.ParquetWriter(file, pa.schema([(name, pa.string()) for name in _SIZES])) as out:
        for start in range(0, rows, _BLOCK):
            n = min(_BLOCK, rows - start)
            drawn = {name: rng.choice(size, n, p=shares[name]).astype(np.int32) for name, size in _SIZES.items()}
            out.write_table(pa.table({name: pa.DictionaryArray.from_arrays(d, leaves[name]).cast(pa.string()) for name, d in drawn.items()}))
    for name, size in _SIZES.items():
        group = {"marital": 3, "education": 4, "language": 4}.get(name)
        lines = [f"{leaf};group {i // group};*" if group else f"{leaf};*" for i, leaf in zip(range(size), leaves[name], strict=True)]
        if name == "age":
            lines = [";".join([str(a), *(f"{a // w * w}-{a // w * w + w - 1}" for w in (5, 10, 20)), "*"]) for a in range(100)]
        if name == "zip":
            lines = [f"{z};{z[:4]}*;{z[:3]}**;{z[:2]}***;*" for z in leaves["zip"]]
        (folder / f"people_hierarchy_{name}.csv").write_text("\n".join(lines))
    return file


def main(folder: Path) -> None:
    """Generalize what `make` wrote; prints one JSON object."""
    report = generalize(folder / "people.parquet", folder / "out.parquet", Asked(folder, k=5, suppression=0.05))
    print(json.dumps({**asdict(report), "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
