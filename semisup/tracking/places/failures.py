"""What the store's own exceptions mean to a user."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from semisup.errors import NO_SPACE, StoreUnavailableError, UserError
from semisup.tracking.places.store import redacted, without_secrets

NO_ANSWER = (
    "failed with exception",
    "failed with timeout exception",
    "Max retries exceeded",
    "OperationalError",
    "InterfaceError",
    "database is locked",
)
S3_CLIENT = frozenset({"boto3", "botocore", "s3transfer"})
"""Packages that are imported only where artifacts lie in S3."""
FULL = ("database or disk is full", "No space left on device")


@contextmanager
def store_failures(uri: str) -> Iterator[None]:
    """A store or a bucket that does not answer raises StoreUnavailableError, a full disk UserError; others pass.

    Raises:
        StoreUnavailableError: the store cannot be reached, or is locked.
        UserError: there is no space left.
    """
    shown = without_secrets(uri)
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        text = redacted(str(error), uri)
        if is_full(text):
            raise full(shown) from None
        if isinstance(error, MlflowException) and not any(sign in text for sign in NO_ANSWER):
            if text == str(error):
                raise
            raise MlflowException(text) from None
        reason = first_line(text, error)[:300]
        # Not "from error": what libraries say of a store holds its address with the password, and is logged.
        raise StoreUnavailableError(
            f"MLFLOW_TRACKING_URI={shown!r}: the store does not answer ({reason}); start its server and run again"
        ) from None
    except OSError as error:
        if error.errno in NO_SPACE:
            raise full(error.filename or shown) from error
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in S3_CLIENT:
            raise
        raise StoreUnavailableError(
            f"MLFLOW_TRACKING_URI={shown!r}: the bucket with its artifacts does not take or give them "
            f"({first_line(str(error), error)[:300]}); check MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and the bucket, then run again: finished stages are kept"
        ) from None


def first_line(text: str, error: BaseException) -> str:
    """The first line of what an exception says, or its kind where it says nothing."""
    return (text.strip().splitlines() or [type(error).__name__])[0]


def is_full(text: str) -> bool:
    """Does an exception say that there is no space left?"""
    return any(sign in text for sign in FULL)


def full(where: str) -> UserError:
    """No space is left there."""
    return UserError(
        f"no space is left at {where!r}; free some and run again: finished stages and checkpoints are kept"
    )
