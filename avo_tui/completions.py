"""Completions: what a shell needs to complete `avo`, written from the parser itself.

One rule: while a person types, no Python starts. Commands, options and their values stand in the script; names of
runs, versions and problems are looked up by the shell where they lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from engine.record.frozen import dataclass

# What an argument is completed with, by its metavar. Everything else is left to the person.
KINDS = {
    "RUN": "RUN",
    "vN": "VERSION", "vA": "VERSION", "vB": "VERSION", "vN|aN": "VERSION",
    "RUN@vN": "RUNVERSION", "SOURCE": "SOURCE",
    "P": "PROBLEM", "PROBLEM": "PROBLEM",
    "DIR": "DIR", "FILE": "FILE", "PATH": "FILE", "PATH_OR_URL": "FILE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, what its value is completed with ("" for a flag, "-" for anything), what it is for."""

    name: str
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command ("knowledge add" for one of a group): its options, and what its arguments are, the last repeated."""

    name: str
    text: str
    options: tuple[Option, ...]
    places: tuple[str, ...]


def commands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[Command]:
    """Every command of a parser, groups before what is in them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, made in action.choices.items():
                yield _command(f"{before}{name}", texts.get(name, ""), made)
                yield from commands(made, f"{before}{name} ")


def _command(name: str, text: str, made: argparse.ArgumentParser) -> Command:
    options: list[Option] = []
    places: list[str] = []
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        kind = _kind(action)
        if action.option_strings:
            options += [Option(o, kind, _plain(action.help or "")) for o in action.option_strings if o != "-h"]
        else:
            places += [kind or "-"] * (2 if action.nargs in ("+", "*") else 1)
    return Command(name, _plain(text), tuple(options), tuple(places))


def _kind(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return ",".join(str(c) for c in action.choices)
    return KINDS.get(action.metavar if isinstance(action.metavar, str) else "", "-")


def _plain(text: str) -> str:
    """A help text that means nothing to any shell's quoting, and to no format of theirs."""
    first = text.partition(" (")[0].replace("%%", "%")
    return " ".join("".join(c for c in first if c not in "'\"`$\\:[]{}|;").split())


def script(shell: str, parser: argparse.ArgumentParser, problems: str) -> str:
    """The completion script for bash, zsh or fish. `problems` is the folder of the shipped problems."""
    every = list(commands(parser))
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](every)
    return made.replace("@PROBLEMS@", problems)


def _tops(every: list[Command]) -> list[Command]:
    return [c for c in every if " " not in c.name]


def _groups(every: list[Command]) -> dict[str, list[Command]]:
    """The commands of each group by the group's name."""
    return {g.name: found for g in every if (found := [c for c in every if c.name.startswith(f"{g.name} ")])}


# --- bash ------------------------------------------------------------------------------------


def _bash(every: list[Command]) -> str:
    groups = _groups(every)
    cases = [
        f"    '{c.name}') options='{' '.join(_spec(o) for o in c.options)}' places='{' '.join(c.places)}' ;;"
        for c in every
        if c.name not in groups
    ]
    names = {"": _tops(every), **groups}
    lists = [
        f"    '{g}') words='{' '.join(c.name.rpartition(' ')[2] for c in found)}' ;;" for g, found in names.items()
    ]
    return _BASH.replace("@COMMANDS@", "\n".join(cases)).replace("@LISTS@", "\n".join(lists))


def _spec(option: Option) -> str:
    return f"{option.name}={option.value}" if option.value else option.name


_LOOKUP = r"""_avo_folder() {  # where runs lie: --runs, else the environment's
  local i
  REPLY=${AVO_RUNS:-${XDG_STATE_HOME:-$HOME/.local/state}/avo/runs}
  for ((i = 1; i < ${#words_typed[@]} - 1; i++)); do
    [[ ${words_typed[i]} == --runs ]] && REPLY=${words_typed[i+1]/#\~/$HOME}
  done
}
_avo_runs() {
  local found
  _avo_folder
  for found in "$REPLY"/*/journal.db; do
    [[ -e $found ]] && found=${found%/journal.db} && printf '%s\n' "${found##*/}"
  done
}
_avo_versions() {  # of run $1
  _avo_folder
  [[ -d $REPLY/$1/lineage ]] || return
  git -C "$REPLY/$1/lineage" for-each-ref --format='%(refname:lstrip=2)' --sort=v:refname refs/avo 2>/dev/null
  printf 'best\n'
}
_avo_problems() {
  local found
  for found in '@PROBLEMS@'/*/problem.toml; do
    [[ -e $found ]] && found=${found%/problem.toml} && printf '%s\n' "${found##*/}"
  done
}
"""

_BASH = (
    r"""# bash completion for avo: in ~/.bashrc  eval "$(avo completions bash)"
# or once: avo completions bash > ~/.local/share/bash-completion/completions/avo
_avo_spec() {  # options and places of command $1
  options='' places=''
  case "$1" in
@COMMANDS@
  esac
}
_avo_list() {  # the commands of group $1
  words=''
  case "$1" in
@LISTS@
  esac
}
"""
    + _LOOKUP
    + r"""_avo_offer() {  # what completes kind $1; $2 is the run named before, if any
  local choices=''
  case "$1" in
    RUN) choices=$(_avo_runs) ;;
    VERSION) choices=$(_avo_versions "$2") ;;
    PROBLEM) choices=$(_avo_problems); compopt -o plusdirs ;;
    RUNVERSION|SOURCE)
      choices=$(_avo_runs); [[ $1 == SOURCE ]] && compopt -o default; [[ $choices ]] && compopt -o nospace
      COMPREPLY=($(compgen -S @ -W "$choices" -- "$current")); return ;;
    DIR) compopt -o dirnames; return ;;
    FILE) compopt -o default; return ;;
    -) return ;;
    *) choices=${1//,/ } ;;
  esac
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
}
_avo() {
  local words options places current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  local words_typed=("${COMP_WORDS[@]}") command='' run='' kind option i position=0
  COMPREPLY=()
  # '@' parts words in bash: RUN @ vN
  if [[ $current == @ ]]; then
    COMPREPLY=($(compgen -P @ -W "$(_avo_versions "$before")")); return
  elif [[ $before == @ ]]; then
    COMPREPLY=($(compgen -W "$(_avo_versions "${COMP_WORDS[COMP_CWORD-2]}")" -- "$current")); return
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    local word=${COMP_WORDS[i]}
    _avo_list "$command"
    if [[ -z $command || $words ]] && [[ " $words " == *" $word "* ]]; then
      command=${command:+$command }$word
      _avo_spec "$command"
    elif [[ $word == -* ]]; then
      [[ " $options " == *" $word="* ]] && ((i++))
    elif [[ $word != @ && ${COMP_WORDS[i-1]} != @ && ${COMP_WORDS[i+1]} != @ ]]; then
      ((position++)); [[ -z $run ]] && run=$word
    fi
  done
  _avo_list "$command"
  if [[ $words ]]; then
    [[ $current == -* ]] && words='--help --version'
    COMPREPLY=($(compgen -W "$words" -- "$current")); return
  fi
  for option in $options; do
    if [[ ${option%%=*} == "$before" && $option == *=* ]]; then
      _avo_offer "${option#*=}" "$run"; return
    fi
  done
  if [[ $current == -* ]]; then
    local plain=''
    for option in $options; do plain+=" ${option%%=*}"; done
    COMPREPLY=($(compgen -W "$plain" -- "$current")); return
  fi
  set -- $places
  (($# == 0)) && return
  ((position >= $#)) && { [[ $# -gt 1 && ${!#} == "${@: -2:1}" ]] || return; position=$(($# - 1)); }
  shift "$position"
  _avo_offer "$1" "$run"
}
complete -F _avo avo
"""
)


# --- zsh -------------------------------------------------------------------------------------


def _zsh(every: list[Command]) -> str:
    groups = _groups(every)
    lists = {"": _tops(every), **groups}
    named = [
        f"    '{g}') list=({' '.join(_zsh_word(c.name.rpartition(' ')[2], c.text) for c in found)}) ;;"
        for g, found in lists.items()
    ]
    cases = [
        f"    '{c.name}') options=({' '.join(_zsh_word(_spec(o), o.text) for o in c.options)})"
        f" places=({' '.join(repr(p) for p in c.places)}) ;;"
        for c in every
        if c.name not in groups
    ]
    return _ZSH.replace("@COMMANDS@", "\n".join(cases)).replace("@LISTS@", "\n".join(named))


def _zsh_word(word: str, text: str) -> str:
    return f"'{word}:{text}'"


_ZSH = (
    r"""#compdef avo
# zsh completion for avo: in ~/.zshrc after compinit  eval "$(avo completions zsh)"
# or once: avo completions zsh > "${fpath[1]}/_avo"
_avo_spec() {
  options=() places=()
  case "$1" in
@COMMANDS@
  esac
}
_avo_list() {
  list=()
  case "$1" in
@LISTS@
  esac
}
"""
    + _LOOKUP.replace("((i = 1; i < ${#words_typed[@]} - 1; i++))", "((i = 1; i < ${#words_typed}; i++))")
    .replace('in "$REPLY"/*/journal.db', 'in "$REPLY"/*/journal.db(N)')
    .replace("'/*/problem.toml", "'/*/problem.toml(N)")
    + r"""_avo_offer() {
  local -a found
  case "$1" in
    RUN) found=(${(f)"$(_avo_runs)"}) ;;
    VERSION) found=(${(f)"$(_avo_versions "$2")"}) ;;
    PROBLEM) found=(${(f)"$(_avo_problems)"}); _files -/ ;;
    RUNVERSION|SOURCE)
      if [[ $PREFIX == *@* ]]; then
        local name=${PREFIX%%@*}; found=($name@${(f)^"$(_avo_versions "$name")"})
      else
        found=(${(f)"$(_avo_runs)"}); [[ -n $found ]] && compadd -S @ -q -a found; [[ $1 == SOURCE ]] && _files; return
      fi ;;
    DIR) _files -/; return ;;
    FILE) _files; return ;;
    -) return ;;
    *) found=(${(s:,:)1}) ;;
  esac
  [[ -n $found ]] && compadd -V avo -a found
}
_avo() {
  local -a list options places words_typed plain
  local command='' run='' word option i position=1
  words_typed=("${words[@]}")
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    _avo_list "$command"
    if (( ${#list} )) && [[ -n ${(M)list:#$word:*} ]]; then
      command=${command:+$command }$word
      _avo_spec "$command"
    elif [[ $word == -* ]]; then
      [[ -n ${(M)options:#$word=*} ]] && ((i++))
    else
      ((position++)); [[ -z $run ]] && run=$word
    fi
  done
  _avo_list "$command"
  if (( ${#list} )); then _describe command list; return; fi
  option=${${(M)options:#${words[CURRENT-1]}=*}[1]}
  if [[ -n $option ]]; then _avo_offer "${${option%%:*}#*=}" "$run"; return; fi
  if [[ ${words[CURRENT]} == -* ]]; then
    for option in $options; do plain+=("${${option%%:*}%%=*}:${option#*:}"); done
    _describe option plain; return
  fi
  (( ${#places} )) || return
  if ((position > ${#places})); then
    (( ${#places} > 1 )) && [[ $places[-1] == $places[-2] ]] || return
    position=${#places}
  fi
  _avo_offer "$places[position]" "$run"
}
compdef _avo avo
"""
)


# --- fish ------------------------------------------------------------------------------------


def _fish(every: list[Command]) -> str:
    groups = _groups(every)
    lines = [
        f"complete -c avo -n '__avo_at \"{c.name.rpartition(' ')[0]}\"' -a '{c.name.rpartition(' ')[2]}' -d '{c.text}'"
        for c in every
    ]
    for c in every:
        if c.name in groups:
            continue
        here = f"complete -c avo -n '__avo_in \"{c.name}\"'"
        lines += [f"{here}{_fish_option(o)}" for o in c.options]
        for kind in dict.fromkeys(c.places):
            if call := _FISH_CALLS.get(kind, kind.replace(",", " ") if "," in kind else ""):
                lines.append(f"{here} -a '{call}'")
        if any(p in ("FILE", "DIR", "SOURCE", "PROBLEM") for p in c.places):
            lines.append(f"{here} -F")
    return _FISH + "\n".join(lines) + "\n"


_FISH_CALLS = {
    "RUN": "(__avo_runs)",
    "VERSION": "(__avo_versions)",
    "PROBLEM": "(__avo_problems)",
    "RUNVERSION": "(__avo_run_versions)",
    "SOURCE": "(__avo_run_versions)",
}


def _fish_option(option: Option) -> str:
    name = f" -l {option.name[2:]}" if option.name.startswith("--") else f" -s {option.name[1:]}"
    text = f" -d '{option.text}'" if option.text else ""
    if not option.value:
        return name + text
    if option.value in ("DIR", "FILE"):
        return f"{name} -r -F{text}"
    call = _FISH_CALLS.get(option.value, "" if option.value == "-" else option.value.replace(",", " "))
    return f"{name} -x{text}" + (f" -a '{call}'" if call else "")


_FISH = r"""# fish completion for avo:  avo completions fish > ~/.config/fish/completions/avo.fish
function __avo_words
    set -l all (commandline -opc)
    for word in $all[2..-1]
        string match -q -- '-*' $word; or echo $word
    end
end
function __avo_at  # nothing was typed but the group $argv
    set -l typed (string join ' ' (__avo_words))
    test "$typed" = "$argv"
end
function __avo_in  # the command is $argv
    string match -q -- "$argv *" (string join ' ' (__avo_words))' '
end
function __avo_folder
    set -l all (commandline -opc)
    set -l at (contains -i -- --runs $all)
    if test -n "$at"; and test (count $all) -gt $at
        string replace -r '^~' $HOME $all[(math $at + 1)]
    else if set -q AVO_RUNS
        echo $AVO_RUNS
    else if set -q XDG_STATE_HOME
        echo $XDG_STATE_HOME/avo/runs
    else
        echo $HOME/.local/state/avo/runs
    end
end
function __avo_runs
    for found in (__avo_folder)/*/journal.db
        string replace -r '.*/([^/]*)/journal.db$' '$1' $found
    end
end
function __avo_versions_of
    set -l lineage (__avo_folder)/$argv[1]/lineage
    test -d $lineage; or return
    git -C $lineage for-each-ref --format='%(refname:lstrip=2)' --sort=v:refname refs/avo 2>/dev/null
    echo best
end
function __avo_versions
    for word in (__avo_words)
        __avo_versions_of $word
    end
end
function __avo_run_versions
    for run in (__avo_runs)
        for version in (__avo_versions_of $run)
            echo $run@$version
        end
    end
end
function __avo_problems
    for found in '@PROBLEMS@'/*/problem.toml
        string replace -r '.*/([^/]*)/problem.toml$' '$1' $found
    end
end
complete -c avo -f
"""
