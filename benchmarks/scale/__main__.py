"""`make bench-scale`: the whole road at size, beside a script by hand, Spark and others' tools, each in processes of its own, in one run.

What is asked stands beside what was measured; what was not met is said at the end. `--rows 1000000` is a short run.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.scale import drawing, machine, notes, peers, stays
from benchmarks.scale.watching import Measured, python

HOME = Path(__file__).parents[2]
RESULTS = HOME / "build" / "bench" / "scale.json"
KEY = {"ANONYMIZE_KEY": "benchmark-only-this-is-no-secret-0123456789"}
GB = 1e9
#: Characters that are cut into notes of several lengths.
CUT = 600_000
SPARK = 'engine: {spark: {master: "local[2]", conf: {spark.driver.memory: 6g}}}'
PARTS = ("road", "persons", "hand", "spark", "text", "lengths", "peers")


@click.command()
@click.option("--rows", multiple=True, type=int, help="Sizes of the table; default 10 thousand, 1, 3 and 10 million.")
@click.option("--notes", "number", default=1_000, show_default=True, help="Notes of the text road.")
@click.option("--repeat", default=3, show_default=True, help="Rounds of the text road and of the note lengths; medians count.")
@click.option("--parts", default=",".join(PARTS), show_default=True, help="Which, with commas.")
@click.option(
    "--work", type=click.Path(path_type=Path), help="Where the made data goes, and is removed from; default: a folder of the system's."
)
@click.option("--docs", is_flag=True, help="Draw the plots into docs/ as well.")
def main(rows: tuple[int, ...], number: int, repeat: int, parts: str, work: Path | None, docs: bool) -> None:
    """Measure, print, and say at the end what was not met."""
    sizes, asked = sorted(rows or (10_000, 1_000_000, 3_000_000, drawing.ASKED)), parts.split(",")
    load = os.getloadavg()[0]
    click.echo(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / GB:.0f} GB; load {load:.1f}"
    )
    if load > 0.5:
        click.echo(f"OTHERS USE THIS MACHINE (load {load:.1f}): seconds are too many, processor seconds are the better measure")
    found: dict[str, Any] = {"load": load, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=work) as folder:
        bench = Bench(Path(folder), found)
        if set(asked) & {"road", "hand", "spark", "persons"}:
            bench.tables(sizes, asked)
        if "text" in asked:
            bench.texts(number, repeat)
        if "lengths" in asked:
            bench.lengths(repeat)
        if "peers" in asked:
            bench.found["peers"] = list(peers.compare(Path(folder)))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    drawing.draw(found, HOME / "docs" if docs else RESULTS.parent)
    click.echo(f"\n{RESULTS}\n")
    missed = list(_verdicts(found))
    click.echo("\nNot met:" if missed else "\nAll that was measured was met.")
    for words in missed:
        click.echo(f"  {words}")


class Bench:
    """What is measured, into `found`. folder: for made data, each size removed before the next is made."""

    def __init__(self, folder: Path, found: dict[str, Any]) -> None:
        self.folder, self.found = folder, found

    def tables(self, sizes: Sequence[int], asked: Sequence[str]) -> None:
        """Stays of people, by all roads."""
        click.echo(
            "\n| rows | way | seconds | processor s | rows/s | memory, GB | steps (processor s) |\n| --- | --- | --- | --- | --- | --- | --- |"
        )
        self._warm(asked)
        for size in sizes:
            source = self.folder / f"stays-{size}"
            stays.make(source, size)
            if "road" in asked:
                self._road("local", size, source)
            if "hand" in asked and size >= 1_000_000:
                for tool in ("duckdb", "polars"):
                    self._hand(tool, size, source)
            if "spark" in asked and size in (1_000_000, sizes[-1]) and size >= 1_000_000:
                self._spark(size, source)
            shutil.rmtree(source)
            if "persons" in asked and size == 1_000_000:
                people = self.folder / f"people-{size}"
                stays.make(people, size, stays=1)
                self._road("local, one row a person", size, people, stays_a_person=1)
                shutil.rmtree(people)

    def _warm(self, asked: Sequence[str]) -> None:
        """A small road that nobody measures: what a machine compiles once, of Python and of our kernels, is no cost of a run."""
        if set(asked) & {"road", "persons", "spark"}:
            source, home = stays.make(self.folder / "warm", 300_000).parent, self.folder / "road"
            home.mkdir()
            python("benchmarks.scale.road", stays.policy(home, source), env=KEY)
            shutil.rmtree(source)
            shutil.rmtree(home)

    def _road(self, way: str, size: int, source: Path, *, engine: str = "", stays_a_person: int = stays.STAYS_A_PERSON) -> None:
        home = self.folder / "road"
        home.mkdir()
        policy = stays.policy(home, source, engine=engine, stays=stays_a_person)
        self._note(way, size, python("benchmarks.scale.road", policy, env=KEY, timeout=7_200))
        shutil.rmtree(home)

    def _hand(self, tool: str, size: int, source: Path) -> None:
        out = self.folder / "hand"
        self._note(f"by hand, {tool}", size, python("benchmarks.scale.by_hand", tool, source / "stays.parquet", out, 5))
        shutil.rmtree(out)

    def _spark(self, size: int, source: Path) -> None:
        if shutil.which("java") is None:
            click.echo("\nNO JAVA HERE: Spark IS LEFT OUT\n")
            return
        self._road("Spark local[2]", size, source, engine=SPARK)

    def _note(self, way: str, size: int, measured: Measured) -> None:
        steps = {step: used for step, (_, used) in measured.said.get("steps", {}).items()}
        self.found.setdefault("tables", []).append({"way": way, "rows": size, **asdict(measured)})
        told = ", ".join(f"{step} {used:.1f}" for step, used in steps.items())
        figures = f"{measured.seconds:.1f} | {measured.processor:.1f} | {size / measured.seconds:,.0f} | {measured.peak / GB:.2f}"
        click.echo(f"| {size:,} | {way} | {figures} | {told} |")

    def texts(self, number: int, repeat: int) -> None:
        """Notes, by one process up to one a core, in turns: deidentify alone, for the other steps are those of a table. Between them, what the
        machine gives to several processes that share nothing."""
        click.echo("\n| notes | processes | deidentify, s | processor s | notes/s | whole road, s | memory, GB | the machine gives |")
        click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
        source, cores = self.folder / "notes", os.cpu_count() or 1
        characters = notes.make(source, number)
        for _ in range(repeat):
            for workers in sorted({2**power for power in range(cores.bit_length()) if 2**power <= cores} | {cores}):
                self._texts("texts", source, number, characters, workers, gives=machine.times_one(workers))
        shutil.rmtree(source)

    def lengths(self, repeat: int) -> None:
        """The same characters, cut into notes of several lengths."""
        click.echo(f"\n{CUT:,} characters as notes of several lengths, one process:")
        for _ in range(repeat):
            for length in (600, 2_000, 6_000, 20_000, 60_000, 200_000, 600_000):
                source = self.folder / "notes"
                # A note that runs on into another patient's: the leak gate stops such a release, as it should.
                self._texts("lengths", source, notes.cut(source, CUT, length), CUT, 1, "--short")
                shutil.rmtree(source)

    def _texts(self, part: str, source: Path, number: int, characters: int, workers: int, *how: str, gives: float = 1.0) -> None:
        home = self.folder / "road"
        home.mkdir()
        policy = notes.policy(home, source, engine=f"engine: {{local: {{workers: {workers}}}}}")
        measured = python("benchmarks.scale.road", policy, *how, env=KEY)
        shutil.rmtree(home)
        seconds, used = measured.said["steps"]["deidentify"]
        about = {"notes": number, "characters": characters, "workers": workers, "gives": gives}
        self.found.setdefault(part, []).append({**about, "deidentify": seconds, "used": used, **asdict(measured)})
        figures = f"{seconds:.1f} | {used:.1f} | {number / seconds:,.1f} | {measured.seconds:.1f} | {measured.peak / GB:.2f} | {gives:.2f} x"
        click.echo(f"| {number:,} ({characters / number:,.0f} characters) | {workers} | {figures} |")


def _verdicts(found: dict[str, Any]) -> Iterator[str]:
    """Each line of what is asked, printed with what was measured; yields what was not met."""
    click.echo("| asked | at least | measured |\n| --- | --- | --- |")
    for words, asked, measured, met in _rows(found):
        click.echo(f"| {words} | {asked} | {measured} |")
        if not met:
            yield f"{words}: {measured}, asked {asked}"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    by = {(one["way"], one["rows"]): one for one in found.get("tables", [])}
    sizes = sorted({size for _, size in by})
    largest = sizes[-1] if sizes else 0
    ours, small = by.get(("local", largest)), by.get(("local", 1_000_000))
    if ours:
        speed, peak = largest / ours["seconds"], ours["peak"] / GB
        yield (
            f"structured road, {largest:,} rows",
            ">= 250,000 rows/s, <= 4 GB",
            f"{speed:,.0f} rows/s, {peak:.1f} GB",
            speed >= 250_000 and peak <= 4,
        )
        for tool in ("duckdb", "polars"):
            hand = by.get((f"by hand, {tool}", largest))
            if hand:
                times = ours["seconds"] / hand["seconds"]
                yield f"the same against a script by hand in {tool}", "<= 2.5 x", f"{times:.1f} x", times <= 2.5
        spark = by.get(("Spark local[2]", largest))
        if spark:
            times = spark["seconds"] / ours["seconds"]
            yield f"Spark local[2] against local, {largest:,} rows", "<= 2 x", f"{times:.1f} x", times <= 2
    if ours and small and largest > 1_000_000:
        grown, wanted = ours["seconds"] / small["seconds"], 1.1 * largest / 1_000_000
        memory = ours["peak"] / max(small["peak"], 1)
        words = f"growth 1 -> {largest / 1e6:g} million rows"
        yield words, f"time <= {wanted:g} x, memory <= 1.3 x", f"{grown:.1f} x, {memory:.2f} x", grown <= wanted and memory <= 1.3
    texts = drawing.medians(found.get("texts", []), "workers", "deidentify")
    if {1, 2} <= set(texts):
        times, gives = texts[1] / texts[2], drawing.medians(found["texts"], "workers", "gives")[2]
        yield "text road, processes 1 -> 2", ">= 1.8 x", f"{times:.2f} x, of {gives:.2f} x that the machine gives", times >= 1.8
    for peer in found.get("peers", []):
        if peer.get("seconds"):
            times = peer["seconds"] / peer["ours"]
            yield f"the road against {peer['name']}", "ahead", f"{times:.1f} x as fast", times > 1


if __name__ == "__main__":
    sys.exit(main())
