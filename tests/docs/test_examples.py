"""Each example is run by a test of its own, and is on the page that lists them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_example_is_listed_and_tested() -> None:
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    examples = [path for path in (ROOT / "examples").glob("*.py") if not path.name.startswith("_")]
    assert examples
    for example in examples:
        assert example.name in listed, f"examples/README.md does not name {example.name}"
        tests = ROOT / "tests" / "examples"
        found = [*tests.glob(f"test_{example.name}"), *tests.glob(f"{example.stem}/*.py")]
        assert found, f"{example.name} has no test: write tests/examples/test_{example.name}"
        text = "".join(test.read_text(encoding="utf-8") for test in found)
        assert example.stem in text, f"the tests of {example.name} do not run it"
