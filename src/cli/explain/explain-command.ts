/** `portcullis explain`, as the program knows it. */
import type { Command } from '../command.ts';

import { END_FORMS } from '../../cluster/flow-ends.ts';
import { EXPLAIN_FLAGS, readExplainOptions } from './options.ts';

export const EXPLAIN_COMMAND: Command = {
  name: 'explain',
  summary: 'whether one end may reach another, which policies decide, and what would allow it',
  usage: '<source> <destination> --port <port> [-f <file, folder or ->] [flags]',
  description: `Whether <source> may reach <destination>, by the evaluator that the agent is tested against: each
direction's verdict, the policies and rules that decide; for a denial every policy that
isolates the pod, with its nearest rule and what of it does not hold, and the smallest change
that would allow the flow. Of several pods each pair is judged.

<source> and <destination>: ${END_FORMS}.

  portcullis explain -f policies/ -f app.yaml shop/web shop/db --port 5432
  kubectl get ns,no,po,svc,netpol,deploy -A -o yaml | portcullis explain -f - api service/db
  portcullis explain shop/app=web external --port 443     asks the cluster of your kubeconfig
  portcullis explain shop/web shop/db --port 5432 --verify   and the rules in the kernels of both nodes`,
  flags: Object.values(EXPLAIN_FLAGS),
  operands: [
    { name: 'source', help: 'where the connection starts' },
    { name: 'destination', help: 'where it goes' },
  ],
  exitCodes: {
    ok: 'every flow that was asked about is allowed',
    failure: 'one is denied, or something failed',
    disagrees: "with --verify: a node's rules do something else than policies and mode ask for",
    unknown: 'with --verify: a node that judges it could not be asked',
  },
  run: async (given, context, operands) => {
    const options = readExplainOptions(given, context.env, operands);
    const { runExplain } = await import('./run-explain.ts');
    return runExplain(options, context);
  },
};
