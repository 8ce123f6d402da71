"""RandAugment's settings from timm's text, such as `rand-m7-n4-mstd0.5-inc1`. Free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WHOLE, _NUMBER = r"\d{1,3}", r"\d{1,3}(?:\.\d{0,6})?"
_SECTIONS = {  # in the order in which the error lists them
    "m": (_WHOLE, "magnitude, a whole number below 1000"),
    "n": (r"[1-9]\d?", "operations of a clip, 1 to 99"),
    "p": (_NUMBER, "probability of each operation, 0 to 1"),
    "mstd": (_NUMBER, "standard deviation of the magnitude"),
    "mmax": (_WHOLE, "largest magnitude, a whole number below 1000"),
    "inc": ("[01]", "1: operations that grow stronger with the magnitude"),
}


@dataclass(frozen=True)
class Policy:
    """How RandAugment draws its operations (Cubuk et al. 2019; fields and defaults of timm's `rand_augment_transform`).

    magnitude: mean strength, of 10.
    operations: how many are drawn for a clip, with replacement.
    probability: with which each of them is applied.
    deviation: standard deviation of the strength, infinite for a uniform one in 0..magnitude.
    maximum: the strength is clipped to 0..maximum.
    increasing: operations that grow stronger with the magnitude.
    """

    magnitude: int = 10
    operations: int = 2
    probability: float = 0.5
    deviation: float = 0.0
    maximum: int = 10
    increasing: bool = False


def parse_policy(text: str) -> Policy:
    """The policy that a text stands for.

    Text is `rand` and sections in any order, joined by `-`: m<magnitude>, n<operations>, p<probability>,
    mstd<deviation> (more than 100: uniform), mmax<maximum>, inc<0 or 1>. timm ignores sections without a number
    and knows other sets of operations (t<name>); both are errors here.

    Raises:
        ValueError: naming the section that is wrong and what is right.
    """
    first, *sections = text.split("-")
    if first != "rand":
        raise ValueError(f"{text!r} does not begin with 'rand', as in 'rand-m7-n4-mstd0.5-inc1'")
    values: dict[str, str] = {}
    for section in sections:
        name = re.match("[a-z]*", section)[0]  # type: ignore[index]  # it matches everything
        value = section.removeprefix(name)
        if name not in _SECTIONS or not re.fullmatch(_SECTIONS[name][0], value):
            known = "; ".join(f"{key}: {meaning}" for key, (_, meaning) in _SECTIONS.items())
            raise ValueError(f"{section!r} in {text!r} is not a section of RandAugment ({known})")
        if name in values:
            raise ValueError(f"{text!r} has {name!r} twice")
        values[name] = value
    deviation = float(values.get("mstd", 0))
    policy = Policy(
        magnitude=int(values.get("m", 10)),
        operations=int(values.get("n", 2)),
        probability=float(values.get("p", 0.5)),
        deviation=float("inf") if deviation > 100 else deviation,
        maximum=int(values.get("mmax", 10)) or 10,  # 0 is none, as in timm
        increasing=values.get("inc") == "1",
    )
    if policy.probability > 1:
        raise ValueError(f"{text!r} has a probability above 1, 'p{values['p']}'")
    if policy.magnitude > policy.maximum:
        raise ValueError(
            f"{text!r} has a magnitude above {policy.maximum}, the largest; 'mmax{policy.magnitude}' would allow it"
        )
    return policy
