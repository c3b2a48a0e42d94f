"""Analytics: what stored measurements and records come to; every number is computed from rows."""
