/** What could stand next on a command line, and the scripts by which shells ask for it. */
import type { Command } from './command.ts';
import type { Flag } from './flags.ts';

import { EXIT_OK } from './exit-codes.ts';

interface Candidate {
  readonly text: string;
  readonly help: string;
}

/** Asked by the scripts below: `portcullis __complete WORD... WORD_TO_COMPLETE` prints lines of text, tab, help. */
export const ASK = '__complete';

/** Without an answer, each shell offers files. */
const SCRIPTS = {
  // "=" parts words in bash, so `--mode=a` comes as three.
  bash: `_portcullis() {
  local current=\${COMP_WORDS[COMP_CWORD]} line
  [[ $current == = ]] && current=
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    [[ $line == "$current"* ]] && COMPREPLY+=("$line")
  done < <("\${COMP_WORDS[0]}" ${ASK} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _portcullis portcullis
`,
  zsh: `#compdef portcullis
_portcullis() {
  local line
  local -a found
  for line in "\${(@f)$(\${words[1]} ${ASK} "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] && found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  if (( $#found )); then _describe portcullis found; else _files; fi
}
compdef _portcullis portcullis
`,
  fish: `function __portcullis_complete
  set -l words (commandline -opc)
  $words[1] ${ASK} $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c portcullis -n 'count (__portcullis_complete) >/dev/null' -f
complete -c portcullis -a '(__portcullis_complete)'
`,
} as const;

type Shell = keyof typeof SCRIPTS;
const SHELLS = Object.keys(SCRIPTS) as Shell[];

export const COMPLETION_COMMAND: Command = {
  name: 'completion',
  summary: 'a script that completes commands and flags in a shell',
  description: `Prints a script for bash, zsh or fish:

  source <(portcullis completion bash)        in ~/.bashrc
  source <(portcullis completion zsh)         in ~/.zshrc, after compinit
  portcullis completion fish > ~/.config/fish/completions/portcullis.fish`,
  flags: [],
  operands: [{ name: 'shell', help: SHELLS.join(', '), choices: SHELLS }],
  run: async (_given, { out }, [shell]) => {
    out(SCRIPTS[shell as Shell]);
    return EXIT_OK;
  },
};

/** The answer to `ASK`: a line for each candidate. */
export function completionLines(commands: readonly Command[], words: readonly string[]): string {
  return candidates(commands, words)
    .map(({ text, help }) => `${text}\t${help}\n`)
    .join('');
}

/** What begins as the last of `words` does; none where anything may stand, such as a file. */
function candidates(commands: readonly Command[], words: readonly string[]): readonly Candidate[] {
  const parts = words.flatMap(splitAtEquals);
  const current = parts.at(-1) ?? '';
  const [name, ...before] = parts.slice(0, -1);
  return possible(commands, name, before, current).filter(({ text }) => text.startsWith(current));
}

/** `--mode=a` -> `--mode`, `a`. "=" alone, as bash gives it, is left out, or empty at the end. */
function splitAtEquals(word: string, index: number, words: readonly string[]): readonly string[] {
  if (word === '=') return index === words.length - 1 ? [''] : [];
  const [, flag, value] = /^(--[^=]+)=(.*)$/.exec(word) ?? [];
  return flag === undefined ? [word] : [flag, value!];
}

function possible(
  commands: readonly Command[],
  name: string | undefined,
  before: readonly string[],
  current: string,
): readonly Candidate[] {
  const names = commands.map((command) => ({ text: command.name, help: command.summary }));
  if (name === undefined) return [...names, { text: 'help', help: 'tell of a command' }];
  if (name === 'help') return before.length === 0 ? names : [];
  const command = commands.find((one) => one.name === name);
  if (!command) return [];
  const flag = command.flags.find((one) => takesValue(one) && formsOf(one).includes(before.at(-1) ?? ''));
  if (flag) return (flag.read.choices ?? []).map((text) => ({ text, help: '' }));
  if (current.startsWith('-') || !command.operands)
    return command.flags.map((one) => ({ text: `--${one.name}`, help: firstClause(one.help) }));
  return (command.operands[before.length]?.choices ?? []).map((text) => ({ text, help: '' }));
}

function takesValue({ placeholder }: Flag<unknown>): boolean {
  return placeholder !== undefined;
}

function formsOf({ name, short }: Flag<unknown>): readonly string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}

/** What fits beside a flag. */
function firstClause(help: string): string {
  return help.split(/[;:,(]/, 1)[0]!.trim();
}
