"""Tables of the fleet: instances, the nodes that hold their sessions, messages, configuration, jobs, tasks, agents."""

from orchestrators.models.agent import Agent, Route
from orchestrators.models.config_version import ConfigVersion
from orchestrators.models.event_rule import EventRule
from orchestrators.models.instance import Instance
from orchestrators.models.job import Job
from orchestrators.models.message import Message
from orchestrators.models.node import Node
from orchestrators.models.override_version import OverrideVersion
from orchestrators.models.recommendation import Recommendation, Review
from orchestrators.models.rollout import Rollout
from orchestrators.models.task import Approval, Task, TaskStep

__all__ = [
    "Agent",
    "Approval",
    "ConfigVersion",
    "EventRule",
    "Instance",
    "Job",
    "Message",
    "Node",
    "OverrideVersion",
    "Recommendation",
    "Review",
    "Rollout",
    "Route",
    "Task",
    "TaskStep",
]
