/** Several nodes, each with its own kernel in memory and its own reconciler, and packets that travel between them. */
import assert from 'node:assert/strict';
import type { EpochSource } from '../../src/dataplane/free-epochs.ts';
import type { SyncOptions } from '../../src/dataplane/iptables/sync/one-sync.ts';
import { type SnapshotResult, SnapshotSync } from './snapshot-sync.ts';
import type { MonotonicClock } from '../../src/core/clock.ts';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { type Direction, PROTOCOL_NUMBER, PROTOCOLS } from '../../src/core/vocabulary.ts';
import { firstPacket } from '../../src/dataplane/first-packet.ts';
import { walkChains } from '../../src/dataplane/iptables/trace/walk-chains.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import type { Hook, Layout } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { type FakeKernel, createFakeKernel } from './fake-kernel.ts';
import { type Connection, type Packet, type Trace, traceRules } from './tracer.ts';

/** As the agent's own defaults (src/cli/config.ts). */
export const LAYOUT: Omit<Layout, 'mode'> = {
  marks: { mask: 0xff000000 },
  trunkInterfacePrefix: 'vlan.eth.',
  log: { group: 7, perSecond: 10, burst: 20 },
};

/** A node of any data plane that packets travel through. */
export interface Walkable {
  /** The first packet of the flow, or one that comes back. */
  walk(packet: Packet, flow: Flow): Trace;
}

export interface FakeNode extends Walkable {
  readonly name: string;
  readonly kernel: FakeKernel;
  readonly reconciler: SnapshotSync;
}

/** Answers each question for a free epoch with the next of these, the last one again and again. */
export function epochsInTurn(...answers: readonly number[]): EpochSource {
  const left = [...answers];
  return {
    inForce: () => {},
    next: () => (left.length > 1 ? left.shift()! : left[0]!),
    firstLook: () => Promise.resolve(),
    recheck: () => {},
  };
}

interface FakeNodeOptions {
  /** Absent: the next number is free. */
  readonly freeEpochs?: EpochSource | undefined;
  readonly tidy?: SyncOptions['tidy'] | undefined;
  /** Absent: no epoch waits. */
  readonly clock?: MonotonicClock | undefined;
}

/** Compiles change by change, as the agent does. */
export function createFakeNode(
  name: string,
  kernel: FakeKernel = createFakeKernel(),
  { freeEpochs, tidy, clock }: FakeNodeOptions = {},
): FakeNode {
  const compiler = new NodeCompiler(name);
  let known: ClusterSnapshot | undefined;
  const compile = (snapshot: ClusterSnapshot): NodeIntent => {
    feed(compiler, known, snapshot);
    known = snapshot;
    return compiler.intent();
  };
  const reconciler = new SnapshotSync({
    nodeName: name,
    kernel,
    now: () => clock?.now() ?? 0,
    firstEpoch: 1,
    compile,
    ...(clock ? { after: (ms, callback) => clock.after(ms, callback) } : {}),
    ...(freeEpochs ? { freeEpochs } : {}),
    ...(tidy ? { tidy } : {}),
  });
  const walk = (packet: Packet, flow: Flow): Trace => {
    const walked = traceRules(kernel.state(), packet);
    if (packet.direction !== 'REPLY') assertProductAgrees(kernel, flow, packet.hook ?? 'FORWARD', walked.verdict);
    return walked;
  };
  return { name, kernel, reconciler, walk };
}

/** What came and went between two snapshots, in the order of the maps. */
export function feed(compiler: NodeCompiler, before: ClusterSnapshot | undefined, after: ClusterSnapshot): void {
  const changed = <T>(
    from: ReadonlyMap<string, T> | undefined,
    to: ReadonlyMap<string, T>,
    tell: (key: string, value: T | undefined) => void,
  ): void => {
    for (const [key, value] of to) if (from?.get(key) !== value) tell(key, value);
    for (const key of from?.keys() ?? []) if (!to.has(key)) tell(key, undefined);
  };
  changed(before?.policies, after.policies, (key, policy) => compiler.policy(key, policy));
  changed(before?.pods, after.pods, (key, pod) => compiler.pod(key, pod));
  changed(before?.namespaces, after.namespaces, (key, namespace) => compiler.namespace(key, namespace));
  changed(before?.nodes, after.nodes, (key, node) => compiler.node(key, node));
  const { clusterPolicies = new Map(), labelledNodes = new Map() } = after;
  changed(before?.clusterPolicies, clusterPolicies, (key, policy) => compiler.clusterPolicy(key, policy));
  changed(before?.labelledNodes, labelledNodes, (key, node) => compiler.labelledNode(key, node));
}

const { marks: _marks, ...withoutMarks } = LAYOUT;

/** Live flows are not judged again. */
export const WITHOUT_MARKS: Omit<Layout, 'mode'> = withoutMarks;

/** One pass of a node; throws if anything failed. */
export async function enforce(
  node: FakeNode,
  snapshot: ClusterSnapshot,
  readBack = false,
  layout = LAYOUT,
): Promise<SnapshotResult> {
  const outcome = await node.reconciler.sync(snapshot, 'enforce', layout, readBack);
  if (outcome.failures.length > 0) throw new Error(`${node.name}: ${JSON.stringify(outcome.failures)}`);
  return outcome;
}

/** Where the ends of a flow are on the network: the node they are on, and whether they are its host network. */
export interface Place {
  readonly node?: string;
  readonly isHost: boolean;
}

/** ICMP echo request, as `Packet.port` wants it. */
const ECHO_REQUEST: Readonly<Record<number, number>> = { 1: 8, 58: 128 };

/**
 * Walks the first packet of a flow through the nodes that judge `sides` of it, and its answer back. What a host network sends
 * leaves by OUTPUT, what it receives comes by INPUT, everything else is forwarded; one node forwards a packet once.
 */
export function travel(
  nodes: ReadonlyMap<string, Walkable>,
  flow: Flow,
  from: Place,
  to: Place,
  sides: readonly Direction[],
): { readonly reaches: boolean; readonly why: string } {
  const hops = hopsOf(from, to, sides);
  const why: string[] = [];
  const packet = packetOf(flow);
  const passed: { readonly node: Walkable; readonly hook: Hook; readonly connection: Connection }[] = [];
  for (const { node: name, hook } of hops) {
    const node = nodes.get(name)!;
    const connection = { mark: 0 };
    const walked = node.walk({ ...packet, hook, connection }, flow);
    why.push(`${name} ${hook}: ${walked.verdict}\n  ${walked.matched.join('\n  ')}`);
    if (walked.verdict === 'dropped') return { reaches: false, why: why.join('\n') };
    passed.push({ node, hook, connection });
  }
  for (const { node, hook, connection } of passed.reverse()) {
    // Answers to INPUT leave by OUTPUT.
    if (hook === 'INPUT') continue;
    const answer: Packet = {
      ...packet,
      source: packet.destination,
      destination: packet.source,
      port: packet.protocol === 1 ? 0 : packet.protocol === 58 ? 129 : 40_000,
      state: 'ESTABLISHED',
      direction: 'REPLY',
      connection,
    };
    const walked = node.walk(answer, flow);
    if (walked.verdict === 'dropped') throw new Error(`the answer was dropped:\n  ${walked.matched.join('\n  ')}`);
  }
  return { reaches: true, why: why.join('\n') };
}

/** What the product traces for `explain --verify` says the same of a flow with ports. */
function assertProductAgrees(kernel: FakeKernel, flow: Flow, hook: Hook, verdict: string): void {
  const protocol = PROTOCOLS.find((each) => PROTOCOL_NUMBER[each] === flow.protocol);
  if (!protocol) return;
  const { families, sets } = kernel.state();
  const nodeAddresses = hook === 'INPUT' ? [flow.destination] : [];
  const place = { nodeAddresses, localAddresses: new Map<string, string>(), interfaces: NO_INTERFACES };
  const packet = firstPacket({ ...flow, protocol }, place)!;
  const walked = walkChains(families[packet.family]!, new Map(sets), packet).next();
  const said = walked.done ? walked.value.verdict : 'asks for a set that is not there';
  assert.equal(said, verdict === 'passed' ? 'passes' : 'dropped', JSON.stringify([flow, walked.value]));
}

function packetOf({ source, destination, protocol, port }: Flow): Packet {
  const family = source.includes(':') ? 6 : 4;
  return { family, source, destination, protocol, port: ECHO_REQUEST[protocol] ?? port };
}

function hopsOf(from: Place, to: Place, sides: readonly Direction[]): { readonly node: string; readonly hook: Hook }[] {
  const hops: { node: string; hook: Hook }[] = [];
  const isLocal = from.node !== undefined && from.node === to.node;
  if (sides.includes('egress') && from.node !== undefined && !from.isHost) {
    hops.push({ node: from.node, hook: isLocal && to.isHost ? 'INPUT' : 'FORWARD' });
  }
  if (sides.includes('ingress') && to.node !== undefined && !(isLocal && (from.isHost || hops.length > 0))) {
    hops.push({ node: to.node, hook: to.isHost ? 'INPUT' : 'FORWARD' });
  }
  return hops;
}
