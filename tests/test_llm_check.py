"""`galena llm check` tells which models answer, and why the others do not."""

from pathlib import Path

import pytest
import yaml

from ai.errors import ConfigurationError
from ai.fake_provider.script import Fault, Script
from tests.commands import invoke
from tests.gateways import candidate
from tests.providers import running_provider


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "llm.yaml"
    monkeypatch.setenv("GALENA_LLM_CONFIG", str(path))
    monkeypatch.setenv("FAKE_KEY", "a key of nobody's")
    return path


def write(path: Path, **urls: str) -> None:
    candidates = {name: candidate(url) for name, url in urls.items()}
    features = {"default": {"candidates": list(urls)}}
    path.write_text(yaml.safe_dump({"candidates": candidates, "features": features}))


@pytest.mark.usefixtures("own_environment")
def test_without_a_configuration_it_says_that_answers_are_extracts() -> None:
    checked = invoke("llm", "check")
    assert checked.exit_code == 0
    assert "offline" in checked.output
    assert "GALENA_LLM_CONFIG is not set" in checked.output


def test_each_model_is_asked(file: Path) -> None:
    with running_provider() as well, running_provider(Script(faults=(Fault(kind="401"),))) as ill:
        write(file, well=well)
        assert invoke("llm", "check").exit_code == 0
        write(file, well=well, ill=ill)
        checked = invoke("llm", "check")
    assert checked.exit_code == 1
    lines = {line.split()[0]: line for line in checked.output.splitlines() if line.strip()}
    assert "answers" in lines["well"]
    assert "key" in lines["ill"]
    assert "nobody's" not in checked.output


def test_a_key_that_is_not_set_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, main="http://127.0.0.1:1")
    monkeypatch.delenv("FAKE_KEY")
    raised = invoke("llm", "check").exception
    assert isinstance(raised, ConfigurationError)
    assert "candidates.main.key_variable names FAKE_KEY, which is not set" in str(raised)
