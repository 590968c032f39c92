"""What holds for every test; and at each run's end, which real servers were absent and how the others were found."""

import signal

import hypothesis
import pytest
import structlog

from tests.peers import programs, table

# A machine that does other things as well is no finding.
hypothesis.settings.register_profile(
    "loaded machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("loaded machine")

# `pytest &` in a script begins with an interrupt that is ignored, and hands that on to each process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logs_as_they_come():
    """A command run inside a test configures the logs for good: the next test begins with the defaults."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter):
    if table.ROWS:
        terminalreporter.section("peers")
        terminalreporter.write(table.markdown())
        table.keep()
    if programs.ABSENT:
        terminalreporter.section("absent peers")
        terminalreporter.write_line(", ".join(sorted(programs.ABSENT)))
        terminalreporter.write_line(
            "`make test-peers`, as root on Debian, unpacks them under .peers/ and runs with them."
        )
