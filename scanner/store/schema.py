"""The tables, for SQLite and PostgreSQL alike: the single definition that the migrations are held to.

Moments are seconds since the epoch, addresses and networks canonical text; lists and records are JSON.
Small rows live in their key's tree (WITHOUT ROWID), those with transcripts and samples do not.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key's type is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

# The unit of schedule and lease: a /24 or a /48. ready_at is never later than the earliest target that could
# be taken, and null where there is none; leasing corrects it.
networks = Table(
    "networks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ready_at", Double, index=True),
    Column("owner", Text),
    Column("lease", BigInteger, nullable=False, server_default=text("0")),  # fencing token
    Column("lease_until", Double),
    sqlite_with_rowid=False,
)

# An address's next visit.
targets = Table(
    "targets",
    metadata,
    Column("address", Text, primary_key=True),
    Column("network", Text, ForeignKey("networks.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("on_demand", Boolean, nullable=False),
    Column("due", Double, nullable=False),
    Column("removal", Text),
    Column("pass_number", Integer, nullable=False),
    Column("taken_until", Double),
    Column("ready_at", Double, Computed("coalesce(taken_until, due)", persisted=True)),
    Index(None, "network", "ready_at"),
    Index(
        "ix_targets_on_demand",
        "ready_at",
        sqlite_where=text("on_demand"),
        postgresql_where=text("on_demand"),
    ),
    sqlite_with_rowid=False,
)

visits = Table(
    "visits",
    metadata,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("removal", Text),
    Column("started", Double, nullable=False),
    Column("ended", Double, nullable=False, index=True),
    Column("vantages", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("mail", Boolean),
    Column("exits", Text, nullable=False),
    Column("proofs", Integer, nullable=False),
    Column("attempts", LargeBinary),  # evidence without a conversation, compressed: most of all evidence
    Index(None, "address", "ended"),
)

# A conversation each.
evidence = Table(
    "evidence",
    metadata,
    Column("visit", Text, ForeignKey("visits.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("protocol", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("vantage", Text, nullable=False),
    Column("aim", Text, nullable=False),
    Column("proof", Text),  # nonce, and what the canary saw
    Column("elapsed", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("transcript", LargeBinary),  # compressed
)

listings = Table(
    "listings",
    metadata,
    Column("list", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("criterion", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detector", Text, nullable=False),
    Column("vantage", Text, nullable=False),
    Column("first_listed", Double, nullable=False),
    Column("last_confirmed", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
    Column("entry", Text, index=True),
    Column("exits", Text, nullable=False),
    Column("visit", Text, index=True),
    Index(None, "address"),
    sqlite_with_rowid=False,
)

# Append only. The cursor is made of seq.
events = Table(
    "events",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("list", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("listing", Text, nullable=False),
    Index(None, "address", "at"),
    Index(None, "at", "kind", "list"),
    sqlite_autoincrement=True,  # a purged number is never given again
)

# The exits of each listing, to find the other entries of an exit.
exits = Table(
    "exits",
    metadata,
    Column("entry", Text, primary_key=True),
    Column("exit", Text, primary_key=True),
    Column("list", Text, primary_key=True),
    Index(None, "exit"),
    sqlite_with_rowid=False,
)

watches = Table(
    "watches",
    metadata,
    Column("address", Text, primary_key=True),
    Column("list", Text, primary_key=True),
    Column("next_visit", Double, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What mail servers were asked to relay, as far as it may still arrive.
letters = Table(
    "letters",
    metadata,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("visit", Text, nullable=False),  # the latest that brought it
    Column("reason", Text, nullable=False),
    Column("vantage", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("aim", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Index(None, "address", "at"),
    sqlite_with_rowid=False,
)

# What the canaries signed of letters that arrived, by the letter: they come before its visit is over, or days later.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("signed", LargeBinary, nullable=False),
    Column("pending", Boolean, nullable=False),
    Index("ix_deliveries_pending", "at", sqlite_where=text("pending"), postgresql_where=text("pending")),
)

nominations = Table(
    "nominations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("due", Double),
    Column("at", Double, nullable=False),
    Column("comment", Text, nullable=False),
    Column("submitter", Text, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("sample", LargeBinary),  # compressed
    Index(None, "state", "at"),
)

removals = Table(
    "removals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("running", Boolean, nullable=False),
    Column("control", Boolean, nullable=False, server_default=false()),  # of the address, shown by the requester
    Column("partly", Boolean, nullable=False, server_default=false()),  # the entry was repaired, the exit has another
    Index(None, "address", "at"),
    Index(None, "target", "at"),
    Index(None, "requester", "at"),
    Index(
        "uq_removals_running",
        "target",
        unique=True,
        sqlite_where=text("running"),
        postgresql_where=text("running"),
    ),
)

removal_steps = Table(
    "removal_steps",
    metadata,
    Column("removal", Text, ForeignKey("removals.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Against the outcome of a removal request, each of which bears one; of an address one is open at a time.
appeals = Table(
    "appeals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("removal", Text, ForeignKey("removals.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("retest", Text, index=True),  # the removal request that an operator made of it
    Column("open", Boolean, nullable=False),
    Index(
        "uq_appeals_open",
        "address",
        unique=True,
        sqlite_where=text("open"),
        postgresql_where=text("open"),
    ),
)

appeal_steps = Table(
    "appeal_steps",
    metadata,
    Column("appeal", Text, ForeignKey("appeals.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Messages about outcomes. due: of those that wait to be sent. recipient: null once it is not needed.
outbox = Table(
    "outbox",
    metadata,
    Column("removal", Text, ForeignKey("removals.id", ondelete="CASCADE"), primary_key=True),
    Column("recipient", Text),
    Column("mark", Text, nullable=False, index=True),  # of the recipient, by a keyed hash
    Column("state", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("due", Double, index=True),
    Column("tries", Integer, nullable=False),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Who wants no messages, by the same hash.
mail_stops = Table(
    "mail_stops",
    metadata,
    Column("mark", Text, primary_key=True),
    Column("at", Double, nullable=False),
    sqlite_with_rowid=False,
)

port_statistics = Table(
    "port_statistics",
    metadata,
    Column("protocol", Text, primary_key=True),
    Column("port", Integer, primary_key=True),
    Column("tried", BigInteger, nullable=False),
    Column("relayed", BigInteger, nullable=False),
    Column("last_relayed", Double),
    sqlite_with_rowid=False,
)

# Opt-outs.
exclusions = Table(
    "exclusions",
    metadata,
    Column("network", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("declared_by", Text, nullable=False),
    Column("at", Double, nullable=False),
    sqlite_with_rowid=False,
)

status = Table(
    "status",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", Double, nullable=False),
    sqlite_with_rowid=False,
)

# How often strangers may ask: when the bucket of each key is full again.
allowances = Table(
    "allowances",
    metadata,
    Column("key", Text, primary_key=True),
    Column("full_at", Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)

# Who may sign in. password: an argon2 hash; link: the SHA-256 of a one-time link, good until link_until.
# Sessions from before `since` do not count.
operators = Table(
    "operators",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password", Text),
    Column("link", Text),
    Column("link_until", Double),
    Column("since", Double, nullable=False),
    sqlite_with_rowid=False,
)

# What operators did, by name. Append only.
journal = Table(
    "journal",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("operator", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)
