/** `portcullis ui`, as the program knows it. */
import type { Command } from '../command.ts';

import { readUiOptions, UI_FLAGS } from './options.ts';

export const UI_COMMAND: Command = {
  name: 'ui',
  summary: 'a page with the matrix, policies, drops as they come, nodes, and what an edit would change',
  usage: '[-f <file, folder or ->] [--port <number>] [flags]',
  description: `Serves a page on this computer alone, until it is ended: who may reach whom; policies with their modes
and counts; denied flows as they come, with the reason and what would allow them; nodes with what is in
force on them; and what an edit of a policy would change, before anybody applies it. By your own kubeconfig
and its rights, or on manifests. Nothing is written to the cluster, and nothing is loaded from elsewhere.

  portcullis ui
  portcullis ui -f policies/ -f app.yaml`,
  flags: Object.values(UI_FLAGS),
  exitCodes: { ok: 'ended by a signal', failure: 'the objects cannot be read, or nobody can listen there' },
  run: async (given, context) => {
    const options = readUiOptions(given, context.env);
    const { runUi } = await import('./run-ui.ts');
    return runUi(options, context);
  },
};
