"""Every name that a filter may use, with how it is written and what it means."""

from __future__ import annotations

import dataclasses

import msgspec

from klinecore.filters.language import LANGUAGE
from klinecore.filters.limits import Limits
from klinecore.filters.ready import READY
from klinecore.filters.vocabulary import SIGNS, words
from klinecore.interval import INTERVALS
from server.api.filter_types import ReadyFilter, Vocabulary, Word

__all__ = ["vocabulary"]


def vocabulary(limits: Limits) -> Vocabulary:
    """All of it, from the tables that filters are read and run by, within ``limits``."""
    return Vocabulary(
        language=LANGUAGE,
        words=[msgspec.convert(word, Word, from_attributes=True) for word in words(limits)],
        signs=SIGNS,
        intervals=list(INTERVALS),
        limits=dataclasses.asdict(limits),
        ready=[
            ReadyFilter(
                name=one.name,
                title=one.title,
                description=one.description,
                category=one.category,
                filter=one.text,
                interval=one.interval,
                mode=one.mode,
                cooldown=one.cooldown,
            )
            for one in READY.values()
        ],
    )
