"""Measurements: collected, stored in bulk, rolled up, and read as latest rows, series and statistics."""
