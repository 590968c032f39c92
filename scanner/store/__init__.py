"""The store: everything that outlives the process, in one SQLite file. See store.py for what it does."""

from scanner.store.appeals import AppealRefused
from scanner.store.intake import REMOVAL_PAUSE
from scanner.store.store import Store, database_path, open_store
from scanner.store.types import (
    Exclusion,
    Leased,
    Nomination,
    NominationIn,
    PortStatistic,
    Posted,
    Removal,
    RemovalRefused,
    StoredEvidence,
    StoredVisit,
    StoreError,
    Terms,
    TooMany,
)

__all__ = [
    "REMOVAL_PAUSE",
    "AppealRefused",
    "Exclusion",
    "Leased",
    "Nomination",
    "NominationIn",
    "PortStatistic",
    "Posted",
    "Removal",
    "RemovalRefused",
    "Store",
    "StoreError",
    "StoredEvidence",
    "StoredVisit",
    "Terms",
    "TooMany",
    "database_path",
    "open_store",
]
