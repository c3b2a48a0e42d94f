"""Tables of the fleet: instances, the nodes that hold their sessions, and their messages."""

from orchestrators.models.instance import Instance
from orchestrators.models.message import Message
from orchestrators.models.node import Node

__all__ = ["Instance", "Message", "Node"]
