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
import { NFT_TABLE } from '../../../src/dataplane/nftables/table/names.ts';
import { runSync } from '../../../src/core/sliced.ts';
import { createNftKernel } from '../../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../../src/dataplane/nftables/kernel/nft-session.ts';
import { compareTables, NO_LEFTOVERS } from '../../../src/dataplane/nftables/plan/compare.ts';
import { epochTable, readEpoch, readReleased } from '../../../src/dataplane/nftables/plan/epochs.ts';
import { splitTable } from '../../../src/dataplane/nftables/plan/whole-table.ts';
import { NodeRenderer as NftRenderer } from '../../../src/dataplane/nftables/render/render-node.ts';
import type { Layout, Table } from '../../../src/dataplane/nftables/table/table.ts';
import type { PodInterfaces } from '../../../src/host/pod-interfaces.ts';

/** What the agent makes of its own defaults; chain names depend on it to the letter, the order of its fields included. */
const LAYOUT = {
  trunkInterfacePrefix: 'vlan.eth.',
  marks: { mask: 0xff000000 },
  log: { group: 9847, perSecond: 10, burst: 20 },
  mode: 'enforce',
} as const satisfies Layout;

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

/** The table of nftables on the node; undefined: there is none. */
export function readNftTable(lab: Lab, node: string): Promise<Table | undefined> {
  return createNftKernel({ table: NFT_TABLE, run: runOn(lab, node), session: new NftSession() }).read();
}

/** What a fresh agent would change on the node, as text; undefined: nothing. */
export async function unlikeFresh(lab: Lab, node: string): Promise<string | undefined> {
  if (lab.options.dataplane === 'nftables') return await unlikeFreshTable(lab, node);
  const observed = await observeNode(lab, node);
  const intent = compileNode(lab.snapshot(), node);
  // The sign that addresses were released makes a fresh agent advance the epoch, and stands until one does (dataplane/iptables/plan/released.ts).
  const sets = new Map([...observed.sets].filter(([name]) => !isReleasedSign(name)));
  const wanted = renderNode(intent, LAYOUT, await interfacesOf(runOn(lab, node), intent));
  const plan = diff(wanted, { ...observed, sets });
  return isEmptyPlan(plan) ? undefined : planText(plan);
}

/** Which epoch is in force is not the cluster's to say. */
async function unlikeFreshTable(lab: Lab, node: string): Promise<string | undefined> {
  const table = await readNftTable(lab, node);
  if (!table) return 'there is no table';
  const intent = compileNode(lab.snapshot(), node);
  const interfaces = await interfacesOf(runOn(lab, node), intent);
  const rendered = new NftRenderer().render(intent, LAYOUT, interfaces);
  const epoch = readEpoch(table, LAYOUT.marks);
  if (epoch === undefined) return 'flows are stamped with no epoch';
  const epochs = epochTable(rendered, LAYOUT, { epoch, released: readReleased(table) });
  const actual = splitTable(table);
  const difference = runSync(compareTables({ rendered, epochs }, actual, NO_LEFTOVERS));
  const found = Object.entries(difference).filter(([, objects]) => objects.length > 0);
  return found.length === 0 ? undefined : JSON.stringify(Object.fromEntries(found), null, 1);
}
