"""Other libraries on one table, run by an environment of their own (peers.txt): prints what each loses by the same hierarchies, and its time.

usage: peers.py FOLDER, which holds NAME.csv and NAME_hierarchy_COLUMN.csv
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import anjana.anonymity
import anonypyx
import pandas as pd
import pycanon.anonymity

K, SUPPRESSION = 5, 0.05
Ladders = dict[str, pd.DataFrame]


def main(folder: Path) -> None:
    rows = pd.read_csv(folder / f"{folder.name}.csv", sep=";", dtype=str)
    ladders = {name: pd.read_csv(folder / f"{folder.name}_hierarchy_{name}.csv", sep=";", header=None, dtype=str) for name in rows.columns}
    for name, run in (("anjana (optimal, 5 %)", by_anjana), ("anonypyx (Mondrian)", by_anonypyx)):
        start = time.perf_counter()
        try:
            loss, suppressed, k = run(rows.copy(), ladders)
        except Exception as error:
            print(f"  {name:24} failed: {type(error).__name__}", flush=True)
            continue
        print(f"  {name:24} loss {loss:.4f}  suppressed {suppressed:.2%}  k {k} (pycanon)  {time.perf_counter() - start:.1f} s", flush=True)


def by_anjana(rows: pd.DataFrame, ladders: Ladders) -> tuple[float, float, int]:
    """Full-domain, as ours in optimal mode."""
    columns = list(rows.columns)
    steps = {name: dict(ladder) for name, ladder in ladders.items()}
    out = anjana.anonymity.k_anonymity(rows, [], columns, K, SUPPRESSION * 100, steps)
    lost = sum(float(out[name].map(losses(ladders[name])).sum()) for name in columns)
    gone = len(rows) - len(out)
    return (lost + gone * len(columns)) / len(rows) / len(columns), gone / len(rows), pycanon.anonymity.k_anonymity(out, columns)


def by_anonypyx(rows: pd.DataFrame, ladders: Ladders) -> tuple[float, float, int]:
    """Multidimensional; its classes are given the finest level of our hierarchies at which all their members meet."""
    columns = list(rows.columns)
    for name in columns:
        rows[name] = rows[name].astype(int) if rows[name].str.fullmatch(r"\d+").all() else rows[name].astype("category")
    made = anonypyx.Anonymiser(rows, feature_columns=columns, k=K, generalisation_strategy="human-readable")
    parts = made.algorithm.partition(made.parameters)
    lost, published = 0.0, []
    paths = {name: {row[0]: list(row) for row in ladder.itertuples(index=False)} for name, ladder in ladders.items()}
    cost = {name: losses(ladder) for name, ladder in ladders.items()}
    for part in parts:
        members = part if isinstance(part, pd.DataFrame) else rows.loc[part]
        met = []
        for name in columns:
            ways = [paths[name][str(value)] for value in members[name].unique()]
            level = next(level for level in range(len(ways[0])) if len({way[level] for way in ways}) == 1)
            met.append(ways[0][level])
            lost += cost[name][ways[0][level]] * len(members)
        published += [met] * len(members)
    out = pd.DataFrame(published, columns=columns)
    return lost / len(rows) / len(columns), 1 - len(out) / len(rows), pycanon.anonymity.k_anonymity(out, columns)


def losses(ladder: pd.DataFrame) -> dict[str, float]:
    """Each value's loss: (leaves under it - 1) / (leaves - 1)."""
    under: dict[str, int] = {}
    for level in ladder.columns:
        for value, number in Counter(ladder[level]).items():
            under[value] = max(under.get(value, 0), number)
    return {value: (number - 1) / max(len(ladder) - 1, 1) for value, number in under.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
