"""What a source's mapping file may say, and the parser of PostgreSQL's log."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sources import CONTACTS, LOGGED, POLLED
from warehouse.errors import GalenaError
from warehouse.sources.mapping import load_source_mapping, parse_source_mapping
from warehouse.sources.pgoutput import Begin, Change, Commit, Decoder, Relation, Row, Truncation


def test_a_mapping_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "crm.yaml"
    path.write_text(
        "overlap_minutes: 10\n"
        "tables:\n"
        "  crm.contacts:\n"
        "    table: leads\n"
        "    key: id\n"
        "    updated_at: modified\n"
        "    created_at: created\n"
        "    outcome: {column: status, converted: [yes], lost: [no]}\n"
        "    outcome_at: ended\n"
    )
    mapping = load_source_mapping(path)
    (table,) = mapping.tables
    assert mapping.polled
    assert mapping.overlap.total_seconds() == 600
    assert table.schema_and_name == ("crm", "contacts")
    assert table.key == ("id",)
    assert table.mapping.columns()["id"] == "id", "the key is the record's id"
    assert parse_source_mapping(mapping.document, "stored") == mapping
    assert not parse_source_mapping(LOGGED, "crm.yaml").polled


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "tables: it is missing"),
        ({"tables": {}}, "tables: there is none"),
        ({**LOGGED, "table": {}}, "table is no key; the closest is 'tables'"),
        ({"tables": {"contacts": "leads"}}, "contacts: got 'leads'; expected lines such as"),
        ({"tables": {"contacts": {**CONTACTS, "key": ""}}}, "contacts, key: got ''"),
        ({"tables": {"contacts": {**CONTACTS, "key": []}}}, r"contacts, key: got \[\]"),
        ({"tables": {"c": {"table": "leads", "key": "id"}}}, "c, created_at is missing"),
        ({"tables": {"c": {**CONTACTS, "table": "lead"}}}, "c, table: got 'lead'"),
        ({"tables": {"c": {**CONTACTS, "creatd_at": "x"}}}, "creatd_at is no key; the closest"),
        (
            {"tables": {**LOGGED["tables"], "contacts": {**CONTACTS, "updated_at": "changed"}}},
            "Calls, updated_at: it is missing, and other tables have it",
        ),
        ({**POLLED, "overlap_minutes": "0"}, "overlap_minutes: got '0'; expected a number from 1"),
        ({**POLLED, "reconcile_hours": "x"}, "reconcile_hours: got 'x'"),
        ({**LOGGED, "reconcile_hours": "2"}, "reconcile_hours: it is for polled sources only"),
    ],
)
def test_a_bad_mapping_is_one_clear_error(document: Any, words: str) -> None:
    with pytest.raises(GalenaError, match=words) as error:
        parse_source_mapping(document, "crm.yaml")
    assert str(error.value).startswith("crm.yaml, ")


NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8)
VALUES = st.none() | st.text(max_size=20)


@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    data=st.data(),
)
def test_every_message_says_what_was_written(names: list[str], data: st.DataObject) -> None:
    identity = set(data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
    relation = Relation("public", "t", tuple(names), frozenset(identity))
    decoder = Decoder()
    assert decoder.decode(_relation(relation)) is None
    row = {name: data.draw(VALUES) for name in names}
    unchanged = set(data.draw(st.lists(st.sampled_from(names), unique=True)))
    key: Row = {name: data.draw(st.text()) for name in names if name in identity}
    known = {name: value for name, value in row.items() if name not in unchanged}

    assert decoder.decode(b"B" + struct.pack(">QqI", 1, 2, 3)) == Begin(3)
    new = b"N" + _tuple(names, row, set())
    assert decoder.decode(b"I" + struct.pack(">I", 7) + new) == Change(relation, None, row)
    old = b"K" + _tuple(names, {**dict.fromkeys(names), **key}, set())
    moved = b"U" + struct.pack(">I", 7) + old + b"N" + _tuple(names, row, unchanged)
    assert decoder.decode(moved) == Change(relation, key, known)
    plain = b"U" + struct.pack(">I", 7) + b"N" + _tuple(names, row, unchanged)
    assert decoder.decode(plain) == Change(relation, None, known)
    assert decoder.decode(b"D" + struct.pack(">I", 7) + old) == Change(relation, key, None)
    full = b"O" + _tuple(names, row, set())
    assert decoder.decode(b"D" + struct.pack(">I", 7) + full) == Change(relation, row, None)
    assert decoder.decode(b"T" + struct.pack(">IBI", 1, 0, 7)) == Truncation((relation,))
    assert decoder.decode(b"C" + struct.pack(">BQQq", 0, 5, 6, 7)) == Commit(6)

    with pytest.raises(GalenaError, match="ends within a value"):
        decoder.decode(moved[: data.draw(st.integers(1, len(moved) - 1))])


def test_a_message_of_another_protocol_is_an_error() -> None:
    with pytest.raises(GalenaError, match="kind b'S'"):
        Decoder().decode(b"S" + bytes(9))


def _relation(relation: Relation) -> bytes:
    columns = b"".join(
        bytes([name in relation.identity]) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1)
        for name in relation.columns
    )
    head = struct.pack(">I", 7) + b"public\0t\0d" + struct.pack(">H", len(relation.columns))
    return b"R" + head + columns


def _tuple(names: list[str], row: dict[str, Any], unchanged: set[str]) -> bytes:
    body = struct.pack(">H", len(names))
    for name in names:
        if name in unchanged:
            body += b"u"
        elif row[name] is None:
            body += b"n"
        else:
            value = row[name].encode()
            body += b"t" + struct.pack(">I", len(value)) + value
    return body
