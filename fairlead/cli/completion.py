"""Print a completion script for your shell.

bash:  fairlead completion bash > ~/.local/share/bash-completion/completions/fairlead
zsh:   fairlead completion zsh > "${fpath[1]}/_fairlead"
fish:  fairlead completion fish > ~/.config/fish/completions/fairlead.fish
"""

from __future__ import annotations

import argparse
import importlib

from fairlead.cli import verbs
from fairlead.cli.parser import Parser
from fairlead.cli.terminal import say


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(args: argparse.Namespace) -> int:
    say({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]())
    return 0


def _options(verb: verbs.Verb) -> list[tuple[str, str]]:
    """The long options of a verb with their help, read from its own parser."""
    parser = Parser(prog=verb.name)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    importlib.import_module(verb.module).configure(parser)
    found = []
    for action in parser._actions:
        for name in action.option_strings:
            if name.startswith("--") and action.help != argparse.SUPPRESS:
                found.append((name, (action.help or "").replace("'", "")))
    return found


def _bash() -> str:
    names = " ".join(verb.name for verb in verbs.VERBS)
    cases = "\n".join(
        f"    {verb.name}) words='{' '.join(name for name, _ in _options(verb))}' ;;" for verb in verbs.VERBS
    )
    return f"""_fairlead() {{
  local words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{names} --help --version'
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _fairlead fairlead"""


def _zsh() -> str:
    names = "\n".join(f"    '{verb.name}:{verb.summary}'" for verb in verbs.VERBS)
    cases = []
    for verb in verbs.VERBS:
        rows = " ".join(f"'{name}[{_bracketed(text)}]'" for name, text in _options(verb))
        cases.append(f"    {verb.name}) _arguments {rows} '*:file:_files' ;;")
    body = "\n".join(cases)
    return f"""#compdef fairlead
_fairlead() {{
  local -a verbs=(
{names}
  )
  if (( CURRENT == 2 )); then _describe verb verbs; return; fi
  local verb=$words[2]
  shift words; (( CURRENT-- ))
  case $verb in
{body}
  esac
}}
_fairlead "$@\""""


def _bracketed(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").replace(":", ",")


def _fish() -> str:
    lines = []
    for verb in verbs.VERBS:
        lines.append(f"complete -c fairlead -n __fish_use_subcommand -a {verb.name} -d '{verb.summary}'")
        for name, text in _options(verb):
            using = f"__fish_seen_subcommand_from {verb.name}"
            lines.append(f"complete -c fairlead -n '{using}' -l {name[2:]} -d '{text}'")
    return "\n".join(lines)
