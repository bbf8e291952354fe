"""A review page as a person reads it: what runs, on what, what leaves, who agreed, in the order in which it matters."""

from typing import Any, Final

from rich.filesize import decimal

from opaque_jobs.attestation.policy_gaps import gaps_by_kind
from opaque_jobs.cli.documents import moment
from opaque_jobs.cli.output import escape, print_code, print_record, print_rows, stdout, trust_text
from opaque_jobs.cli.result import result_table
from opaque_jobs.cli.review_page import SHORT, ReviewPage
from opaque_jobs.cli.tee_policy import policy_items, print_gaps
from opaque_jobs.client.showing import fingerprint
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.attested import ATTESTED
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.output_policy import LogKind

__all__ = ["print_page"]

_NOT_MEASURED: Final = " (stated by the host; on hardware nobody measures it)"


def print_page(page: ReviewPage) -> None:
    """Print it for a person."""
    review, spec = page.review, page.spec
    head = {
        "workspace": f"{page.roster.name} ({spec.workspace_id})" if page.roster else spec.workspace_id,
        "revision": spec.revision,
        "author": page.member(spec.author_id),
        "description": spec.description,
        "job_digest": review.digest,
        "fingerprint": fingerprint(review.digest),
        **({"approvals count until": spec.review_until} if spec.review_until else {}),
    }
    print_record(head, as_json=False, whole=True, title=spec.name)
    if page.roster is None:
        stdout().print("ids stand for names: the job's member list is not here as you and all its members signed it")
    _print_code(page)
    _section("data that it reads")
    print_rows(_uses(page), ["alias", "data set", "id", "owner", "version", "columns", "rows"], as_json=False)
    _section("input variables")
    print_rows(_inputs(spec), ["name", "type", "default", "may_be_set", "sensitive", "constraints"], as_json=False, empty="none")
    _section("what may leave, who can open it, how often it may run")
    print_record({"result": _output(spec), "opened by": _recipients(page), **_terms(spec)}, as_json=False, whole=True)
    _section("where it runs")
    print_record(_runtime(spec), as_json=False, whole=True)
    for accepted in spec.tee_kinds:
        stdout().print(f"accepts: {trust_text(accepted.value)}")
    for words in dict.fromkeys(ATTESTED[accepted] for accepted in spec.tee_kinds):
        stdout().print(escape(words))
    for kind, demanded in policy_items(spec.tee_policies).items():
        _section(f"what is demanded of {kind} before it gets keys; debug modes never do")
        print_record(demanded, as_json=False, whole=True)
        print_gaps(gaps_by_kind(spec.tee_policies).get(kind, ()))
    _section("NOT signed, the database's word: the job's state, votes, what was accepted before, the test")
    print_record({"status": review.status.value}, as_json=False)
    _print_changes(page)
    _section("votes")
    print_rows(_votes(page), ["member", "vote", "comment", "voted_at"], as_json=False)
    if review.approval_rule is ApprovalRule.GROUPS:
        _section("approvals that are still needed, by the groups that all members chose")
        print_rows(_needed(page), ["from", "missing", "who may give them"], as_json=False, empty="none")
    _section("test on test data")
    _print_test(page)
    if review.status is JobStatus.UNDER_REVIEW:
        _section(f"approve exactly this: opaque-jobs review approve {review.job_id} --digest {review.digest}")
    if review.status is JobStatus.DRAFT:
        _section(f"submit exactly this: opaque-jobs job submit {review.job_id} --digest {review.digest}")


def _section(title: str) -> None:
    stdout().print(f"\n[bold]{escape(title)}[/]")


def _print_code(page: ReviewPage) -> None:
    spec = page.spec
    if spec.template is not None:
        _section(f"template {spec.template.name}, version {spec.template.version}; its parameters")
        print_record(spec.template.parameters, as_json=False, whole=True)
        same = "your own catalogue has the same" if page.template_here else "NOT the one in your own catalogue: read its code"
        print_record({"template digest": f"{spec.template.digest} ({same})"}, as_json=False)
    _section(f"code ({spec.code.language.value})")
    print_code(spec.code.text, spec.code.language.value, numbered=True)


def _print_changes(page: ReviewPage) -> None:
    against = page.changes.against
    if against is None:
        _section("no revision of this job was accepted before")
    else:
        _section(f"changes since revision {against}, which was accepted")
        print_code(page.changes.text, "diff")


def _uses(page: ReviewPage) -> list[dict[str, Any]]:
    return [
        {
            "alias": use.alias,
            "data set": page.dataset(use.dataset_id) or "(its signed manifest is not here)",
            "id": use.dataset_id,
            "owner": page.organisation(use.organisation_id),
            "version": use.dataset_version,
            "columns": list(use.columns),
            "rows": page.rule(use),
        }
        for use in page.spec.datasets
    ]


def _inputs(spec: JobSpec) -> list[dict[str, Any]]:
    return [
        {
            "name": variable.name,
            "type": variable.type.value,
            "default": variable.default,
            "may_be_set": variable.name in spec.rerun_terms.variable_inputs,
            "sensitive": variable.sensitive,
            "constraints": " or ".join(
                " and ".join(f"{each.kind.value} {each.value}" for each in group) for group in variable.constraints
            ),
        }
        for variable in spec.inputs
    ]


_LOGS: Final = {
    LogKind.NONE: "no log of real runs",
    LogKind.WORDS: "of real runs a log in fixed words: whether it failed, an error's class from a list and its line",
    LogKind.FULL: "of real runs a log with WHATEVER THE CODE PRINTS, values of the data too, up to {}",
}


def _output(spec: JobSpec) -> str:
    policy = spec.output_policy
    return (
        f"at most {policy.max_rows:,} rows, {policy.max_columns:,} columns, {decimal(policy.max_bytes)}; "
        f"a preview of {policy.preview_rows:,} rows; {_LOGS[policy.log].format(decimal(policy.max_log_bytes))}"
    )


def _recipients(page: ReviewPage) -> list[str]:
    return [f"{page.organisation(each.organisation_id)} (key {each.sealing_key_id[:SHORT]})" for each in page.spec.recipients]


def _terms(spec: JobSpec) -> dict[str, Any]:
    terms = spec.rerun_terms
    named = {
        "not before": terms.not_before,
        "not after": terms.not_after,
        "between two runs": f"at least {terms.min_interval_s:,} s" if terms.min_interval_s else None,
        "schedule": "whenever one that it follows is refreshed" if terms.on_refresh else terms.schedule,
        "newer versions too, with the same columns, of": list(terms.follows),
    }
    return {"runs": terms.max_runs, **{name: value for name, value in named.items() if value}}


def _runtime(spec: JobSpec) -> dict[str, Any]:
    limits = spec.limits
    return {
        "enclaves": [kind.value for kind in spec.tee_kinds],
        **({"experimental hardware": True} if spec.experimental_hardware else {}),
        "runtime": spec.measurement + (_NOT_MEASURED if spec.experimental_hardware else ""),
        "limits": (
            f"{limits.cores} cores, {decimal(limits.memory_bytes)} of memory, {decimal(limits.scratch_bytes)} of scratch, "
            f"{limits.pids:,} processes, {limits.timeout_s:,} s"
        ),
        **({"engine settings": spec.spark_conf} if spec.spark_conf else {}),
        "member list": f"epoch {spec.epoch}, {spec.roster_digest}",
    }


def _votes(page: ReviewPage) -> list[dict[str, Any]]:
    given = [
        {
            "member": page.member(vote.member_id),
            "vote": vote.decision.value,
            "comment": vote.comment,
            "voted_at": moment(vote.voted_at),
        }
        for vote in page.review.votes
    ]
    return [*given, *({"member": page.member(each), "vote": "not yet"} for each in page.review.waiting_for)]


def _needed(page: ReviewPage) -> list[dict[str, Any]]:
    return [
        {"from": each.name, "missing": each.missing, "who may give them": [page.member(one) for one in each.member_ids]}
        for each in page.review.still_needed
    ]


def _print_test(page: ReviewPage) -> None:
    test = page.test
    if test is None:
        print_record({"none, because": page.review.no_test_reason}, as_json=False, whole=True)
        return
    print_record({"run": test.id, "state": test.state.value, "inputs": test.inputs}, as_json=False, whole=True)
    if page.test_rows is None:
        stdout().print("its result is not in this home")
        return
    stdout().print(result_table(list(page.test_rows[0]) if page.test_rows else [], page.test_rows))
    stdout().print(f"[dim]first rows; more with 'opaque-jobs result show {test.id}'[/]")
