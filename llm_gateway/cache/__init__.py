"""The cache: answers kept for the very same question of the same organization, with a time and a size."""

from llm_gateway.cache.counts import figures

__all__ = ["figures"]
