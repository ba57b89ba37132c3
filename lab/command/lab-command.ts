/** `portcullis lab`, as the program knows it. */
import type { Command } from '../../src/cli/command.ts';

import { LAB_FLAGS, readLabOptions } from './options.ts';

export const LAB_COMMAND: Command = {
  name: 'lab',
  summary: 'a cluster in a box: try policies with real packets, on Linux as root',
  usage: '-f <file, folder or -> | --demo live-download | --keep [flags]',
  description: `A cluster in a box: an API server in memory, network namespaces as nodes and pods, the real agent
on every node, real iptables and ipset, real packets. Needs Linux and root; nothing leaves this
machine. Prints who should reach whom (the reference evaluator) beside who does (packets), and marks
what differs. Everything is removed at the end, and what a killed lab left behind at the next start.

Colours: on a terminal, unless NO_COLOR is set; elsewhere with FORCE_COLOR. See also: docs/lab.md.

  kubectl get ns,pods,netpol,svc -A -o yaml | portcullis lab -f -`,
  flags: Object.values(LAB_FLAGS),
  exitCodes: {
    ok: 'measured equals predicted (with --keep: in the last matrix shown)',
    failure: 'it does not, or something failed',
  },
  run: async (given, { signal }) => {
    const options = readLabOptions(given);
    const { runLab } = await import('./run-lab.ts');
    return runLab(options, { signal });
  },
};
