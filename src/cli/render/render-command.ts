/** `portcullis render`, as the program knows it. */
import type { Command } from '../command.ts';

import { readRenderOptions, RENDER_FLAGS } from './options.ts';

export const RENDER_COMMAND: Command = {
  name: 'render',
  summary: 'the very rules and sets that a node would get, and what of them would change there',
  usage: '[--node <name>] [-f <file, folder or ->] [--plan | --against <file>] [flags]',
  description: `Compiles the policies for one node and writes what its agent would give to ipset and iptables-restore, line
by line, by the agent's own code and settings; nothing of this host is read or changed. From nothing, or as
the change of what is there: a node's bundle or saved rules, or the agent's last plan.

  portcullis render --node node-1 -f cluster.yaml
  portcullis render --node node-1 --plan                    what its agent changed last
  portcullis render --node node-1 --against node-1.json     what an agent would change now
  (iptables-save; ip6tables-save; ipset save) | portcullis render --node node-1 --against -`,
  flags: Object.values(RENDER_FLAGS),
  exitCodes: {
    ok: 'rendered; with --against: nothing would change',
    failure: 'with --against: something would change; or something failed',
    usage: 'wrong usage, no such node, or what is there cannot be told',
  },
  run: async (given, context) => {
    const options = readRenderOptions(given, context.env);
    const { runRender } = await import('./run-render.ts');
    return runRender(options, context);
  },
};
