"""Watching: what is told of calls beside their money: contents where they are kept, metrics, traces."""
