/** `portcullis verify`, as the program knows it. */
import type { Command } from '../command.ts';

import { readVerifyOptions, VERIFY_FLAGS } from './options.ts';

export const VERIFY_COMMAND: Command = {
  name: 'verify',
  summary: 'whether policies are enforced here, by packets; and whether expectations hold',
  usage: '[-f <expectations> [-f <manifests>]] [flags]',
  description: `Without -f: does anything enforce policies here? Pods in a namespace of their own, two on each
node, send each other packets without a policy, under a default deny and where one is allowed,
for ingress and for egress. The namespace goes in the end, whatever happens. Works with any
engine that enforces NetworkPolicies.

With -f: who must and who must not reach whom, as a file says it: by the policies of manifests
that are given as well, else by those of the cluster; with --probe by packets from pods that
stand in for the sources.

  portcullis verify                                  on all nodes of the cluster of your kubeconfig
  portcullis verify --nodes 3 -o junit > enforced.xml
  portcullis verify -f expectations.yaml -f manifests/
  portcullis verify -f expectations.yaml --probe`,
  flags: Object.values(VERIFY_FLAGS),
  exitCodes: {
    ok: 'policies are enforced on every node asked about; all expectations hold',
    failure: 'they are not; or one does not hold',
    disagrees: 'with -f and --probe: packets do something else than the policies say',
    unknown: 'it cannot be told: no rights, pods that do not start, a network that carries nothing; interrupted',
  },
  run: async (given, context) => {
    const options = readVerifyOptions(given, context.env);
    const { runVerify } = await import('./run-verify.ts');
    return runVerify(options, context);
  },
};
