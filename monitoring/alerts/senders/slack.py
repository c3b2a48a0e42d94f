"""Slack: an incoming webhook, in Block Kit. Nothing in an alert's text can address anybody.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

import re
from typing import Any, Final

from monitoring.alerts import notices
from monitoring.alerts.senders import letters
from monitoring.alerts.senders.letters import Letter

MARKS: Final = {"info": "🔵", "warning": "🟡", "error": "🟠", "critical": "🔴"}
ENDS: Final = dict.fromkeys(("expired", "withdrawn"), "⚪")  # of an approval that nobody decided
TITLE_LENGTH, TEXT_LENGTH = 150, 2_900
MARKUP: Final = re.compile(r"[@`|]|(?<![^\W_])[*_~]|[*_~](?![^\W_])")  # `tsk_1` has none: its mark is within a word
BREAK: Final = "\u2060"  # a word joiner: no space is seen, and `@channel` is no mention


def send(letter: Letter) -> None:
    """Post one message; raises Refused or Later."""
    letters.call(letter, letters.encode(message(letter)))


def message(letter: Letter) -> dict[str, Any]:
    """Return the message: `text` is what a notification shows, `blocks` what the channel does."""
    notice = letter.notice
    mark = ENDS.get(str(notice["status"]), "🟢") if letter.action == "resolve" else MARKS[str(notice["severity"])]
    head = f"{mark} {notices.word(notice, action=letter.action)}: {notice['title']}"
    facts = [f"*{name}:* {escape(value)}" for name, value in notices.facts(notice)]
    blocks: list[dict[str, Any]] = [
        # plain_text is shown as it is: nothing in it is a mention, a link or a format
        {"type": "header", "text": {"type": "plain_text", "text": _plain(head), "emoji": False}},
    ]
    if notice["detail"]:
        blocks.append({"type": "section", "text": _mrkdwn(escape(notice["detail"]))})
    blocks.append({"type": "context", "elements": [_mrkdwn(" · ".join(facts))]})
    if notice["url"]:
        blocks.append({"type": "section", "text": _mrkdwn(f"<{notice['url']}|{notices.invitation(notice)}>")})
    return {"text": escape(head)[:TEXT_LENGTH], "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def escape(text: Any) -> str:
    """Return a text that Slack shows letter by letter: no mention, link, entity or format.

    `&<>` are the only characters that Slack asks to be escaped; `<!here>` and `<@U1>` need the angle brackets. A bare
    `@channel` and the marks of formats are broken by an invisible character; within a word they are none, so that an id
    is copied as it is.
    """
    safe = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(MARKUP.sub(r"\g<0>" + BREAK, safe).split("\r"))


def _plain(text: str) -> str:
    flat = " ".join(text.split()).replace("@", "@" + BREAK)
    return flat if len(flat) <= TITLE_LENGTH else flat[: TITLE_LENGTH - 1] + "…"


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text[:TEXT_LENGTH], "verbatim": True}
