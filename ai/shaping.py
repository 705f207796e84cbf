"""Answers with a shape: read as JSON, with originals in place of placeholders, and validated."""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ai.errors import WrongShapeError
from ai.guards.placeholders import Vault

Shape = TypeVar("Shape", bound=BaseModel)


def shaped(text: str, shape: type[Shape], vault: Vault) -> Shape:
    """The answer as its shape has it. What stands before and after the JSON object is left out.

    Raises WrongShapeError, whose reason names fields and what is wrong with them, no contents.
    """
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[begin : end + 1]) if end > begin else None
    except (json.JSONDecodeError, RecursionError):
        raise WrongShapeError(shape.__name__, "no valid JSON") from None
    if not isinstance(found, dict):
        raise WrongShapeError(shape.__name__, "no JSON object")
    try:
        return shape.model_validate(each_text(found, vault.restore))
    except ValidationError as error:
        names = set(texts_in(shape.model_json_schema()))
        faults = "; ".join(
            f"{_place(one['loc'], names)}: {one['type']}"
            for one in error.errors(include_input=False, include_context=False)
        )
        raise WrongShapeError(shape.__name__, faults) from None


def _place(loc: tuple[int | str, ...], names: set[str]) -> str:
    """Where in the shape; a name that the model made up is content, and is not told."""
    told = (str(part) if isinstance(part, int) or part in names else "?" for part in loc)
    return ".".join(told) or "the object"


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with each of its texts changed, names of fields left out."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {name: each_text(one, change) for name, one in value.items()}
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Each text in the JSON value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from texts_in(name)
            yield from texts_in(one)
