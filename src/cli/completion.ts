/**
 * Completion for bash, zsh and fish, made of the tables that the command line is read by.
 *
 * @module
 */

import { CHOICES, LONG_NAMES, VALUED } from "./run_options.ts";
import { COMMAND_FLAGS, COMMAND_NAMES, ORDER_OPTIONS } from "./parse_order.ts";
import { UsageError } from "./usage_error.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

/** The script for a shell, to be evaluated by it; for a command of that name, be it an alias or a script. */
export function completionFor(shell: string | undefined): string {
  switch (shell) {
    case "bash":
      return bash();
    case "zsh":
      return `autoload -U +X bashcompinit && bashcompinit\n${bash()}`;
    case "fish":
      return fish();
    default:
      throw new UsageError(
        `Cannot complete for ${shell === undefined ? "no shell" : `'${shell}'`}: it must be one of ${
          SHELLS.join(", ")
        }, as in eval "$(prefork completion bash)"`,
      );
  }
}

function flagsOf(command: string): string {
  const own = Object.entries(COMMAND_FLAGS).find(([name]) => name === command)?.[1] ?? [];
  return [...own, ...ORDER_OPTIONS, "--help"].join(" ");
}

function bash(): string {
  const cases = Object.keys(COMMAND_FLAGS).map((command) => {
    return `    ${command}) words="${flagsOf(command)} $(_prefork_names)";;`;
  });
  const choices = Object.entries(CHOICES).map(([name, values]) =>
    `    ${name}) words="${values.join(" ")}"${name === "--runtime" ? "" : "; files="};;`
  );
  return `_prefork_names() {
  prefork list --json 2>/dev/null | grep -o '"name":"[^"]*","pid"' | cut -d'"' -f4 | grep -E '^[A-Za-z0-9_.-]+$'
}
_prefork() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" words file files=1
  COMPREPLY=()
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    completion) words="${SHELLS.join(" ")}";;
    *) words="${LONG_NAMES.join(" ")}"; [ "$COMP_CWORD" = 1 ] && words="$words ${COMMAND_NAMES.join(" ")}";;
  esac
  case "$before" in
${choices.join("\n")}
    ${VALUED.filter((name) => !(name in CHOICES)).join("|")}) words="";;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case "$files$word" in
    1-*) ;;
    1*) while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$word");;
  esac
}
complete -o filenames -F _prefork prefork
`;
}

/** How fish has it that an option takes a value. */
function takes(name: string): string {
  const choices = CHOICES[name];
  if (choices !== undefined) return ` -x -a "${choices.join(" ")}"`;
  return VALUED.includes(name) ? " -r" : "";
}

function fish(): string {
  const first = COMMAND_NAMES.map((word) => `complete -c prefork -n __fish_use_subcommand -a ${word}`);
  const flags = Object.keys(COMMAND_FLAGS).flatMap((command) => {
    const condition = `-n "__fish_seen_subcommand_from ${command}"`;
    return [
      ...flagsOf(command).split(" ").map((flag) => `complete -c prefork ${condition} -l ${flag.slice(2)}`),
      `complete -c prefork ${condition} -f -a "(__prefork_names)"`,
    ];
  });
  const isRun = `-n "not __fish_seen_subcommand_from completion ${Object.keys(COMMAND_FLAGS).join(" ")}"`;
  const options = LONG_NAMES.map((name) => {
    return `complete -c prefork ${isRun} -l ${name.slice(2)}${takes(name)}`;
  });
  return `function __prefork_names
  prefork list --json 2>/dev/null | string match -ra '"name":"[^"]*","pid"' | string replace -r '"name":"(.*)","pid"' '$1' | string match -r '^[A-Za-z0-9_.-]+$'
end
complete -c prefork -n "__fish_seen_subcommand_from completion" -f -a "${SHELLS.join(" ")}"
${[...first, ...flags, ...options].join("\n")}
`;
}
