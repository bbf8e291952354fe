"""The owner's rules of a data set: read from the own broker, which alone keeps them, and changed by name, in words first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.client.organisation import OwnOrganisation
from opaque_jobs.crypto.keys import SealingKey, Signer
from opaque_jobs.crypto.policies import PolicyQuestion, open_answer, sign_question
from opaque_jobs.data.row_rules import check_columns, parse_rules, rule_text
from opaque_jobs.domain.dataset import Column, ReleasePolicy, SaltedPolicy
from opaque_jobs.domain.row_rule import row_tests
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import InvalidInputError

__all__ = ["AS_BEFORE", "Confirm", "Wanted", "check_named", "policy_words", "read_policy", "wanted_policy"]

Confirm = Callable[[Sequence[str]], None]
"""Shows what a change changes, and raises unless the owner wants it."""


def read_policy(own: OwnOrganisation, member: MemberEntry, signer: Signer, dataset_id: str) -> SaltedPolicy:
    """Ask the own broker which columns and rows of a data set it releases.

    Raises:
        ConfigurationError: The broker does not answer.
        NotFoundError: It holds nothing of this data set.
        TrustError: It does not know the member's key, or who answers is not this broker.
    """
    key = SealingKey.generate()
    question = PolicyQuestion(
        v=1,
        dataset_id=dataset_id,
        organisation_id=member.organisation_id,
        issued_at=datetime.now(UTC).isoformat(),
        answer_to=key.public.text,
    )
    with BrokerClient(own.broker_address) as client:
        answer = client.ask_policy(sign_question(question, signer))
    return open_answer(answer, question, key, broker=own.broker_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an owner wants to be released.

    Args:
        columns: These and no others; none keeps those before.
        where: Row rules (`row_rules`), all of which must hold; none keeps the rule before.
        all_columns: All columns.
        all_rows: All rows.

    Raises:
        InvalidInputError: All and some are wanted at once.
    """

    columns: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    all_columns: bool = False
    all_rows: bool = False

    def __post_init__(self) -> None:
        if (self.all_columns and self.columns) or (self.all_rows and self.where):
            raise InvalidInputError(
                "all and some are asked for at once", hint="give --column or --all-columns, and --where or --all-rows"
            )


AS_BEFORE: Final = Wanted()


def check_named(known: Sequence[str], wanted: Wanted) -> None:
    """Check, before a file is read for its types, that it has the columns that are named.

    Raises:
        InvalidInputError: It does not, or one is named twice, or a rule is not of the grammar.
    """
    unknown = [name for name in wanted.columns if name not in known]
    if unknown:
        raise InvalidInputError(
            f"--column names '{unknown[0]}', a column that the file does not have", hint="columns: " + ", ".join(known[:30])
        )
    if len(set(wanted.columns)) != len(wanted.columns):
        raise InvalidInputError("--column names a column twice", hint="name each once")
    check_columns(wanted.where, known)


def wanted_policy(columns: Sequence[Column], before: ReleasePolicy | None, wanted: Wanted) -> ReleasePolicy:
    """Return the policy that the owner wants: what they name anew, and for the rest what was before.

    Args:
        columns: Of the data, as stored.
        before: The policy in force; None for a new data set, of which all is released that is not kept back.
        wanted: What they name.

    Raises:
        InvalidInputError: A rule or column does not fit the data.
    """
    every = tuple(column.name for column in columns)
    names = wanted.columns or (every if before is None or wanted.all_columns else before.columns)
    kept_rule = None if before is None or wanted.all_rows else before.row_rule
    policy = ReleasePolicy(columns=names, row_rule=parse_rules(wanted.where, columns) if wanted.where else kept_rule)
    _check_fits(policy, columns)
    return policy


def _check_fits(policy: ReleasePolicy, columns: Sequence[Column]) -> None:
    """Check that the data has what a policy speaks of.

    Raises:
        InvalidInputError: It does not; says which column.
    """
    types = {column.name: column.type for column in columns}
    missing = [name for name in policy.columns if name not in types]
    if missing:
        raise InvalidInputError(
            f"the policy releases '{missing[0]}', a column that the data does not have",
            hint="name the released columns anew with --column; columns: " + ", ".join(list(types)[:30]),
        )
    for test in () if policy.row_rule is None else row_tests(policy.row_rule):
        if types.get(test.column) != test.type:
            raise InvalidInputError(
                f"the row rule was made for a column '{test.column}' of type {test.type}, which the data does not have",
                hint=f"write the rule anew with --where; its type is now {types.get(test.column, 'unknown: there is none')}",
            )


def policy_words(before: ReleasePolicy, after: ReleasePolicy) -> list[str]:
    """Say what a change changes; nothing if it changes nothing."""
    more = [name for name in after.columns if name not in before.columns]
    less = [name for name in before.columns if name not in after.columns]
    said = [f"jobs may read another column: {name}" for name in more]
    said += [f"jobs may no longer read the column: {name}" for name in less]
    if before.row_rule != after.row_rule:
        said += [f"rows until now: {rule_text(before.row_rule)}", f"rows from now on: {rule_text(after.row_rule)}"]
    return said
