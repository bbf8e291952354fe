"""`opaque-jobs attest`: verify evidence of any kind from files, for anyone; no server is asked and no home is needed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from opaque_jobs.attestation.appraisal import Finding, Outcome
from opaque_jobs.attestation.forms import EvidenceKind, ReadEvidence, read_evidence
from opaque_jobs.attestation.nitro import claimed_time
from opaque_jobs.attestation.policy_gaps import gaps_by_kind
from opaque_jobs.attestation.result import EarStatus
from opaque_jobs.cli.command import Noun, common, load_settings, repeatable
from opaque_jobs.cli.output import escape, print_json, print_record, stdout, trust_text
from opaque_jobs.cli.tee_policy import POLICY_HELP, policy_items, print_gaps, read_policies
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.domain.document import to_json
from opaque_jobs.errors import InvalidInputError, NotFoundError, TrustError
from opaque_jobs.verify.evidence_report import EvidenceReport, inspect_evidence
from opaque_jobs.verify.own_trust import believed_keys

__all__ = ["app"]

app = Noun(help="Evidence: whether hardware vouches for an enclave, verified from files.")

_MARKS: Final = {
    Outcome.HOLDS: "[green]holds[/]  ",
    Outcome.WARNING: "[bold yellow]warning[/]",
    Outcome.FAILS: "[bold red]FAILS[/]  ",
}
_MAX_BYTES: Final = 64 << 20
_OWN_TIME: Final = "evidence"


@app.command("verify")
def verify(
    *,
    file: Annotated[Path, typer.Argument(help="Report, quote or document: bytes, text, or the JSON of a tool.")],
    kind: Annotated[
        EvidenceKind | None, typer.Option(help="The kind that it has to be; told by its content if left out.")
    ] = None,
    cert: Annotated[list[str], repeatable("--cert", "Certificates: PEM, DER, or a certificate table (auxblob). Repeatable.")],
    collateral: Annotated[
        list[str],
        repeatable("--collateral", "Revocation list, Intel's answers, or the JSON of dcap-qvl; certificates too. Repeatable."),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Verify as of this time, such as 2026-01-31T12:00:00Z; now if left out. "
            "'evidence' is the time that a Nitro document names.",
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help=POLICY_HELP)] = None,
    simulated_key: Annotated[
        str | None, typer.Option(help="Public development key whose simulated evidence you believe; this home's if left out.")
    ] = None,
) -> None:
    """Verify evidence: signatures and chains first, then what the policy demands. Nothing is asked of any server.

    Ends with 0 if all holds, 8 if something does not, 5 if the evidence does not parse.

    Example: opaque-jobs attest verify report.bin --cert vcek.der --cert cert_chain.pem --policy policy.json
    """
    evidence = read_evidence(_read(file, "evidence"))
    now = _time(at, evidence)
    if kind is not None and kind is not evidence.kind:
        raise TrustError(f"this is evidence of another kind: {evidence.kind}", hint="leave --kind out, or give the right file")
    keys = _keys(simulated_key) if evidence.kind is EvidenceKind.SIMULATED else []
    demands = read_policies(policy) if policy else None
    report = inspect_evidence(
        evidence,
        more=[_read(Path(each), "certificate or collateral file") for each in (*cert, *collateral)],
        policies=demands.policies if demands else None,
        sgx=demands.sgx if demands else None,
        simulated_keys=keys,
        now=now,
    )
    if common().json:
        print_json(_document(report))
    else:
        _print(report)
    if not report.holds:
        raise TrustError("the evidence does not hold", hint="do not trust what it vouches for")


@app.command("policy")
def policy_(*, file: Annotated[Path, typer.Argument(help=POLICY_HELP)]) -> None:
    """Show a TEE policy file as members will sign it: every item, also those left out, and what it does not demand.

    Example: opaque-jobs attest policy policy.json
    """
    policies = read_policies(file).policies
    open_items = gaps_by_kind(policies)
    if common().json:
        listed = {kind: [to_json(each) for each in found] for kind, found in open_items.items()}
        print_json({"items": policy_items(policies), "not_demanded": listed})
        return
    for kind, items in policy_items(policies).items():
        print_record(items, as_json=False, whole=True, title=kind)
        print_gaps(open_items.get(kind, ()))


def _keys(text: str | None) -> list[VerifyKey]:
    return [VerifyKey.parse(text)] if text else believed_keys(load_settings())


def _read(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError:
        raise NotFoundError(f"the {what} cannot be read", hint="check the path") from None
    if len(data) > _MAX_BYTES:
        raise InvalidInputError(f"the {what} is too long", hint="was the right file given?", limit_bytes=_MAX_BYTES)
    return data


def _time(text: str | None, evidence: ReadEvidence) -> datetime:
    if text is None:
        return datetime.now(UTC)
    if text == _OWN_TIME:
        if evidence.kind is not EvidenceKind.NITRO:
            raise typer.BadParameter("only Nitro documents name their time", param_hint="--at")
        return claimed_time(evidence.report)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write it as 2026-01-31 or 2026-01-31T12:00:00Z", param_hint="--at") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _print(report: EvidenceReport) -> None:
    console = stdout()
    console.print(f"[bold]{report.kind}[/] evidence, as of {report.at.isoformat()}")
    console.print("\n[bold]signatures and chains[/]")
    for number, step in enumerate(report.steps, 1):
        mark = _MARKS[Outcome.FAILS if step.problem else Outcome.HOLDS]
        console.print(f"  {number:2}. {mark}  {escape(step.name)}" + (f": {escape(step.problem)}" if step.problem else ""))
    if report.findings:
        console.print("\n[bold]policy[/]" + ("" if report.policy_given else " (none given: only what no policy can allow)"))
        for finding in report.findings:
            console.print(f"      {_MARKS[finding.outcome]}  {escape(finding.demand)} (seen: {escape(finding.seen)})")
    if report.claims:
        print_record(report.claims, as_json=False, title="\nwhat it says", whole=True)
    if not report.holds:
        console.print(f"\n[bold red]does not hold[/]; status {report.status}")
        return
    console.print(f"\n[green]holds[/]; status {report.status}; trust: {trust_text(report.kind.value)}")
    if report.status is EarStatus.NONE:
        console.print("Nobody said what is demanded, so nothing was compared: give --policy.")


def _document(report: EvidenceReport) -> dict[str, Any]:
    return {
        "kind": report.kind.value,
        "at": report.at.isoformat(),
        "holds": report.holds,
        "status": report.status.value,
        "signature": {
            "holds": report.signature_holds,
            "steps": [{"name": step.name, "problem": step.problem} for step in report.steps],
        },
        "policy": {
            "given": report.policy_given,
            "holds": report.policy_holds,
            "findings": [_finding(each) for each in report.findings],
        },
        "claims": report.claims,
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "demand": finding.demand, "seen": finding.seen, "outcome": finding.outcome.value}
