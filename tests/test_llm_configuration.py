"""The file of candidates and features: what it may say, and what is said of a wrong one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ai import configuration
from ai.configuration import VARIABLE, Configuration
from ai.errors import ConfigurationError

SECRET = "sk-never-shown"
PAGE = Path(__file__).parent.parent / "docs" / "language-models-routing.md"


def _valid() -> dict[str, Any]:
    return {
        "candidates": {"main": {"provider": "openai", "model": "m", "key_variable": "MAIN_KEY"}},
        "features": {"default": {"candidates": ["main"]}},
    }


def _read(folder: Path, content: str, **variables: str) -> Configuration:
    path = folder / "models.yaml"
    path.write_text(content)
    return configuration.from_environment({VARIABLE: str(path), **variables})


def test_without_a_file_the_offline_model_serves_everything() -> None:
    found = configuration.from_environment({})
    assert found.feature("insights").candidates == ("offline",)
    assert found.candidates["offline"].provider == "offline"


def test_the_pages_example_is_valid(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    keys = set(re.findall(r"key_variable: (\w+)", example))
    found = _read(tmp_path, example, **dict.fromkeys(keys, SECRET))
    assert {one.provider for one in found.candidates.values()} == {
        "openai",
        "anthropic",
        "google",
        "compatible",
        "offline",
    }
    assert found.feature("nobody configured this") is found.features["default"]


def test_the_page_names_every_field() -> None:
    page = PAGE.read_text()
    for model in (configuration.Candidate, configuration.Feature):
        for field in model.model_fields:
            assert f"| `{field}`" in page, field


@pytest.mark.parametrize(
    ("section", "name", "changed", "words"),
    [
        ("candidates", "main", {"provider": "compatible", "model": "m"}, "base_url is missing"),
        ("candidates", "main", {"provider": "google", "model": "m"}, "key_variable is missing"),
        ("candidates", "main", {"provider": "openia", "model": "m"}, "main.provider"),
        ("candidates", "main", {"provider": "openai", "model": "m", "key": SECRET}, "main.key"),
        ("features", "default", {"candidates": ["other"]}, "names 'other', which is not among"),
        ("features", "default", {"candidates": []}, "default.candidates"),
        ("features", "default", {"candidates": ["main"], "seconds": 0}, "default.seconds"),
        ("features", "default", {"candidates": ["main"], "order": "random"}, "default.order"),
    ],
)
def test_what_is_wrong_is_named_and_no_content_shown(
    tmp_path: Path, section: str, name: str, changed: dict[str, Any], words: str
) -> None:
    document = _valid()
    document[section][name] = changed
    with pytest.raises(ConfigurationError, match=words) as raised:
        _read(tmp_path, yaml.safe_dump(document), MAIN_KEY=SECRET)
    assert SECRET not in str(raised.value)
    assert "models.yaml" in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_feature_default_is_needed(tmp_path: Path) -> None:
    document = _valid()
    document["features"] = {"insights": {"candidates": ["main"]}}
    with pytest.raises(ConfigurationError, match=r"features\.default is missing"):
        _read(tmp_path, yaml.safe_dump(document), MAIN_KEY=SECRET)


def test_a_key_that_is_not_set_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="names MAIN_KEY, which is not set"):
        _read(tmp_path, yaml.safe_dump(_valid()))


def test_what_is_no_yaml_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no YAML in line 3") as raised:
        _read(tmp_path, f"candidates: {{}}\nkey: '{SECRET}\n")
    assert SECRET not in str(raised.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GALENA_LLM_CONFIG names .*none\.yaml, which"):
        configuration.from_environment({VARIABLE: str(tmp_path / "none.yaml")})
