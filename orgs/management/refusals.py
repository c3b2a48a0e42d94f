"""What a command says when a room refuses: an operator sees no `fields`, so their texts are the sentence."""

from moolai.errors import CODES, AppError


def sentence(problem: AppError) -> str:
    """Return what was wrong: the room's own sentence, or "field: text" of each field where it has none."""
    _, default = CODES[problem.code]
    if problem.detail != default or not problem.fields:
        return problem.detail
    return "; ".join(f"{name}: {text}" for name, text in problem.fields.items())
