"""What a reviewer sees before signing, in the order in which it matters: what runs, on what, what leaves, who agreed.

Keys are shown by the organisation's name and the beginning of their id; the JSON form holds the whole signed document.

Trust: what is shown is the document whose digest is shown. Names of people and organisations are those in the member list that
the reader signed, names of data sets those in manifests that people of that list signed; without, ids stand in their place. That
somebody voted, that a test ran and what it gave, and which revision was accepted before, the database says.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.filesize import decimal

from opaque_jobs.attestation.policy_gaps import gaps_by_kind
from opaque_jobs.cli.documents import moment, review_document, run_document
from opaque_jobs.cli.export import plain_value
from opaque_jobs.cli.output import escape, print_code, print_record, print_rows, stdout, trust_text
from opaque_jobs.cli.own_policies import kept_policy
from opaque_jobs.cli.result import result_table
from opaque_jobs.cli.results import open_test_result
from opaque_jobs.cli.signed_list import signed_list
from opaque_jobs.cli.tee_policy import policy_items, print_gaps
from opaque_jobs.cli.template import find_template
from opaque_jobs.client.showing import fingerprint
from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.attested import ATTESTED
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.job import DatasetUse, JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.output_policy import LogKind
from opaque_jobs.domain.review import Decision, demands
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import NeededApprovals, ReviewView, RevisionDiff, RunView
from opaque_jobs.services import Services

__all__ = ["ReviewPage", "draft_page", "print_page", "read_page", "template_here", "under_review"]

_TEST_ROWS: Final = 5
_NOT_MEASURED: Final = " (stated by the host; on hardware nobody measures it)"
_SHORT: Final = len("sha256:") + 12
_NOT_SIGNED: Final = (
    "status", "votes", "approval_rule", "still_needed", "waiting_for", "deadline", "test_run_id", "no_test_reason",
    "against_revision", "diff", "test_run", "test_rows",
)  # fmt: skip
"""What the database says beside the signed document: nobody signed it as it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPage:
    """All that belongs to one review.

    Args:
        review: Its state.
        spec: The signed document.
        changes: Against the revision last accepted.
        roster: The job's member list, which the reader and all in it signed; None if it is not here.
        manifests: Of the data sets that it reads, by id: as signed, and as the document demands. What is not here is left out.
        own_policies: Names of those data sets of the reader's organisation that are released by a rule that is kept here.
        template_here: Whether the reader's own catalogue has the very template that the document names; None without one.
        test: The test run that the author shows; None without one.
        test_rows: First rows of its result; None if its files are not in this home.
    """

    review: ReviewView
    spec: JobSpec
    changes: RevisionDiff
    roster: Roster | None
    manifests: Mapping[str, DatasetManifest]
    own_policies: frozenset[str]
    template_here: bool | None
    test: RunView | None
    test_rows: list[dict[str, Any]] | None

    def member(self, member_id: str) -> str:
        """Give a member's name and organisation."""
        for entry in self.roster.members if self.roster else ():
            if entry.id == member_id:
                return f"{entry.name} ({self.organisation(entry.organisation_id)})"
        return member_id

    def organisation(self, organisation_id: str) -> str:
        """Give an organisation's name."""
        listed = self.roster.organisations if self.roster else ()
        return next((each.name for each in listed if each.id == organisation_id), organisation_id)

    def dataset(self, dataset_id: str) -> str | None:
        """Give the name that a data set's owner signed."""
        return self.manifests[dataset_id].name if dataset_id in self.manifests else None

    def rule(self, use: DatasetUse) -> str:
        """Give by what its owner limits a data set's rows and columns, as far as the reader can tell."""
        manifest = self.manifests.get(use.dataset_id)
        if manifest is not None and manifest.policy_commitment != use.policy_commitment:
            return "NOT by the rule that its owner signed: no broker releases anything for this"
        whose = "your own rule, as kept here" if use.alias in self.own_policies else "its owner's rule"
        return f"limited by {whose}, commitment {use.policy_commitment[:_SHORT]}"

    def to_json(self) -> dict[str, Any]:
        """Give it all, with the whole signed document."""
        names = {entry.id: entry.name for entry in self.roster.members} if self.roster else {}
        left_open = gaps_by_kind(self.spec.tee_policies)
        return {
            **review_document(self.review, names),
            "spec": self.spec.to_json(),
            "not_demanded": {kind: [to_json(each) for each in found] for kind, found in left_open.items()},
            "workspace": {"id": self.spec.workspace_id, "name": self.roster.name if self.roster else None},
            "fingerprint": fingerprint(self.review.digest),
            "sensitive_inputs": [each.name for each in self.spec.inputs if each.sensitive],
            "template_here": self.template_here,
            "not_signed": list(_NOT_SIGNED),
            "attested": {kind.value: ATTESTED[kind] for kind in self.spec.tee_kinds},
            "names_signed": self.roster is not None,
            "datasets": [
                {
                    "alias": use.alias,
                    "name": self.dataset(use.dataset_id),
                    "dataset_id": use.dataset_id,
                    "policy_commitment": use.policy_commitment,
                    "own_policy_kept_here": use.alias in self.own_policies,
                }
                for use in self.spec.datasets
            ],
            "recipients": [
                {"organisation": self.organisation(each.organisation_id), "key_id": each.sealing_key_id}
                for each in self.spec.recipients
            ],
            "against_revision": self.changes.against,
            "diff": self.changes.text,
            "test_run": run_document(self.test) if self.test else None,
            "test_rows": self.test_rows,
        }


def under_review(opened: Services, actor: MemberEntry, job_id: str) -> tuple[ReviewView, JobSpec]:
    """Return the latest review of a job, and the document that it is about.

    Raises:
        ConflictError: The job was never submitted.
        NotFoundError: The actor may not know of it.
        TrustError: The document is not the one whose digest is written beside it, or is another job's.
    """
    review = opened.reviews.status(job_id, actor=actor.id)
    if digest(review.spec_bytes) != review.digest:
        raise TrustError("the job under review has another digest than is written for it", hint="do not vote on it")
    spec = parse_job_spec(review.spec_bytes)
    if spec.job_id != job_id:
        raise TrustError("the document under review is another job's", hint="do not vote on it: was the database changed?")
    return review, spec


def read_page(opened: Services, actor: MemberEntry, job_id: str) -> ReviewPage:
    """Collect what belongs to the latest review of a job. Raises as `under_review`."""
    (review, spec), signed = under_review(opened, actor, job_id), None
    with contextlib.suppress(OpaqueJobsError):
        bundle = opened.reviews.bundle(review.job_id, review.revision)
        signed = bundle.roster.encode(), [each.encode() for each in bundle.acceptances]
    changes = opened.jobs.diff(job_id, actor=actor.id, revision=review.revision)
    return _page(opened, actor, review, spec, changes=changes, signed=signed)


def draft_page(
    opened: Services, author: MemberEntry, spec: JobSpec, *, test_run_id: str | None, no_test_reason: str | None
) -> ReviewPage:
    """Collect what belongs to a draft that is to be submitted, as reviewers will see it.

    Raises:
        NotFoundError: The author may not know of it.
    """
    review = ReviewView(
        job_id=spec.job_id,
        revision=spec.revision,
        status=JobStatus.DRAFT,
        digest=spec.digest,
        spec_bytes=spec.to_bytes(),
        votes=(),
        approval_rule=ApprovalRule.UNANIMOUS,
        still_needed=(),
        waiting_for=(),
        deadline=None,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
    )
    told = opened.workspaces.broker_push(spec.workspace_id, actor=author.id)
    changes = opened.jobs.diff(spec.job_id, actor=author.id)
    return _page(opened, author, review, spec, changes=changes, signed=(told.roster, told.acceptances))


def _page(
    opened: Services,
    actor: MemberEntry,
    review: ReviewView,
    spec: JobSpec,
    *,
    changes: RevisionDiff,
    signed: tuple[bytes, Sequence[bytes]] | None,
) -> ReviewPage:
    test = opened.runs.show(review.test_run_id, actor=actor.id) if review.test_run_id else None
    roster = _signed_list(opened, actor, spec, *signed) if signed else None
    return ReviewPage(
        review=replace(review, still_needed=_still_needed(review, spec, roster)),
        spec=spec,
        changes=changes,
        roster=roster,
        manifests=dict(_manifests(opened, actor, spec, roster)),
        own_policies=frozenset(_own_policies(opened, actor, spec)),
        template_here=template_here(spec),
        test=test,
        test_rows=_test_rows(opened, actor, test),
    )


def _signed_list(opened: Services, actor: MemberEntry, spec: JobSpec, data: bytes, acceptances: Sequence[bytes]) -> Roster | None:
    with contextlib.suppress(OpaqueJobsError):
        roster = signed_list(opened.context.settings, actor, data, acceptances)
        return roster if roster.digest == spec.roster_digest else None
    return None


def _manifests(
    opened: Services, actor: MemberEntry, spec: JobSpec, roster: Roster | None
) -> Iterator[tuple[str, DatasetManifest]]:
    for use in spec.datasets if roster else ():
        with contextlib.suppress(OpaqueJobsError):
            for each in opened.datasets.show(use.dataset_id, actor=actor.id).versions:
                if each.version == use.dataset_version:
                    manifest = verify_manifest(each.envelope, roster.members if roster else ())
                    if (manifest.digest, manifest.organisation_id) == (use.manifest_digest, use.organisation_id):
                        yield manifest.dataset_id, manifest


def _own_policies(opened: Services, actor: MemberEntry, spec: JobSpec) -> Iterator[str]:
    settings, own = opened.context.settings, actor.organisation_id
    for use in spec.datasets:
        if use.organisation_id == own and kept_policy(settings, own, use.dataset_id, use.policy_commitment) is not None:
            yield use.alias


def template_here(spec: JobSpec) -> bool | None:
    """Tell whether the own catalogue has the very template that a document names; None if it names none."""
    if spec.template is None:
        return None
    try:
        return find_template(f"{spec.template.name}@{spec.template.version}").digest == spec.template.digest
    except OpaqueJobsError:
        return False


def _still_needed(review: ReviewView, spec: JobSpec, roster: Roster | None) -> tuple[NeededApprovals, ...]:
    """Give whose approvals are missing, by the rule and the names in the signed list; nothing once it is accepted."""
    if roster is None or not review.still_needed:
        return tuple(replace(each, name="somebody") for each in review.still_needed)
    voted = {vote.member_id for vote in review.votes}
    approving = frozenset(vote.member_id for vote in review.votes if vote.decision is Decision.APPROVE)
    return tuple(
        NeededApprovals(name=each.name, missing=each.missing(approving), member_ids=tuple(sorted(each.member_ids - voted)))
        for each in demands(roster, spec)
        if each.missing(approving)
    )


def _test_rows(opened: Services, actor: MemberEntry, test: RunView | None) -> list[dict[str, Any]] | None:
    if test is None:
        return None
    try:
        found = open_test_result(opened.runs.result_folder(test.id, actor=actor.id)).first(_TEST_ROWS)
    except (ConflictError, NotFoundError):
        return None
    return [plain_value(row) for row in found]


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
    return [f"{page.organisation(each.organisation_id)} (key {each.sealing_key_id[:_SHORT]})" for each in page.spec.recipients]


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
