"""Tables of the fleet: instances, the nodes that hold their sessions, their messages, and jobs over many of them."""

from orchestrators.models.instance import Instance
from orchestrators.models.job import Job
from orchestrators.models.message import Message
from orchestrators.models.node import Node
from orchestrators.models.recommendation import Recommendation, Review

__all__ = ["Instance", "Job", "Message", "Node", "Recommendation", "Review"]
