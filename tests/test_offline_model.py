"""The model without a provider: what it quotes, that it says what it is, what it will not do."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import BaseModel

from ai import sentences
from ai.configuration import offline
from ai.providers.building import build
from ai.providers.offline import MARKER, NOTHING_FOUND, ExtractiveChatModel

SOURCES = """<source id="S1" kind="mail">
Hello team, thanks for the call. Our renewal is due on 3. March 2026 and Dr. Weber wants a discount
of 10 %. The export to Excel fails since Monday, e.g. with large files. We like the dashboard.
</source>
<source id="S2">
Ticket 4711: The export of reports to Excel breaks off after 5,000 rows. Support promised a fix.
</source>"""


def _model(output_tokens: int = 500) -> ExtractiveChatModel:
    candidate = offline().candidates["offline"]
    found = build(candidate, {}, output_tokens=output_tokens, seconds=1)
    assert isinstance(found, ExtractiveChatModel)
    return found


def _ask(question: str, sources: str = SOURCES, output_tokens: int = 500) -> str:
    messages = [
        SystemMessage("Use the passages alone. After each statement name the passage."),
        HumanMessage(f"{sources}\n\nQuestion: {question}"),
    ]
    return str(_model(output_tokens).invoke(messages).text)


def test_it_quotes_what_bears_on_the_question_with_its_sources() -> None:
    assert _ask("What is wrong with the Excel export?") == (
        f"{MARKER}The export to Excel fails since Monday, e.g. with large files. [S1]"
        " Ticket 4711: The export of reports to Excel breaks off after 5,000 rows. [S2]"
    )
    assert _ask("When is the renewal due?") == (
        f"{MARKER}Our renewal is due on 3. March 2026 and Dr. Weber wants a discount of 10 %. [S1]"
    )


def test_the_same_question_has_the_same_answer() -> None:
    assert len({_ask("Summarise what this customer says.") for _ in range(5)}) == 1


def test_it_says_when_nothing_bears_on_it() -> None:
    assert _ask("Who is the president of France?") == MARKER + NOTHING_FOUND
    assert _model().invoke("What is our churn rate?").text == MARKER + NOTHING_FOUND
    assert _ask("What is wrong?", '<source id="S1"></source>') == MARKER + NOTHING_FOUND


def test_a_summary_quotes_sentences_in_their_order() -> None:
    said = _ask("Summarise the situation.")
    quoted = [said.index(words) for words in ("Our renewal", "The export to", "Ticket 4711")]
    assert quoted == sorted(quoted)


@pytest.mark.parametrize(
    ("source", "question", "expected"),
    [
        (
            "Guten Tag. Herr Dr. Müller hat z.B. den Rabatt am 3. März nicht erhalten. Die"
            " Lieferung kam pünktlich.",
            "Frage: Was ist mit Rabatten?",
            "Herr Dr. Müller hat z.B. den Rabatt am 3. März nicht erhalten.",
        ),
        (
            "Bonjour, M. Dupont attend. « Le service est lent. » Nous voulons résilier le contrat.",
            "Pourquoi le client veut-il resilier ?",
            "Nous voulons résilier le contrat.",
        ),
        (
            "Hola. El Sr. García no puede descargar las facturas. ¿Cuándo se arregla? ¡Es urgente!",
            "¿Qué pasa con la factura?",
            "El Sr. García no puede descargar las facturas.",
        ),
    ],
)
def test_other_languages(source: str, question: str, expected: str) -> None:
    said = _ask(question, f'<source id="S1">{source}</source>')
    assert said == f"{MARKER}{expected} [S1]"


def test_sentences_end_where_they_end() -> None:
    text = "Mr. A. Smith paid 10 %. He wrote: “Fine.” Then\nhe left! Oh, really?\n- one\n- two"
    assert sentences.split(text) == [
        "Mr. A. Smith paid 10 %.",
        "He wrote: “Fine.”",
        "Then he left!",
        "Oh, really?",
        "- one",
        "- two",
    ]


def test_an_answer_is_no_longer_than_it_may_be() -> None:
    said = _ask("What is wrong with the Excel export?", output_tokens=45)
    assert "[S1]" in said
    assert "[S2]" not in said
    cut = _model(15).invoke([HumanMessage(f"{SOURCES}\nWhat about the renewal?")])
    assert cut.response_metadata["finish_reason"] == "length"
    assert len(cut.text.encode()) <= 45


def test_every_answer_says_that_it_is_none_of_a_model() -> None:
    messages = [HumanMessage(f"{SOURCES}\nWhat is wrong with the export?")]
    whole = _model().invoke(messages)
    pieces = list(_model().stream(messages))
    assert whole.response_metadata["offline"] is True
    assert whole.usage_metadata == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert str(pieces[0].text) == MARKER
    assert len([piece for piece in pieces if piece.text]) == 3, "the marker and two sentences"
    assert "".join(str(piece.text) for piece in pieces) == whole.text
    assert any(piece.response_metadata.get("offline") for piece in pieces)


def test_it_does_not_pretend_to_use_tools_or_to_make_shapes() -> None:
    class Shape(BaseModel):
        sentiment: str

    with pytest.raises(NotImplementedError, match="calls no tools"):
        _model().bind_tools([])
    with pytest.raises(NotImplementedError, match="no structured output"):
        _model().with_structured_output(Shape)
