"""Why keys are not released, in words: each fixed code of brokers and enclave, and what a person can do about it.

The codes travel through untrusted hands and stand in Airflow's log, so a code and its words say nothing about data. A code that
is not in this table, from a newer or a lying broker, is shown as it is.
"""

from typing import Final

__all__ = ["REASONS", "in_words"]

REASONS: Final[dict[str, str]] = {
    # consent
    "acceptance-invalid": "a member's acceptance of the member list does not hold",
    "approval-invalid": "an approval does not hold, or is for another revision",
    "approval-for-something-else": "an approval is for other terms than the job's",
    "approval-for-another-epoch": "an approval is from before the members or their keys changed; the job needs a new review",
    "approval-by-a-stranger": "an approval is by somebody who is not a member",
    "approval-too-late": "the broker was not shown every approval in the log before the review's deadline; it needs a new review",
    "author-not-a-member": "the job's author is not a member any more",
    "author-not-approving": "the job's author has not approved it",
    "bundle-invalid": "the approvals do not parse; were they changed?",
    "consent-withdrawn": "a member has withdrawn consent",
    "data-owner-not-approving": "nobody of an organisation whose data is read has approved",
    "group-below-threshold": "an approval group has too few approvals",
    "not-unanimous": "not every member has approved",
    "recipient-not-the-authors-organisation": "the result would go to somebody else than the author's organisation",
    "rejected": "a member has rejected the job",
    # member list
    "own-member-left-out": "the member list leaves out one of the broker's own people, whom their organisation has not let go",
    "own-members-not-pinned": "the broker does not know its own members by these keys ('opaque-jobs broker pin')",
    "roster-conflict": "the member list does not follow the one that the broker knows",
    "roster-gap": "the broker has not seen every member list in between; run 'opaque-jobs workspace tell-brokers'",
    "roster-invalid": "the member list does not parse; was it changed?",
    "roster-names-another-broker": "the member list names another broker than this one",
    "roster-not-accepted-by-all": "not every member has accepted the member list",
    "roster-not-the-jobs": "the job is of another epoch of the workspace",
    "roster-of-another-workspace": "the member list is another workspace's",
    "roster-outdated": "the broker knows a newer member list; the job needs a new review",
    # log
    "approval-not-in-log": "an acceptance or approval does not stand in the workspace's log",
    "broker-memory-lost": "the broker's memory is an older copy; its organisation must look ('opaque-jobs broker recover')",
    "broker-settings-changed": "somebody without the broker's passphrase has changed its settings; its organisation must look",
    "clock-set-back": "the broker's clock is behind a time that it has seen; set it right ('opaque-jobs broker recover --clock')",
    "log-checkpoint-invalid": "the log's checkpoint is not signed by the workspace's log",
    "log-forked": "a reviewer has seen another log than the broker; compare 'opaque-jobs log checkpoint'",
    "log-shown-differently": "brokers were shown different logs, as far as is proved; compare 'opaque-jobs log checkpoint'",
    "log-not-followed": "the broker has not been shown the log up to there, or another one",
    "log-proof-invalid": "what is shown of the log is not in it",
    "release-not-in-log": "the release could not be entered into the log",
    "run-not-in-log": "the run, with these input values, does not stand in the workspace's log",
    # evidence
    "advisory-rejected": "the processor has an open advisory that members did not accept",
    "alias-check-incomplete": "the firmware has not checked for memory aliases, which members did not accept",
    "attestation-result-invalid": "what a broker says of the enclave does not hold; was a message changed on its way?",
    "cached-keys": "the platform uses cached keys, which members did not accept",
    "chip-not-approved": "the evidence is signed by a chip that members did not name",
    "chip-masked": "the processor hides its identity, which members did not accept",
    "collateral-too-old": "the certificates' status is older than members accept; renew the collateral",
    "committed-tcb-too-old": "the host can go back to firmware that is older than members accept",
    "cxl-allowed": "the guest's memory may be on CXL devices, which members did not accept",
    "debug-enabled": "the enclave can be debugged: it protects nothing",
    "dynamic-platform": "the platform can change while it runs, which members did not accept",
    "evidence-invalid": "the evidence does not hold",
    "host-data-not-approved": "the enclave was started with other data than members approved",
    "keys-not-bound": "the evidence is for other keys; was a message changed on its way?",
    "launch-tcb-too-old": "the guest was launched by firmware that is older than members accept; start it again",
    "measurement-not-approved": "another runtime has started than members approved",
    "migration-allowed": "the enclave may be moved to another machine, which members did not accept",
    "nonce-mismatch": "the evidence answers another question; was an old one repeated?",
    "platform-not-approved": "the platform's settings are not those that members approved",
    "provider-not-approved": "the evidence is signed with the key of a cloud provider that members did not name",
    "reserved-bits-set": "the evidence has bits set that the maker reserves, which members did not accept",
    "run-not-bound": "the evidence is for another run",
    "too-many-requests": "whoever asks has asked the broker too often within minutes; wait, then start a new run",
    "session-unknown-or-expired": "the conversation with the broker took too long, or the broker was restarted",
    "signer-not-approved": "the enclave is signed by somebody whom members did not approve",
    "smt-allowed": "the processor shares cores between threads, which members did not accept",
    "tcb-evaluation-too-old": "the maker's evaluation of the platform is older than members accept",
    "tcb-out-of-date": "the platform's firmware is out of date",
    "tcb-too-old": "the platform's firmware is older than members accept",
    "td-attributes-not-approved": "the guest has other attributes than members approved",
    "tee-kind-not-accepted": "the broker cannot verify, or does not believe, this kind of enclave",
    "tee-kind-not-approved": "members did not approve this kind of enclave",
    "vmpl-too-high": "the report comes from a less privileged level than members accept",
    "xfam-not-approved": "the guest has other processor features than members approved",
    # run
    "already-released": "this run has had its keys; start a new run",
    "input-not-variable": "an input is set that the approved terms fix",
    "inputs-invalid": "an input is not what the job declares",
    "job-spec-invalid": "the job does not parse; was it changed?",
    "lease-ended": "the approved time for runs is over",
    "lease-interval": "the last run was too short a time ago",
    "lease-not-begun": "the approved time for runs has not begun",
    "lease-used-up": "all approved runs are used up",
    "start-invalid": "the run was started in a form that the enclave does not know",
    # data
    "columns-not-released": "the owner does not release a column that the job reads",
    "dataset-not-in-job": "keys were asked for that the job does not name",
    "dataset-not-shared": "a data set is not shared into this workspace",
    "dataset-unknown": "the broker holds no key for a data set's version",
    "held-by-owner": "the owner holds this back ('opaque-jobs broker hold --lift')",
    "manifest-mismatch": "a data set's version is not the one that the owner deposited",
    "no-dataset-here": "the job reads nothing of this broker's organisation",
    "policy-changed": "the owner releases other rows or columns than when members approved; the job needs a new review",
    "version-not-covered": "a newer version of a data set was to be read that the approval does not cover",
    # both sides
    "internal": "the broker failed; see its log",
}


def in_words(code: str) -> str:
    """Give a code's words; the code itself if it is not known."""
    return REASONS.get(code, code)
