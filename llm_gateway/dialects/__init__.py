"""Dialects: what the model providers speak, translated from and to the canonical form. Pure: no Django, no I/O."""
