"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("listing", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("id", name="uq_events_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_address_at", "events", ["address", "at"], unique=False)
    op.create_table(
        "exclusions",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("network", name="pk_exclusions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exits",
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("exit", sa.Text(), nullable=False),
        sa.Column("list", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("entry", "exit", "list", name="pk_exits"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_exits_exit", "exits", ["exit"], unique=False)
    op.create_table(
        "listings",
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("criterion", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("vantage", sa.Text(), nullable=False),
        sa.Column("first_listed", sa.Double(), nullable=False),
        sa.Column("last_confirmed", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=True),
        sa.Column("exits", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("list", "address", "type", name="pk_listings"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_listings_address", "listings", ["address"], unique=False)
    op.create_index("ix_listings_entry", "listings", ["entry"], unique=False)
    op.create_index("ix_listings_expires", "listings", ["expires"], unique=False)
    op.create_index("ix_listings_visit", "listings", ["visit"], unique=False)
    op.create_table(
        "networks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_networks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_networks_ready_at", "networks", ["ready_at"], unique=False)
    op.create_table(
        "nominations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("sample", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_nominations"),
    )
    op.create_index("ix_nominations_address", "nominations", ["address"], unique=False)
    op.create_index("ix_nominations_state_at", "nominations", ["state", "at"], unique=False)
    op.create_table(
        "port_statistics",
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("tried", sa.BigInteger(), nullable=False),
        sa.Column("relayed", sa.BigInteger(), nullable=False),
        sa.Column("last_relayed", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("protocol", "port", name="pk_port_statistics"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "removals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_removals"),
    )
    op.create_index("ix_removals_address_at", "removals", ["address", "at"], unique=False)
    op.create_index("ix_removals_target_at", "removals", ["target", "at"], unique=False)
    op.create_index(
        "uq_removals_running",
        "removals",
        ["target"],
        unique=True,
        sqlite_where=sa.text("running"),
        postgresql_where=sa.text("running"),
    )
    op.create_table(
        "status",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_status"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "visits",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("removal", sa.Text(), nullable=True),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=False),
        sa.Column("vantages", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("mail", sa.Boolean(), nullable=True),
        sa.Column("exits", sa.Text(), nullable=False),
        sa.Column("proofs", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_visits"),
    )
    op.create_index("ix_visits_address_ended", "visits", ["address", "ended"], unique=False)
    op.create_index("ix_visits_ended", "visits", ["ended"], unique=False)
    op.create_table(
        "watches",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("list", sa.Text(), nullable=False),
        sa.Column("next_visit", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_watches"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evidence",
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("vantage", sa.Text(), nullable=False),
        sa.Column("aim", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("elapsed", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("transcript", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["visit"], ["visits.id"], name="fk_evidence_visit", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("visit", "number", name="pk_evidence"),
    )
    op.create_table(
        "removal_steps",
        sa.Column("removal", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["removal"], ["removals.id"], name="fk_removal_steps_removal", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("removal", "number", name="pk_removal_steps"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "targets",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("on_demand", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("removal", sa.Text(), nullable=True),
        sa.Column("pass_number", sa.Integer(), nullable=False),
        sa.Column("taken_until", sa.Double(), nullable=True),
        sa.Column("ready_at", sa.Double(), sa.Computed("coalesce(taken_until, due)", persisted=True), nullable=True),
        sa.ForeignKeyConstraint(["network"], ["networks.id"], name="fk_targets_network"),
        sa.PrimaryKeyConstraint("address", name="pk_targets"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_targets_network_ready_at", "targets", ["network", "ready_at"], unique=False)
    op.create_index(
        "ix_targets_on_demand",
        "targets",
        ["ready_at"],
        unique=False,
        sqlite_where=sa.text("on_demand"),
        postgresql_where=sa.text("on_demand"),
    )
