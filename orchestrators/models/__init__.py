"""Tables of the fleet: instances, the nodes that hold their sessions, their messages and their configuration."""

from orchestrators.models.config_version import ConfigVersion
from orchestrators.models.instance import Instance
from orchestrators.models.message import Message
from orchestrators.models.node import Node
from orchestrators.models.rollout import Rollout

__all__ = ["ConfigVersion", "Instance", "Message", "Node", "Rollout"]
