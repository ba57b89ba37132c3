/** `portcullis matrix`, as the program knows it. */
import type { Command } from '../command.ts';

import { MATRIX_FLAGS, readMatrixOptions } from './options.ts';

export const MATRIX_COMMAND: Command = {
  name: 'matrix',
  summary: 'who may reach whom, at which ports, by which policies',
  usage: '[-f <file, folder or ->] [flags]',
  description: `All flows between workloads, the nodes and the world outside, by the evaluator that the agent is tested
against. Pods of a workload are one row, as far as no policy tells them apart.

  portcullis matrix -f policies/ -f app.yaml
  portcullis matrix --to shop --from outside              what of shop is reachable from outside
  portcullis matrix -o html > matrix.html                 a page to look at, with the deciding policies
  kubectl get ns,no,po,svc,netpol,deploy -A -o yaml | portcullis matrix -f - -o csv`,
  flags: Object.values(MATRIX_FLAGS),
  exitCodes: { ok: 'the matrix was written', failure: 'the objects cannot be read' },
  run: async (given, context) => {
    const options = readMatrixOptions(given, context.env);
    const { runMatrix } = await import('./run-matrix.ts');
    return runMatrix(options, context);
  },
};
