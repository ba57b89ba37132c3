/** The sides of the comparison: each a testbed of its own with its rules loaded and its traffic programs waiting. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { createNftKernel } from '../../src/dataplane/nftables/kernel/nft-kernel.ts';
import { NftSession } from '../../src/dataplane/nftables/kernel/nft-session.ts';
import { EpochKeeper } from '../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { NftSynchronizer } from '../../src/dataplane/nftables/sync/synchronizer.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { compileNode, NOTHING_SHARED, renderNode } from '../../test/support/stages.ts';
import type { Backend } from '../../src/core/vocabulary.ts';
import { backendsOf, isIptables, MEASURED_BACKENDS, type MeasuredBackend } from '../backends.ts';
import type { SuiteOptions } from '../types.ts';
import { toolName } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../../test/support/one-variant-kernel.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import type { Layout } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { type MeasuredCluster, NODE_NAME, PORT, makeCluster, withTiers } from './cluster.ts';
import { renderLinear } from './linear-layout.ts';
import type { Shape } from './shapes.ts';
import { LineProcess, type Testbed, openTestbed } from './testbed.ts';

/** `none` and `none again` have no rules, only connection tracking: what differs between them is noise. */
export type Rules =
  | 'none'
  | 'none again'
  | 'linear'
  | 'ours'
  | 'ours, again'
  | 'ours, with tiers'
  | 'ours, not logged'
  | 'ours, not logged, again';

export interface Variant {
  readonly rules: Rules;
  readonly backend: MeasuredBackend | undefined;
  /** Rules loaded, legends included, and seconds it took to load them with their sets. */
  readonly ruleCount: number;
  readonly loadSeconds: number;
  readonly client: LineProcess;
  close(): Promise<void>;
}

const TIMEOUT_MS = 120_000;
const NFT_TABLE = 'portcullis';
/** As the agent has it by default. */
const LAYOUT: Layout & Required<Pick<Layout, 'marks'>> = {
  mode: 'enforce',
  marks: { mask: 0xff000000 },
  trunkInterfacePrefix: 'vlan.eth.',
  log: { group: 9847, perSecond: 10, burst: 20 },
};

const { log: _, ...NOT_LOGGED } = LAYOUT;

export type Wanted = readonly (readonly [Rules, MeasuredBackend | undefined])[];

/** The linear layout is one of iptables. */
export function forTraffic(options: SuiteOptions): Wanted {
  const own = backendsOf({ ...options, quick: false }, MEASURED_BACKENDS).flatMap((backend): Wanted => {
    return [...(isIptables(backend) ? [['linear', backend] as const] : []), ['ours', backend] as const];
  });
  return [['none', undefined], ['none again', undefined], ...own];
}

/** For what is denied. */
export function forDenials(options: SuiteOptions): Wanted {
  return backendsOf({ ...options, quick: false }).flatMap((backend) =>
    (['ours', 'ours, not logged', 'ours, not logged, again'] as const).map((rules) => [rules, backend] as const),
  );
}

/** For what ordered rules of a tier cost; twice without them, as what differs is noise. */
export function forTiers(options: SuiteOptions): Wanted {
  return backendsOf({ ...options, quick: false }, MEASURED_BACKENDS).flatMap((backend) =>
    (['ours', 'ours, again', 'ours, with tiers'] as const).map((rules) => [rules, backend] as const),
  );
}

/** Builds all of them, or none. */
export async function openVariants(shape: Shape, directory: string, wanted: Wanted): Promise<readonly Variant[]> {
  const cluster = makeCluster(shape);
  const opened: Variant[] = [];
  try {
    for (const [rules, backend] of wanted) {
      const lockFile = join(directory, `xtables-${opened.length}.lock`);
      const load = (testbed: Testbed): Promise<number> => loadRules(rules, backend, cluster, testbed);
      opened.push(await openVariant({ rules, backend, cluster, lockFile, load }));
    }
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
  return opened;
}

export async function closeAll(variants: readonly Variant[]): Promise<void> {
  await Promise.all(variants.map((variant) => variant.close()));
}

export interface VariantOptions {
  readonly rules: Rules;
  readonly backend: MeasuredBackend | undefined;
  readonly cluster: MeasuredCluster;
  readonly lockFile: string;
  /** Result: how many rules. */
  readonly load: (testbed: Testbed) => Promise<number>;
}

export async function openVariant(options: VariantOptions): Promise<Variant> {
  const { rules, backend, cluster, lockFile, load } = options;
  const testbed = await openTestbed({ client: cluster.client, server: cluster.server, lockFile });
  const processes: LineProcess[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(processes.map((each) => each.end()));
    await testbed.close();
  };
  try {
    const began = performance.now();
    const ruleCount = await load(testbed);
    const loadSeconds = (performance.now() - began) / 1000;
    for (const role of ['serve', 'client'] as const) {
      processes.push(await startTraffic(role === 'serve' ? testbed.server : testbed.client, role, cluster.server));
    }
    return { rules, backend, ruleCount, loadSeconds, client: processes[1]!, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** All on one core: how long something takes is then what it costs, not how fast cores wake each other. */
function startTraffic(pod: Testbed['client'], role: 'serve' | 'client', server: string): Promise<LineProcess> {
  const program = ['perl', join(import.meta.dirname, 'load.pl'), role, server, String(PORT)];
  return LineProcess.start(pod.inside(['taskset', '--cpu-list', String(measuredCore()), ...program]));
}

function loadRules(
  rules: Rules,
  backend: MeasuredBackend | undefined,
  cluster: MeasuredCluster,
  testbed: Testbed,
): Promise<number> {
  if (backend === undefined) return loadNothing(testbed);
  if (rules === 'linear') return loadLinear(backend as Backend, cluster, testbed);
  const layout = rules.includes('not logged') ? NOT_LOGGED : LAYOUT;
  const given = rules === 'ours, with tiers' ? { ...cluster, snapshot: withTiers(cluster.snapshot) } : cluster;
  return isIptables(backend) ? loadIptables(backend, given, testbed, layout) : loadNftables(given, testbed, layout);
}

/** A rule in INPUT, which no measured packet meets, has the kernel track connections. */
export async function loadNothing({ run }: Testbed): Promise<number> {
  const rules = '*filter\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n';
  await run({ argv: ['iptables-nft-restore'], stdin: rules, timeoutMs: TIMEOUT_MS });
  return 0;
}

async function loadLinear(backend: Backend, { snapshot }: MeasuredCluster, { run }: Testbed): Promise<number> {
  const { sets, rules, ruleCount } = renderLinear(compileNode(snapshot, NODE_NAME, NOTHING_SHARED));
  await run({ argv: ['ipset', 'restore'], stdin: sets, timeoutMs: TIMEOUT_MS });
  await run({ argv: [toolName(backend, 4, 'restore')], stdin: rules, timeoutMs: TIMEOUT_MS });
  return ruleCount;
}

/** As the agent does it: compile, render, plan against what the kernel holds, apply. */
async function loadIptables(
  backend: Backend,
  { snapshot }: MeasuredCluster,
  { run }: Testbed,
  layout: Layout,
): Promise<number> {
  const kernel = createOneVariantKernel({ backend, families: [4], run, lockWaitSeconds: 10 });
  const plan = diff(renderNode(compileNode(snapshot, NODE_NAME), layout), await kernel.readBack());
  for (const step of plan.steps) await kernel.apply(step);
  return [...plan.after.families[4]!.chains.values()].reduce((sum, chain) => sum + chain.length, 0);
}

/** The same with its table; both families, as one table has them. */
async function loadNftables({ snapshot }: MeasuredCluster, testbed: Testbed, layout: Layout): Promise<number> {
  const session = new NftSession(undefined, testbed.node.inside(['env']));
  const kernel = createNftKernel({ table: NFT_TABLE, run: testbed.run, session });
  const { marks } = LAYOUT;
  const now = (): number => performance.now();
  const epochs = new EpochKeeper({ marks, firstEpoch: 1, now });
  const compiler = new NodeCompiler(NODE_NAME);
  loadSnapshot(compiler, snapshot);
  try {
    const synchronizer = new NftSynchronizer({ kernel, table: NFT_TABLE, layout, now, epochs });
    const request = { mode: 'enforce', resync: true, interfaces: NO_INTERFACES } as const;
    const { failures, size } = await synchronizer.sync(compiler.intent(), request);
    if (failures[0]) throw new Error(failures[0].message);
    return size!().rules;
  } finally {
    session.stop();
  }
}

/** The last one: interrupts tend to go to the first. */
function measuredCore(): number {
  return availableParallelism() - 1;
}
