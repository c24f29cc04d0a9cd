"""What a run tells a person when it stops: what came in, what was found, what is left, where the release is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from anonymize.lasting.given_up import came
from anonymize.run import Counts, Run

UNREADABLE = "unreadable-"
"""Before the kind of a file that stood in a text, among the findings."""


def text(run: Run) -> str:
    """A summary of counts, and what to do next."""
    return "\n".join(["", *_counts(run), "", *_next(run)])


def ending(run: Run) -> str:
    """What became of the run, and what to do next, alone."""
    return "\n".join(["", *_next(run)])


def _counts(run: Run) -> list[str]:
    extracted, generalized = run.record.tables("extract"), run.record.tables("generalize")
    given_up = Counter({table: came(run.record, table).given_up for table in run.policy.tables})
    findings: Counter[str] = Counter()
    for counts in run.record.tables("deidentify").values():
        findings.update(counts["findings"])
    lines = [f"{'table':<20}{'rows in':>12}{'quarantined':>13}{'suppressed':>12}{'held back':>11}{'rows out':>12}"]
    for table in run.policy.tables:
        held, left = came(run.record, table), generalized.get(table, {})
        numbers = [held.rows, held.quarantined, left.get("suppressed"), left.get("held_back"), left.get("rows")]
        widths = (12, 13, 12, 11, 12)
        lines.append(f"{table:<20}" + "".join(f"{_number(n):>{w}}" for n, w in zip(numbers, widths, strict=True)))
    for table, counts in extracted.items():
        broken = (counts.get("files") or {}).get("broken")
        if broken:
            lines.append(f"{table}: whole files could not be read, and how many rows they hold is not known: {_told(broken)}")
    lines += [f"{table}: {number:,} of the quarantined killed whoever de-identified them" for table, number in given_up.items() if number]
    unreadable = {kind.removeprefix(UNREADABLE): number for kind, number in findings.most_common() if kind.startswith(UNREADABLE)}
    lines += ["", f"PHI found in free text: {_told({kind: n for kind, n in findings.most_common() if not kind.startswith(UNREADABLE)})}"]
    if unreadable:
        lines.append(f"could not be read, so did not leave: {_told(unreadable)}")
    audit = run.record.get("audit")
    if audit is not None:
        recall = audit["recall"]
        lines.append(
            f"audit of {audit['done']:,} notes: {audit['missed']:,} missed, "
            f"recall {recall['share']:.2%} ({recall['low']:.2%} to {recall['high']:.2%})"
        )
    together = run.record.get("generalize") or {}
    if "k" in together:
        lines.append(f"k-anonymity: asked for {run.policy.privacy.k}, reached {together['k']}; {together['suppressed']:,} rows suppressed")
    gates = (run.record.get("judged") or {}).get("gates", [])
    lines += [f"gate {gate['gate']}: {'passed' if gate['passed'] else 'FAILED'} ({'; '.join(gate['words'][:2])})" for gate in gates]
    return lines


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {number:,}" for kind, number in counts.items()) or "none"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _next(run: Run) -> list[str]:
    published, ended = run.record.get("publish"), run.record.get("end")
    if published is not None:
        return _opening(run, published)
    if ended is not None:
        return [f"the run was {ended['outcome']}; its workspace is removed"]
    signed = run.record.get("signature")
    if signed is not None:
        return [
            f"signed by {signed['steward']}; the policy asks for two stewards, so the release waits for another one:",
            f"  anonymize review {run.policy.file} --approve --as NAME --reason WHY",
        ]
    if run.record.get("request") is not None:
        return [
            "the release waits for a steward. What would be published stands in",
            f"  {run.folder('stage')}",
            f"approve it:  anonymize review {run.policy.file} --approve --as NAME --reason WHY",
        ]
    return [f"the run has not come to its end; start it again and it goes on: anonymize run {run.policy.file}"]


def _opening(run: Run, published: Counts) -> list[str]:
    table = run.policy.subject_table or next(iter(run.policy.tables))
    folder, store = f"{published['uri']}/data/{table}", published["uri"].rsplit("/", 3)[0]
    return [
        f"published {run.policy.dataset} {published['version']}",
        f"  {published['uri']}",
        "",
        "open it:",
        f'  import pandas; pandas.read_parquet("{folder}")',
        f"""  import duckdb; duckdb.sql("FROM '{folder}/*.parquet'")""",
        f'  import anonymize; anonymize.open_dataset("{run.policy.dataset}", table="{table}", store="{store}")',
        "",
        f"all that the store holds, for a browser: {store}/index.html",
    ]
