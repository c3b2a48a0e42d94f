"""The data plane: calls to models, served on the event loop beside Django. No ORM and no thread on a warm call."""
