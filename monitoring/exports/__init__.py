"""Exports: measurements as a file (CSV, JSON, Parquet, Excel), made by a job and kept in the database for a while."""
