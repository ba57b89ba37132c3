/** How fast each version follows each kind of change, idle and while pods come and go; what its processes cost meanwhile. */
import { readTable } from '../../src/dataplane/nftables/table/read-table.ts';
import type { Version } from '../against/version.ts';
import { isIptables, type MeasuredBackend } from '../backends.ts';
import { sleep } from '../stalls.ts';
import { type BareNode, openBareNode } from './bare.ts';
import {
  change,
  churnWrite,
  type Kind,
  KINDS,
  PROBES,
  policyWrite,
  type ReactionSize,
  reactionObjects,
} from './cluster.ts';
import { NodeUnderTest } from './node.ts';

export const LOADS = ['idle', 'churn'] as const;
export type Load = (typeof LOADS)[number];
/** Pod events per second under load. */
export const CHURN_RATE = 50;
const CHURN_WARM_MS = 400;
/** Between two changes. Over a round of all kinds syncs use less than their share, so that no change waits for those before it. */
const REST_MS = 150;
const EDIT_EVERY_MS = 100;

/** Milliseconds, one number per change. */
export interface Samples {
  /** From the write to the packets: those newly let through, those newly stopped. */
  readonly allowed: number[];
  readonly denied: number[];
  /** From the write to the bare watcher. */
  readonly arrival: number[];
  /** The bare command, and by a process of its own where the data plane keeps one; else empty. */
  readonly command: number[];
  readonly process: number[];
  /** From the event to the commit as the agent says itself, mean per round; under load of all events. */
  readonly committed: number[];
}

export interface Side {
  readonly version: string;
  readonly samples: Readonly<Record<Load, Readonly<Record<Kind, Samples>>>>;
  /** CPU in ms of the agent and all it started, and of the bare watcher, per pod event and per policy edit. */
  readonly cpu: Readonly<Record<'event' | 'edit', { readonly agent: number[]; readonly watcher: number[] }>>;
}

export interface Cell {
  readonly backend: MeasuredBackend;
  readonly size: ReactionSize;
  readonly sides: readonly Side[];
}

export interface Effort {
  readonly idleRounds: number;
  readonly churnRounds: number;
  /** Pod events and policy edits whose CPU is counted; 0 leaves it out. */
  readonly cpuEvents: number;
  readonly cpuEdits: number;
}

/** All versions in turn, change by change, on nodes of their own. */
export async function measureCell(
  versions: readonly Version[],
  backend: MeasuredBackend,
  size: ReactionSize,
  effort: Effort,
  directory: string,
): Promise<Cell> {
  const nodes: MeasuredNode[] = [];
  try {
    for (const version of versions) nodes.push(await MeasuredNode.open(version, backend, size, directory));
    for (let round = 0; round < effort.idleRounds; round++)
      for (const kind of KINDS) for (const node of inTurn(nodes, round)) await node.round('idle', kind);
    for (let round = 0; round < effort.churnRounds; round++)
      for (const node of inTurn(nodes, round)) await node.churnRound();
    if (effort.cpuEvents > 0) for (const node of nodes) await node.cpuOfEvents(effort.cpuEvents);
    if (effort.cpuEdits > 0) for (const node of nodes) await node.cpuOfEdits(effort.cpuEdits);
    return { backend, size, sides: nodes.map(({ side }) => side) };
  } finally {
    for (const node of nodes) await node.close();
  }
}

/** Another one begins each round. */
function inTurn<T>(all: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? all : all.toReversed();
}

class MeasuredNode {
  readonly side: Side;
  readonly #node: NodeUnderTest;
  readonly #bare: BareNode;
  readonly #size: ReactionSize;
  /** Sets that the remote pod goes into when it is relabelled. */
  readonly #sets: number;
  #churned = 0;
  #edited = 0;

  private constructor(node: NodeUnderTest, bare: BareNode, size: ReactionSize, sets: number) {
    this.#node = node;
    this.#bare = bare;
    this.#size = size;
    this.#sets = sets;
    this.side = {
      version: node.name,
      samples: { idle: noSamples(), churn: noSamples() },
      cpu: { event: { agent: [], watcher: [] }, edit: { agent: [], watcher: [] } },
    };
  }

  static async open(
    version: Version,
    backend: MeasuredBackend,
    size: ReactionSize,
    directory: string,
  ): Promise<MeasuredNode> {
    const node = await NodeUnderTest.open(version.name, version.bundle, backend, reactionObjects(size), directory);
    try {
      // One change of each kind that does not count; the sets of the pod that many groups name are counted meanwhile.
      let sets = 0;
      for (const kind of KINDS) {
        await sleep(REST_MS);
        await node.follow(change(kind, true), PROBES[kind], true);
        await sleep(REST_MS);
        if (kind === 'remote pod relabelled') sets = await setsWith(node, backend, PROBES[kind].source);
        await node.follow(change(kind, false), PROBES[kind], false);
      }
      return new MeasuredNode(node, await openBareNode(node.testbed, backend), size, sets);
    } catch (error) {
      await node.close();
      throw error;
    }
  }

  async round(load: Load, kind: Kind): Promise<void> {
    const samples = this.side.samples[load][kind];
    const before = await this.#node.programmed();
    for (const allowed of [true, false]) {
      await sleep(REST_MS + Math.random() * 30);
      const { packets, arrival } = await this.#node.follow(change(kind, allowed), PROBES[kind], allowed);
      (allowed ? samples.allowed : samples.denied).push(packets);
      samples.arrival.push(arrival);
      const { command, process } = await this.#bare.run(kind, this.#sets);
      samples.command.push(command);
      if (process !== undefined) samples.process.push(process);
    }
    const { seconds, count } = await this.#node.programmed();
    if (count > before.count) samples.committed.push(((seconds - before.seconds) * 1000) / (count - before.count));
  }

  async churnRound(): Promise<void> {
    const churn = this.#startChurn();
    await sleep(CHURN_WARM_MS);
    for (const kind of KINDS) await this.round('churn', kind);
    await churn.stop();
  }

  async cpuOfEvents(count: number): Promise<void> {
    const cpu = this.#cpuMeter('event', count);
    const churn = this.#startChurn();
    while (churn.sent() < count) await sleep(50);
    await churn.stop();
    await sleep(REST_MS);
    cpu();
  }

  async cpuOfEdits(count: number): Promise<void> {
    const cpu = this.#cpuMeter('edit', count);
    for (let edit = 0; edit < count; edit++) {
      await this.#node.write(policyWrite(this.#edited++, this.#size));
      await sleep(EDIT_EVERY_MS);
    }
    await sleep(REST_MS);
    cpu();
  }

  async close(): Promise<void> {
    await this.#bare.close();
    await this.#node.close();
  }

  #cpuMeter(what: 'event' | 'edit', count: number): () => void {
    const [agent, watcher] = [this.#node.agentCpuMs(), this.#node.watcherCpuMs()];
    return () => {
      this.side.cpu[what].agent.push((this.#node.agentCpuMs() - agent) / count);
      this.side.cpu[what].watcher.push((this.#node.watcherCpuMs() - watcher) / count);
    };
  }

  #startChurn(): { sent(): number; stop(): Promise<void> } {
    let [sent, isOver] = [0, false];
    const run = async (): Promise<void> => {
      const began = performance.now();
      while (!isOver) {
        for (; sent < ((performance.now() - began) * CHURN_RATE) / 1000; sent++)
          await this.#node.write(churnWrite(this.#churned++));
        await sleep(5);
      }
    };
    const over = run();
    return {
      sent: () => sent,
      stop: async () => {
        isOver = true;
        await over;
      },
    };
  }
}

async function setsWith(
  { testbed: { node } }: NodeUnderTest,
  backend: MeasuredBackend,
  address: string,
): Promise<number> {
  if (!isIptables(backend)) {
    const { sets } = readTable(await node.run(['nft', '-p', '-s', 'list', 'table', 'inet', 'portcullis']));
    return [...sets.values()].filter(({ elements }) => elements.has(address)).length;
  }
  const text = await node.run(['ipset', 'save']);
  return text.split('\n').filter((line) => line.startsWith('add ') && line.split(' ')[2] === address).length;
}

function noSamples(): Record<Kind, Samples> {
  const none = (): Samples => ({ allowed: [], denied: [], arrival: [], command: [], process: [], committed: [] });
  return Object.fromEntries(KINDS.map((kind) => [kind, none()])) as Record<Kind, Samples>;
}
