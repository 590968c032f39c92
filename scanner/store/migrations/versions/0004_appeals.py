"""Appeals against the outcome of a removal request, and their steps."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "appeals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("removal", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("retest", sa.Text(), nullable=True),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_appeals"),
        sa.UniqueConstraint("removal", name="uq_appeals_removal"),
        sa.ForeignKeyConstraint(["removal"], ["removals.id"], name="fk_appeals_removal", ondelete="CASCADE"),
    )
    op.create_index("ix_appeals_retest", "appeals", ["retest"], unique=False)
    op.create_index(
        "uq_appeals_open",
        "appeals",
        ["address"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "appeal_steps",
        sa.Column("appeal", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["appeal"], ["appeals.id"], name="fk_appeal_steps_appeal", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appeal", "number", name="pk_appeal_steps"),
        sqlite_with_rowid=False,
    )
