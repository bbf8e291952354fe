"""`opaque-jobs job`: draft, test, submit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from opaque_jobs.cli.command import Noun, common, repeatable
from opaque_jobs.cli.documents import job_document, lease_document, review_document, run_document
from opaque_jobs.cli.drafting import Wanted, build_draft, parse_use, read_code, read_parameters
from opaque_jobs.cli.inputs import DECLARATION_HELP, parse_declarations, parse_values
from opaque_jobs.cli.output import escape, print_code, print_json, print_record, print_rows, stderr, stdout
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.progress import step
from opaque_jobs.cli.review_page import draft_page
from opaque_jobs.cli.review_print import print_page
from opaque_jobs.cli.running import check_succeeded, failed_test_log, run_test
from opaque_jobs.cli.session import Acting, acting_member, acting_session, member_key, services
from opaque_jobs.cli.sql_check import sql_warnings, warn
from opaque_jobs.cli.tee_policy import POLICY_HELP, read_policies
from opaque_jobs.client.drafts import remember_draft
from opaque_jobs.client.finding import find_dataset, find_job, find_workspace
from opaque_jobs.client.reviews import check_meant, revise_job, submit_job
from opaque_jobs.client.rosters import in_force
from opaque_jobs.client.session import Session, listed
from opaque_jobs.client.signed_names import named_job, named_workspace
from opaque_jobs.domain.job import ALLOWED_SPARK_CONF, Code, TeeKind, parse_job_spec
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.output_policy import LogKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.run import RunKind
from opaque_jobs.domain.tee_policy import NO_HARDWARE
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.services.schedules import next_times, parse_schedule
from opaque_jobs.standalone.local_session import local_session

__all__ = ["app"]

app = Noun(help="Jobs: drafted, tested on synthetic data, submitted for everybody's approval.")

_MOST_DAYS: Final = 36_500
Job = Annotated[str, typer.Argument(help="Job, by id or name.")]
Use = Annotated[
    list[str],
    repeatable("--dataset", "[ALIAS=]DATASET[:COLUMN,...]. Repeatable."),
]
Sql = Annotated[Path | None, typer.Option(help="File with SQL; the last query is the result.")]
Python = Annotated[Path | None, typer.Option(help="File with Python that has main(spark, inputs, params) or 'result'.")]
Pinned = Annotated[str | None, typer.Option(metavar="NAME", help="One of your pinned queries in place of a file.")]
Template = Annotated[str | None, typer.Option(help="No-code template, NAME or NAME@VERSION.")]
Parameters = Annotated[Path | None, typer.Option("--parameters", help="JSON file with the template's parameters.")]
Declare = Annotated[list[str], repeatable("--declare", DECLARATION_HELP)]
Constrain = Annotated[
    list[str],
    typer.Option(
        "--constrain",
        default_factory=list,
        show_default=False,
        help="'NAME:min=1 max=9' (also one_of=a|b, pattern=RE2, min_length=, max_length=); several are alternatives.",
    ),
]
Sensitive = Annotated[
    list[str],
    repeatable(
        "--sensitive",
        "NAME[=FILE]: input with one value (its default, or the file's text), which all approve. No run is given another, so it "
        "stays out of Airflow. Repeatable.",
    ),
]
Tee = Annotated[
    list[TeeKind],
    typer.Option(
        "--tee", help="Accepted kind of enclave. Repeatable. [bold]simulated[/] protects nothing from the machine's owner."
    ),
]
TeePolicy = Annotated[Path | None, typer.Option("--tee-policy", metavar="FILE", help=POLICY_HELP)]
ExperimentalHardware = Annotated[
    bool,
    typer.Option(
        "--experimental-hardware",
        help="Needed for --tee other than simulated: hardware vouches for the whole guest with the Airflow worker in it, not for "
        "the enclave's runtime. Reviewers see it.",
    ),
]
MaxRuns = Annotated[int, typer.Option(min=1, help="Real runs in all; above 1 asks for reruns.")]
Until = Annotated[datetime | None, typer.Option(help="Last day of reruns (UTC).", formats=["%Y-%m-%d"])]
Vary = Annotated[list[str], repeatable("--vary", "Input that a runner may set. Repeatable.")]
Interval = Annotated[int, typer.Option("--min-interval", min=0, help="Seconds between two runs.")]
Schedule = Annotated[
    str | None,
    typer.Option(metavar="CRON", help="Five fields in UTC, such as '0 6 * * 1'; or @hourly, @daily, @weekly."),
]
Follow = Annotated[
    list[str],
    repeatable("--follow", "Data set (by its name in the code) whose newer versions with the same columns are approved too."),
]
OnRefresh = Annotated[bool, typer.Option("--on-refresh", help="A newer version of what it follows starts a run.")]
Conf = Annotated[list[str], repeatable("--conf", "Engine setting KEY=VALUE. Repeatable.")]
Log = Annotated[
    LogKind | None,
    typer.Option(
        help="Log of real runs: none; words of a fixed list (default); or [bold]full[/]: what the code prints, values of the "
        "data too, which every owner must approve. Logs of tests are always full."
    ),
]
Values = Annotated[list[str], repeatable("--input", "Input value NAME=VALUE. Repeatable.")]


def _terms(
    max_runs: int,
    until: datetime | None,
    *,
    vary: list[str],
    interval: int,
    schedule: str | None,
    follow: list[str],
    on_refresh: bool,
) -> RerunTerms:
    return RerunTerms(
        max_runs=max_runs,
        not_before=None,
        not_after=_end_of(until).isoformat() if until else None,
        min_interval_s=interval,
        schedule=parse_schedule(schedule) if schedule is not None else None,
        variable_inputs=tuple(vary),
        follows=tuple(sorted(set(follow))),
        on_refresh=on_refresh,
    )


def _end_of(day: datetime) -> datetime:
    try:
        return day.replace(tzinfo=UTC) + timedelta(days=1)
    except OverflowError:
        raise InvalidInputError("the last day of reruns is too far away", hint="give an earlier one with --until") from None


def _conf(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(found for _, found, _ in split):
        raise InvalidInputError("an engine setting is not well formed", hint="write it as KEY=VALUE")
    for key, _, _ in split:
        if key not in ALLOWED_SPARK_CONF:
            raise InvalidInputError(
                f"'{key}' is no engine setting that a job may set", hint="allowed: " + ", ".join(sorted(ALLOWED_SPARK_CONF))
            )
    return {key: value for key, _, value in split}


def _code(session: Session, workspace_id: str, *, sql: Path | None, python: Path | None, pinned: str | None) -> Code | None:
    if pinned is None:
        return read_code(sql=sql, python=python)
    if sql is not None or python is not None:
        raise InvalidInputError("a job has one piece of code", hint="give one of --sql, --python and --pinned")
    return session.queries.show(workspace_id=workspace_id, name=pinned).code


@app.command("create")
def create(
    *,
    workspace: Annotated[str, typer.Argument(help="Workspace, by name or id.")],
    tee: Tee,
    dataset: Use,
    name: Annotated[str, typer.Option(help="Up to 50 characters.")] = "New Job",
    description: Annotated[str, typer.Option(help="Up to 150 characters.")] = "",
    sql: Sql = None,
    python: Python = None,
    pinned: Pinned = None,
    template: Template = None,
    parameters: Parameters = None,
    declare: Declare,
    constrain: Constrain,
    sensitive: Sensitive,
    tee_policy: TeePolicy = None,
    experimental_hardware: ExperimentalHardware = False,
    max_runs: MaxRuns = 1,
    until: Until = None,
    vary: Vary,
    min_interval: Interval = 0,
    schedule: Schedule = None,
    follow: Follow,
    on_refresh: OnRefresh = False,
    conf: Conf,
    log: Log = None,
    replace: Annotated[str | None, typer.Option("--replace", help="Replace this draft's content; makes no new job.")] = None,
    acting: Acting = None,
) -> None:
    """Draft a job. Nothing runs and nobody is asked until you submit it.

    Example: opaque-jobs job create "Tumour study" --name Rates --sql rates.sql --dataset visits --tee simulated

    On hardware: opaque-jobs job create "Tumour study" --sql rates.sql --dataset visits --tee sev-snp --tee-policy snp.json \
        --experimental-hardware

    Without code: opaque-jobs job create "Tumour study" --template overlap-count --parameters p.json --dataset a --dataset b
    """
    with acting_session(acting) as (session, actor):
        where = named_workspace(session, actor, workspace)
        uses = [parse_use(text) for text in dataset]
        draft = build_draft(
            Wanted(
                name=name,
                description=description,
                code=_code(session, where, sql=sql, python=python, pinned=pinned),
                template=template,
                parameters=read_parameters(parameters),
                datasets={alias: find_dataset(session, wanted, workspace_id=where) for alias, wanted, _ in uses},
                columns={alias: columns for alias, _, columns in uses if columns},
                inputs=parse_declarations(declare, constrain, sensitive=sensitive),
                rerun_terms=_terms(
                    max_runs,
                    until,
                    vary=vary,
                    interval=min_interval,
                    schedule=schedule,
                    follow=follow,
                    on_refresh=on_refresh,
                ),
                tee_kinds=tuple(tee),
                tee_policies=read_policies(tee_policy).policies if tee_policy else NO_HARDWARE,
                experimental_hardware=experimental_hardware,
                spark_conf=_conf(conf),
                log=log,
            )
        )
        if replace:
            former = find_job(session, replace)
            view = session.jobs.edit(former.id, draft=draft, version=former.version)
        else:
            view = session.jobs.create_draft(workspace_id=where, draft=draft)
        if pinned is None:  # a pinned query is the database's word: what it gave is looked at before it is signed
            remember_draft(session.settings, actor, view, draft)
        taken = any(each.draft.name == name and each.id != view.id for each in listed(session.jobs.list))
    found = sql_warnings(draft.code if template is None else None)
    if taken:
        stderr().print(
            f"[yellow]note:[/] another job that you see is called '{escape(name)}' too: commands need this one's id, {view.id} "
            "(--replace JOB changes a draft instead of making another)"
        )
    if view.draft.rerun_terms.schedule is not None:
        ticks = next_times(view.draft.rerun_terms.schedule, after=datetime.now(UTC), count=5)
        stderr().print(
            f"[yellow]note:[/] once accepted it runs (UTC) at {', '.join(f'{each:%a %Y-%m-%d %H:%M}' for each in ticks)}, ..."
        )
    if not view.draft.datasets:
        stderr().print(
            "[yellow]note:[/] the draft reads no data set; to test or submit it, draft it again with "
            f"--dataset NAME --replace {view.id}"
        )
    if common().json:
        print_json({**job_document(view), "warnings": [each.to_json() for each in found]})
        return
    print_record(job_document(view), as_json=False, title="drafted; test it next")
    warn(found)


@app.command("test")
def try_out(*, job: Job, value: Values, acting: Acting = None) -> None:
    """Run the draft on test data, in the same sandbox as a real run. No real data is touched.

    If it fails, its log is shown: what it printed, and the whole error with its line.
    """
    with services() as opened:
        actor = acting_member(opened, acting)
        session = local_session(opened, actor)
        view = find_job(session, job)
        values = parse_values(view.draft.inputs, value)
        with step(f"testing '{view.draft.name}'") as shown:
            run = run_test(opened, actor, view.id, values, on_status=shown.say)
        look = f"look at it with 'opaque-jobs result show {run.id}'" if run.state is RunState.SUCCEEDED else ""
        said = None if run.state is RunState.SUCCEEDED else failed_test_log(session, run)
        print_record(
            {**run_document(run), **({"log": said} if said and common().json else {})}, as_json=common().json, title=look
        )
        if said and not common().json:
            stderr().print(escape(said), highlight=False)
        check_succeeded(session, run)


@app.command("submit")
def submit(
    *,
    job: Job,
    test_run: Annotated[
        str | None, typer.Option(help="The test run to show to reviewers; the last successful if left out.")
    ] = None,
    no_test: Annotated[str | None, typer.Option(metavar="REASON", help="Why there is no test run.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=_MOST_DAYS, help="The review expires after so many days.")] = None,
    digest: Annotated[str | None, typer.Option("--digest", help="Of a draft not written here: submit only what has it.")] = None,
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Submit a draft for review, with your own signed approval.

    What you sign is compared with what you drafted here. A draft made elsewhere (a notebook, another home), or one that is not
    what you drafted, is shown instead; if it is what you mean, submit it with the digest that is printed under it.
    """
    with acting_session(acting, passphrase_file) as (session, actor):
        found = find_job(session, job)
        signing, job_id = in_force(session, actor, found.workspace_id), found.id
        tests = [run.id for run in listed(session.runs.history, job_id) if _is_passed_test(run.kind, run.state)]
        shown = None if no_test else test_run or next(iter(tests), None)
        if digest is None:
            _check_written(session, signing, job_id, test_run_id=shown, no_test=no_test)
        signer = member_key(session.settings, signing, passphrase_file)
        view = submit_job(
            session,
            signing,
            signer,
            job_id,
            test_run_id=shown,
            no_test_reason=no_test,
            deadline=datetime.now(UTC) + timedelta(days=days) if days else None,
            expected_digest=digest,
        )
        names = {entry.id: entry.name for entry in listed(session.people.members)}
    print_record(review_document(view, names), as_json=common().json, title="under review")


def _check_written(session: Session, actor: MemberEntry, job_id: str, *, test_run_id: str | None, no_test: str | None) -> None:
    """Check that a draft is what its author wrote here; show it whole if it is not."""
    spec = parse_job_spec(session.jobs.spec_for_submission(job_id))
    try:
        check_meant(session, actor, spec, None)
    except ConflictError:
        if not common().json:
            print_page(draft_page(session, actor, spec, test_run_id=test_run_id, no_test_reason=no_test))
        raise


def _is_passed_test(kind: RunKind, state: RunState) -> bool:
    return kind is RunKind.TEST and state is RunState.SUCCEEDED


@app.command("list")
def list_(
    *,
    workspace: Annotated[str | None, typer.Option(help="Of this workspace only.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    acting: Acting = None,
) -> None:
    """List the jobs of your workspaces."""
    with acting_session(acting) as (session, _):
        where = find_workspace(session, workspace).id if workspace else None
        names = {entry.id: entry.name for entry in listed(session.people.members)}
        rows = [
            {**job_document(view), "author": names[view.author_id]}
            for view in listed(session.jobs.list, workspace_id=where, archived=archived)
        ]
    print_rows(
        rows,
        ["name", "kind", "stage", "status", "author", "reruns", "id"],
        as_json=common().json,
        empty="no jobs yet: draft one with 'opaque-jobs job create WORKSPACE'",
    )


@app.command("show")
def show(*, job: Job, acting: Acting = None) -> None:
    """Show a job: status, inputs, data sets, revisions, code."""
    with acting_session(acting) as (session, _):
        view = find_job(session, job)
        accepted = view.accepted_revision
        lease = session.runs.lease(view.id, accepted) if accepted else None
    document = job_document(view) | ({"lease": lease_document(lease)} if lease else {})
    code = view.draft.code
    if common().json:
        print_json({**document, "language": code.language.value if code else None, "code": code.text if code else None})
        return
    print_record(document, as_json=False)
    if code:
        stdout().print("\n[bold]code[/]")
        print_code(code.text, code.language.value)


@app.command("diff")
def diff(*, job: Job, acting: Acting = None) -> None:
    """Compare a job with its revision last accepted."""
    with acting_session(acting) as (session, _):
        job_id = find_job(session, job).id
        changes = session.jobs.diff(job_id)
    if common().json:
        print_json({"job_id": job_id, "against": changes.against, "diff": changes.text})
    else:
        print_code(changes.text, "diff")


@app.command("revise")
def revise(*, job: Job, acting: Acting = None, passphrase_file: PassphraseFile = None) -> None:
    """Return an accepted, expired, withdrawn or superseded job to draft.

    What is accepted stays in force until its next revision is; what is over you withdraw from for good.
    """
    with acting_session(acting, passphrase_file) as (session, actor):
        workspace_id, job_id = named_job(session, actor, job)
        signing = in_force(session, actor, workspace_id)
        view = revise_job(session, signing, member_key(session.settings, signing, passphrase_file), job_id)
    print_record(job_document(view), as_json=common().json)


def _mark(job: str, acting: str | None, *, archived: bool) -> None:
    with acting_session(acting) as (session, _):
        act = session.jobs.archive if archived else session.jobs.unarchive
        view = act(find_job(session, job).id)
    print_record(job_document(view), as_json=common().json)


@app.command("archive")
def archive(*, job: Job, acting: Acting = None) -> None:
    """Hide a job from lists and stop it from running."""
    _mark(job, acting, archived=True)


@app.command("unarchive")
def unarchive(*, job: Job, acting: Acting = None) -> None:
    """Show an archived job again."""
    _mark(job, acting, archived=False)


@app.command("delete")
def delete(*, job: Job, acting: Acting = None) -> None:
    """Delete a job that has no run."""
    with acting_session(acting) as (session, _):
        job_id = find_job(session, job).id
        session.jobs.delete(job_id)
    print_record({"job_id": job_id, "deleted": True}, as_json=common().json)
