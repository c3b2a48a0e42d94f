"""The events of one output item after the other."""

from llm_gateway.reading import Document
from llm_gateway.surfaces.blocks import Block, Step
from llm_gateway.surfaces.responses import answers

_PREFIXES = {"text": "msg", "refusal": "msg", "reasoning": "rs", "tool": "fc"}
_NAMES = {
    "text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning": "response.reasoning_text",
    "tool": "response.function_call_arguments",
}
# The field of the done event that holds all of the text.
_FIELDS = {"text": "text", "refusal": "refusal", "reasoning": "text", "tool": "arguments"}


class ItemEvents:
    """Turns steps of blocks into events; each block is an item of its own. `done` holds the finished items."""

    def __init__(self, *, call_id: str) -> None:
        self._call_id = call_id
        self.done: list[Document] = []

    def events(self, step: Step) -> list[Document]:
        """Return the events of one step, without their sequence numbers."""
        block = step.block
        if step.what == "grow":
            delta = self._place(block) | {"type": f"{_NAMES[block.kind]}.delta", "delta": step.words}
            return [delta | {"logprobs": []} if block.kind == "text" else delta]
        return self._opened(block) if step.what == "open" else self._closed(block)

    def _opened(self, block: Block) -> list[Document]:
        place = self._place(block)
        item = _item(block, place["item_id"], status="in_progress")
        added: Document = {"type": "response.output_item.added", "output_index": place["output_index"], "item": item}
        if block.kind == "tool":
            return [added]
        return [added, place | {"type": "response.content_part.added", "part": _part(block, "")}]

    def _closed(self, block: Block) -> list[Document]:
        place, words = self._place(block), block.words
        item = _item(block, place["item_id"], status="completed")
        self.done.append(item)
        told = place | {"type": f"{_NAMES[block.kind]}.done", _FIELDS[block.kind]: words}
        ended: Document = {"type": "response.output_item.done", "output_index": place["output_index"], "item": item}
        if block.kind == "tool":
            return [told | {"name": block.name}, ended]
        part = place | {"type": "response.content_part.done", "part": _part(block, words)}
        return [told | {"logprobs": []} if block.kind == "text" else told, part, ended]

    def _place(self, block: Block) -> Document:
        """Return what places an event: blocks are told of one at a time, so the open one comes after those done."""
        index = len(self.done)
        place: Document = {"item_id": f"{_PREFIXES[block.kind]}_{self._call_id}_{index}", "output_index": index}
        return place if block.kind == "tool" else place | {"content_index": 0}


def _part(block: Block, words: str) -> Document:
    if block.kind == "text":
        return answers.text_part(words)
    return (
        {"type": "refusal", "refusal": words} if block.kind == "refusal" else {"type": "reasoning_text", "text": words}
    )


def _item(block: Block, identity: str, *, status: str) -> Document:
    is_done = status == "completed"
    if block.kind == "tool":
        given = block.words if is_done else ""
        return answers.call_item(identity, block.identity, block.name, given, status=status)
    if block.kind == "reasoning":
        return answers.reasoning_item(identity, block.words if is_done else None, status=status)
    return answers.message_item(identity, [_part(block, block.words)] if is_done else [], status=status)
