"""Requests for an exit that ended with one of its entries repaired and another left."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("removals", sa.Column("partly", sa.Boolean(), nullable=False, server_default=sa.false()))
