"""A log has entries of keys that were destroyed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BEFORE = (
    "roster", "acceptance", "dataset", "sharing", "submission", "test-run", "vote", "withdrawal", "run", "release", "outcome",
)  # fmt: skip
_AFTER = (*_BEFORE[:-1], "erasure", "outcome")


def _allow(kinds: tuple[str, ...]) -> None:
    words = sa.Enum(*kinds, name="entrykind", native_enum=False, create_constraint=True, length=40)
    with op.batch_alter_table("log_entries", schema=None) as batch_op:
        batch_op.drop_constraint("entrykind", type_="check")
    with op.batch_alter_table("log_entries", schema=None) as batch_op:
        batch_op.alter_column("kind", type_=words, existing_nullable=False)


def upgrade() -> None:
    _allow(_AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM log_entries WHERE kind = 'erasure'")
    _allow(_BEFORE)
