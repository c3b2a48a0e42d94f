"""Alerts: rules, the engine that reads them, silences, incidents, and telling people."""
