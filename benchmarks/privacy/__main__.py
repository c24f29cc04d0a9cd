"""`make bench-privacy`: every row of ARX's reference, the hospital tables and the scaling, each beside what is asked of it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.plots import Panel, plot
from benchmarks.privacy import cases, scaling

BUILD = cases.HOME / "build"
#: Rows -> seconds and MiB, at the most.
LIMITS = {10_000_000: (60.0, 3 * 1024.0), 50_000_000: (150.0, 4 * 1024.0)}


@click.command()
@click.option("--tables", default="adult,fars_subset,fars_syn,synthea,diabetes130", show_default=True, help="Which, with commas.")
@click.option("--rows", multiple=True, type=int, help="Sizes of the scaling; default 10 thousand to 10 million. 50000000 takes minutes.")
@click.option("--peers/--no-peers", default=True, help="Other libraries, where build/peers holds them (benchmarks/privacy/peers.txt).")
@click.option("--referee/--no-referee", default=True, help="anonymeter's attacks on our releases, where it is installed.")
def main(tables: str, rows: tuple[int, ...], peers: bool, referee: bool) -> None:
    """Measure, print, and say at the end what was not met."""
    if not (cases.DATA / "tables" / "arx_reference.csv").exists():
        raise click.ClickException(f"{cases.DATA} holds no tables/arx_reference.csv; set ANONYMIZE_DATA")
    missed = [*_tables(tables.split(",") if tables else []), *_scaling(rows or (10_000, 100_000, 1_000_000, 10_000_000))]
    if peers:
        _peers()
    if referee:
        click.echo("\nanonymeter on releases of Adult: what 300 attacks on people in the release win over attacks on people who are not in it")
        _referee()
    click.echo("\nNot met:" if missed else "\nAll met.")
    for words in missed:
        click.echo(f"  {words}")


def _tables(names: list[str]) -> Iterator[str]:
    heads = ("table", "asked", "search", "budget", "k found", "suppr.", "loss", "ARX", "ratio", "<=")
    heads += ("s", "cpu s", "ARX s", "faster", ">=", "tally s", "apply s", "MiB")
    widths = (12, 26, 8, 6, 7, 7, 8, 8, 6, 4, 7, 7, 7, 7, 4, 7, 7, 6)
    click.echo(
        "s: the search, warm, median of five; cpu s: of the processor; the search has one thread, so on a quiet machine both are the same."
    )
    click.echo(
        f"faster: ARX's wall time, from its file, over our cpu s. "
        f"Load of this machine now: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n"
    )
    _line(heads, widths)
    for name in names:
        for row in _child("benchmarks.privacy.one", name):
            case = row["case"]
            asked = next(c for c in cases.of(name) if (c.words, c.k, c.mode, c.suppression) == tuple(case[f] for f in _KEY))
            ratio = row["loss"] / asked.arx_loss if asked.arx_loss else None
            faster = asked.arx_seconds / row["cpu_seconds"] if asked.arx_seconds else None
            label = f"k={asked.k}{asked.words[1:]}"
            _line(
                (
                    name, label, asked.mode, f"{asked.suppression:.0%}", row["recounted"], f"{row['suppressed']:.2%}", f"{row['loss']:.4f}",
                    _or(asked.arx_loss, ".4f"), _or(ratio, ".3f"), _or(asked.loss if ratio else None, ".2f"), f"{row['seconds']:.3f}",
                    f"{row['cpu_seconds']:.3f}",
                    _or(asked.arx_seconds, ".2f"), _or(faster, ".1f"), _or(asked.faster if faster else None, ".0f"),
                    f"{row['tally_seconds']:.3f}", f"{row['apply_seconds']:.3f}", f"{row['megabytes']:.0f}",
                ),
                widths,
            )  # fmt: skip
            if not asked.arx_loss and asked.mode == "optimal":
                click.echo(f"{'':12} before: {row['unique']:.0%} of the subjects stood alone, {row['under']:.0%} in classes under {asked.k}")
            where = f"{name} {label} {asked.mode} {asked.suppression:.0%}"
            if ratio is not None and asked.loss is not None and ratio > asked.loss + 1e-5:
                yield f"{where}: loss {ratio:.3f} of ARX's, asked <= {asked.loss:.2f}"
            if faster is not None and faster < asked.faster:
                yield f"{where}: {faster:.1f} times faster than ARX, asked >= {asked.faster:.0f}"


_KEY = ("words", "k", "mode", "suppression")


def _scaling(sizes: tuple[int, ...]) -> Iterator[str]:
    heads = ("rows", "classes", "loss", "tally s", "search s", "apply s", "recount s", "all s", "<=", "MiB", "<=")
    widths = (11, 9, 7, 8, 8, 8, 9, 7, 5, 6, 6)
    click.echo("\nA file of synthetic people, eight quasi-identifiers, k = 5, 5 %: from the file to the recounted file, in a fresh process")
    _line(heads, widths)
    spans = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            scaling.make(Path(folder), size)
            row = next(_child("benchmarks.privacy.scaling", folder))
        s, limit = row["seconds"], LIMITS.get(size, (None, None))
        spans.append((size, s["all"], row["megabytes"]))
        parts = [f"{s[part]:.1f}" for part in ("tally", "search", "apply", "recount", "all")]
        memory = (f"{row['megabytes']:.0f}", _or(limit[1], ".0f"))
        _line((f"{size:,}", f"{row['classes']:,}", f"{row['loss']:.4f}", *parts, _or(limit[0], ".0f"), *memory), widths)
        if limit[0] is not None and (s["all"] > limit[0] or row["megabytes"] > (limit[1] or 0)):
            yield f"{size:,} rows: {s['all']:.0f} s and {row['megabytes']:.0f} MiB, asked <= {limit[0]:.0f} s and {limit[1]:.0f} MiB"
    if len(sizes) > 1:
        _plot(spans)


def _plot(spans: list[tuple[int, float, float]]) -> None:
    """The scaling as a picture, beside what is asked of it."""
    rows = [size for size, _, _ in spans]
    asked = sorted((size, *limit) for size, limit in LIMITS.items() if size in rows)
    time = Panel("seconds, from the file to the recounted file", [("ours", rows, [s for _, s, _ in spans])], [(n, s) for n, s, _ in asked])
    memory = Panel("MiB at the most", [("ours", rows, [m for _, _, m in spans])], [(n, m) for n, _, m in asked])
    plot(BUILD / "bench" / "privacy-scaling.svg", "rows", [time, memory], size_word="people, eight quasi-identifiers, k = 5, 5 %")
    click.echo(f"{BUILD / 'bench' / 'privacy-scaling.svg'}")


def _peers() -> None:
    """Other libraries run in an environment of their own, for they want other versions than ours."""
    python = BUILD / "peers" / "bin" / "python"
    click.echo("\nOther libraries on Adult, k = 5 (loss of the classes as they come, by the same hierarchies)")
    if not python.exists():
        click.echo("  not installed: python -m venv build/peers && build/peers/bin/pip install -r benchmarks/privacy/peers.txt")
        return
    script = Path(__file__).with_name("peers.py")
    done = subprocess.run([str(python), str(script), str(cases.DATA / "tables" / "adult")], capture_output=True, text=True, timeout=1800)
    click.echo(done.stdout.rstrip() or f"  failed: {done.stderr.strip().splitlines()[-1] if done.stderr else 'no word'}")


def _referee() -> None:
    if importlib.util.find_spec("anonymeter") is None:
        click.echo("  not installed: pip install --no-deps -r requirements-referee.txt")
        return
    subprocess.run([sys.executable, "-m", "benchmarks.privacy.referee"], timeout=1800, check=False)


def _child(module: str, argument: str) -> Iterator[dict[str, Any]]:
    with subprocess.Popen([sys.executable, "-m", module, argument], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        if process.wait():
            raise click.ClickException(f"{module} {argument} ended with {process.returncode}")


def _or(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _line(cells: tuple[Any, ...], widths: tuple[int, ...]) -> None:
    words = 3 if len(widths) > 12 else 0
    parts = [f"{cell!s:<{width}}" for cell, width in zip(cells[:words], widths[:words], strict=True)]
    click.echo(" ".join([*parts, *(f"{cell!s:>{width}}" for cell, width in zip(cells[words:], widths[words:], strict=True))]))


if __name__ == "__main__":
    main()
