from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from investigation_sdk.storage.codec import Tagged, decode, encode
from tests.storage.codec_values import TAGGED_EXAMPLES, kept, same

HOSTILE = [
    '{"$type":"enum","name":"os.system","value":"touch /tmp/owned"}',
    '{"$type":"model","name":"subprocess.Popen","value":{"args":["true"]}}',
    '{"$type":"dataclass","name":"antigravity.X","value":{"__class__":"os"}}',
    '{"$type":"subclass","name":"this","value":[1]}',
    '{"$type":"py/object","name":"os.system"}',
    '{"$type":"pickle","value":"gASVCAAAAAAAAACMBGV2aWyULg=="}',
    '{"$type":"__import__","items":["antigravity"]}',
    '{"lc":2,"type":"constructor","id":["os","system"],"kwargs":{}}',
    '{"$type":"repr","class":"os","repr":"__import__(\'antigravity\')"}',
]


def test_hostile_rows_import_and_execute_nothing():
    code = """
import sys
from investigation_sdk.storage.codec import decode
before, events, armed = set(sys.modules), [], False
sys.addaudithook(lambda event, args: events.append(event) if armed else None)
texts = sys.argv[1:]
armed = True
for text in texts:
    decode(text)
armed = False
assert not events, events
assert set(sys.modules) == before
"""
    subprocess.run(
        [sys.executable, "-c", code, *HOSTILE, *MALFORMED, *(text for _, text in TAGGED_EXAMPLES)], check=True
    )
    found = [decode(text) for text in HOSTILE]
    assert found[0] == Tagged("enum", "os.system", "touch /tmp/owned")
    assert found[4] == Tagged("py/object", "", {"name": "os.system"})
    assert found[7] == json.loads(HOSTILE[7])
    assert all(type(value) in (Tagged, dict) for value in found)


MALFORMED = [
    '{"$type":5}',
    '{"$type":null,"items":[]}',
    '{"$type":{"$type":"tuple","items":[]}}',
    '{"$type":""}',
    '{"$type":"tuple"}',
    '{"$type":"tuple","items":"abc"}',
    '{"$type":"tuple","items":[],"more":1}',
    '{"$type":"set","items":[[]]}',
    '{"$type":"set","items":[1,1]}',
    '{"$type":"frozenset","items":{"a":1}}',
    '{"$type":"dict","items":[[1]]}',
    '{"$type":"dict","items":[[1,2],[1,3]]}',
    '{"$type":"dict","items":["ab"]}',
    '{"$type":"dict","items":[[[],1]]}',
    '{"$type":"bytes","value":"!"}',
    '{"$type":"bytes","value":"é"}',
    '{"$type":"bytes","value":7}',
    '{"$type":"bytearray","value":100000000000}',
    '{"$type":"float","value":"1.5"}',
    '{"$type":"float","value":[]}',
    '{"$type":"int","value":"1_0"}',
    '{"$type":"int","value":"0x"}',
    '{"$type":"int","value":12}',
    '{"$type":"complex","value":[1]}',
    '{"$type":"complex","value":["a","b"]}',
    '{"$type":"Decimal","value":"x"}',
    '{"$type":"Decimal","value":" 1"}',
    '{"$type":"Decimal","value":["0",[1],0]}',
    '{"$type":"datetime","value":"yesterday"}',
    '{"$type":"datetime","value":"2026-01-01"}',
    '{"$type":"datetime","value":"2026-01-01T00:00:00","fold":2}',
    '{"$type":"date","value":"2026-01-01","fold":1}',
    '{"$type":"date","value":5}',
    '{"$type":"time","value":"25:00:00"}',
    '{"$type":"timedelta","value":[9999999999,0,0]}',
    '{"$type":"timedelta","value":[0,0,1000000]}',
    '{"$type":"timedelta","value":[0,true,0]}',
    '{"$type":"UUID","value":"{00000000-0000-0000-0000-000000000001}"}',
    '{"$type":"path","name":"Path.home","value":"x"}',
    '{"$type":"path","name":["PurePosixPath"],"value":"x"}',
    '{"$type":"path","name":"PurePosixPath","value":5}',
    '{"$type":"str","value":"%"}',
    '{"$type":"str","value":"%00"}',
    '{"$type":"str","value":"%0041"}',
    '{"$type":"str","value":"%D7FF"}',
    '{"$type":"str","value":"%%00000025"}',
    '{"$type":"enum"}',
    '{"$type":"enum","name":1,"value":1}',
    '{"$type":"enum","name":"a","value":1,"more":1}',
    '{"$type":"tagged","of":1,"name":"","value":1}',
    '{"$type":"repr","class":"a"}',
    '{"$type":"cycle","value":1}',
    '{"$type":"truncated","class":1,"length":1}',
    '{"$type":"no such tag","value":[1]}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_tags_are_inert(text):
    members = json.loads(text)
    back = decode(text)
    assert type(back) is Tagged
    if isinstance(members["$type"], str):
        assert back == Tagged(members["$type"], "", {key: value for key, value in members.items() if key != "$type"})
    else:
        assert back.type == ""
    assert decode(f'{{"a":[{text}]}}') == {"a": [back]}
    assert decode(f'{{"$type":"tuple","items":[{text}]}}') == (back,)
    assert decode(encode(back).text) == back


json_trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["$type", "tuple", "set", "dict", "nan", "0x1", "%", "a", "2026-01-01", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$type", "value", "items", "name", "class", "a"]), inner, max_size=3)
        | st.fixed_dictionaries(
            {
                "$type": st.sampled_from(
                    ["tuple", "set", "dict", "complex", "timedelta", "enum", "str", "path", "tagged"]
                )
            },
            optional={"items": inner, "value": inner, "name": inner, "of": inner},
        )
        | st.builds(lambda items: {"$type": "dict", "items": items}, st.lists(st.lists(inner, max_size=3), max_size=3))
    ),
    max_leaves=12,
)


@settings(max_examples=600, deadline=None)
@given(json_trees)
def test_any_json_decodes_to_something_that_is_stored_exactly(tree):
    back = decode(json.dumps(tree))
    assert same(kept(back), back)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "nope",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        "[-1e999]",
        '{"a":1,"a":2}',
        '[{"b":{"$type":"cycle","$type":"tuple","items":[]}}]',
        '{"a":1,"\\u0061":2}',
        '"\\ud800"',
        '"\ud800"',
        "\ufeff1",
        "01",
        "1 2",
        "'a'",
        "9" * 5000,
        "[" * 202 + "]" * 202,
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        '{"$type":"tuple","items":[' * 150 + "]}" * 150,
    ],
    ids=lambda text: repr(text)[:30],
)
def test_text_that_is_no_stored_value_is_a_value_error(text):
    with pytest.raises(ValueError, match="not the text of a stored value"):
        decode(text)


def test_text_that_others_wrote_decodes_too():
    assert same(decode(' { "a" : 1E2 , "b" : "\\u0041" } '), {"a": 100.0, "b": "A"})
    assert same(decode('{"\\u0024type":"tuple","items":[1]}'), (1,))
    assert same(decode("-0"), 0)
    assert same(decode("9007199254740993"), 9007199254740993)


def test_deep_chains_of_tags_as_keys_do_not_exhaust_the_stack():
    text = "1"
    for _ in range(60):
        text = f'{{"$type":"enum","name":"a","value":{text}}}'
    assert len(decode(f'{{"$type":"set","items":[{text},1]}}')) == 2
    for _ in range(20):
        text = f'{{"$type":"frozenset","items":[{text}]}}'
    decode(text)
