"""A simulated network on 127.0.0.0/8 for the demo, the tests and the benchmarks.

Every relay dials from its own address. Nothing here is used by a scan of real addresses.
"""
