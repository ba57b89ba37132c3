/** A lab node's kernel, compared with what an agent that starts from nothing would write into it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { compileNode, renderNode } from '../../support/stages.ts';
import type { NodeIntent } from '../../../src/compile/intent.ts';
import { runCommand } from '../../../src/host/command.ts';
import { createOneVariantKernel } from '../../support/one-variant-kernel.ts';
import { findInterfaces, type FoundInterfaces } from '../../../src/host/pod-interfaces.ts';
import { askNeighbours, readHostFacts } from '../../../src/host/read-interfaces.ts';
import type { Lab } from '../../../lab/lab.ts';
import { diff } from '../../../src/dataplane/iptables/plan/diff.ts';
import { isEmptyPlan, type ObservedState, planText } from '../../../src/dataplane/iptables/plan/plan.ts';
import { isReleasedSign } from '../../../src/dataplane/iptables/plan/released.ts';
import type { Layout } from '../../../src/dataplane/iptables/rules/ruleset.ts';
import type { PodInterfaces } from '../../../src/host/pod-interfaces.ts';

/** What the agent makes of its own defaults; chain names depend on it to the letter, the order of its fields included. */
const LAYOUT: Layout = {
  trunkInterfacePrefix: 'vlan.eth.',
  marks: { mask: 0xff000000 },
  log: { group: 9847, perSecond: 10, burst: 20 },
  mode: 'enforce',
};

/** How names of pods' interfaces begin by default. */
const PREFIXES = ['eni', 'vlan', 'veth', 'cali'];
const ATTACHED_MS = 3_000;

function runOn(lab: Lab, node: string): typeof runCommand {
  return (request) => {
    const { argv, env } = lab.network.nodeCommand(node, request.argv);
    return runCommand({ ...request, argv, env: { ...request.env, ...env } });
  };
}

export async function observeNode(lab: Lab, node: string): Promise<ObservedState> {
  const { backend, families } = lab.options;
  return await createOneVariantKernel({ backend, families, run: runOn(lab, node), lockWaitSeconds: 5 }).readBack();
}

/** Where an agent that starts now finds its pods attached; those on a bridge are asked who they are. */
async function interfacesOf(run: typeof runCommand, { localAddresses }: NodeIntent): Promise<PodInterfaces> {
  const deadline = performance.now() + ATTACHED_MS;
  let known: FoundInterfaces['ports'] = new Map();
  for (;;) {
    const facts = await readHostFacts(run);
    const found = findInterfaces({
      facts,
      prefixes: PREFIXES,
      trunkPrefix: LAYOUT.trunkInterfacePrefix,
      localAddresses,
      known,
    });
    known = found.ports;
    const asked = found.unknown.flatMap(({ address, bridge }) => (bridge === undefined ? [] : [{ address, bridge }]));
    if (asked.length === 0 || performance.now() > deadline) return found.interfaces;
    await askNeighbours(run, asked);
    await sleep(50);
  }
}

/** What a fresh agent would change on the node, as text; undefined: nothing. */
export async function unlikeFresh(lab: Lab, node: string): Promise<string | undefined> {
  const observed = await observeNode(lab, node);
  const intent = compileNode(lab.snapshot(), node);
  // The sign that addresses were released makes a fresh agent advance the epoch, and stands until one does (dataplane/iptables/plan/released.ts).
  const sets = new Map([...observed.sets].filter(([name]) => !isReleasedSign(name)));
  const wanted = renderNode(intent, LAYOUT, await interfacesOf(runOn(lab, node), intent));
  const plan = diff(wanted, { ...observed, sets });
  return isEmptyPlan(plan) ? undefined : planText(plan);
}
