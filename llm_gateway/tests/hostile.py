"""JSON of those who mean harm, or do not look."""

from typing import Any

from hypothesis import strategies as st

WORDS = st.sampled_from(
    """choices delta content index tool_calls function arguments name id usage finish_reason message error type text
    message_start content_block_start content_block content_block_delta content_block_stop message_delta message_stop
    input_json_delta partial_json text_delta thinking thinking_delta signature_delta tool_use input candidates parts
    functionCall args finishReason role system tools tool_choice image_url url source
    file file_data media_type format schema output_config input_schema parameters function_call function_call_output
    call_id output usageMetadata promptFeedback blockReason data embedding embeddings values""".split()
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | WORDS
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


def mutated(payload: Any, path: list[int], value: Any) -> Any:
    """Return `payload` with one thing in it, found along `path`, replaced by `value`."""
    if not path or not isinstance(payload, dict | list) or not payload:
        return value
    if isinstance(payload, list):
        place = path[0] % len(payload)
        return [mutated(item, path[1:], value) if at == place else item for at, item in enumerate(payload)]
    chosen = sorted(payload)[path[0] % len(payload)]
    return {key: mutated(item, path[1:], value) if key == chosen else item for key, item in payload.items()}


PATHS = st.lists(st.integers(0, 12), max_size=7)
