"""The test world: real PostgreSQL, Redis, server processes, bad networks and a browser, on any machine with Python.

Used by tests, fault tests and benchmarks only; nothing of the running product imports it.
"""
