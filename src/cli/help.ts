/** Help texts, made from the same tables that parse and dispatch. */
import { AGENT_FLAGS, type Flag } from './config.ts';

interface CommandSummary {
  readonly name: string;
  /** One line, lower case, without a full stop. */
  readonly summary: string;
}

export const EXIT_OK = 0;
/** The command did not succeed, or found the difference it was asked about. */
export const EXIT_FAILURE = 1;
/** The command line cannot be understood. */
export const EXIT_USAGE = 2;

const EXIT_CODES = `Exit codes:
  ${EXIT_OK}  success
  ${EXIT_FAILURE}  failure, or a difference where one was asked about
  ${EXIT_USAGE}  wrong usage: unknown command or flag, missing or bad value
`;

const WIDTH = 100;
const INDENT = ' '.repeat(8);

export function programHelp(commands: readonly CommandSummary[]): string {
  const widest = Math.max(...commands.map((command) => command.name.length));
  const lines = commands.map((command) => `  ${command.name.padEnd(widest)}  ${command.summary}`);
  return `portcullis: Kubernetes NetworkPolicy enforcement with iptables, ipset and conntrack

Usage: portcullis <command> [flags]

Commands:
${lines.join('\n')}

  portcullis <command> --help    a command's flags
  portcullis --version           the version

${EXIT_CODES}`;
}

export function agentHelp(): string {
  const flags = Object.values(AGENT_FLAGS).map(describeFlag);
  return `Usage: portcullis agent --node-name <name> [flags]

Enforces the cluster's NetworkPolicies for the pods of one node, until stopped by SIGTERM or SIGINT.
The rules stay in the kernel when the agent ends. Needs root on Linux, and iptables and ipset.

A flag wins over its environment variable, the variable over the default.

${flags.join('\n')}
${EXIT_CODES}`;
}

function describeFlag(flag: Flag<unknown>): string {
  const origin = flag.defaultText === undefined ? '' : `default ${flag.defaultText}; `;
  return `  --${flag.name} ${flag.placeholder}\n${wrap(flag.help)}${INDENT}(${origin}environment ${flag.env})\n`;
}

function wrap(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && INDENT.length + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => `${INDENT}${one}\n`).join('');
}
