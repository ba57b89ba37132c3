/** The commands beside `agent`, as the program knows them. What each does is loaded when it is asked for. */
import type { Command } from './command.ts';

import { EXPLAIN_COMMAND } from './explain/explain-command.ts';
import { LINT_COMMAND } from './lint/lint-command.ts';
import { readStatusFlags, STATUS_FLAGS } from './status-flags.ts';

const STATUS: Command = {
  name: 'status',
  summary: 'whether policies are in force on every node, and who lags behind',
  description: `Asks the agents of all nodes, through the API server's pod proxy, what is in their kernels, and compares it with
what the API server has. Needs the rights to list nodes, networkpolicies and the agents' pods, and to get pods/proxy.

  portcullis status                                 12 of 12 nodes, slowest 140 ms after ...
  portcullis status --policy shop/allow-web         the same for one policy
  portcullis status -o json                         for programs; its field version counts up when others change`,
  flags: Object.values(STATUS_FLAGS),
  exitCodes: {
    ok: 'in force on every node',
    failure: 'not on all of them',
    usage: 'wrong usage, or it cannot be told: no API server, no rights, no agents, no such policy',
  },
  run: async (given, context) => {
    const flags = readStatusFlags(given, context.env);
    const { runStatus } = await import('./status.ts');
    return runStatus(flags, context);
  },
};

/** In the order in which help lists them. */
export const COMMANDS: readonly Command[] = [STATUS, EXPLAIN_COMMAND, LINT_COMMAND];
