/** `portcullis recommend`, as the program knows it. */
import type { Command } from '../command.ts';

import { readRecommendOptions, RECOMMEND_FLAGS } from './options.ts';

export const RECOMMEND_COMMAND: Command = {
  name: 'recommend',
  summary: 'policies that let through what was seen and little else, and rules that nothing needed',
  usage: '--flows <file> [-f <file, folder or ->] [flags]',
  description: `From flows that were seen writes, for each workload, a policy that lets just these through, by labels,
blocks and ports, with what was seen as a comment on each rule. They are added to the policies that are
there. All flows are judged again with them before anything is written: a policy that would deny one is
withheld. Also names the rules of policies that nothing needed.

  conntrack -L > node-1.flows               on each node, now and then
  portcullis recommend --flows node-1.flows --flows node-2.flows > policies.yaml
  kubectl -n kube-system logs ds/portcullis --tail=-1 | portcullis recommend --flows -
  portcullis recommend --for shop           from what agents would deny now`,
  flags: Object.values(RECOMMEND_FLAGS),
  exitCodes: {
    ok: 'with what is written every flow passes',
    failure: 'a policy was withheld, or a flow stays denied; or something failed',
    usage: 'wrong usage, or no flow was seen',
  },
  run: async (given, context) => {
    const options = readRecommendOptions(given, context.env);
    const { runRecommend } = await import('./run-recommend.ts');
    return runRecommend(options, context);
  },
};
