"""The tenant matrix: who may do what, as rows over every route, frame type and topic."""
