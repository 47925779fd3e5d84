"""Print the bash completion of the command: `python -m support.shell_completion`."""

from __future__ import annotations

import sys
from typing import Literal, get_args, get_origin, get_type_hints

from exporter.flags import FLAGS, PROGRAM, Flag, Options

_HINTS = get_type_hints(Options)

_SCRIPT = """\
# bash completion of {program}, generated from its flags.
_{function}() {{
    local cur prev words cword split
    _init_completion -s || return
    case $prev in
{values}
    esac
    $split && return
    COMPREPLY=($(compgen -W '{flags}' -- "$cur"))
    [[ ${{COMPREPLY-}} == *= ]] && compopt -o nospace
}}
complete -F _{function} {program}
"""


def script() -> str:
    """Return the completion script: flags, the words that a flag accepts, and names of files."""
    flags = [f"{flag.name}=" if flag.const is None else flag.name for flag in FLAGS]
    values = [f"        {flag.name}) {command} ;;" for flag in FLAGS if (command := _values(flag))]
    return _SCRIPT.format(
        program=PROGRAM,
        function=PROGRAM.replace("-", "_"),
        values="\n".join(values),
        flags=" ".join([*flags, "--help", "--version"]),
    )


def _values(flag: Flag) -> str:
    """Return the shell command that completes the value of a flag; empty if there is nothing to offer."""
    hint = _HINTS[flag.attribute]
    words = [
        word
        for option in (hint, *get_args(hint))
        if get_origin(option) is Literal
        for word in get_args(option)
    ]
    if flag.metavar == "FILE":
        return "_filedir; return"
    if not words:
        return ""
    command = f"""COMPREPLY=($(compgen -W '{" ".join(words)}' -- "$cur")); return"""
    # Without = after it, a flag whose value is optional has none.
    return command if flag.const is None else f"if $split; then {command}; fi"


if __name__ == "__main__":
    sys.stdout.write(script())
