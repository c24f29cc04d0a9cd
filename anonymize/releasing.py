"""What a run knows of the release that it makes: assembled from its record for the steward, the manifest and the README."""

from __future__ import annotations

from anonymize import __version__, asking
from anonymize.lasting.given_up import came
from anonymize.policy.environment import expand
from anonymize.policy.model import Policy
from anonymize.publish import Before, GateFact, PrivacyFact, ReleaseFacts, Store, release_facts, sealing, table_facts
from anonymize.publish import before as version_before
from anonymize.run import Run


def facts(run: Run) -> ReleaseFacts:
    """The facts of a run's release. The gates' verdicts and the counts come from the record; nothing is counted anew."""
    policy = run.policy
    generalized = run.record.tables("generalize")
    reached = [counts["k"] for counts in generalized.values() if counts.get("k")]
    # Of a safe sample nothing is told of whom it left out: that would tell of them what differential privacy keeps.
    told = policy.privacy.sampling is None
    return release_facts(
        policy,
        run=run.id,
        started=run.started,
        code_version=__version__,
        key_id=run.key.id,
        privacy=PrivacyFact(
            k=min((asking.k_of(policy, table) for table, counts in generalized.items() if "k" in counts), default=policy.privacy.k),
            reached=min(reached) if reached else None,
            suppressed=sum(counts["suppressed"] for counts in generalized.values()) if told else None,
        ),
        tables=tuple(
            table_facts(
                policy,
                table,
                run.folder("stage", table),
                run.folder("subjects", table),
                levels=levels_in_words(generalized.get(table, {}).get("levels", {})),
            )
            for table in policy.tables
        ),
        gates=tuple(
            GateFact(gate=gate["gate"], passed=gate["passed"], words="; ".join(gate["words"]))
            for gate in (run.record.get("validate") or {}).get("gates", [])
        ),
        held_back={
            "quarantined": sum(counts["quarantined"] for counts in run.record.tables("extract").values()),
            **_whole_files(run),
            **_given_up(run),
            "suppressed": sum(counts["suppressed"] for counts in generalized.values()),
            **_withheld(run),
            "of no known subject": sum(counts["held_back"] for counts in generalized.values()),
        }
        if told
        else {},
    )


def _whole_files(run: Run) -> dict[str, int]:
    """The files that could not be read; how many records they hold is not known."""
    number = sum(counts.get("quarantined_files", 0) for counts in run.record.tables("extract").values())
    return {"quarantined files": number} if number else {}


def _given_up(run: Run) -> dict[str, int]:
    number = sum(came(run.record, table).given_up for table in run.policy.tables)
    return {"not de-identified": number} if number else {}


def before(policy: Policy) -> Before | None:
    """The dataset's newest version, to hold this release against; None where there is none."""
    return version_before(store_uri(policy), policy.dataset)


def beside(run: Run) -> dict[str, bytes]:
    """Documents that other steps wrote into the workspace's `documents/` to leave with the data (`report.html`), by name."""
    folder = run.folder("documents")
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()} if folder.is_dir() else {}


def _withheld(run: Run) -> dict[str, int]:
    """The subjects of whom something was left at the source because they opted out or were taken back; nothing where the policy asks nobody."""
    if not sum((run.record.get("withheld") or {}).values()):
        return {}
    extracted = run.record.tables("extract")
    most = extracted.get(run.policy.subject_table or "") or max(extracted.values(), key=lambda counts: counts.get("withheld_subjects", 0))
    return {"subjects opted out or taken back": most.get("withheld_subjects", 0)}


def seal(run: Run) -> None:
    """Encrypt the columns that the policy says, into the workspace's `sealed/`: from then on it is what leaves (`Run.leaving`). Once a run."""
    encryption = run.policy.release.encryption
    if encryption.columns:
        tables = {table: encryption.of_table(table) for table in run.policy.tables}
        sealing.seal(run.folder("stage"), run.folder("sealed"), tables, encryption.footer or "")


def published_before(policy: Policy) -> bool:
    """Whether the dataset has a version already."""
    return Store(store_uri(policy)).newest(policy.dataset) is not None


def store_uri(policy: Policy) -> str:
    """Where the policy's releases go: a URI as it is, a folder relative to the policy's."""
    store = expand(policy.release.store, str(policy.file))
    return store if "://" in store else str(policy.path(store))


def levels_in_words(levels: dict[str, str | dict[str, float]]) -> dict[str, str]:
    """The level of each column in words; after local recoding with the share of the records that has it."""
    return {
        name: at if isinstance(at, str) else ", ".join(f"{level} ({share:.1%})" for level, share in at.items()) for name, at in levels.items()
    }
