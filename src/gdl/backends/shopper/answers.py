"""What the service's JSON holds, or the error that it is not what the interface promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gdl.backends.answer import Answer, Unusable, misfit
from gdl.backends.shopper import errors, wire
from gdl.domain.errors import BackendError, RentAmbiguous
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.session import RentAnswer, Session

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads the answers of the service at `url`, an address without credentials."""

    url: str

    def data(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The object of a good answer. Raises BackendRefused, BackendError."""
        if not answer.ok:
            raise errors.refused(answer, doing)
        return self.mapping(answer)

    def mapping(self, answer: Answer) -> dict[str, Any]:
        """The object of any answer. Raises BackendError."""
        try:
            return answer.mapping()
        except Unusable as what:
            raise errors.unusable(self.url, str(what)) from None

    def session(self, data: Mapping[str, Any], session_id: str) -> Session:
        session = self.model(wire.SessionWire, data).to_domain()
        if session.id != session_id:
            raise errors.unusable(self.url, "a session other than the one requested")
        return session

    def rows(self, data: Mapping[str, Any], key: str, model: type[_Model]) -> tuple[_Model, ...]:
        rows = data.get(key, ())
        if key not in data or not isinstance(rows, list | None):
            raise self.wrong_shape(f"a list of {key}")
        return tuple(self.model(model, row) for row in rows or ())

    def model(self, model: type[_Model], data: object) -> _Model:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise self.wrong_shape(misfit(model, error)) from None

    def wrong_shape(self, what: str) -> BackendError:
        return errors.unusable(
            self.url, f"JSON that is not its interface's ({what} missing or wrong)"
        )


def rent_answer(answer: Answer, sent_at: datetime) -> RentAnswer:
    """What a 2xx answer holds. Raises RentAmbiguous: whatever is wrong with it, a machine may
    exist."""
    try:
        data = answer.mapping()
        session = wire.SessionWire.model_validate(data.get("session")).to_domain()
    except Unusable as what:
        raise RentAmbiguous(f"the rent request was answered with {what}", sent_at=sent_at) from None
    except ValidationError:
        raise RentAmbiguous("the rent answer names no session", sent_at=sent_at) from None
    key = wire.read_key(data.get("ssh_private_key"))
    if key is None:
        raise RentAmbiguous(
            f"the rent answer for session {session.id} has no usable private key: the machine "
            "cannot be entered",
            sent_at=sent_at,
            session_id=session.id,
        )
    return RentAnswer(session, private_key=key)
