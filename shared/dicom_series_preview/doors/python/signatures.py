"""Python signatures from the table of options, for `help()` and for checking calls."""

from __future__ import annotations

import inspect
import textwrap
from functools import wraps
from inspect import Parameter
from types import NoneType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

from dicom_series_preview.products.pictures.options import own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.products.pictures.options import Option

P = ParamSpec("P")
R = TypeVar("R")


def takes(table: Sequence[Option]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a method the signature of a table of options, and add their descriptions to its docstring.

    Options that the method itself names stay positional. All others are keywords.

    Args:
        table: The options that the method takes.

    Returns:
        The decorator. The method raises `TypeError` for a keyword that is not in the table.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = signature_of(method, table)

        @wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{method.__qualname__}() {error}") from None
            return method(*args, **kwargs)

        checked.__doc__ = _documented(inspect.getdoc(method) or "", table, signature)
        checked.__signature__ = signature  # type: ignore[attr-defined]
        declared = {name: one.annotation for name, one in signature.parameters.items()}
        checked.__annotations__ = {
            name: annotation
            for name, annotation in {**declared, "return": signature.return_annotation}.items()
            if annotation is not inspect.Parameter.empty
        }
        return checked

    return decorate


def signature_of(method: Callable[..., Any], table: Sequence[Option]) -> inspect.Signature:
    """Build the signature of a method with a table's options in place of its `**options`."""
    signature = inspect.signature(method)
    named = [one for one in signature.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    names = {one.name for one in named}
    keywords = [
        Parameter(
            option.keyword, Parameter.KEYWORD_ONLY, default=_default_of(option), annotation=option.annotation
        )
        for option in dict.fromkeys((*own(table), *table))
        if option.keyword not in names and not option.deprecated
    ]
    return signature.replace(parameters=[*named, *keywords])


def _default_of(option: Option) -> Any:  # noqa: ANN401 - of the option's type
    """Return None where Python may leave an option out by it, else its default."""
    return None if NoneType in get_args(option.annotation) else option.default


def _documented(text: str, table: Sequence[Option], signature: inspect.Signature) -> str:
    """Append each option's description to a docstring, in the order of the signature."""
    summary, _, rest = text.partition("\n\n")
    options = {option.keyword: option for option in table}
    lines = []
    for name, one in signature.parameters.items():
        if name in options:
            stars = "*" if one.kind is Parameter.VAR_POSITIONAL else ""
            told = options[name].in_python or options[name].summary
            lines.append(textwrap.fill(f"    {stars}{name}: {told}", width=100, subsequent_indent="        "))
    return "\n".join([summary, "", "Args:", *lines, "", rest])
