"""What can go wrong between a question and its answer, so that callers can tell it apart.

Messages name no content: neither a prompt nor an answer nor a key.
"""


class LanguageModelError(Exception):
    """A call that has no answer; the message is one sentence and a way out."""


class ConfigurationError(LanguageModelError):
    """The configuration of language models cannot be used: names the field and what it expects."""


class NoAnswerError(LanguageModelError):
    """Every candidate was tried or is known to fail, and no fallback answer is stated."""


class OutOfTimeError(NoAnswerError):
    """The time budget of the call has run out."""


class BudgetExceededError(LanguageModelError):
    """The tenant's budget leaves no room for the call.

    cheaper: whether a cheaper model is to be tried.
    """

    def __init__(self, message: str, *, cheaper: bool = False) -> None:
        super().__init__(message)
        self.cheaper = cheaper


class UnknownPriceError(BudgetExceededError):
    """The tenant has a budget in money, and what this model costs is not known."""


class RefusedInputError(LanguageModelError):
    """What was to be sent looks like an attack, and the feature refuses such."""


class RefusedOutputError(LanguageModelError):
    """What came back may not be shown; the message names the checks that it failed."""


class WrongShapeError(LanguageModelError):
    """What came back does not have the shape asked for, also after one attempt to repair it.

    reason: the fields, and what is wrong with each.
    """

    def __init__(self, shape: str, reason: str) -> None:
        super().__init__(
            f"The model's answer is no {shape} ({reason}): ask a better model, or a simpler shape."
        )
        self.reason = reason
