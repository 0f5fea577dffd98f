"""The one error tree of the platform and the one shape in which every error leaves it.

ApplicationError
├── InvalidRequest            400 INVALID_REQUEST
├── NotAuthenticated          401 NOT_AUTHENTICATED
├── PaymentRequired           402 PAYMENT_REQUIRED
├── Forbidden                 403 FORBIDDEN
│   └── OriginNotAllowed      403 ORIGIN_NOT_ALLOWED
├── NotFound                  404 NOT_FOUND
├── MethodNotAllowed          405 METHOD_NOT_ALLOWED
├── NotAcceptable             406 NOT_ACCEPTABLE
├── Conflict                  409 CONFLICT
│   ├── LeaseLost             409 LEASE_LOST
│   └── IdempotencyConflict   409 IDEMPOTENCY_CONFLICT
├── Gone                      410 GONE
│   ├── JobCancelled          410 CANCELLED
│   └── JobExpired            410 EXPIRED
├── ChecksumMismatch          412 CHECKSUM_MISMATCH
├── PayloadTooLarge           413 PAYLOAD_TOO_LARGE
├── UnsupportedMediaType      415 UNSUPPORTED_MEDIA_TYPE
├── RateLimited               429 RATE_LIMITED
├── ServerError               500 SERVER_ERROR
└── Unavailable               503 UNAVAILABLE
    └── NoCapacity            503 NO_CAPACITY
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

Detail = str | dict[str, list[str]]
ErrorBody = dict[str, object]


class ApplicationError(Exception):
    """A refusal that the caller may be told about, with its HTTP status and its stable code.

    `extra` adds top-level fields to the body, such as the balance that was missing, and never replaces the fixed ones.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "SERVER_ERROR"
    default_detail: ClassVar[str] = "The request could not be handled."
    default_retry_after_s: ClassVar[int | None] = None

    def __init__(
        self,
        detail: Detail | None = None,
        *,
        retry_after_s: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.detail: Detail = self.default_detail if detail is None else detail
        self.retry_after_s = self.default_retry_after_s if retry_after_s is None else retry_after_s
        self.extra: Mapping[str, object] = extra or {}
        super().__init__(self.detail)


class InvalidRequest(ApplicationError):
    """The request is malformed or a field of it is."""

    status = 400
    code = "INVALID_REQUEST"
    default_detail = "The request is not valid."


class NotAuthenticated(ApplicationError):
    """No credential, or one that is wrong, revoked or expired."""

    status = 401
    code = "NOT_AUTHENTICATED"
    default_detail = "A valid credential is required."


class PaymentRequired(ApplicationError):
    """The balance does not cover the work."""

    status = 402
    code = "PAYMENT_REQUIRED"
    default_detail = "The balance does not cover this request."


class Forbidden(ApplicationError):
    """The credential is good and does not allow this."""

    status = 403
    code = "FORBIDDEN"
    default_detail = "This credential does not allow this request."


class OriginNotAllowed(Forbidden):
    """A publishable key was used from a page it is not meant for."""

    code = "ORIGIN_NOT_ALLOWED"
    default_detail = "This key may not be used from this origin."


class NotFound(ApplicationError):
    """There is no such thing, or it belongs to somebody else."""

    status = 404
    code = "NOT_FOUND"
    default_detail = "Not found."


class MethodNotAllowed(ApplicationError):
    """The address exists and does not take this method."""

    status = 405
    code = "METHOD_NOT_ALLOWED"
    default_detail = "This method is not allowed here."


class NotAcceptable(ApplicationError):
    """None of the representations asked for exists."""

    status = 406
    code = "NOT_ACCEPTABLE"
    default_detail = "None of the requested media types can be produced."


class Conflict(ApplicationError):
    """The request contradicts the present state."""

    status = 409
    code = "CONFLICT"
    default_detail = "The request conflicts with the present state."


class LeaseLost(Conflict):
    """The job was given to somebody else meanwhile."""

    code = "LEASE_LOST"
    default_detail = "The lease of this job was lost."


class IdempotencyConflict(Conflict):
    """The idempotency key was used before, with another request."""

    code = "IDEMPOTENCY_CONFLICT"
    default_detail = "This Idempotency-Key was used for another request."


class Gone(ApplicationError):
    """It existed and has ended."""

    status = 410
    code = "GONE"
    default_detail = "This no longer exists."


class JobCancelled(Gone):
    """The job was cancelled."""

    code = "CANCELLED"
    default_detail = "The job was cancelled."


class JobExpired(Gone):
    """The job passed its deadline."""

    code = "EXPIRED"
    default_detail = "The job passed its deadline."


class ChecksumMismatch(ApplicationError):
    """What arrived is not what was sent; it should be sent again, whole."""

    status = 412
    code = "CHECKSUM_MISMATCH"
    default_detail = "The checksum does not match the content."


class PayloadTooLarge(ApplicationError):
    """The body is larger than this address takes."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"
    default_detail = "The request body is too large."


class UnsupportedMediaType(ApplicationError):
    """The body has a content type that this address does not take."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"
    default_detail = "The content type is not supported."


class RateLimited(ApplicationError):
    """Too many requests."""

    status = 429
    code = "RATE_LIMITED"
    default_detail = "Too many requests."
    default_retry_after_s = 1


class ServerError(ApplicationError):
    """A defect of the platform; says nothing about itself to the outside."""

    status = 500
    code = "SERVER_ERROR"
    default_detail = "Something went wrong on our side."


class Unavailable(ApplicationError):
    """Something the request needs is down for the moment."""

    status = 503
    code = "UNAVAILABLE"
    default_detail = "The service is temporarily unavailable."
    default_retry_after_s = 2


class NoCapacity(Unavailable):
    """No miner that could do this work is online."""

    code = "NO_CAPACITY"
    default_detail = "No GPU is available for this request."
    default_retry_after_s = 10


def format_timestamp(moment: datetime) -> str:
    """UTC, to the millisecond, with the Z that clients of every language parse."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_body(error: ApplicationError, now: datetime) -> ErrorBody:
    """The body of every error reply and of every error frame on a socket."""
    return {**error.extra, "detail": error.detail, "error_code": error.code, "timestamp": format_timestamp(now)}
