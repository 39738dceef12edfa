"""A command line that cannot be parsed: one line of ours, which says what to give."""

import random

import pytest

from dynapoint import cli
from dynapoint.cli.mistakes import find_mistake, plain_words, suggestion

SAID = {
    "": "no command was given",
    "recontruct a": "unknown command 'recontruct'; did you mean reconstruct?",
    "qqq": "unknown command 'qqq'; there are reconstruct, info",
    "--verion": "did you mean --version?",
    "reconstruct a -o b --frams 3": "unknown option '--frams'; did you mean --frames?",
    "reconstruct a -o b --frames many": "--frames is 'many'; give a whole number",
    "reconstruct a -o b --frames=many": "--frames is 'many'; give a whole number",
    "reconstruct a -o b --fps often": "--fps is 'often'; give a number",
    "reconstruct a -o b --prepare publishd": "did you mean published?",
    "reconstruct a -o b --prepare": "--prepare has no value; give",
    "reconstruct a -o b --overwrite=yes": "--overwrite is 'yes'; give it without a value",
    "reconstruct a": "reconstruct needs -o/--output OUT",
    "reconstruct a -o b --scale-from dist 3": "did you mean distance?",
    "reconstruct a -o b --scale-from depth": "--scale-from is 'depth'; give KIND VALUE",
    "tracks s -o o --xy 3": "--xy is '3'; give X Y",
    "tracks s -o o --xy 3 4 5 x": "--xy is '3 4 5 x'; give X Y, a number",
    "tracks s -o o --frame -1.5": "--frame is '-1.5'; give a whole number",
    "synth -o o": "synth needs --clips CLIPS and --seed SEED",
    "info": "SCENE is missing",
    "info a b": "'b' is one word too many",
    "models gett": "unknown 'gett'; did you mean get?",
    "models get": "NAME is missing",
    "models get a b": "'b' is one word too many",
    "models get a --acept-license": "did you mean --accept-license?",
}


@pytest.mark.parametrize("words", SAID)
def test_what_is_said(words, capsys):
    assert cli.main(words.split()) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1 and printed.out == "" and lines[0].startswith("dynapoint: ")
    assert SAID[words] in lines[0] and lines[0].endswith("--help`")


def test_the_help_named_is_that_of_the_command(capsys):
    cli.main(["info"])
    assert capsys.readouterr().err.endswith("see `dynapoint info --help`\n")
    cli.main(["inf"])
    assert capsys.readouterr().err.endswith("see `dynapoint --help`\n")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_parsers_own_words_reach_nobody(command, capsys, monkeypatch):
    """Whatever is wrong, in any order: no box, no type of Python, one line, exit code 2."""
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    listed = capsys.readouterr().out.replace(",", " ").split()
    options = sorted({word for word in listed if word[0] == "-" and word.strip("-")})
    options = [word for word in options if word not in ("-h", "--help")]
    # Nothing is run, whatever parses.
    monkeypatch.setattr(cli.COMMANDS[command], "run", lambda self: 0)
    draw = random.Random(command)
    refused = 0
    for _ in range(25):
        chosen = draw.sample(options, min(2, len(options)))
        words = [*chosen, *draw.choices(["x", "-1", "2.5", "--nn", "a=b", "\n", "[", "é"], k=2)]
        draw.shuffle(words)
        code = cli.main([command, *words])
        said = capsys.readouterr().err
        refused += code == 2
        assert code in (0, 2), words
        assert len(said.splitlines()) == (code == 2), words
        for foreign in ("│", "╭", "class '", "NoneType", "valid parse", "typing", "Traceback"):
            assert foreign not in said, (words, said)
    assert refused > 5


def test_where_nothing_is_found_the_parsers_words_are_said_plainly():
    box = "╭─ Odd ───╮\n│ Odd thing │\n│ here.     │\n│ ─────── │\n│ For help  │\n╰────╯\n"
    assert plain_words(box) == "Odd thing here"
    assert plain_words("") == "the options cannot be read"
    assert find_mistake(["info", "scene"], cli.COMMANDS, box) == "Odd thing here"
    assert suggestion("zzz", []) == ""
