"""What an answer of PostgREST means for the rows that were sent: taken, again, or not these."""

from __future__ import annotations

from enum import Enum, auto

import msgspec

__all__ = ["NO_ANSWER", "Answer", "Verdict", "judge"]

#: In the place of a status: the connection failed, or the answer did not come in time.
NO_ANSWER = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for one request."""

    status: int  # NO_ANSWER: none came
    body: bytes = b""
    code: str = ""  # SQLSTATE or PGRSTnnn, where the body says so
    detail: str = ""
    retry_after_s: float = 0.0
    late: bool = False  # it took longer than we wait

    @property
    def reason(self) -> str:
        """The shortest name of a failure: its code, or its status."""
        return self.code or (str(self.status) if self.status else "no answer")


class Verdict(Enum):
    """What to do next."""

    DONE = auto()
    AGAIN = auto()  # later the same request may succeed
    REFUSED = auto()  # likewise, but somebody has to mend key, grants or tables first
    HEAVY = auto()  # fewer rows at once may succeed; one alone is asked again
    STRANGE = auto()  # the server failed, but over what was sent: again a few times, then POISON
    POISON = auto()  # one of the rows is at fault


#: SQLSTATEs by which the database says that it cannot at the moment.
_AGAIN = frozenset({"40001", "40P01", "53300", "53400", "55P03", "55006"})
_AGAIN_CLASSES = ("08", "57P")  # connections; shutdown, crash, restart
#: PostgREST has no database, or not its tables yet.
_NO_DATABASE = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003"})
#: Of the whole table or of the key: no row is at fault.
_REFUSED = frozenset(
    {"42501", "42P01", "42703", "42P10", "3F000", "PGRST106", "PGRST204", "PGRST205"}
)


def judge(answer: Answer) -> Verdict:
    """What to do with rows after this answer. Whoever asks for one row knows that it is one."""
    status, code = answer.status, answer.code
    if 200 <= status < 300:
        return Verdict.DONE
    if status == 413 or code == "57014" or answer.late:
        return Verdict.HEAVY
    if code in _AGAIN or code in _NO_DATABASE or code.startswith(_AGAIN_CLASSES):
        return Verdict.AGAIN
    if code.startswith("PT") and 400 <= status < 500:
        return Verdict.POISON  # a trigger's own objection to a row
    if code in _REFUSED or status in (401, 403, 404, 405):
        return Verdict.REFUSED
    if status >= 500 and _is_sqlstate(code):
        return Verdict.STRANGE
    if status < 400 or status >= 500 or status in (408, 425, 429):
        return Verdict.AGAIN  # among them redirects, which a gateway in trouble sends
    return Verdict.POISON


def _is_sqlstate(code: str) -> bool:
    return len(code) == 5 and code.isalnum()
