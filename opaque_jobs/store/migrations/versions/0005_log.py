"""The tamper-evident log: one tree a workspace, its entries and nodes, and the key that signs checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KINDS = (
    "roster", "acceptance", "dataset", "sharing", "submission", "test-run", "vote", "withdrawal", "run", "release", "outcome",
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "log_signer",
        sa.Column("public_key", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("public_key", name=op.f("pk_log_signer")),
    )
    op.create_table(
        "logs",
        sa.Column("workspace_id", sa.String(length=255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_logs_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_logs")),
    )
    op.create_table(
        "log_entries",
        sa.Column("workspace_id", sa.String(length=255), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "kind",
            sa.Enum(*_KINDS, name="entrykind", native_enum=False, create_constraint=True, length=40),
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("statement", sa.String(length=255), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["logs.workspace_id"], name=op.f("fk_log_entries_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "seq", name=op.f("pk_log_entries")),
    )
    with op.batch_alter_table("log_entries", schema=None) as batch_op:
        batch_op.create_index("ix_log_entries_statement", ["workspace_id", "statement"], unique=False)
        batch_op.create_index("ix_log_entries_subject", ["workspace_id", "kind", "subject"], unique=False)

    op.create_table(
        "log_nodes",
        sa.Column("workspace_id", sa.String(length=255), nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["logs.workspace_id"], name=op.f("fk_log_nodes_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "level", "position", name=op.f("pk_log_nodes")),
    )


def downgrade() -> None:
    op.drop_table("log_nodes")
    with op.batch_alter_table("log_entries", schema=None) as batch_op:
        batch_op.drop_index("ix_log_entries_subject")
        batch_op.drop_index("ix_log_entries_statement")

    op.drop_table("log_entries")
    op.drop_table("logs")
    op.drop_table("log_signer")
