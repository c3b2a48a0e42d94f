"""The OpenAPI document, made out of each view's `Operation` (orgs/operations.py), and its two doors."""
