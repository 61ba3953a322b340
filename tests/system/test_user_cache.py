"""Where a user's cache is."""

import pwd
from pathlib import Path

import pytest

from semisup.lineage import code_versions
from semisup.system.user_cache import user_cache


def test_it_is_where_xdg_says_or_else_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "xdg" / "semisup"
    for unset in (lambda: monkeypatch.setenv("XDG_CACHE_HOME", ""), lambda: monkeypatch.delenv("XDG_CACHE_HOME")):
        unset()
        assert user_cache() == tmp_path / ".cache" / "semisup"


def test_a_user_without_a_home_has_none_and_gets_code_versions_all_the_same(monkeypatch):
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RuntimeError):
        user_cache()
    package = Path(code_versions.__file__).parents[1]
    assert code_versions._installed.__wrapped__() == code_versions.code_versions(package)
