/** A lab node's kernel, compared with what an agent that starts from nothing would write into it. */
import { compileNode } from '../../../src/compile/compile-node.ts';
import { runCommand } from '../../../src/kernel/command.ts';
import { createLinuxKernel } from '../../../src/kernel/linux-kernel.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { diff } from '../../../src/plan/diff.ts';
import { isEmptyPlan, type ObservedState, planText } from '../../../src/plan/plan.ts';
import type { Layout } from '../../../src/render/ruleset.ts';
import { renderNode } from '../../../src/render/render-node.ts';

/** What the agent makes of its own defaults; chain names depend on it to the letter, the order of its fields included. */
const LAYOUT: Layout = {
  trunkInterfacePrefix: 'vlan.eth.',
  marks: { mask: 0xff000000 },
  log: { group: 9847, perSecond: 10, burst: 20 },
  mode: 'enforce',
};

export async function observeNode(lab: Lab, node: string): Promise<ObservedState> {
  const { backend, families } = lab.options;
  const run: typeof runCommand = (request) => {
    const { argv, env } = lab.network.nodeCommand(node, request.argv);
    return runCommand({ ...request, argv, env: { ...request.env, ...env } });
  };
  return await createLinuxKernel({ backend, families, run, lockWaitSeconds: 5 }).observe();
}

/** What a fresh agent would change on the node, as text; undefined: nothing. */
export async function unlikeFresh(lab: Lab, node: string): Promise<string | undefined> {
  const observed = await observeNode(lab, node);
  const plan = diff(renderNode(compileNode(lab.snapshot(), node), LAYOUT), observed);
  return isEmptyPlan(plan) ? undefined : planText(plan);
}
