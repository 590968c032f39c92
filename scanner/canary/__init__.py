"""The place that targets are told to reach: it signs what it saw, for whoever brings our challenge alone.

tcp.py, http.py and smtp.py say (pure); server.py does.
"""

from scanner.canary.server import BindError, Bound, Canary, Ending, Keep, Limits, Tally, run_canary

__all__ = ["BindError", "Bound", "Canary", "Ending", "Keep", "Limits", "Tally", "run_canary"]
