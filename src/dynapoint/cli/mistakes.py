"""What is wrong with a command line that cannot be parsed, in one line of the package's own.

The parser answers with boxes that speak of Python's types. This looks at the words once more, by
the same dataclasses that the parser reads, and says the first mistake.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|-(inf|nan)")
_EVERY_COMMAND = ("--help", "-h")


def find_mistake(words: Sequence[str], commands: Mapping[str, type], said: str) -> str:
    """The first mistake among the words of a command line.

    Args:
        words: All words, the command's name first.
        commands: The dataclass of each command by its name.
        said: What the parser printed, which is what is left to say where nothing else is found.
    """
    if not words:
        return f"no command was given; give one of {', '.join(commands)}"
    name, rest = words[0], list(words[1:])
    if name not in commands:
        kind = "option" if name.startswith("-") else "command"
        known = [*_EVERY_COMMAND, "--version"] if kind == "option" else list(commands)
        return f"unknown {kind} {_shown(name)}{suggestion(name, known)}"
    return _mistake_of(commands[name], name, rest) or plain_words(said)


def suggestion(word: str, known: Sequence[str], *, or_all: bool = True) -> str:
    """What may have been meant, or else what there is."""
    close = get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if known and or_all else ""


def plain_words(said: str) -> str:
    """The first words in a box that the parser printed, up to its first rule."""
    lines: list[str] = []
    for line in said.splitlines():
        text = line.strip("│ ")
        if text.startswith("─") and lines:
            break
        if text and text[0] not in "╭╰─":
            lines.append(text)
    return " ".join(lines).rstrip(".") or "the options cannot be read"


@dataclass(frozen=True)
class _Option:
    """An option or a positional argument of a command."""

    field: str
    hint: Any
    required: bool

    @cached_property
    def kind(self) -> Any:
        """Its type, without None and what is written beside it for the parser."""
        return _bare(self.hint)

    @cached_property
    def marks(self) -> list[Any]:
        """What is written beside the type for the parser."""
        return list(_marks(self.hint))

    @property
    def positional(self) -> bool:
        """Whether it goes without a name."""
        return tyro.conf.Positional in self.marks

    @property
    def names(self) -> list[str]:
        """How it may be called; the long name last."""
        aliases = [name for mark in self.marks for name in getattr(mark, "aliases", None) or ()]
        return [*aliases, f"--{self.field.replace('_', '-')}"]

    @property
    def value(self) -> str:
        """The word for its value in the help."""
        marks = [getattr(mark, "metavar", None) for mark in self.marks]
        return next((mark for mark in marks if mark), self.field.replace("_", "-").upper())


def _mistake_of(command: type, name: str, words: list[str]) -> str | None:
    """The first mistake in the words after a command's name."""
    options, actions = _options_of(command)
    positional = [option for option in options if option.positional]
    by_name = {name: option for option in options for name in option.names if not option.positional}
    chosen = next((word for word in words if word in actions), None)
    if chosen is not None:
        inner, _ = _options_of(actions[chosen])
        words.remove(chosen)
        positional += [option for option in inner if option.positional]
        by_name |= {n: each for each in inner for n in each.names if not each.positional}
    given, loose = set(), []
    while words:
        word = words.pop(0)
        if not _is_option(word):
            loose.append(word)
            continue
        called, equals, value = word.partition("=")
        option = by_name.get(called if called in by_name else called.replace("_", "-"))
        if option is None:
            known = [each for each in (*by_name, *_EVERY_COMMAND) if each.startswith("--")]
            return f"unknown option {_shown(called)}{suggestion(called, known, or_all=False)}"
        given.add(option)
        taken = [value] if equals else _take(option.kind, words)
        wanted = _wanted(option.kind, taken, option.value)
        if wanted:
            found = f"is {_shown(' '.join(taken))}" if taken else "has no value"
            return f"{called} {found}; give {wanted}"
    needed = [option for option in options if option.required and option not in given]
    return _mistake_of_loose(loose, positional, list(actions) if chosen is None else []) or (
        _missing([option for option in needed if not option.positional], name)
    )


def _mistake_of_loose(
    loose: list[str], positional: list[_Option], actions: list[str]
) -> str | None:
    """What is wrong with the words that belong to no option."""
    if loose and actions:
        return f"unknown {_shown(loose[0])}{suggestion(loose[0], actions)}"
    for option in positional:
        taken = _take(option.kind, loose)
        if option.required and not taken:
            return f"{option.value} is missing"
        wanted = _wanted(option.kind, taken, option.value)
        if wanted:
            return f"{option.value} is {_shown(' '.join(taken))}; give {wanted}"
    return f"{_shown(loose[0])} is one word too many" if loose else None


def _missing(needed: list[_Option], command: str) -> str | None:
    """What to say of options that have to be given."""
    if not needed:
        return None
    called = " and ".join(f"{'/'.join(each.names)} {each.value}" for each in needed)
    return f"{command} needs {called}"


def _options_of(command: type) -> tuple[list[_Option], dict[str, type]]:
    """The options of a command, and its subcommands by name."""
    options, actions = [], {}
    hints = get_type_hints(command, include_extras=True)
    for each in fields(command):
        hint = hints[each.name]
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
        inner = [part for part in parts if is_dataclass(_bare(part))]
        if inner:
            for part in inner:
                named = [getattr(mark, "name", None) for mark in _marks(part)]
                actions[next(filter(None, named))] = _bare(part)
            continue
        required = each.default is MISSING and each.default_factory is MISSING
        options.append(_Option(each.name, hint, required))
    return options, actions


def _bare(hint: Any) -> Any:
    """A type without None, and without what is written beside it."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return _bare(kinds[0]) if len(kinds) == 1 else hint
    return hint


def _marks(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        yield from marks
        yield from _marks(inner)


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word)


def _take(kind: Any, words: list[str]) -> list[str]:
    """Take from the words those that a value of a type has, as far as no option comes first."""
    most = _count(kind)
    taken: list[str] = []
    while words and not _is_option(words[0]) and (most is None or len(taken) < most):
        taken.append(words.pop(0))
    return taken


def _count(kind: Any) -> int | None:
    """How many words a value of a type has; None is any number."""
    if kind is bool:
        return 0
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        return None if parts[-1] is Ellipsis else len(parts)
    return 1


def _wanted(kind: Any, words: list[str], metavar: str) -> str | None:
    """What to give in place of words that are no value of a type; None where they are one."""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            each = get_args(parts[0]) if get_origin(parts[0]) is tuple else (parts[0],)
            parts = each * -(-len(words) // len(each))
        wrong = [_wanted_word(part, word) for part, word in zip(parts, words, strict=False)]
        if any(wrong):
            return f"{metavar}, {next(filter(None, wrong))}"
        return metavar if len(words) != len(parts) else None
    if kind is bool:
        return "it without a value" if words else None
    return _wanted_word(kind, words[0]) if words else metavar


def _wanted_word(kind: Any, word: str) -> str | None:
    """The same of a single word; paths and text are whatever they are."""
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        meant = suggestion(word, choices, or_all=False).removeprefix("; ")
        listed = f"one of {', '.join(choices)}" + (f" ({meant})" if meant else "")
        return None if word in choices else listed
    if kind in (int, float):
        try:
            kind(word)
        except ValueError:
            return "a whole number" if kind is int else "a number"
    return None


def _shown(word: str) -> str:
    """A word as it was given, cut where it is very long; on one line whatever is in it."""
    return repr(word if len(word) <= 80 else f"{word[:77]}...")
