"""What a `register` or `handshake` frame asks for, validated (PROTOCOL §1)."""

from dataclasses import dataclass
from typing import Any

from orchestrators import protocol
from orchestrators.protocol import POLICY, UNAUTHENTICATED, FrameError


@dataclass(frozen=True, slots=True)
class Claim:
    """What a validated `register` (or `handshake`) frame asks for."""

    orchestrator_id: str
    organization_id: str
    secret: str
    name: str
    version: str
    capabilities: tuple[str, ...]
    is_legacy: bool
    config_hash: str
    metadata: dict[str, Any]
    remote_address: str
    session_id: str
    node: str
    running_tasks: frozenset[str] | None = None


def read(frame: dict[str, Any], *, secret: str, remote_address: str, session_id: str, node: str) -> Claim:
    """Validate a `register` or `handshake` frame (PROTOCOL §1); `secret` is the Authorization header's, if any."""
    is_handshake = frame["type"] == "handshake"
    source = protocol.object_field(frame, "data") if is_handshake else frame
    metadata = protocol.object_field(source, "metadata")
    token = frame.get("token") or source.get("token") or ""
    if type(token) is not str:
        raise FrameError("unauthenticated", "`token` must be a string.", close=UNAUTHENTICATED)
    if secret and token and secret != token:
        raise FrameError("unauthenticated", "The header and `token` name two credentials.", close=UNAUTHENTICATED)
    organization_id = source.get("organization_id")
    capabilities = source.get("capabilities") or []
    if type(capabilities) is not list or not all(type(item) is str and len(item) <= 50 for item in capabilities):
        raise FrameError(
            "invalid_field", "capabilities must be a list of short strings.", close=POLICY, path="capabilities"
        )
    extra = metadata if is_handshake else frame
    try:
        return Claim(
            orchestrator_id=protocol.identifier(source.get("orchestrator_id"), "orchestrator_id"),
            organization_id=protocol.identifier(organization_id, "organization_id") if organization_id else "",
            secret=secret or token,
            name=protocol.text_field(extra, "name", limit=200),
            version=protocol.text_field(extra, "version", limit=100),
            capabilities=tuple(capabilities[:100]),
            running_tasks=_running_tasks(source),
            is_legacy=is_handshake or "capabilities" not in frame,
            config_hash=protocol.text_field(source, "config_hash", limit=200),
            metadata=metadata,
            remote_address=remote_address,
            session_id=session_id,
            node=node,
        )
    except FrameError as problem:
        problem.close = problem.close or POLICY
        raise


def _running_tasks(source: dict[str, Any]) -> frozenset[str] | None:
    """Return the ids of the tasks a client works on, None when it does not say."""
    named = source.get("running_tasks")
    if named is None:
        return None
    if type(named) is not list or len(named) > 1000 or not all(type(item) is str for item in named):
        raise FrameError("invalid_field", "running_tasks must be a list of task ids.", path="running_tasks")
    return frozenset(named)
