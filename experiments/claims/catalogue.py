"""The claims as data: TOML files beside this module, one a part of the text that they quote."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calibration.errors import BadInput, unfit

DIRECTORY = Path(__file__).parent / "catalogue"
PARTS = ("calls", "fork", "vfork", "exec", "performance", "failures", "usage", "exercises")
VERDICTS = ("true", "false", "depends")
Verdict = Literal["true", "false", "depends"]
Source = Literal["kernel", "project", "hardware"]
"""Of what neither the model nor a small program can judge: order and history inside the kernel, what another project's
text says, a machine that is not here."""
_ID = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_CHECK = re.compile(r"(?P<figure>[a-z][a-z0-9_]*) (?P<sign><=|>=|<|>|==) (?P<bound>-?[0-9.]+(?:e[0-9]+)?)")


class ClaimText(BaseModel):
    """One `[[claim]]`.

    Attributes:
        text: what is claimed, quoted.
        kernels: the range that the verdict was judged for.
        predict: figure by name: a path into predict's document, `|` and predict's options; `A // B` for a ratio.
        measure: figure by name: `run.figure` of a stored measurement, `sample:ROW.MILESTONE` of the calibration's;
            `A // B` for a ratio.
        checks: what the verdict rests on: `FIGURE SIGN NUMBER`, true of the predicted and of the measured figure.
        source: whose sources alone judge, where no figure does.
        why: the reason, with its sources.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: Annotated[str, Field(pattern=_ID)]
    text: Annotated[str, Field(min_length=10)]
    verdict: Verdict
    kernels: Annotated[str, Field(min_length=3)]
    predict: dict[str, str] = Field(default_factory=dict)
    measure: dict[str, str] = Field(default_factory=dict)
    checks: list[Annotated[str, Field(pattern=_CHECK.pattern)]] = Field(default_factory=list)
    source: Source | None = None
    why: Annotated[str, Field(min_length=20)]

    @model_validator(mode="after")
    def _has_a_basis(self) -> ClaimText:
        if bool(self.predict or self.measure) is (self.source is not None):
            raise ValueError(f"{self.id}: give figures, or source where there can be none")
        return self


class PartText(BaseModel):
    """One file: the heading of its part of the text, and its claims."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    section: Annotated[str, Field(min_length=3)]
    claim: Annotated[list[ClaimText], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Check:
    """A bound that a figure keeps."""

    figure: str
    sign: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value of the figure keeps it."""
        return {
            "<": value < self.bound,
            ">": value > self.bound,
            "<=": value <= self.bound,
            ">=": value >= self.bound,
            "==": value == self.bound,
        }[self.sign]

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim with the heading that it stands under; members as in `ClaimText`."""

    section: str
    id: str
    text: str
    verdict: Verdict
    kernels: str
    predict: dict[str, str]
    measure: dict[str, str]
    checks: tuple[Check, ...]
    source: Source | None
    why: str

    @property
    def judged_by(self) -> str:
        """What the verdict rests on, in a word or two."""
        ways = [name for name, has in (("model", self.predict), ("measurement", self.measure)) if has]
        return " and ".join(ways) or f"source ({self.source})"


@functools.cache
def claims() -> tuple[Claim, ...]:
    """All claims, in the order of the text. Raises BadInput if a file is damaged."""
    found = tuple(claim for part in PARTS for claim in read_part(DIRECTORY / f"{part}.toml"))
    seen: set[str] = set()
    for claim in found:
        if claim.id in seen:
            raise BadInput(claim.id, "two claims have this id", "give one of them another")
        seen.add(claim.id)
    return found


def read_part(path: Path) -> list[Claim]:
    """The claims of one file.

    Raises:
        BadInput: it cannot be read or is not what it should be; names file and key.
    """
    try:
        part = PartText.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise unfit(str(path), error, "restore the file") from error
    except (OSError, ValueError) as error:
        raise BadInput(str(path), str(error), "restore the file") from error
    return [_claim(part.section, each) for each in part.claim]


def _claim(section: str, each: ClaimText) -> Claim:
    values: dict[str, Any] = {
        name: getattr(each, name) for name in ("id", "verdict", "kernels", "predict", "measure", "source")
    }
    return Claim(
        section=section,
        text=" ".join(each.text.split()),
        why=" ".join(each.why.split()),
        checks=tuple(_check(text) for text in each.checks),
        **values,
    )


def _check(text: str) -> Check:
    found = _CHECK.fullmatch(text)
    assert found is not None, text  # the model has matched it
    return Check(found["figure"], found["sign"], float(found["bound"]))


def chosen(ids: tuple[str, ...], verdict: str | None) -> tuple[Claim, ...]:
    """The claims with these ids (all without any) and this verdict.

    Raises:
        BadInput: no claim has one of the ids, or there is no such verdict.
    """
    known = {claim.id for claim in claims()}
    for name in ids:
        if name not in known:
            raise BadInput(f"--id {name}", "there is no such claim", "see `spawncost claims`")
    if verdict is not None and verdict not in VERDICTS:
        raise BadInput(f"--verdict {verdict}", "there is no such verdict", f"choose from {', '.join(VERDICTS)}")
    return tuple(
        claim for claim in claims() if (not ids or claim.id in ids) and (verdict is None or claim.verdict == verdict)
    )
