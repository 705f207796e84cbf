"""What each tenant has decided about its training: read from YAML, stored, and shown as YAML."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from ml.settings import TrainingSettings
from warehouse import audit
from warehouse.errors import GalenaError
from warehouse.imports.mapping import read_yaml
from warehouse.schema import training_settings

_HEADING = "# How this tenant's models are trained; docs/training.md says what each line means.\n"


def find(connection: Connection, tenant_id: str) -> TrainingSettings:
    """The tenant's settings; the defaults where it has decided nothing.

    Raises GalenaError for settings that another release has stored and this one cannot use.
    """
    stored = connection.scalar(
        select(training_settings.c.settings).where(training_settings.c.tenant_id == tenant_id)
    )
    try:
        return TrainingSettings.model_validate(stored or {})
    except ValidationError as error:
        raise GalenaError(
            f"The training settings of tenant {tenant_id!r}, {_first_error(error)}: set them anew"
            f" with `galena tenant configure {tenant_id} --file FILE`."
        ) from None


def save(connection: Connection, tenant_id: str, settings: TrainingSettings, *, actor: str) -> None:
    """Let these settings hold from the next training on, with their entry in the audit log."""
    document = _document(settings)
    statement = insert(training_settings).values(tenant_id=tenant_id, settings=document)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id"], set_={"settings": document, "set_at": func.now()}
        )
    )
    audit.note(connection, tenant_id, "training.configure", document, actor=actor)


def load(path: Path) -> TrainingSettings:
    """Read a YAML file of settings; a key that is not there has its default.

    Raises GalenaError, naming field, value and expectation, if it cannot be used.
    """
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise GalenaError(
            f"{path.name} holds no settings: it needs lines such as 'algorithms: [boosted_tables]';"
            " `galena tenant settings TENANT` prints them all."
        )
    try:
        return TrainingSettings.model_validate(_without_blanks(document))
    except ValidationError as error:
        raise GalenaError(f"{path.name}, {_first_error(error)}.") from None


def to_yaml(settings: TrainingSettings) -> str:
    """The file that says what these settings say, every key included."""
    return _HEADING + yaml.safe_dump(
        _document(settings), sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def _document(settings: TrainingSettings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(settings.model_dump_json())
    # A set has no order of its own, and the same settings should read the same.
    return {**document, "keep": sorted(settings.keep), "drop": sorted(settings.drop)}


def _without_blanks(document: dict[Any, Any]) -> dict[Any, Any]:
    """A key with nothing behind it is as good as none."""
    return {
        key: _without_blanks(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value != ""
    }


def _first_error(error: ValidationError) -> str:
    # An unknown key first: it is often the misspelt one.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = _keys(first["loc"][:-1])
        (closest,) = difflib.get_close_matches(str(first["loc"][-1]), keys, n=1, cutoff=0)
        return f"{place} is no key; the closest is {closest!r}"
    expected = first["msg"].replace("Input should be ", "")
    return f"{place}: got {first['input']!r}; expected {expected[0].lower()}{expected[1:]}"


def _keys(place: Sequence[int | str]) -> list[str]:
    """The keys that are known at this place of the document."""
    model: type[BaseModel] = TrainingSettings
    for part in place:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        model = inner
    return list(model.model_fields)
