"""Proxywarden's Python side: see pipeline.py for the way of one address through it."""
