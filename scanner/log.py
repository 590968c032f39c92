"""Logs: lines for people on a terminal, JSON lines elsewhere; always on stderr, where no data goes."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog


class _Stderr:
    """Standard error as it is when a line is written; that nobody reads any more what is said there ends no daemon."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def configure(level: int = logging.INFO) -> None:
    """Call once, before the first line."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.format_exc_info,
            *([] if terminal else [structlog.processors.JSONRenderer()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
