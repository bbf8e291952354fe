"""A run that nobody carries on, was told to stop, or was skipped, says so in a word of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEPT = (
    "digest-mismatch",
    "inputs-refused",
    "manifest-refused",
    "broker-refused",
    "broker-unreachable",
    "engine-failed",
    "data-refused",
    "author-error",
    "output-refused",
    "time-limit",
    "resource-limit",
    "cancelled",
    "internal",
    "rejected",
    "withdrawn",
    "expired",
    "superseded",
    "review-cancelled",
    "dataset-unshared",
    "archived",
    "lease-refused",
    "sandbox-unavailable",
    "sandbox-ended",
    "receipt-missing",
    "receipt-refused",
    "storage-failed",
    "airflow-ended",
)


def _words(*more: str) -> sa.Enum:
    return sa.Enum(*_KEPT, *more, name="closereason", native_enum=False, create_constraint=True, length=40)


def _replace(new: sa.Enum, renamed: dict[str, str]) -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_constraint("closereason", type_="check")
    for before, after in renamed.items():
        op.execute(sa.text("UPDATE runs SET reason = :after WHERE reason = :before").bindparams(before=before, after=after))
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.alter_column("reason", type_=new, existing_nullable=True)


def upgrade() -> None:
    _replace(_words("worker-lost", "stopped", "skipped"), {"lease-over": "worker-lost"})


def downgrade() -> None:
    back = {"worker-lost": "lease-over", "stopped": "airflow-ended", "skipped": "airflow-ended"}
    _replace(_words("lease-over"), back)
