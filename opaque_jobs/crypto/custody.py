"""Deposits, sharing statements and released keys: the seals and signatures between an owner, their broker and an enclave."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, Signer, VerifyKey, decode_base64
from opaque_jobs.crypto.parquet import ReleasedKeys, RootKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.crypto.signing import Statement, claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.domain.custody import (
    Deposit,
    DepositSecret,
    Sharing,
    parse_deposit,
    parse_deposit_secret,
    parse_sharing,
)
from opaque_jobs.domain.dataset import DatasetManifest, SaltedPolicy
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.row_rule import RowRule, row_tests, rule_columns
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "DEPOSIT",
    "SHARING",
    "KeyRelease",
    "check_policy",
    "check_rule_types",
    "open_deposit",
    "open_release",
    "release_info",
    "seal_release",
    "sign_deposit",
    "sign_sharing",
    "verify_deposit",
    "verify_sharing",
]

DEPOSIT: Final = "urn:opaque-jobs:deposit:v1"
SHARING: Final = "urn:opaque-jobs:sharing:v1"


def sign_deposit(
    manifest: DatasetManifest,
    root: RootKey,
    salted: SaltedPolicy,
    signer: Signer,
    *,
    broker: SealingPublicKey,
    now: datetime,
) -> bytes:
    """Hand a dataset version's root key and release policy to the owner's broker.

    Raises:
        InvalidInputError: The key is of another version, or the policy names a column that the data does not have.
    """
    check_policy(manifest, salted)
    if (root.dataset_id, root.version) != (manifest.dataset_id, manifest.dataset_version):
        raise InvalidInputError("the key is of another dataset version", hint="deposit each version's own key")
    deposit = Deposit(
        v=1,
        dataset_id=manifest.dataset_id,
        dataset_version=manifest.dataset_version,
        organisation_id=manifest.organisation_id,
        manifest_digest=manifest.digest,
        sealed="",
        issued_at=now.isoformat(),
    )
    secret = DepositSecret(root_key=base64.b64encode(root.secret).decode("ascii"), policy=salted)
    sealed = seal(secret.to_bytes(), broker, deposit.seal_info).decode()
    return sign_statement(
        signer,
        predicate_type=DEPOSIT,
        subject_name=f"{deposit.dataset_id}/{deposit.dataset_version}",
        subject_digest=deposit.manifest_digest,
        predicate={**to_json(deposit), "sealed": sealed},
    )


def check_policy(manifest: DatasetManifest, salted: SaltedPolicy) -> None:
    """Check that a policy speaks of columns that the data has.

    Raises:
        InvalidInputError: It names another column, or one twice, or none.
    """
    known, policy = {column.name for column in manifest.columns}, salted.policy
    named = set(policy.columns) | set(rule_columns(policy.row_rule))
    if not policy.columns or len(set(policy.columns)) != len(policy.columns) or not named <= known:
        raise InvalidInputError(
            "the release policy names no column, one twice, or one that the dataset does not have",
            hint="see the dataset's columns",
        )
    check_rule_types(manifest, policy.row_rule)


def check_rule_types(manifest: DatasetManifest, rule: RowRule | None) -> None:
    """Check that a rule was made for columns of exactly these types.

    Raises:
        InvalidInputError: It was not, or a column is not there.
    """
    types = {column.name: column.type for column in manifest.columns}
    for test in () if rule is None else row_tests(rule):
        if types.get(test.column) != test.type:
            raise InvalidInputError(
                "the row rule was made for a column that the data does not have with this type",
                hint="write the rule again with 'opaque-jobs dataset policy set'",
            )


def _by_known(envelope: bytes, keys: Mapping[str, VerifyKey], predicate_type: str) -> Statement:
    key = keys.get(claimed_key_id(envelope))
    if key is None:
        raise TrustError("a statement is signed by nobody that this broker knows", hint="pin the member's key first")
    return verify_statement(envelope, key, predicate_type=predicate_type)


def verify_deposit(envelope: bytes, keys: Mapping[str, VerifyKey], *, organisation_id: str) -> Deposit:
    """Verify a deposit.

    Args:
        envelope: Untrusted.
        keys: Key id -> pinned key of members of the owner.
        organisation_id: The owner whose broker asks.

    Raises:
        InvalidInputError: Not a deposit.
        TrustError: By a stranger, for another organisation, or it does not hold.
    """
    statement = _by_known(envelope, keys, DEPOSIT)
    deposit = parse_deposit(statement.predicate)
    if deposit.organisation_id != organisation_id or deposit.manifest_digest != statement.subject_digest:
        raise TrustError("a deposit is for another organisation or dataset", hint="deposit at the owner's broker")
    return deposit


def open_deposit(deposit: Deposit, key: SealingKey) -> tuple[RootKey, SaltedPolicy]:
    """Open what a verified deposit seals.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: It is sealed to another broker or for another dataset.
    """
    secret = parse_deposit_secret(open_sealed(deposit.sealed.encode(), key, deposit.seal_info))
    root = RootKey(
        dataset_id=deposit.dataset_id,
        version=deposit.dataset_version,
        secret=decode_base64(secret.root_key, what="a dataset's key"),
    )
    return root, secret.policy


def sign_sharing(sharing: Sharing, signer: Signer) -> bytes:
    """Sign that a dataset is shared into a workspace, or no longer."""
    return sign_statement(
        signer,
        predicate_type=SHARING,
        subject_name=f"{sharing.dataset_id}/{sharing.workspace_id}",
        subject_digest=sharing.workspace_genesis,
        predicate=to_json(sharing),
    )


def verify_sharing(envelope: bytes, keys: Mapping[str, VerifyKey], *, organisation_id: str) -> Sharing:
    """Verify a sharing statement. Arguments and errors as `verify_deposit`."""
    statement = _by_known(envelope, keys, SHARING)
    sharing = parse_sharing(statement.predicate)
    if sharing.organisation_id != organisation_id or sharing.workspace_genesis != statement.subject_digest:
        raise TrustError("a sharing statement is for another organisation or workspace", hint="sign it again")
    return sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRelease:
    """What an enclave gets for one dataset: keys, and what its owner allows, with the salt that opens the commitment to it."""

    keys: ReleasedKeys
    salted: SaltedPolicy


def release_info(
    *, workspace_id: str, dataset_id: str, version: int, job_digest: str, run_id: str, organisation_id: str
) -> dict[str, Any]:
    """Give the context that released keys are sealed for."""
    return {
        "what": "dataset-keys",
        "workspace_id": workspace_id,
        "dataset_id": dataset_id,
        "dataset_version": version,
        "job_digest": job_digest,
        "run_id": run_id,
        "broker": organisation_id,
    }


def seal_release(release: KeyRelease, recipient: SealingPublicKey, info: Mapping[str, Any]) -> bytes:
    """Seal released keys to an enclave."""
    document = {"keys": release.keys.to_document(), "policy": to_json(release.salted)}
    return seal(canonical_bytes(document), recipient, info)


def open_release(envelope: bytes, key: SealingKey, info: Mapping[str, Any]) -> KeyRelease:
    """Open released keys inside the enclave.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: It is sealed to another key or for another purpose, or holds keys of another dataset version.
    """
    what = "released keys"
    document = parse_canonical(open_sealed(envelope, key, info), fields=("keys", "policy"), what=what)
    keys = ReleasedKeys.parse_document(document["keys"])
    if (keys.dataset_id, keys.version) != (info["dataset_id"], info["dataset_version"]):
        raise TrustError("released keys are of another dataset version", hint="the broker is not sound")
    return KeyRelease(keys=keys, salted=from_json(SaltedPolicy, document["policy"], what=what))
