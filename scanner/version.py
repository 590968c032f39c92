"""The version, alone so that setup.py and the daemon read it without importing anything else."""

__version__ = "0.1.0+dev"
