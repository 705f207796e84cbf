"""What tenants decide about their training: stored per tenant, and refused with a precise word."""

from pathlib import Path

import pytest
from sqlalchemy import text

from ml.settings import Fairness, Retraining, TrainingSettings
from warehouse import tenants, training_settings
from warehouse.database import Database
from warehouse.errors import GalenaError

SETTINGS = TrainingSettings(
    algorithms=("boosted_tables", "random_forest"),
    monotone={"visits": "increasing"},
    keep=frozenset({"b", "a"}),
    pooling=True,
    fairness=Fairness(groups={"age": (30.0, 45.0)}),
    retraining=Retraining(after_days=7),
)


@pytest.fixture
def both(database: Database) -> Database:
    for tenant_id in ("acme", "brio"):
        tenants.add(database, tenant_id)
    return database


def test_what_a_tenant_decides_is_its_own(both: Database) -> None:
    with both.tenant("acme") as connection:
        assert training_settings.find(connection, "acme") == TrainingSettings()
        training_settings.save(connection, "acme", TrainingSettings(pooling=True), actor="ann")
        training_settings.save(connection, "acme", SETTINGS, actor="ann")
        assert training_settings.find(connection, "acme") == SETTINGS
        assert training_settings.find(connection, "brio") == TrainingSettings()
    with both.tenant("brio") as connection:
        assert training_settings.find(connection, "brio") == TrainingSettings()


def test_decisions_are_in_the_audit_log(both: Database) -> None:
    with both.tenant("acme") as connection:
        training_settings.save(connection, "acme", SETTINGS, actor="ann")
        (entry,) = connection.execute(text("SELECT actor, action, details FROM ml.audit_log"))
    assert (entry.actor, entry.action) == ("ann", "training.configure")
    assert TrainingSettings.model_validate(entry.details) == SETTINGS


@pytest.mark.parametrize("settings", [TrainingSettings(), SETTINGS])
def test_what_is_printed_can_be_loaded(settings: TrainingSettings, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(training_settings.to_yaml(settings))
    assert training_settings.load(file) == settings
    assert set(TrainingSettings.model_fields) <= {
        line.split(":")[0] for line in file.read_text().splitlines()
    }


def test_what_is_left_out_or_blank_has_its_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("retraining:\n  after_days:\n  on_drift: no\n")
    expected = TrainingSettings(retraining=Retraining(on_drift=False))
    assert training_settings.load(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("algorithm: x", "algorithm is no key; the closest is 'algorithms'"),
        ("retraining: {after: 3}", "retraining.after is no key; the closest is 'after_days'"),
        (
            "retraining: {after_days: -3}",
            "retraining.after_days: got '-3'; expected greater than 0",
        ),
        (
            "tuning: {trials: many}",
            "tuning.trials: got 'many'; expected a valid integer, unable to parse",
        ),
        ("algorithms: [forest]", "algorithms.0: got 'forest'; expected 'boosted_tables', "),
        ("monotone: {age: up}", "monotone.age: got 'up'; expected 'increasing' or 'decreasing'"),
        ("- a", "holds no settings"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_precise_error(
    content: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(GalenaError) as raised:
        training_settings.load(file)
    assert str(raised.value).startswith("settings.yaml")
    assert message in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GalenaError, match=r"cannot be read.*check the path"):
        training_settings.load(tmp_path / "none.yaml")
