"""Timings: `python -m benchmarks.NAME [--json FILE] [--quick]`, or all with `python -m benchmarks`.

Each prints ours, the plain way and the limit from one run, with the machine's cores and load.
"""
