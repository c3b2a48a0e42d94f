"""The rows over `/ws`: what each frame type and topic is answered, for each caller."""

from typing import Any, Final

# Columns as in rows.py: nobody, viewer, operator and admin of A, anybody of B, the superadmin, A's keys, B's key.
# register and handshake as A's orchestrator: the close code, 0 when the session is opened.
OPENING: Final = {
    #             AN   MV   MO   AA   B    SA   OA   OU  OB
    "register":  "4401 4403 4403 4403 4403 4403 0    0   4403",
    "handshake": "4401 4403 4403 4403 4403 4403 0    0   4403",
}  # fmt: skip

# subscribe to a topic of A, with `organization_id`: the close code, 0 for `subscribed`, 1 for `unknown_topic`.
TOPICS: Final = {
    #                 AN   MV MO AA B SA OA OU OB
    "orchestrators":  "4401 0  0  0  1 0  0  0  1",
    "events":         "4401 0  0  0  1 0  0  0  1",
    "fleet":          "4401 0  0  0  1 0  0  0  1",
    "messages":       "4401 0  0  0  1 0  0  0  1",
    "alerts":         "4401 0  0  0  1 0  0  0  1",
    "cpu_usage":      "4401 0  0  0  1 0  0  0  1",
    "memory_usage":   "4401 0  0  0  1 0  0  0  1",
    "system_metrics": "4401 0  0  0  1 0  0  0  1",
    "system_health":  "4401 0  0  0  1 0  0  0  1",
}  # fmt: skip

# Every other type: what it is on a session of A's own orchestrator. As a first frame it is `not_registered`, on a
# dashboard `unknown_type`, except where DASHBOARD says otherwise.
SESSION: Final = {
    "i_am_alive": "heartbeat_ack", "goodbye": "closed 1000",
    "monitoring": "ack", "recommendation": "ack", "message": "ack", "ack": "unknown_ref", "config_status": "silence",
    "task_result": "unknown_ref", "task_progress": "unknown_ref",
    "register": "already_registered", "handshake": "already_registered",
    **dict.fromkeys(
        """handshake_ack provisioning config_update heartbeat_ack keepalive_ack server_shutdown credential_expiring poke
        error task task_cancel subscribe subscribed unsubscribe ping pong orchestrator_status
        system_metrics system_health alert fleet""".split(),
        "unknown_type",
    ),
}  # fmt: skip
DASHBOARD: Final = {"subscribe": "subscribed", "unsubscribe": "unsubscribed", "ping": "pong"}
FIRST: Final = frozenset({"register", "handshake", "subscribe"})  # everything else is `not_registered`
LATER: Final = sorted(set(SESSION) - FIRST)
WATCHERS: Final = ("MV", "SA", "OA")
BODIES: Final[dict[str, dict[str, Any]]] = {
    "i_am_alive": {"seq": 1},
    "monitoring": {"message_id": "m-1", "metrics": {"cpu_usage_percent": 1.5}},
    "recommendation": {"message_id": "m-2", "content": {}},
    "message": {"message_id": "m-3", "message_type": "note", "content": {}},
    "ack": {"message_id": "never-sent", "success": True},
    "config_status": {"config_hash": "sha256:0", "status": "applied"},
    "task_result": {"task_id": "tsk_nobody", "success": True},
    "task_progress": {"task_id": "tsk_nobody", "progress": 10},
    "subscribe": {"topics": ["fleet"]},
    "unsubscribe": {"topics": ["fleet"]},
    "register": {"orchestrator_id": "org-a-1", "capabilities": []},
    "handshake": {"data": {"orchestrator_id": "org-a-1"}},
}
