"""Addresses of buckets and of what lies in them, as people write them."""

import re
from urllib.parse import urlsplit

IS_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
CHAINED = "::"
"""Between file systems of which one reads from the next, to fsspec: `zip://a.png::b.zip`."""
AZURE = frozenset({"az", "abfs", "abfss"})
"""Where `container@account` names a place, and nobody who is let in."""
SIGNATURES = frozenset({"x-amz-signature", "x-amz-security-token", "x-goog-signature", "signature", "sig"})
"""Parts of an address that open an object to whoever has the address, mostly for hours."""


def is_url(text: str) -> bool:
    """Does it name a place on a server, and no path?"""
    return IS_URL.match(text) is not None


def fault_of(url: str) -> str:
    """What is wrong with its form, as the end of a sentence about it; "" where nothing is."""
    if CHAINED in url:
        return f"has {CHAINED}, which chains file systems"
    try:
        urlsplit(url)
    except ValueError as error:
        return f"is no URL ({error})"
    return ""


def holds_credentials(url: str) -> bool:
    """Does it let in whoever reads it, by a user's name before the host or by a signature?

    Raises:
        ValueError: it is no URL, as :func:`fault_of` says.
    """
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    let_in = ":" in user if parts.scheme in AZURE else bool(at)
    return let_in or any(part.partition("=")[0].lower() in SIGNATURES for part in parts.query.split("&"))


def without_credentials(url: str) -> str:
    """The place alone, to be named in an error, also of what :func:`fault_of` finds at fault."""
    scheme, _, rest = url.partition("://")
    server, slash, path = re.split(rf"[?#]|{CHAINED}", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{server.rpartition('@')[2]}{slash}{path}"


def suffix_of(url: str) -> str:
    """The extension of what a URL or a path names, with its dot, in small letters; "" where it has none."""
    path = urlsplit(url).path if is_url(url) else url
    return match[0].lower() if (match := re.search(r"(?<=[^/])\.[^./]*$", path)) else ""
