"""For mkdocstrings: docstrings as this project writes them, made into what the site generator expects.

Names in the roles of Sphinx (``:class:`~package.Name```) become code. The fields of a class become one list, in their
order, with what their own docstrings say, rather than a heading for each that has one and nothing for the others.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`~?\.?([A-Za-z_][\w.]*)`")
LITERAL = re.compile(r"``([^`\n]+)``")
SECTION = "Attributes:\n"


def markdown(text: str) -> str:
    """The text with roles and literals as Markdown has them."""
    return LITERAL.sub(r"`\1`", ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", text))


def fields(cls: griffe.Class, listed: str) -> list[griffe.Attribute]:
    """The public fields of a class that its docstring does not list itself."""
    own = [member for member in cls.members.values() if isinstance(member, griffe.Attribute)]
    return [
        member
        for member in own
        if not member.name.startswith("_")
        and "property" not in member.labels
        and member.name != "model_config"
        and not re.search(rf"^ +(\w+, )*{member.name}(, \w+)*:", listed, re.MULTILINE)
    ]


def line(field: griffe.Attribute, *, enum: bool) -> str:
    """One field as the section has it."""
    said = " ".join(field.docstring.value.split()) if field.docstring else ""
    said = f"`{field.value}`. {said}".strip() if enum else said
    return f"    {field.name}: {said}".rstrip()


class Docstrings(griffe.Extension):
    """Rewrites docstrings when a module is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called when the members of a class are known."""
        cls.bases = [base for base in cls.bases if not str(base).startswith("_")]
        for member in cls.members.values():
            if isinstance(member, griffe.Attribute) and "self." in str(member.value):
                member.value = None  # how it is made is nobody's business
        text = cls.docstring.value if cls.docstring else ""
        before, found, listed = text.partition(SECTION)
        enum = any(str(base).endswith("Enum") for base in cls.bases)
        lines = [markdown(line(field, enum=enum)) for field in fields(cls, listed)]
        if not lines or cls.docstring is None:
            return
        for field in fields(cls, listed):
            field.docstring = None
        section = SECTION + "\n".join(lines) + "\n"
        cls.docstring.value = before + section + listed if found else f"{text.rstrip()}\n\n{section}"
