"""The steward's task: shows counts and verdicts, waits, and hands the decision to the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from anonymize.errors import ReviewMissing
from anonymize_airflow.steps import opened

if TYPE_CHECKING:
    from airflow.sdk import Context

    from anonymize.publish.review import ReviewRequest
    from anonymize.run import Run


def form() -> dict[str, Param]:
    """What a steward fills in beside the choice; which files are shown is filled in."""
    why = "Why you approve or reject; it stands in the release's manifest."
    names = "Leave as it is: it names the files that you decide on."
    return {
        "reason": Param("", type="string", title="Reason", description=why),
        "shown": Param("", type="string", title="Files shown (SHA-256)", description=names),
    }


class ReviewOperator(ApprovalOperator):
    """Asks a steward to approve or reject a run's release, and records who decided, why, and on which files.

    policy_file, run: the run to decide on; second: whether it asks for the second of two signatures. Approved: the next task goes on.
    Rejected: the decision is recorded and the tasks after are skipped. No answer in time: the task fails, and nothing is published. It is
    not tried again by itself; cleared, it asks anew.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "policy_file", "run")

    def __init__(self, *, policy_file: str, run: Any, second: bool = False, **settings: Any) -> None:
        super().__init__(subject="Review", **settings)
        self.policy_file, self.run, self.second = policy_file, run, second

    def execute(self, context: Context) -> Any:
        from anonymize import pipeline
        from anonymize.auditing.served import keep_sample
        from anonymize.publish.review import read_decision, read_request

        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run stops before the review")
        with opened(self.policy_file, self.run) as run:
            pipeline.request_review(run)
            keep_sample(run)
            asked = read_request(run.folder("review"))
            if asked is None:
                raise ReviewMissing(f"run '{run.id}' has ended, so there is nothing to review. Trigger a new run")
            first = read_decision(run.folder("review")) if self.second else None
            self.subject = f"{run.policy.release.title or run.policy.dataset}: may this release leave?"
            if first is not None:
                self.subject += f" {first.steward} has signed; another steward has to sign as well."
            self.body = page(run, asked)
            self.params["shown"] = asked.sha256
        return super().execute(context)

    def validate_params_input(self, params_input: Mapping[str, Any]) -> None:
        """Which files were shown need not be said: who answers on Airflow's own page has seen them in the question."""
        given = {name: params_input.get(name, "") for name in self.serialized_params} if params_input else {}
        super().validate_params_input(given | dict(params_input))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from anonymize import pipeline

        answer = HITLOperator.execute_complete(self, context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        with opened(self.policy_file, self.run) as run:
            steward, given = answer["responded_by_user"]["name"], answer["params_input"]
            shown = given.get("shown") or None
            counts = pipeline.decide(run, approve=approved, steward=steward, reason=given.get("reason", ""), shown=shown)
            if approved and self.second and counts["signatures"] < counts["of"]:
                raise ReviewMissing(f"{steward} has signed this release already: the second signature is another steward's. Clear this task")
        super().execute_complete(context, event)  # after the decision is recorded, since where it is to reject this raises, to skip publish
        return counts


def page(run: Run, asked: ReviewRequest) -> str:
    """What the steward reads, in Markdown: verdicts, counts, and the hashes that name the files. Never a value of a record."""
    gates = [(gate.gate, "passed" if gate.passed else "**failed**", gate.words) for gate in asked.gates]
    files = [(path, f"`{sha256[:16]}`") for path, sha256 in asked.files.items()]
    return "\n".join(
        [
            f"Run `{run.id}` waits for a steward. Approve, and exactly the files below are published. Reject, and nothing leaves.",
            "",
            "The whole evidence, with the difference from the last release, stands on the desk: *Releases* in the navigation.",
            *_table(("gate", "verdict", "in words"), gates),
            *_table(("count", ""), [(name.replace("_", " "), value) for name, value in asked.facts.items()]),
            *_table(("table", "rows in", "quarantined", "PHI found", "suppressed", "held back", "rows out"), _ways(run)),
            *_table(("file", "SHA-256 begins"), files),
            "",
            f"All files together: `{asked.sha256}`",
        ]
    )


def _ways(run: Run) -> Iterator[tuple[Any, ...]]:
    """Each table's way down the road, in counts."""
    from anonymize.lasting.given_up import came

    cleaned, generalized = (run.record.tables(step) for step in ("deidentify", "generalize"))
    for table in run.policy.tables:
        held, found, left = came(run.record, table), cleaned.get(table, {}), generalized.get(table, {})
        phi = ", ".join(f"{kind} {number}" for kind, number in found.get("findings", {}).items()) or "-"
        yield table, held.rows, held.quarantined, phi, left.get("suppressed"), left.get("held_back"), left.get("rows")


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        return f"| {' | '.join(_cell(cell) for cell in cells)} |"

    return ["", line(head), line("---" for _ in head), *(line(row) for row in rows)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "/")
