/** A node's rules as its agent would write them, by the agent's own data plane on a host that was saved, or that holds nothing. */
import { FAMILIES, type Family } from '../../core/vocabulary.ts';
import type { NodeIntent } from '../../compile/intent.ts';
import type { Dataplane, SyncOutcome, TracedFlow, TracedVerdict } from '../../dataplane/dataplane.ts';
import type { DataplaneName } from '../../dataplane/dataplane-chooser.ts';
import type { HostKernel } from '../../dataplane/iptables/kernel/host-kernel.ts';
import type { SavedHost } from '../../dataplane/iptables/kernel/saved-host.ts';
import type { Table } from '../../dataplane/nftables/table/table.ts';
import type { PodInterfaces } from '../../host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../policy/model.ts';
import type { RenderOptions, RenderSettings } from './options.ts';

import { loadSnapshot, NodeCompiler } from '../../compile/compile-node.ts';
import { createIptablesDataplane } from '../../dataplane/iptables/iptables-dataplane.ts';
import { createHostKernel } from '../../dataplane/iptables/kernel/host-kernel.ts';
import { nothingSaved, savedHost } from '../../dataplane/iptables/kernel/saved-host.ts';
import { createNftablesDataplane } from '../../dataplane/nftables/nftables-dataplane.ts';
import { EpochKeeper } from '../../dataplane/nftables/sync/epoch-keeper.ts';
import { NFT_TABLE } from '../../dataplane/nftables/table/names.ts';
import { CommandFailed } from '../../host/command.ts';
import { findInterfaces, NO_INTERFACES } from '../../host/pod-interfaces.ts';
import { readHostFacts } from '../../host/read-interfaces.ts';
import { layoutOf } from '../layout.ts';
import { isOfNftables, type Observed } from './observed.ts';

/** Of a host that has none. The agent begins with any, so that stamps of one before it are unlikely to count. */
const FIRST_EPOCH = 1;

export interface NodeRules {
  readonly intent: NodeIntent;
  readonly outcome: SyncOutcome;
  readonly dataplane: DataplaneName;
  /** `auto`, of which nothing that was saved tells what it takes. */
  readonly isAssumed: boolean;
  /** That can be written to. */
  readonly families: readonly Family[];
  /** Undefined: what was saved does not tell where pods are attached. */
  readonly interfaces: PodInterfaces | undefined;
}

/** `observed`: what is there; absent: nothing is. Rejects with KernelUnreadable where that cannot be what a kernel holds. */
export async function rulesOfNode(
  snapshot: ClusterSnapshot,
  node: string,
  { mode, settings: settingsWith }: RenderOptions,
  observed: Observed | undefined,
): Promise<NodeRules> {
  const settings = settingsWith(observed?.settings ?? {});
  const intent = intentOf(snapshot, node);
  if (isOfNftables(settings.dataplane)) return tableOfNode(intent, mode, settings, observed);
  const variant = settings.backend === 'auto' ? 'iptables-nft' : settings.backend;
  const host = savedHost(observed?.saved ?? nothingSaved(variant), observed?.others);
  const interfaces = await interfacesOn(host.run, intent, settings);
  const kernel = await openedKernel(host, settings.backend);
  const dataplane = createIptablesDataplane({
    kernel,
    layout: layoutOf(settings),
    now: () => 0,
    firstEpoch: FIRST_EPOCH,
    portion: Number.POSITIVE_INFINITY,
  });
  const outcome = await dataplane.sync(intent, { mode, resync: true, interfaces: interfaces ?? NO_INTERFACES });
  return { intent, outcome, dataplane: 'iptables', isAssumed: false, families: kernel.families, interfaces };
}

async function tableOfNode(
  intent: NodeIntent,
  mode: RenderOptions['mode'],
  settings: RenderSettings,
  observed: Observed | undefined,
): Promise<NodeRules> {
  const interfaces = observed && (await interfacesOn(savedHost(observed.saved, observed.others).run, intent, settings));
  const dataplane = savedTable(observed?.table, layoutOf(settings));
  const outcome = await dataplane.sync(intent, { mode, resync: true, interfaces: interfaces ?? NO_INTERFACES });
  const isAssumed = settings.dataplane === 'auto';
  return { intent, outcome, dataplane: 'nftables', isAssumed, families: FAMILIES, interfaces };
}

/** On a host that has the table, or none. */
function savedTable(table: Table | undefined, layout: ReturnType<typeof layoutOf>): Dataplane {
  const { marks } = layout;
  const now = (): number => 0;
  return createNftablesDataplane({
    kernel: { read: async () => table, write: async () => {} },
    table: NFT_TABLE,
    layout,
    now,
    ...(marks ? { epochs: new EpochKeeper({ marks, firstEpoch: FIRST_EPOCH, now }) } : {}),
  });
}

/** What the rules that were saved of a node do with flows. */
export async function tracesOfSaved(
  snapshot: ClusterSnapshot,
  node: string,
  flows: readonly TracedFlow[],
  observed: Observed,
): Promise<readonly TracedVerdict[]> {
  const { saved, table, others, settings } = observed;
  const { localAddresses } = intentOf(snapshot, node);
  const host = savedHost(saved, others);
  const layout = { trunkInterfacePrefix: '' };
  const dataplane = isOfNftables(settings.dataplane)
    ? savedTable(table, layout)
    : createIptablesDataplane({
        kernel: await openedKernel(host, 'auto'),
        layout,
        now: () => 0,
        firstEpoch: FIRST_EPOCH,
      });
  const interfaces = (await interfacesOn(host.run, { localAddresses }, SAVED_INTERFACES)) ?? NO_INTERFACES;
  const nodeAddresses = snapshot.nodes.get(node)?.addresses ?? [];
  return dataplane.trace(flows, { nodeAddresses, localAddresses, interfaces });
}

/** Whatever an interface with a pod behind it is called. */
const SAVED_INTERFACES = { podInterfacePrefixes: [''], trunkInterfacePrefix: '' };

function intentOf(snapshot: ClusterSnapshot, node: string): NodeIntent {
  const compiler = new NodeCompiler(node);
  loadSnapshot(compiler, snapshot);
  return compiler.intent();
}

async function openedKernel(host: SavedHost, choice: RenderSettings['backend']): Promise<HostKernel> {
  const kernel = createHostKernel({ ...host, choice, read: host.run, lockWaitSeconds: 0, onBackend: () => {} });
  await kernel.open();
  return kernel;
}

type InterfaceSettings = Pick<RenderSettings, 'podInterfacePrefixes' | 'trunkInterfacePrefix'>;

async function interfacesOn(
  run: Parameters<typeof readHostFacts>[0],
  { localAddresses }: Pick<NodeIntent, 'localAddresses'>,
  { podInterfacePrefixes: prefixes, trunkInterfacePrefix: trunkPrefix }: InterfaceSettings,
): Promise<PodInterfaces | undefined> {
  try {
    const facts = await readHostFacts(run);
    return findInterfaces({ facts, localAddresses, prefixes, trunkPrefix, known: new Map() }).interfaces;
  } catch (error) {
    if (error instanceof CommandFailed) return undefined;
    throw error;
  }
}
