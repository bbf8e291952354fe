"""What a verifier of receipts knows beforehand, in tests: nothing but what they name."""

from opaque_jobs.domain.receipt_trust import ReceiptTrust


def make_trust(**over):
    given = {"v": 1, "workspace_genesis": None, "log_key": None, "brokers": {}, "simulated_keys": ()}
    return ReceiptTrust(**(given | over))
