"""One table: how well ours and its peers find PHI, on every set, and how fast; `python -m benchmarks.text --help`."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click

from benchmarks.text.score import Scored, by_label, confused, figures, intervals, score
from benchmarks.text.sets import SETS
from benchmarks.text.systems import BY_NAME, measure

COLUMNS = ("char_recall", "char_precision", "entity_recall", "entity_precision", "leak_free")
#: What is published as text: the hold-out's notes stay unseen by those who write rules, so its misses are told by form alone.
SHOWN = ("dev", "clin_dev", "general")


@click.command()
@click.option("--system", "systems", multiple=True, type=click.Choice(list(BY_NAME)), help="A system; may be given again. Default: all.")
@click.option("--set", "chosen", multiple=True, type=click.Choice(list(SETS)), help="A set; may be given again. Default: all but dev.")
@click.option("--notes", default=200, show_default=True, help="Number of made notes a set (questions: twice as many).")
@click.option("--seed", default=1, show_default=True, help="The maker's seed: another one makes other notes.")
@click.option("--misses", default=0, metavar="N", help="Write N misses and N false alarms of each system and set to build/text-misses.txt.")
@click.option("--show-holdout", is_flag=True, help="With --misses: the hold-out's text too. Who has read it cannot be judged by it any more.")
@click.option("--json", "as_json", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures to this file.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write the chosen set as JSON lines and measure nothing.")
def main(
    systems: tuple[str, ...],
    chosen: tuple[str, ...],
    notes: int,
    seed: int,
    misses: int,
    show_holdout: bool,
    as_json: Path | None,
    write: Path | None,
) -> None:
    """Measure PHI detection in free text and print one table."""
    sets = {name: SETS[name].read(notes, seed) for name in chosen or [name for name in SETS if name != "dev"]}
    if write:
        lines = [json.dumps(document, ensure_ascii=False) for documents in sets.values() for document in documents]
        write.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    warm = SETS["dev"].read(3, 0)
    told: dict[str, Any] = {}
    shown: list[str] = []
    for system in systems or tuple(BY_NAME):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            found = fresh.submit(measure, system, sets, warm).result()
        for name, (spans, seconds) in found.items():
            scored = score(sets[name], spans, SETS[name].ignored)
            kilobytes = sum(len(document["text"].encode()) for document in sets[name]) / 1000
            told.setdefault(name, {})[system] = {
                "figures": figures(scored.documents), "intervals": intervals(scored.documents), "labels": by_label(scored.labels),
                "groups": grouped(sets[name], scored), "kB_per_s": kilobytes / seconds, "documents": len(sets[name]), "kB": kilobytes,
            }  # fmt: skip
            if misses and (name in SHOWN or show_holdout):
                shown += _told(system, name, scored, misses)
    click.echo(table(told))
    if as_json:
        as_json.parent.mkdir(parents=True, exist_ok=True)
        as_json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    if misses:
        path = Path("build") / "text-misses.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(shown) + "\n", encoding="utf-8")
        click.echo(f"misses and false alarms: {path}")


def grouped(documents: list[dict[str, Any]], scored: Scored) -> dict[str, dict[str, Any]]:
    """The figures by how a text is typed (`upper`, `lower`, `mixed` case) and, of made notes, by their kind; `documents` is their number."""
    typed = ["upper" if d["text"].isupper() else "lower" if d["text"].islower() else "mixed" for d in documents]
    members: dict[str, list[int]] = {}
    for number, (document, case) in enumerate(zip(documents, typed, strict=True)):
        for group in {case, document.get("kind", case)}:
            members.setdefault(group, []).append(number)
    return {group: {**figures(scored.documents[rows]), "documents": len(rows)} for group, rows in sorted(members.items())}


def table(told: dict[str, Any]) -> str:
    """The figures of every set and system, then by case, then the recall of every category, as Markdown."""
    lines = ["| set | system | " + " | ".join(c.replace("_", " ") for c in COLUMNS) + " | kB/s |", "| --- " * (len(COLUMNS) + 3) + "|"]
    for name, systems in told.items():
        for system, one in systems.items():
            cells = [f"{one['figures'][c]:.3f} ({one['intervals'][c][0]:.3f}-{one['intervals'][c][1]:.3f})" for c in COLUMNS]
            lines.append(f"| {name} | {system} | " + " | ".join(cells) + f" | {one['kB_per_s']:.0f} |")
    lines += ["", "By how the note is typed:", "", "| set | system | case | n | char recall | char precision | leak free |", "| --- " * 7 + "|"]
    for name, systems in told.items():
        for system, one in systems.items():
            groups = {case: one["groups"][case] for case in ("mixed", "upper", "lower") if case in one["groups"]}
            for case, g in groups.items() if len(groups) > 1 else ():
                figures_of = " | ".join(f"{g[column]:.3f}" for column in ("char_recall", "char_precision", "leak_free"))
                lines.append(f"| {name} | {system} | {case} | {g['documents']} | {figures_of} |")
    for name, systems in told.items():
        labels = sorted({label for one in systems.values() for label in one["labels"] if "/" not in label})
        lines += ["", f"Recall a category, {name} ({next(iter(systems.values()))['documents']} documents; entities found in full):", ""]
        lines += ["| category | n | " + " | ".join(systems) + " |", "| --- " * (len(systems) + 2) + "|"]
        for label in labels:
            cells = [
                f"{o['entity_recall']:.3f} ({o['interval'][0]:.3f}-{o['interval'][1]:.3f})"
                for o in (one["labels"][label] for one in systems.values())
            ]
            lines.append(f"| {label} | {next(iter(systems.values()))['labels'][label]['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _told(system: str, name: str, scored: Scored, n: int) -> list[str]:
    counted = confused(scored)
    lines = [f"== {system} on {name}: {len(scored.misses)} missed, {len(scored.alarms)} false alarms"]
    lines += [f"   missed {count} x {what}" for what, count in counted["misses"].most_common(25)]
    lines += [f"   MISS {m['label']}/{m['form']} {m['id']}: {m['context']}" for m in scored.misses[:: max(1, len(scored.misses) // n)][:n]]
    lines += [f"   ALARM {count} x {what!r}" for what, count in counted["alarms"].most_common(n)]
    return lines


if __name__ == "__main__":
    main()
