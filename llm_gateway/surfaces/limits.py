"""Limits: what no surface takes, whatever provider would answer (R23, R24)."""

from typing import Any, Final

from llm_gateway.problems import Refused
from llm_gateway.reading import Document, is_deep

MAX_MESSAGES: Final = 2_048
MAX_OUTPUT_TOKENS: Final = 1_000_000
MAX_CHOICES: Final = 128
MAX_DEPTH: Final = 100
MAX_FIELDS: Final = 200
MAX_MODEL_LENGTH: Final = 256

# What would choose a host, a key or a price, in any spelling: compared without `_` and `-`, in small letters.
_DENIED: Final = frozenset(
    """apibase baseurl apikey apiversion apitype apitoken organization customllmprovider extraheaders extraquery
    headers defaultheaders azureendpoint azureadtoken azuredeployment deploymentid endpoint vertexproject vertexlocation
    vertexcredentials vertexaiproject vertexailocation vertexaicredentials awsaccesskeyid awssecretaccesskey
    awssessiontoken awsregionname awsprofilename awsrolename awsbedrockruntimeendpoint proxy proxyurl modellist
    fallbacks contextwindowfallbacks mockresponse inputcostpertoken outputcostpertoken inputcostpersecond
    outputcostpersecond litellmparams litellmmetadata""".split()
)
_OUTPUT_NAMES: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# What needs no second look.
_USUAL: Final = frozenset(
    """model messages stream stream_options max_tokens max_completion_tokens temperature top_p tools tool_choice n stop
    user response_format input instructions max_output_tokens system""".split()
)


def body(value: object) -> Document:
    """Return `value` when it is an object that holds no denied field and is not nested too deep, or raise Refused."""
    if type(value) is not dict:
        raise Refused(None, "Send a JSON object.", "invalid_type")
    if len(value) > MAX_FIELDS:
        raise Refused(None, f"Send at most {MAX_FIELDS} parameters.")
    for name in value.keys() - _USUAL:
        if name.replace("_", "").replace("-", "").lower() in _DENIED:
            raise Refused(
                name, f"`{name}` may not be sent: providers and keys are set up here.", "parameter_not_allowed"
            )
    if is_deep(value, limit=MAX_DEPTH):
        raise Refused(None, f"Nest at most {MAX_DEPTH} levels.")
    return value


def model(found: Document) -> str:
    """Return the name of the model."""
    name = required(found, "model")
    if type(name) is not str or not name.strip() or len(name) > MAX_MODEL_LENGTH or not name.isprintable():
        raise Refused("model", f"`model` is a name of at most {MAX_MODEL_LENGTH} characters.")
    return name


def required(found: Document, name: str) -> Any:
    """Return a parameter that has to be there."""
    if found.get(name) is None:
        raise Refused(name, f"`{name}` is missing.", "missing_required_parameter")
    return found[name]


def flag(found: Document, name: str) -> bool:
    """Return a switch; left out it is off."""
    value = found.get(name)
    if value is not None and type(value) is not bool:
        raise Refused(name, f"`{name}` is true or false.", "invalid_type")
    return bool(value)


def integer(found: Document, name: str, *, most: int, least: int = 1) -> int | None:
    """Return a whole number within its limits, None when it was left out."""
    value = found.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise Refused(name, f"`{name}` is a whole number.", "invalid_type")
    if not least <= value <= most:
        raise Refused(name, f"`{name}` is a whole number from {least} to {most}.")
    return value


def output_tokens(found: Document, *names: str) -> int | None:
    """Return the largest of what a surface's own names say of the answer's length, None where none is sent.

    A name of another surface is refused: a provider might follow it, or another that it does not know.
    """
    for name in _OUTPUT_NAMES:
        if name not in names and found.get(name) is not None:
            text = f"`{name}` is no parameter here; the answer is limited by `{names[0]}`."
            raise Refused(name, text, "unsupported_parameter")
    limits = [limit for name in names if (limit := integer(found, name, most=MAX_OUTPUT_TOKENS)) is not None]
    return max(limits) if limits else None


def choices(found: Document) -> int:
    """Return how many answers are asked for, those included that the provider makes to choose from."""
    return max(integer(found, name, most=MAX_CHOICES) or 1 for name in ("n", "best_of"))


def messages(found: Document, name: str = "messages") -> list[Document]:
    """Return the messages: a list of objects, neither empty nor endless."""
    value = required(found, name)
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise Refused(name, f"`{name}` is a list of objects.", "invalid_type")
    if not 1 <= len(value) <= MAX_MESSAGES:
        raise Refused(name, f"Send from 1 to {MAX_MESSAGES} items in `{name}`.")
    return value


def roles(found: list[Document], *, name: str = "messages") -> None:
    """Raise Refused unless every message has a role."""
    for place, item in enumerate(found):
        if type(item.get("role")) is not str:
            raise Refused(f"{name}[{place}].role", "Every message has a role.", "missing_required_parameter")


def wants_usage(found: Document) -> bool:
    """Say whether a stream shall end with its usage."""
    options = found.get("stream_options")
    if options is not None and type(options) is not dict:
        raise Refused("stream_options", "`stream_options` is an object.", "invalid_type")
    return flag(options, "include_usage") if options else False
