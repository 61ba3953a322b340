"""No password in any line: of a log, a warning or a traceback, whoever wrote it.

Libraries put the address of a server that does not answer into what they say of it, with the login that it holds.
Light: nothing heavy is imported.
"""

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from functools import cache, lru_cache
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from semisup.tracking.places.store import SECRET_NAMES, redacted

ADDRESSES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "PREFECT_API_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
"""Variables of the environment that hold an address with a login in it, or a secret alone."""
LOGIN = re.compile(r"(?<=://)[^\s/'\"<>]+@")
"""In an address of any kind: a password with a slash in it is known from the environment alone."""
OPTION = re.compile(rf"(?<=[?&])({'|'.join(SECRET_NAMES)})=[^&\s'\"<>)]+", re.IGNORECASE)
SHORTEST = 6
"""Characters of a secret that is hidden wherever it stands; a word of letters alone could be any word of a sentence."""


def without_logins(text: str) -> str:
    """The text with *** in the place of passwords and logins."""
    for address, secrets in _in_environment(tuple(os.environ.get(name, "") for name in (*ADDRESSES, *SECRETS))):
        text = redacted(text, address) if address else text
        for secret in secrets:
            text = text.replace(secret, "***")
    if "://" in text:
        text = OPTION.sub(r"\1=***", LOGIN.sub("***@", text))
    return text


@lru_cache(maxsize=8)
def _in_environment(values: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Every address, and the secrets that are hidden wherever they stand."""
    addresses = [value for value in values[: len(ADDRESSES)] if "://" in value]
    found = [(address, _distinct(_password(address))) for address in addresses]
    return [*found, ("", [each for value in values[len(ADDRESSES) :] for each in _distinct(value)])]


def _password(address: str) -> str:
    login, at, _ = address.partition("://")[2].rpartition("@")
    return login.partition(":")[2] if at else ""


def _distinct(secret: str) -> list[str]:
    return [each for each in dict.fromkeys((secret, unquote(secret))) if len(each) >= SHORTEST and not each.isalpha()]


@cache
def redact_everything() -> None:
    """From now on, in this process."""
    make_record, format_warning = logging.getLogRecordFactory(), warnings.formatwarning
    hook, thread_hook = sys.excepthook, threading.excepthook

    def record_without_logins(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make_record(*arguments, **options)
        _redact(record)
        return record

    def warning_without_logins(*arguments: Any, **options: Any) -> str:
        return without_logins(format_warning(*arguments, **options))

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _told(error):
            hook(kind, error, trace)

    def on_thread_exception(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is None or not _told(arguments.exc_value):
            thread_hook(arguments)

    logging.setLogRecordFactory(record_without_logins)
    warnings.formatwarning = warning_without_logins
    sys.excepthook, threading.excepthook = on_exception, on_thread_exception


def _redact(record: logging.LogRecord) -> None:
    try:
        said = record.getMessage()
    except Exception:
        return  # it does not fit its arguments; logging says so, and where
    if (shown := without_logins(said)) != said:
        record.msg, record.args = shown, None
    if record.exc_info and record.exc_info[1] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (shown := without_logins(text)) != text:
            record.exc_info, record.exc_text = None, shown


def _told(error: BaseException) -> bool:
    """Write a traceback that holds a login, without it; False where it holds none."""
    text = "".join(traceback.format_exception(error))
    shown = without_logins(text)
    if shown == text:
        return False
    sys.stderr.write(shown)
    return True
