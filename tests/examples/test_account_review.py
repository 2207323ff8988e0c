"""The example that is swapped from store to store: one test, in memory and on each server; and its command there."""

import asyncio
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from investigation_sdk.storage.registry import create_backend
from investigation_sdk.testing import assert_state_path, assert_tools_called, use_backend

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "account_review.py"


@pytest.fixture
def application(load_example):
    return load_example("account_review")


def test_an_account_is_frozen_once(application, url):
    """On every store that `url` stands for, with nothing changed but that."""
    with use_backend(application.sdk, url) as sdk:
        assert application.review("42") is True
        assert application.review("42") is True
        assert application.review("41") is False
        record = sdk.sync.find(key="42", investigation_type="account_review")
        assert record is not None
        assert record.result == {"countries": ["KP", "NL"], "frozen": True}
        called = [("logins", {"account": "42"}), ("freeze", {"account": "42"})]
        asyncio.run(assert_tools_called(sdk, record.id, called))
        path = ["created", "queued", "initializing", "running", "completing", "completed"]
        asyncio.run(assert_state_path(sdk, record.id, path))
        assert sdk.sync.verify(record.id).ok


def command(url, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        cwd=cwd,
        env={**os.environ, "INVESTIGATION_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def in_production(url, tmp_path):
    """Its database is refused with the command that makes it, and after that it runs there."""
    status, out, err = command(url, "42", cwd=tmp_path)
    assert (status, out) == (2, "")
    assert "investigate db upgrade" in err
    asyncio.run(create_backend(url, {}).upgrade())  # type: ignore[attr-defined]
    assert command(url, "42", cwd=tmp_path) == (1, "account 42: frozen\n", "")
    assert command(url, "42", cwd=tmp_path) == (1, "account 42: frozen\n", "")
    assert command(url, "41", cwd=tmp_path) == (0, "account 41: in order\n", "")


@pytest.mark.server
def test_it_runs_on_postgresql(postgres_url, tmp_path):
    in_production(postgres_url, tmp_path)


@pytest.mark.server
def test_it_runs_on_mongodb(mongo_url, tmp_path):
    from pymongo import MongoClient

    place = urllib.parse.urlsplit(mongo_url)
    name = f"{place.path[1:]}_production"  # the other one has collections
    try:
        in_production(place._replace(path=f"/{name}").geturl(), tmp_path)
    finally:
        client: Any = MongoClient(mongo_url)
        with client:
            client.drop_database(name)


def test_it_makes_a_file_where_nothing_else_is_named(tmp_path):
    url = f"sqlite:///{tmp_path}/cases.db"
    assert command(url, "41", cwd=tmp_path) == (0, "account 41: in order\n", "")
    assert command(url, cwd=tmp_path)[0] == 2
