"""`opaque-jobs receipt`: proof of what ran, for those too who may not read the result."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from opaque_jobs.cli.command import Noun, common, load_settings
from opaque_jobs.cli.output import escape, print_json, print_record, stdout, trust_text
from opaque_jobs.cli.session import Acting, acting_session
from opaque_jobs.cli.steps import print_steps
from opaque_jobs.client.one_log import compared_with_own_log
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import anchors_in, known_beforehand, signed_list
from opaque_jobs.client.signed_names import named_workspace
from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.canonical import canonical_bytes, digest, parse_json, require_fields
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.receipt_trust import ReceiptTrust, parse_trust
from opaque_jobs.errors import DeniedError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.protocol.views import ReceiptContext
from opaque_jobs.verify.own_trust import believed_keys, own_trust
from opaque_jobs.verify.receipts import ReceiptReport, inspect_receipt

__all__ = ["app", "print_report"]

app = Noun(help="Receipts: what ran, on which data, approved by whom; verifiable offline by anyone.")

_RULES: Final = {
    ApprovalRule.UNANIMOUS: "by every member",
    ApprovalRule.GROUPS: "by its author, every data owner, and the groups that all members chose",
}
_ANCHORS: Final = "file of trust anchors"
_FIELDS = ("v", "run_id", "receipt", "job", "approvals", "inputs", "refreshed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    """The public documents of one run."""

    run_id: str
    receipt: bytes
    job: bytes
    approvals: bytes
    inputs: dict[str, Any]
    refreshed: dict[str, str]

    @classmethod
    def of(cls, context: ReceiptContext) -> "_Package":
        return cls(
            run_id=context.run_id,
            receipt=context.receipt,
            job=context.spec_bytes,
            approvals=context.bundle_bytes,
            inputs=dict(context.inputs),
            refreshed=dict(context.refreshed),
        )

    def to_bytes(self) -> bytes:
        encoded = {name: base64.b64encode(getattr(self, name)).decode() for name in ("receipt", "job", "approvals")}
        return canonical_bytes({"v": 1, "run_id": self.run_id, "inputs": self.inputs, "refreshed": self.refreshed, **encoded})

    @classmethod
    def read(cls, file: Path) -> "_Package":
        document = require_fields(parse_json(_read(file, "receipt file"), what="receipt file"), _FIELDS, what="receipt file")
        try:
            parts = {name: base64.b64decode(document[name], validate=True) for name in ("receipt", "job", "approvals")}
        except (ValueError, TypeError):
            raise InvalidInputError("the receipt file is damaged", hint="ask for it again") from None
        if document["v"] != 1 or not isinstance(document["inputs"], dict) or not _is_texts(document["refreshed"]):
            raise InvalidInputError("the receipt file is of an unknown version", hint="use a newer version of this program")
        return cls(run_id=str(document["run_id"]), inputs=document["inputs"], refreshed=document["refreshed"], **parts)


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        raise NotFoundError(f"the {what} cannot be read", hint="check the path") from None


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


@app.command("export")
def export(
    *,
    run_id: Annotated[str, typer.Argument(help="Run id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write; must not exist.")],
    acting: Acting = None,
) -> None:
    """Write all that is needed to verify a run into one file. It holds the job's code and the votes, but no data."""
    with acting_session(acting) as (session, _):
        package = _Package.of(session.runs.receipt(run_id))
    write_new_private_file(to, package.to_bytes())
    print_record({"run_id": run_id, "file": str(to)}, as_json=common().json)


@app.command("verify")
def verify(
    *,
    what: Annotated[str, typer.Argument(metavar="RUN_OR_FILE", help="Run id, or a file from 'receipt export'.")],
    result: Annotated[Path | None, typer.Option(help="Folder with the sealed result, to check its files too.")] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="ANCHORS",
            help="What you know beforehand, from 'receipt trust'. If left out: of a run, the member list that you signed; of a "
            "file, nothing: then it vouches for nobody, and does not hold.",
        ),
    ] = None,
    acting: Acting = None,
) -> None:
    """Verify a receipt, step by step. Nothing is asked of any server, and the result is not read.

    Of a run, the log that the data owners' brokers had followed is compared with the log as you have seen it. A file proves
    something only to whoever knows beforehand whose keys to expect (--trust): without, this ends with 8.

    Example: opaque-jobs receipt verify run-0123 --as bob
    """
    if what.startswith("run-") and not Path(what).exists():
        with acting_session(acting) as (session, actor):
            context = session.runs.receipt(what)
            package = _Package.of(context)
            anchors = parse_trust(_read(trust, _ANCHORS)) if trust else known_beforehand(session, actor, context)
            with _result_files(session, what, result) as folder:
                report = compared_with_own_log(session, actor, _inspected(package, folder, anchors))
    else:
        package = _Package.read(Path(what))
        anchors = parse_trust(_read(trust, _ANCHORS)) if trust else own_trust(load_settings())
        report = _inspected(package, result, anchors)
    anchored = anchors.workspace_genesis is not None
    if common().json:
        print_json(_report_document(package, report, anchored=anchored))
    else:
        print_report(report)
    if not report.holds:
        raise TrustError("the receipt does not hold", hint="do not rely on this result")
    if not anchored:
        raise TrustError(
            "this receipt vouches for nobody: without trust anchors, anyone could have made it with keys of their own",
            hint="get ANCHORS from two members ('opaque-jobs receipt trust'), compare them, and give --trust ANCHORS",
        )


@contextmanager
def _result_files(session: Session, run_id: str, given: Path | None) -> Iterator[Path | None]:
    """Hold the sealed result's files: those given, the author's organisation's, or those in a storage here; None without."""
    with ExitStack() as held:
        folder = given
        if folder is None:
            try:
                folder = held.enter_context(session.files.run_files(run_id))
            except DeniedError:
                stored = session.settings.result_dir(run_id)
                folder = stored if stored.is_dir() else None
        yield folder


def _inspected(package: _Package, result: Path | None, anchors: ReceiptTrust) -> ReceiptReport:
    return inspect_receipt(
        package.receipt,
        spec_bytes=package.job,
        bundle_bytes=package.approvals,
        inputs=package.inputs,
        refreshed=package.refreshed,
        folder=result,
        trust=anchors,
        run_id=package.run_id,
    )


@app.command("trust")
def trust_(
    *,
    workspace: Annotated[str, typer.Argument(help="Workspace, by name or id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write; must not exist.")],
    acting: Acting = None,
) -> None:
    """Write what somebody outside needs to know beforehand to verify this workspace's receipts: public keys, nothing secret.

    It says what the member list says that this member signed. Whoever gets it does well to compare it with another member's.
    """
    with acting_session(acting) as (session, actor):
        found, settings = named_workspace(session, actor, workspace), session.settings
        known = session.workspaces.broker_push(found)
        roster = signed_list(settings, actor, known.roster, known.acceptances)
        anchors = anchors_in(settings, actor, roster)
    write_new_private_file(to, anchors.to_bytes())
    print_record({"workspace": roster.name, "file": str(to)}, as_json=common().json)


@app.command("simulated-key")
def simulated_key() -> None:
    """Print this home's public development key, which people elsewhere need to verify simulated receipts."""
    keys = believed_keys(load_settings())
    if not keys:
        raise NotFoundError("this home has no simulated hardware", hint="it comes with 'opaque-jobs org create'")
    print_record({"simulated_key": keys[0].text}, as_json=common().json)


def print_report(report: ReceiptReport) -> None:
    """Print the steps of a verification."""
    print_steps(report.steps)
    console = stdout()
    if report.receipt and report.approval_rule and report.holds:
        console.print(f"  approved: {_RULES[report.approval_rule]}")
        console.print(f"  trust: {trust_text(report.receipt.trust_label.value)}")
        console.print(f"  {report.receipt.attested}")
        console.print(f"  measured: {report.measured}")
        for each in report.warnings:
            console.print(f"  [yellow]warning:[/] {escape(each.demand)} (seen: {escape(each.seen)})")


def _report_document(package: _Package, report: ReceiptReport, *, anchored: bool) -> dict[str, Any]:
    return {
        "run_id": package.run_id,
        "holds": report.holds and anchored,
        "anchored": anchored,
        "approval_rule": report.approval_rule.value if report.approval_rule else None,
        "job_digest": digest(package.job),
        "steps": [to_json(each) for each in report.steps],
        "measured": report.measured if report.holds else None,
        "warnings": [to_json(each) for each in report.warnings],
        "receipt": json.loads(json.dumps(report.receipt.to_json())) if report.receipt and report.holds else None,
    }
