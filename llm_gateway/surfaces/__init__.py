"""Surfaces: what clients speak, translated to and from the canonical form. Pure: no Django, no I/O."""
