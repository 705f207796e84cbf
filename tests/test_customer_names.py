"""Names are read out of the CRM per tenant, kept for a while, and never another tenant's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from ai.stores import Names
from warehouse import tenants
from warehouse.customer_names import CustomerNames
from warehouse.database import Database
from warehouse.errors import TenantNotFoundError

ACME, BRIO = "acme", "brio"
WHEN = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def both(database: Database) -> Database:
    tenants.add(database, ACME, "Acme Tools")
    tenants.add(database, BRIO, "Brio Ltd")
    return database


def _lead(
    database: Database, tenant_id: str, lead_id: str, attributes: Mapping[str, object]
) -> None:
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.leads (tenant_id, lead_id, created_at, attributes)"
                " VALUES (:tenant_id, :lead_id, :at, CAST(:attributes AS jsonb))"
            ),
            {
                "tenant_id": tenant_id,
                "lead_id": lead_id,
                "at": WHEN,
                "attributes": json.dumps(attributes),
            },
        )


def _customer(
    database: Database, tenant_id: str, name: str, attributes: Mapping[str, object] | None = None
) -> None:
    with database.tenant(tenant_id) as connection:
        connection.execute(
            text(
                "INSERT INTO crm.customers (tenant_id, customer_id, name, created_at, attributes)"
                " VALUES (:tenant_id, :name, :name, :at, CAST(:attributes AS jsonb))"
            ),
            {
                "tenant_id": tenant_id,
                "name": name,
                "at": WHEN,
                "attributes": json.dumps(attributes or {}),
            },
        )


def test_customers_and_leads_are_read_by_what_crms_call_their_names(both: Database) -> None:
    _customer(both, ACME, "Nordwind GmbH", {"Contact Name": "Ada Oyelaran", "plan": "Gold"})
    _lead(both, ACME, "1", {"First_Name": "Šárka", "Last_Name": "Nováková", "title": "Buyer"})
    _lead(both, ACME, "2", {"Prénom": "Zoé", "Nom": "Lefèvre", "employees": 12})
    _lead(both, ACME, "3", {"company": "Ostrava Steel", "source": "Webinar", "name": None})
    _lead(both, ACME, "4", {"nachname": "Grünwald", "contact": 5, "firma": "12"})
    assert list(CustomerNames(both).of_customers(ACME)) == [
        "Ada Oyelaran",
        "Grünwald",
        "Nordwind GmbH",
        "Ostrava Steel",
        "Zoé Lefèvre",
        "Šárka Nováková",
    ]


def test_no_tenant_gets_anothers_customers(both: Database) -> None:
    _customer(both, ACME, "Nordwind GmbH")
    _lead(both, BRIO, "1", {"name": "Tomás Ferreira"})
    names: Names = CustomerNames(both)
    for _ in range(2):
        assert list(names.of_customers(ACME)) == ["Nordwind GmbH"]
        assert list(names.of_customers(BRIO)) == ["Tomás Ferreira"]


def test_other_tenants_are_all_but_the_one_that_asks(both: Database) -> None:
    names = CustomerNames(both)
    assert list(names.of_other_tenants(ACME)) == ["Brio Ltd", BRIO]
    assert list(names.of_other_tenants(BRIO)) == ["Acme Tools", ACME]


def test_names_are_kept_for_five_minutes(both: Database) -> None:
    clock = Clock()
    names = CustomerNames(both, clock)
    before = names.of_customers(ACME)
    _customer(both, ACME, "Nordwind GmbH")
    clock.seconds = 299
    assert names.of_customers(ACME) is before
    clock.seconds = 300
    assert list(names.of_customers(ACME)) == ["Nordwind GmbH"]


def test_a_tenant_that_is_not_there_has_no_names(both: Database) -> None:
    with pytest.raises(TenantNotFoundError):
        CustomerNames(both).of_customers("nobody")
