"""Names that guards look for: of a tenant's customers and leads, and of the other tenants."""

import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard

from sqlalchemy import Connection, text

from warehouse import tenants
from warehouse.database import Database

# Attributes that hold a name, folded to letters: of persons whole, of companies, and the two parts
# of a person's. CRMs call them so in English, German, French, Spanish, Portuguese, Italian, Dutch,
# Swedish and Polish.
_WHOLE_WORDS = """
    name fullname displayname contact contactname contactperson customername clientname leadname
    accountname ownername company companyname organization organisation organizationname account
    employer businessname legalname tradename firma firmenname unternehmen ansprechpartner kunde
    kontakt kontaktperson vollername entreprise societe raisonsociale nomcomplet interlocuteur
    empresa razonsocial nombrecompleto contacto cliente nomecompleto razaosocial contato azienda
    ragionesociale referente nominativo bedrijf bedrijfsnaam contactpersoon foretag
    fullstandigtnamn firmanazwa nazwafirmy
"""
WHOLE = frozenset(_WHOLE_WORDS.split())
_FIRST_WORDS = """
    firstname givenname forename vorname prenom nombre primernombre primeironome nome voornaam
    fornamn imie
"""
FIRST = frozenset(_FIRST_WORDS.split())
_LAST_WORDS = """
    lastname surname familyname nachname familienname nom nomdefamille apellido apellidos
    sobrenome cognome achternaam efternamn nazwisko
"""
LAST = frozenset(_LAST_WORDS.split())
MOST = 200_000
# What is longer is a text, and no name.
_LONGEST = 120
_KEPT_SECONDS = 300.0
_KEPT_TENANTS = 64


class CustomerNames:
    """What ai.stores.Names asks for, out of the CRM's tables.

    Names are kept for five minutes per tenant, those of 64 tenants at most, so that a new customer
    is known after five minutes; the same list comes back meanwhile, for what is built of it to be
    kept as well. clock: seconds, of a clock that never goes back.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, tuple[str, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def of_customers(self, tenant_id: str) -> Sequence[str]:
        """Names of the tenant's customers and leads, persons and companies, sorted; of more than
        200,000 rows of a table the newest.

        Raises TenantNotFoundError when there is no such tenant."""
        return self._get("customers", tenant_id, self._customers)

    def of_other_tenants(self, tenant_id: str) -> Sequence[str]:
        """Ids and names of all tenants but this, sorted."""
        return self._get("tenants", tenant_id, self._others)

    def _get(
        self, what: str, tenant_id: str, read: Callable[[str], tuple[str, ...]]
    ) -> tuple[str, ...]:
        with self._lock:
            at, names = self._kept.get((what, tenant_id), (-_KEPT_SECONDS, ()))
        now = self._clock()
        if now - at < _KEPT_SECONDS:
            return names
        found = read(tenant_id)
        with self._lock:
            self._kept[what, tenant_id] = now, found if found != names else names
            self._kept.move_to_end((what, tenant_id))
            while len(self._kept) > 2 * _KEPT_TENANTS:
                self._kept.popitem(last=False)
            return self._kept[what, tenant_id][1]

    def _customers(self, tenant_id: str) -> tuple[str, ...]:
        with self._database.tenant(tenant_id) as connection:
            return tuple(sorted(_customers(connection, tenant_id) | _leads(connection, tenant_id)))

    def _others(self, tenant_id: str) -> tuple[str, ...]:
        others = [one for one in tenants.find_all(self._database) if one.tenant_id != tenant_id]
        return tuple(sorted({name for one in others for name in (one.tenant_id, one.name)}))


def _customers(connection: Connection, tenant_id: str) -> set[str]:
    given = {"tenant_id": tenant_id, "most": MOST}
    named = {name.strip() for name in connection.scalars(_CUSTOMERS, given) if _is_name(name)}
    return named | _of_attributes(connection, tenant_id, "crm.customers")


def _leads(connection: Connection, tenant_id: str) -> set[str]:
    return _of_attributes(connection, tenant_id, "crm.leads")


def _of_attributes(connection: Connection, tenant_id: str, table: str) -> set[str]:
    given = {"tenant_id": tenant_id, "most": MOST}
    there = connection.scalars(text(_KEYS.format(table=table)), given)
    keys = sorted(key for key in there if _letters(key) in WHOLE | FIRST | LAST)
    if not keys:
        return set()
    found: set[str] = set()
    for values in connection.scalars(text(_VALUES.format(table=table)), {**given, "keys": keys}):
        found |= _names(zip(keys, values, strict=True))
    return found


def _names(attributes: Iterable[tuple[str, str | None]]) -> set[str]:
    texts = [(_letters(key), value.strip()) for key, value in attributes if _is_name(value)]
    found = {value for key, value in texts if key in WHOLE}
    first = next((value for key, value in texts if key in FIRST), "")
    last = next((value for key, value in texts if key in LAST), "")
    found.add(f"{first} {last}".strip())
    return found - {""}


def _is_name(value: str | None) -> TypeGuard[str]:
    return value is not None and len(value) <= _LONGEST and any(map(str.isalpha, value))


def _letters(key: str) -> str:
    """firstname of First_Name, and prenom of Prénom."""
    apart = unicodedata.normalize("NFKD", key.casefold())
    return "".join(letter for letter in apart if letter.isalpha())


_CUSTOMERS = text(
    "SELECT name FROM crm.customers WHERE tenant_id = :tenant_id"
    " ORDER BY created_at DESC LIMIT :most"
)
_KEYS = (
    "SELECT DISTINCT jsonb_object_keys(attributes) FROM {table}"
    " WHERE tenant_id = :tenant_id AND jsonb_typeof(attributes) = 'object'"
)
_VALUES = (
    "SELECT ARRAY(SELECT attributes ->> key FROM unnest(CAST(:keys AS text[]))"
    " WITH ORDINALITY AS asked (key, place) ORDER BY place)"
    " FROM {table} WHERE tenant_id = :tenant_id ORDER BY created_at DESC LIMIT :most"
)
