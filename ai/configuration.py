"""Which models there are and which of them serve what: one YAML file, named by GALENA_LLM_CONFIG.

Without a file the offline model answers everything. Keys stand in environment variables that the
file names, never in the file.
"""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ai.errors import ConfigurationError

VARIABLE = "GALENA_LLM_CONFIG"
OFFLINE = "offline"

ProviderName = Literal["openai", "anthropic", "google", "compatible", "offline"]


class Candidate(BaseModel):
    """A model at an endpoint.

    provider: compatible is any server that speaks OpenAI's chat completions; it needs base_url.
    model: as the provider names it. key_variable: the environment variable with the key; none for
        a server that asks for none. base_url: where, when not at the provider's own.
    context_tokens: the most tokens of input and output together. model_class: answers of models
        of one class may serve each other from the cache; default the model's name.
    price_input_usd_per_million, price_output_usd_per_million: US dollars for a million tokens,
        both or none; without them the published list holds, which knows no compatible server.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: ProviderName
    model: str = Field(min_length=1)
    key_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    context_tokens: int = Field(default=128_000, ge=1_000)
    model_class: str = ""
    price_input_usd_per_million: Decimal | None = Field(default=None, ge=0)
    price_output_usd_per_million: Decimal | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> "Candidate":
        if self.provider == "compatible" and not self.base_url:
            raise ValueError("base_url is missing; a compatible server needs one")
        if self.provider in ("openai", "anthropic", "google") and not self.key_variable:
            raise ValueError("key_variable is missing; name the variable that holds the key")
        if (self.price_input_usd_per_million is None) != (
            self.price_output_usd_per_million is None
        ):
            raise ValueError(
                "price_input_usd_per_million and price_output_usd_per_million need each other;"
                " name both or none"
            )
        return self


class Feature(BaseModel):
    """How calls for one purpose are answered.

    candidates: names, the first the preferred one. order: listed; cheapest first; spread over all
        by how busy each is. attempts: the most requests to one candidate. seconds: the time
        budget of a call. output_tokens: the most that an answer may have. cache_seconds: how long
        an answer may serve again, 0 for never. similarity: from which cosine on the answer to a
        question in other words may serve, none for never. at_injection: withhold the sentences
        that look like an attack, or refuse the call. fallback: said when no candidate answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[str, ...] = Field(min_length=1)
    order: Literal["listed", "cheapest", "spread"] = "listed"
    attempts: int = Field(default=3, ge=1, le=10)
    seconds: float = Field(default=20, gt=0, le=600)
    output_tokens: int = Field(default=1_024, ge=1)
    cache_seconds: int = Field(default=86_400, ge=0)
    similarity: float | None = Field(default=None, gt=0, le=1)
    at_injection: Literal["withhold", "refuse"] = "withhold"
    fallback: str | None = None


class Configuration(BaseModel):
    """candidates: by name. features: by name; one that is not there is served as `default`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: Mapping[str, Candidate]
    features: Mapping[str, Feature]

    @model_validator(mode="after")
    def _known(self) -> "Configuration":
        if "default" not in self.features:
            raise ValueError("features.default is missing; it serves what has no entry of its own")
        for name, feature in self.features.items():
            for candidate in feature.candidates:
                if candidate not in self.candidates:
                    raise ValueError(
                        f"features.{name}.candidates names {candidate!r}, which is not among"
                        f" candidates ({', '.join(self.candidates)})"
                    )
        return self

    def feature(self, name: str) -> Feature:
        return self.features.get(name) or self.features["default"]


def offline() -> Configuration:
    """What holds without a file: the extractive model, for everything."""
    return Configuration(
        candidates={OFFLINE: Candidate(provider="offline", model="extractive-1")},
        features={"default": Feature(candidates=(OFFLINE,))},
    )


def from_environment(environment: Mapping[str, str]) -> Configuration:
    """Read the file that GALENA_LLM_CONFIG names; without it the offline configuration.

    Raises ConfigurationError: the file cannot be read, a field is wrong, or a key's variable is
    not set.
    """
    path = environment.get(VARIABLE)
    if not path:
        return offline()
    found = _read(Path(path))
    for name, candidate in found.candidates.items():
        if candidate.key_variable and not environment.get(candidate.key_variable):
            raise ConfigurationError(
                f"{path}: candidates.{name}.key_variable names {candidate.key_variable}, which is"
                " not set: set it where Galena runs."
            )
    return found


def _read(path: Path) -> Configuration:
    """Messages show nothing of what the file holds: somebody may have put a key into it."""
    try:
        read = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE} names {path}, which cannot be read: {error.strerror}."
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" in line {mark.line + 1}"
        raise ConfigurationError(
            f"{path} is no YAML{line}: see the example in docs/language-models-routing.md."
        ) from None
    try:
        return Configuration.model_validate(read)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        wanted = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{path}: {place}: {wanted}.") from None
