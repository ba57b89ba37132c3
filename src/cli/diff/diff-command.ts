/** `portcullis diff`, as the program knows it. */
import type { Command } from '../command.ts';

import { DIFF_FLAGS, readDiffOptions } from './options.ts';

export const DIFF_COMMAND: Command = {
  name: 'diff',
  summary: 'which flows a change of manifests would newly allow and newly deny',
  usage: '-f <new manifests> [-b <manifests of what there is>] [flags]',
  description: `What would become of flows between workloads, nodes and the world outside if the manifests of -f came into the
cluster of your kubeconfig, or into what --base holds: the largest changes first, with the policies that decide before
and after, and the live connections that would be cut.

  portcullis diff -f policies/                            as kubectl apply would change the cluster
  portcullis diff -b old/ -f new/                         two folders, each of them the whole
  portcullis diff -f policies/ --fail-on exposed=prod     for a pipeline
  conntrack -L | portcullis diff -f policies/ --connections - --fail-on cut`,
  flags: Object.values(DIFF_FLAGS),
  exitCodes: { ok: 'nothing of --fail-on', failure: 'something of --fail-on, or manifests cannot be read' },
  run: async (given, context) => {
    const options = readDiffOptions(given, context.env);
    const { runDiff } = await import('./run-diff.ts');
    return runDiff(options, context);
  },
};
