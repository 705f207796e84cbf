"""An installation of an earlier release, brought to this one with what it holds."""

from collections.abc import Callable

from alembic import command
from sqlalchemy import create_engine, text

from tests.conftest import in_database
from warehouse import audit, deployment, models
from warehouse.database import Database
from warehouse.embedded import Urls
from warehouse.migrate import _config, migrate

# As release 0008 had written them: two versions, the second of which serves.
_HELD = (
    "INSERT INTO crm.tenants (tenant_id, name) VALUES ('acme', 'Acme')",
    "INSERT INTO crm.leads (tenant_id, lead_id, created_at) VALUES ('acme', 'one', now())",
    "INSERT INTO crm.customers (tenant_id, customer_id, name, created_at, attributes)"
    " VALUES ('acme', 'c', 'C', now(), '{\"seats\": 3}')",
    "INSERT INTO ml.feature_sets (tenant_id, feature_set, as_of, horizon_days, spec, rows,"
    " converted, sha256, run_id) VALUES ('acme', 1, now(), 30, '{}', 7, 2, 'digest', 'run')",
    *(
        "INSERT INTO ml.models (tenant_id, version, feature_set, stage, outcomes, base,"
        " horizon_days, metrics, artifact, sha256, run_id, trained_at) VALUES"
        f" ('acme', {version}, 1, 'own_model', 7, 0, 30, '{{}}', '{{}}', '', 'run', now())"
        for version in (1, 2)
    ),
    *(
        "INSERT INTO ml.audit_log (tenant_id, actor, action, details) VALUES ('acme', 'run',"
        f' \'model.champion\', \'{{"version": {version}, "why": "trained"}}\')'
        for version in (1, 2)
    ),
    "INSERT INTO ml.model_aliases (tenant_id, alias, version) VALUES ('acme', 'champion', 2)",
)


def test_models_of_an_earlier_release_keep_their_life(
    server: Urls, new_database: Callable[[str], str]
) -> None:
    urls = in_database(server, new_database("template0"))
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
    engine.dispose()
    superuser = create_engine(urls.superuser)
    with superuser.begin() as connection:
        for statement in _HELD:
            connection.execute(text(statement))
    superuser.dispose()
    migrate(urls.owner)
    database = Database(urls.app)
    with database.tenant("acme") as connection:
        newest, oldest = models.find_all(connection, "acme")
        assert (newest.status, oldest.status) == ("deployed", "deprecated")
        assert newest.data["rows"] == 7
        assert newest.data["sha256"] == "digest"
        assert [one.version for one in audit.of_models(connection, "acme")] == [1, 2]
        assert deployment.previous(connection, "acme") == 1
    database.close()
