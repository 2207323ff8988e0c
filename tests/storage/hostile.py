"""Run by ``test_hostile_rows.py`` in a process of its own: writes hostile text into stored rows, and reads them.

An audit hook tells what the interpreter does meanwhile. It cannot be taken away again: hence the process.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy
from pydantic import BaseModel

from investigation_sdk import InvestigationError, InvestigationSDK, tool
from investigation_sdk.recording.giving_back import give_back

FOLDER = Path(sys.argv[1])
DATABASE = FOLDER / "cases.db"
OWNED = FOLDER / "owned"
TOUCH = f"touch {OWNED}"


class Color(Enum):
    RED = "r"


@dataclass
class Point:
    x: int


class Model(BaseModel):
    points: list[Point]
    color: Color


@tool(effect="unsafe")
def make(n: int) -> Model:
    return Model(points=[Point(n)] * n, color=Color.RED)


PICKLE = "gASVPAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjCF0b3VjaCAvdG1wL293bmVklIWUUpQu"
TEXTS: list[Any] = [
    f'{{"$type":"pickle","value":"{PICKLE}"}}',
    f'{{"$type":"bytes","value":"{PICKLE}"}}',
    f'{{"py/object":"os.system","py/reduce":[{{"py/function":"os.system"}},{{"py/tuple":["{TOUCH}"]}}]}}',
    f'{{"lc":1,"type":"constructor","id":["os","system"],"kwargs":{{"command":"{TOUCH}"}}}}',
    f'{{"$type":"model","name":"os.system","value":{{"command":"{TOUCH}"}}}}',
    f'{{"$type":"model","name":"__main__.Model","value":{{"points":{{"$type":"enum","name":"os.system","value":"{TOUCH}"}}}}}}',
    f'{{"$type":"dataclass","name":"subprocess.Popen","value":{{"args":["touch","{OWNED}"]}}}}',
    f'{{"$type":"namedtuple","name":"os.system","value":{{"command":"{TOUCH}"}}}}',
    f'{{"$type":"enum","name":"builtins.eval","value":"__import__(\'os\').system(\'{TOUCH}\')"}}',
    f'{{"$type":"subclass","name":"antigravity.anything","value":"{TOUCH}"}}',
    f'{{"$type":"repr","class":"os.system","repr":"__import__(\'os\').system(\'{TOUCH}\')"}}',
    '{"$type":"path","name":"PosixPath","value":"/etc/passwd"}',
    '{"$type":"path","name":"__import__","value":"os"}',
    '{"$type":"blob","bytes":10,"digest":"../../../../etc/passwd"}',
    f'{{"$type":"blob","bytes":10,"digest":"{"0" * 64}"}}',
    f'{{"output":{{"$type":"blob","bytes":{2**70},"digest":"{"b" * 64}"}}}}',
    '{"$type":"Decimal","value":"1E999999999999999999"}',
    f'{{"$type":"int","value":"0x{"f" * 100_000}"}}',
    '{"$type":"datetime","value":"2026-01-01T00:00:00","zone":"../../etc/passwd","fold":1}',
    '{"$type":"set","items":[{"$type":"dict","items":[]}]}',
    '{"$type":{"$type":"x"}}',
    f'!!python/object/apply:os.system ["{TOUCH}"]',
    f"__import__('os').system('{TOUCH}')",
    f"cos\nsystem\n(S'{TOUCH}'\ntR.",
    "[" * 100_000,
    '{"a":1,"a":2}',
    '{"a":1e999}',
    "NaN",
    "",
    "null",
    "[]",
    '"text"',
    "7",
    '{"v":99}',
    "'; DROP TABLE investigations; --",
    "\0",
    b"\xff\xfe not UTF-8",
    b"\x80\x04\x95",
    10**12,
    1.5,
    None,
]  # fmt: skip
COLUMNS = [
    ("investigation_events", "event_data"),
    ("investigation_events", "header"),
    ("investigation_events", "metadata"),
    ("investigation_events", "event_type"),
    ("investigation_events", "actor"),
    ("investigation_events", "new_state"),
    ("investigation_events", "hash"),
    ("investigations", "result"),
    ("investigations", "last_checkpoint"),
    ("investigations", "configuration"),
    ("investigations", "metadata"),
    ("investigations", "status"),
    ("investigations", "cost_estimate"),
    ("investigations", "head"),
    ("investigations", "version"),
    ("investigations", "created_at"),
    ("investigation_phases", "input_data"),
    ("investigation_phases", "output_data"),
    ("investigation_phases", "error_details"),
    ("investigation_phases", "tools"),
    ("investigation_phases", "status"),
    ("tool_executions", "input_parameters"),
    ("tool_executions", "output_result"),
    ("tool_executions", "effect"),
    ("tool_executions", "started_at"),
    ("tool_executions", "output_sequence"),
    ("investigation_blobs", "data"),
]

PAYLOADS = {"event_data", "output_result", "data"}
"""What is decoded gets every text, the others get some."""

seen: list[str] = []
QUIET = {"object.__getattr__", "sqlite3.connect", "sqlite3.connect/handle", "sys._getframe", "sys._current_frames"}
watching = False


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes what could be code that runs, or a file that is read."""
    if not watching or event in QUIET:
        return
    if event == "open" and str(arguments[0]).startswith(str(DATABASE)):
        return
    if event in ("import", "exec", "compile", "open", "marshal.loads", "pickle.find_class", "code.__new__") or (
        event.partition(".")[0] in ("os", "subprocess", "ctypes", "socket", "shutil", "urllib", "webbrowser")
    ):
        seen.append(f"{event}: {arguments!r}"[:300])


async def read_everything(sdk: InvestigationSDK, id: str) -> None:
    """All ways to read one investigation. What cannot be read is an error of the SDK's own, and nothing else."""

    async def attempt(reading: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await reading()
        except InvestigationError:
            return None

    async def payloads() -> None:
        for call in await sdk.tools(id):
            recorded = await sdk.payload(id, call.output_result)
            give_back(make, recorded)
            await sdk.payload(id, call.input_parameters)

    async def streamed() -> None:
        async for event in sdk.iter_events(id):
            await sdk.payload(id, event.event_data)

    for reading in (
        lambda: sdk.verify(id),
        lambda: sdk.get(id),
        lambda: sdk.phases(id),
        lambda: sdk.events(id, limit=1000),
        payloads,
        streamed,
        lambda: sdk.service.cancel(id),
        sdk.list,
    ):
        await attempt(reading)


async def main() -> dict[str, Any]:
    global watching  # noqa: PLW0603 - a hook knows globals only
    sdk = InvestigationSDK(f"sqlite:///{DATABASE}", max_inline_bytes=1024)
    with sdk.investigation("hostile", key="k", metadata={"m": 1}, configuration={"c": {1, 2}}) as run:
        with run.phase("p", input_data={"x": 1}, tools=["make"]) as p:
            make(1)
            make(60)  # in a blob
            p.output_data = [Point(1)]
        run.checkpoint([1])
        run.record("my.note", {"n": 1})
        run.result = Point(2)
    database = sqlite3.connect(DATABASE, isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    database.text_factory = bytes
    await read_everything(sdk, run.id)
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))  # 2.0 compiles a method of its own at the first text
    sys.addaudithook(hook)
    modules = set(sys.modules)
    unexpected: list[str] = []
    cases = 0
    watching = True
    for table, column in COLUMNS:
        rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        is_text = column not in ("hash", "head", "data")
        kept = [(value.decode() if is_text and type(value) is bytes else value, rowid) for rowid, value in rows]
        for text in TEXTS if column in PAYLOADS else TEXTS[:: len(TEXTS) // 8]:
            try:
                database.execute(f"UPDATE {table} SET {column} = ?", (text,))
            except sqlite3.IntegrityError:  # NOT NULL
                continue
            cases += 1
            try:
                await read_everything(sdk, run.id)
            except Exception as error:
                unexpected.append(f"{table}.{column} = {text!r:.60}: {type(error).__name__}: {error}"[:300])
            database.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", kept)
    noticed = len(seen)
    eval("1", {})  # noqa: S307 - what must be noticed
    with open(__file__):  # noqa: ASYNC230, PTH123 - likewise
        blind = len(seen) - noticed < 2
    watching = False
    assert (await sdk.verify(run.id)).ok, "the file is as it was"
    database.close()
    await sdk.aclose()
    return {
        "unexpected": unexpected,
        "seen": sorted(set(seen[:noticed])),
        "blind": blind,
        "imported": sorted(set(sys.modules) - modules),
        "owned": OWNED.exists(),
        "cases": cases,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main())))
