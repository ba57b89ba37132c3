/** A node's rules as its agent would write them, by the agent's own data plane on a host that was saved, or that holds nothing. */
import type { Family } from '../../core/vocabulary.ts';
import type { NodeIntent } from '../../compile/intent.ts';
import type { SyncOutcome } from '../../dataplane/dataplane.ts';
import type { PodInterfaces } from '../../host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../policy/model.ts';
import type { Observed } from './observed.ts';
import type { RenderOptions, RenderSettings } from './options.ts';

import { loadSnapshot, NodeCompiler } from '../../compile/compile-node.ts';
import { createIptablesDataplane } from '../../dataplane/iptables/iptables-dataplane.ts';
import { createHostKernel } from '../../dataplane/iptables/kernel/host-kernel.ts';
import { nothingSaved, savedHost } from '../../dataplane/iptables/kernel/saved-host.ts';
import { CommandFailed } from '../../host/command.ts';
import { findInterfaces, NO_INTERFACES } from '../../host/pod-interfaces.ts';
import { readHostFacts } from '../../host/read-interfaces.ts';
import { layoutOf } from '../layout.ts';

/** Of a host that has none. The agent begins with any, so that stamps of one before it are unlikely to count. */
const FIRST_EPOCH = 1;

export interface NodeRules {
  readonly intent: NodeIntent;
  readonly outcome: SyncOutcome;
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
  const compiler = new NodeCompiler(node);
  loadSnapshot(compiler, snapshot);
  const intent = compiler.intent();
  const variant = settings.backend === 'auto' ? 'iptables-nft' : settings.backend;
  const host = savedHost(observed?.saved ?? nothingSaved(variant), observed?.others);
  const interfaces = await interfacesOn(host.run, intent, settings);
  const kernel = createHostKernel({
    ...host,
    choice: settings.backend,
    read: host.run,
    lockWaitSeconds: 0,
    onBackend: () => {},
  });
  await kernel.open();
  const dataplane = createIptablesDataplane({
    kernel,
    layout: layoutOf(settings),
    now: () => 0,
    firstEpoch: FIRST_EPOCH,
    portion: Number.POSITIVE_INFINITY,
  });
  const outcome = await dataplane.sync(intent, { mode, resync: true, interfaces: interfaces ?? NO_INTERFACES });
  return { intent, outcome, families: kernel.families, interfaces };
}

async function interfacesOn(
  run: Parameters<typeof readHostFacts>[0],
  { localAddresses }: NodeIntent,
  { podInterfacePrefixes: prefixes, trunkInterfacePrefix: trunkPrefix }: RenderSettings,
): Promise<PodInterfaces | undefined> {
  try {
    const facts = await readHostFacts(run);
    return findInterfaces({ facts, localAddresses, prefixes, trunkPrefix, known: new Map() }).interfaces;
  } catch (error) {
    if (error instanceof CommandFailed) return undefined;
    throw error;
  }
}
