"""What is read of a file, what a mapping file may say, and what is proposed for a file."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from warehouse.errors import GalenaError
from warehouse.imports import load_mapping, propose_mapping, read_table
from warehouse.imports.mapping import parse_mapping, to_yaml

FEW_CELLS = st.sampled_from(["", "a", "1", "05/06/2026", "2026-01-05", "yes", "won", '"', "\0"])
FEW_NAMES = st.sampled_from(["id", "Lead ID", "created", "Status", "amount", "kind", "*", "^a$"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    path = _file(tmp_path, delimiter.join(["id", "note"]), delimiter.join(["1", '"a, b; c | d"']))
    assert read_table(path).rows.to_dicts() == [{"id": "1", "note": "a, b; c | d"}]


def test_a_delimiter_within_cells_does_not_mislead(tmp_path: Path) -> None:
    path = _file(tmp_path, "last, first, title;age", "Roe, Jo;4", "Doe;5", "Poe, Ed, Dr;6")
    assert read_table(path).rows.columns == ["last, first, title", "age"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("id;größe\r\n1;2\r\n".encode("utf-8-sig"))
    assert read_table(path).rows.to_dicts() == [{"id": "1", "größe": "2"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_numbers_are_those_of_an_editor(tmp_path: Path, end: str) -> None:
    path = tmp_path / "file.csv"
    lines = ["id,note", "1,a", '2,"two', 'lines"', "", "3,b", ",", "4"]
    path.write_bytes(end.join(lines).encode())
    source = read_table(path)
    assert source.lines.to_list() == [2, 3, 6]
    assert source.rows["note"].to_list() == ["a", f"two{end}lines", "b"]
    assert source.malformed["line"].to_list() == [8]


@pytest.mark.parametrize("broken", ['2,"never closed', '2,"closed" too early', '2,"', '"2,x'])
def test_a_broken_quote_costs_its_own_line_alone(tmp_path: Path, broken: str) -> None:
    source = read_table(_file(tmp_path, "id,note", "1,a", broken, "3,b", '4,"c"', '5,5" screen'))
    assert source.rows["id"].to_list() == ["1", "3", "4", "5"]
    assert source.rows["note"].to_list() == ["a", "b", "c", '5" screen']
    assert source.lines.to_list() == [2, 4, 5, 6]
    assert source.malformed["line"].to_list() == [3]
    assert json.loads(source.malformed["cells"][0]) == broken


def test_a_long_file_is_read_whole(tmp_path: Path) -> None:
    numbers = range(45_000)
    source = read_table(_file(tmp_path, "id", *(f"L{number}" for number in numbers)))
    assert source.rows["id"].to_list() == [f"L{number}" for number in numbers]
    assert source.lines[-1] == 45_001


def test_columns_without_a_name_of_their_own_get_one(tmp_path: Path) -> None:
    source = read_table(_file(tmp_path, " id ,Name,,Name,*,^a$", "1,2,3,4,5,6"))
    assert source.rows.columns == [
        "id", "Name", "column 3", "Name (2)", "column *", "column ^a$",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id\nä\n".encode("latin-1"), ["line 2", "0xe4", "position 1", "UTF-8"]),
        ("a.csv", "id\nx\n".encode("utf-16"), ["line 1", "0xff", "UTF-8"]),
        ("a.csv", b"", ["is empty"]),
        ("a.csv", b"\n\n", ["is empty"]),
        ("a.csv", b'id,"x\n1,2\n', ["line 1 (the header)"]),
        ("a.xlsx", b"PK\x03\x04", ["neither CSV", "Parquet"]),
        ("a.parquet", b"PAR1 and then nothing of the kind", ["damaged Parquet"]),
    ],
)
def test_what_cannot_be_read_is_one_error(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GalenaError) as raised:
        read_table(path)
    message = str(raised.value)
    assert message.startswith(name)
    assert [word for word in words if word not in message] == []


def test_a_path_that_is_no_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(GalenaError, match=r"nothing\.csv cannot be read: No such file"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(GalenaError, match="cannot be read: Is a directory"):
        read_table(tmp_path)


@pytest.mark.parametrize("photos", [[b"\xff"], [[b"\xff"]], [{"of": b"\xff"}]])
def test_parquet_with_bytes_is_one_error(tmp_path: Path, photos: list[Any]) -> None:
    path = tmp_path / "leads.parquet"
    pl.DataFrame({"id": ["1"], "photos": photos}).write_parquet(path)
    with pytest.raises(GalenaError, match="column 'photos': holds bytes"):
        read_table(path)


def test_a_mapping_file_means_what_it_says(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "table: leads",
        "id: ID",
        "created_at: Created",
        "outcome: {column: y, converted: [yes], lost: [no]}",
        "outcome_after_days: 1",
        "known_at:",
        "ignore: [duration]",
        "timezone: Europe/Berlin",
        "day_first: true",
    )
    found = load_mapping(path)
    assert found == parse_mapping(
        {
            "table": "leads",
            "id": "ID",
            "created_at": "Created",
            "outcome": {"column": "y", "converted": ["yes"], "lost": ["no"]},
            "outcome_after_days": 1.0,
            "ignore": ["duration"],
            "timezone": "Europe/Berlin",
            "day_first": True,
        },
        "expected",
    )
    path.write_text(to_yaml(found))
    assert load_mapping(path) == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("table: lead", "table: got 'lead'; expected one of leads, interactions, customers"),
        ("table: [leads]", "table: got ['leads']"),
        ("id: a", "table: it is missing"),
        ("- leads", "is no mapping"),
        ("a: [", "is no YAML"),
        (
            "table: leads\nid: a\ncreatd_at: b",
            "creatd_at is no key; the closest is 'created_at'",
        ),
        ("table: leads\nid: a", "created_at is missing: name the column that has it"),
        ("table: leads\nid: a\ncreated_at:", "created_at is missing: name the column that has it"),
        ("table: leads\nid: [a]\ncreated_at: b", "id: Input should be a valid string, got ['a']"),
        (
            "table: leads\nid: a\ncreated_at: b\noutcome: {column: c, convertd: [yes]}",
            "outcome.convertd is no key; the closest is 'converted'",
        ),
        (
            "table: leads\nid: a\ncreated_at: b\noutcome: {column: c, converted: [yes]}",
            "name the column of its date by outcome_at",
        ),
        (
            "table: leads\nid: a\ncreated_at: b\nconverted_at: d\n"
            "outcome: {column: c, converted: [yes], lost: [no]}",
            "or assume a number of days after created_at by outcome_after_days",
        ),
        (
            "table: leads\nid: a\ncreated_at: b\noutcome_at: d\n"
            "outcome: {column: c, converted: [yes], lost: [YES]}",
            "'yes' cannot mean both",
        ),
        ("table: leads\nid: a\ncreated_at: b\noutcome_at: d", "need outcome beside them"),
        (
            "table: leads\nid: a\ncreated_at: b\ntimezone: Berlin",
            "timezone: there is no time zone 'Berlin'; the closest is 'Europe/Berlin'",
        ),
        ("table: interactions\nkind: a\noccurred_at: b", "lead_id or customer_id is needed"),
        (
            "table: deals\nid: a\nstage: b\ncreated_at: c\nwon: {column: d, won: [a], lost: [A]}",
            "'a' cannot mean both",
        ),
    ],
)
def test_a_wrong_mapping_is_one_error(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(GalenaError) as raised:
        load_mapping(_file(tmp_path, content, name="my.yaml"))
    assert str(raised.value).startswith("my.yaml")
    assert message in str(raised.value)


def test_a_mapping_file_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(GalenaError, match=r"my\.yaml cannot be read: No such file"):
        load_mapping(tmp_path / "my.yaml")


def test_cells_tell_where_names_do_not(tmp_path: Path) -> None:
    assert _proposed(
        tmp_path, "size,mail,reader no,came", "1,a@x,7,2026-01-05", "1,b@x,8,2026-01-06"
    ) == {"table": "leads", "id": "reader no", "created_at": "came"}


@pytest.mark.parametrize(
    ("header", "row", "table"),
    [
        ("id,name,created_at,status,closed_at", "{},a,2026-01-05,won,2026-02-01", "leads"),
        ("id,created_at,status", "{},2026-01-05,won", "leads"),
        ("Lead ID,Created,Status,Type,Source", "{},2026-01-05,new,web,web", "leads"),
        ("lead_id,type,created_at,body", "1,mail,2026-01-05,{}", "interactions"),
        ("lead_id,type,date,body", "{},mail,2026-01-05,hello", "interactions"),
        ("Account ID,Account Name,Created Date", "{},a,2026-01-05", "customers"),
        ("Record ID,Deal Name,Deal Stage,Create Date", "{},a,open,2026-01-05", "deals"),
        ("id,stage,amount,created", "{},open,12,2026-01-05", "deals"),
    ],
)
def test_the_table_is_found(tmp_path: Path, header: str, row: str, table: str) -> None:
    rows = read_table(_file(tmp_path, header, *(row.format(number) for number in range(5)))).rows
    assert propose_mapping(rows).guesses["table"].value == table


@pytest.mark.parametrize(
    ("lines", "table", "key", "hint"),
    [
        (["id,x", "1,a", "2,b"], "leads", "created_at", "when the row came into the CRM"),
        (
            ["id,from,to", "1,2026-01-05,2026-01-06", "2,2026-01-05,2026-01-06"],
            "leads",
            "created_at",
            "one of 'from', 'to'?",
        ),
        (
            ["id,created,y", "1,2026-01-05,yes", "2,2026-01-05,no"],
            "leads",
            "outcome_at",
            "or give outcome_after_days",
        ),
        (["id,created", "1,01/02/2026", "2,02/03/2026"], "leads", "day_first", "is in April"),
        (["type,date", "call,2026-01-05"], "interactions", "lead_id", "or give customer_id"),
    ],
)
def test_what_is_not_found_is_asked_for(
    tmp_path: Path, lines: list[str], table: str, key: str, hint: str
) -> None:
    proposal = propose_mapping(read_table(_file(tmp_path, *lines)).rows, table)
    (line,) = (line for line in proposal.to_yaml().splitlines() if line.startswith(f"{key}:"))
    assert line.startswith(f"{key}:  # NOT FOUND: ")
    assert hint in line
    with pytest.raises(GalenaError, match=rf"^x\.csv leaves {key} open .*--mapping"):
        proposal.mapping("x.csv")


def test_every_guess_has_its_reason(tmp_path: Path) -> None:
    path = _file(tmp_path, "Lead ID,created,size", "1,2026-01-05,4", "2,2026-01-05,4")
    assert propose_mapping(read_table(path).rows).to_yaml() == (
        "table: leads  # it has 'Lead ID'\n"
        "id: Lead ID  # by its name\n"
        "created_at: created  # by its name\n"
        "# All other columns (attributes): size\n"
    )


def test_what_gives_the_outcome_away_is_no_attribute(tmp_path: Path) -> None:
    assert _proposed(
        tmp_path,
        "id,created,won at,stage,Lost reason,Last Modified Date,size",
        "1,2026-01-05,2026-02-01,Customer,,2026-02-01,12",
        "2,2026-01-05,,Lead,Price,2026-02-01,12",
        "3,2026-01-05,,Customer,,2026-02-01,12",
    ) == {
        "table": "leads", "id": "id", "created_at": "created", "converted_at": "won at",
        "ignore": ["stage", "Lost reason", "Last Modified Date"],
    }  # fmt: skip


def test_lost_leads_without_a_date_stay_open(tmp_path: Path) -> None:
    found = _proposed(
        tmp_path, "id,created,status,won at", "1,2026-01-05,won,2026-02-01", "2,2026-01-05,lost,"
    )
    assert found["outcome"] == {"column": "status", "converted": ["won"]}


def test_the_table_may_be_told(tmp_path: Path) -> None:
    rows = read_table(_file(tmp_path, "id,name,created", "1,a,2026-01-05", "2,b,2026-01-05")).rows
    assert propose_mapping(rows).mapping("x").table == "leads"
    assert propose_mapping(rows, "customers").mapping("x").table == "customers"
    with pytest.raises(GalenaError, match="no table 'lead'; expected one of leads, "):
        propose_mapping(rows, "lead")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(st.text(min_size=1), min_size=4, max_size=4))
@example(columns=["a\nb", "yes", "a: b  # c", "\x85"])
def test_columns_may_have_any_name(tmp_path: Path, columns: list[str]) -> None:
    first, second, third, fourth = columns
    mapping = parse_mapping(
        {
            "table": "leads", "id": first, "created_at": second, "converted_at": third,
            "outcome": {"column": fourth, "converted": [third]}, "ignore": columns,
        },
        "mapping",
    )  # fmt: skip
    path = tmp_path / "mapping.yaml"
    path.write_text(to_yaml(mapping), encoding="utf-8", newline="")
    assert load_mapping(path) == mapping


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.lists(
        st.lists(FEW_NAMES | FEW_CELLS | st.text(max_size=6), max_size=5).map(",".join), max_size=5
    ).map(lambda lines: "\n".join(lines).encode(errors="replace"))
)
@example(content=b"id,created,\x01\n1,2026-01-05,a\n")
def test_any_file_ends_in_a_proposal_or_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    try:
        proposal = propose_mapping(read_table(path).rows)
        proposed = _file(tmp_path, proposal.to_yaml(), name="any.yaml")
        expected = proposal.mapping("any.csv")
    except GalenaError:
        return
    assert load_mapping(proposed) == expected


def _file(folder: Path, *lines: str, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def _proposed(folder: Path, *lines: str) -> dict[str, Any]:
    """What the proposed mapping says, without what it leaves at its default."""
    mapping = propose_mapping(read_table(_file(folder, *lines)).rows).mapping("file.csv")
    return {"table": mapping.table, **mapping.model_dump(exclude_defaults=True)}
