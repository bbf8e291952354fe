"""Signed changes of members' and organisations' keys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_changes",
        sa.Column("owner_id", sa.String(length=255), nullable=False),
        sa.Column("new_key_id", sa.String(length=255), nullable=False),
        sa.Column("old_key_id", sa.String(length=255), nullable=False),
        sa.Column("word", sa.LargeBinary(), nullable=False),
        sa.Column("possession", sa.LargeBinary(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "new_key_id", name=op.f("pk_key_changes")),
    )


def downgrade() -> None:
    op.drop_table("key_changes")
