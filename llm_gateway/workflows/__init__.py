"""Workflows: runs of several model calls as tasks of the one queue, with checked results.

`runs`: make, cancel, find; `running`: do one in a worker; `plans`, `kinds`: which steps there are; `doing`: what each
kind of step does; `asking`: the calls; `answers`: what a model said, checked; `contents`: what is kept, and how long;
`noting`, `watching`, `frames`, `endpoint`: how far a run is, written down, read and told as a stream.
"""
