"""Tables of the fleet: instances, the nodes that hold their sessions, their messages, configuration, and jobs."""

from orchestrators.models.config_version import ConfigVersion
from orchestrators.models.instance import Instance
from orchestrators.models.job import Job
from orchestrators.models.message import Message
from orchestrators.models.node import Node
from orchestrators.models.override_version import OverrideVersion
from orchestrators.models.recommendation import Recommendation, Review
from orchestrators.models.rollout import Rollout

__all__ = [
    "ConfigVersion",
    "Instance",
    "Job",
    "Message",
    "Node",
    "OverrideVersion",
    "Recommendation",
    "Review",
    "Rollout",
]
