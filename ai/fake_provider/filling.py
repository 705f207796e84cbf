"""JSON that fits a schema, the same each time."""

from typing import Any

from ai.fake_provider.exchange import Schema

_LONGEST = 200


def fill(schema: Schema, text: str) -> Any:
    """A value that the schema admits; strings of free form are the text, cut to what may stand."""
    return _fill(schema, text, schema)


def _fill(schema: Schema, text: str, root: Schema) -> Any:
    if reference := schema.get("$ref"):
        return _fill(_resolve(reference, root), text, root)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if values := schema.get("enum"):
        return values[0]
    for name in ("anyOf", "oneOf", "allOf"):
        if branches := schema.get(name):
            return _fill(branches[0], text, root)
    kind = schema.get("type", "object")
    # Google writes types in capitals; a list of types allows each.
    kind = (kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        return {
            name: _fill(inner, text, root) for name, inner in schema.get("properties", {}).items()
        }
    if kind == "array":
        most = schema.get("maxItems", 1)
        number = max(int(schema.get("minItems", 0)), min(1, int(most)))
        return [_fill(schema.get("items", {"type": "string"}), text, root)] * number
    return _scalar(kind, schema, text)


def _scalar(kind: str, schema: Schema, text: str) -> Any:
    if kind in ("integer", "number"):
        lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        number = lowest + 1 if "exclusiveMinimum" in schema else lowest
        return int(number) if kind == "integer" else float(number)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    filled = text[: int(schema.get("maxLength", _LONGEST))]
    return filled.ljust(int(schema.get("minLength", 0)), ".")


def _resolve(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
