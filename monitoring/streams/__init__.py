"""Server-sent events: the feed of the dashboards over plain HTTP, for browsers' EventSource and for curl (API §5)."""
