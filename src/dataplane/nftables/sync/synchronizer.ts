/**
 * Syncs one after the other: intent -> table -> difference -> transactions -> kernel. Starts from what the node has to enforce now; the only
 * memory is what our own transactions left in the kernel, and that is dropped whenever there is doubt about it.
 */
import type { NodeIntent } from '../../../compile/intent.ts';
import type { Mode } from '../../../core/vocabulary.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type {
  DataplaneSize,
  Degraded,
  Drift,
  SyncFailure,
  SyncOutcome,
  SyncPhase,
  SyncRequest,
} from '../../dataplane.ts';
import type { TidyTimer } from '../../tidy-timer.ts';
import type { NftKernel } from '../kernel/kernel.ts';
import type { Layout, Table } from '../table/table.ts';
import type { EpochKeeper, NextEpoch } from './epoch-keeper.ts';

import { NodeCompiler } from '../../../compile/compile-node.ts';
import { messageOf } from '../../../core/error-text.ts';
import { runSliced } from '../../../core/run-sliced.ts';
import { objectKey } from '../../../policy/model.ts';
import { NftFailed } from '../kernel/kernel.ts';
import { comparePart, NO_LEFTOVERS } from '../plan/compare.ts';
import { findDrift } from '../plan/drift.ts';
import { EpochTables } from '../plan/epochs.ts';
import { type Held, type Plan, type PlanRequest, planInSteps, planText } from '../plan/plan.ts';
import { type Revoked, revokedBy } from '../plan/revokes.ts';
import { EMPTY, EMPTY_TABLE, knownOf, splitTable } from '../plan/whole-table.ts';
import { NodeRenderer, type Refused } from '../render/render-node.ts';
import { stamps } from '../table/table.ts';
import { type TableFamily, familiesOf } from '../table/families.ts';
import { TableWriter } from '../table/write-table.ts';

export interface NftSyncOptions {
  readonly kernel: NftKernel;
  readonly table: string;
  readonly layout: Omit<Layout, 'mode'>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Absent: flows are not marked. */
  readonly epochs?: EpochKeeper;
  /** Says when what nothing leads to has to go; absent: after every commit. */
  readonly tidy?: Pick<TidyTimer, 'isDue' | 'synced'>;
  /** What nothing leads to any more is about to be deleted. Resolves soon, and never rejects. */
  readonly beforeTidying?: () => Promise<void>;
  /** Told of every table that is rendered to be written, ahead of that. */
  readonly onRendered?: (table: Table) => void;
}

export type NftSyncResult = Omit<SyncOutcome, 'revision' | 'lacks' | 'busySets' | 'busyChains' | 'unread'>;

/** A sync gives up leaving out what the kernel refuses after so many; each costs a read. */
const MAX_ATTEMPTS = 50;

interface Run {
  readonly mode: Mode;
  readonly seconds: Partial<Record<SyncPhase, number>>;
  readonly failures: SyncFailure[];
  drift: readonly Drift[];
  plan: Plan | undefined;
  stepsApplied: number;
}

export class NftSynchronizer {
  readonly #options: NftSyncOptions;
  readonly #writer: TableWriter;
  readonly #renderer = new NodeRenderer();
  readonly #epochTables = new EpochTables();
  /** The same objects in each sync: what follows from them is asked by identity. */
  readonly #layouts: Readonly<Record<Layout['mode'], Layout>>;
  /** The table as our transactions left it; `null`: it is not there; undefined: not known. */
  #held: Held | null | undefined;
  /** Of the intent that was written last. */
  #revision: number | undefined;
  /** By what the kernel refuses. */
  #rejected: ReadonlyMap<string, SyncFailure> = new Map();

  constructor(options: NftSyncOptions) {
    this.#options = options;
    this.#writer = new TableWriter(options.table);
    this.#layouts = { audit: { ...options.layout, mode: 'audit' }, enforce: { ...options.layout, mode: 'enforce' } };
  }

  /** What the kernel should hold; undefined: not known, or nothing. */
  get held(): Held | undefined {
    return this.#held ?? undefined;
  }

  /** See Dataplane.closeToNewPods. */
  async closeToNewPods(interfaces: PodInterfaces): Promise<'rules stand' | 'closed'> {
    // The sync that follows reads by itself.
    this.#held = undefined;
    if (await this.#options.kernel.read()) return 'rules stand';
    const nothingListed = new NodeCompiler('').intent();
    const { failures } = await this.sync(nothingListed, { mode: 'enforce', resync: true, interfaces });
    if (failures[0]) throw new Error(failures[0].message);
    return 'closed';
  }

  /** See Dataplane.sync. */
  sync(intent: NodeIntent, request: SyncRequest): Promise<NftSyncResult> {
    return this.#run(request.mode, (run) => this.#bring(intent, request, run));
  }

  /** See Dataplane.remove. */
  remove({ resync }: Pick<SyncRequest, 'resync'>): Promise<NftSyncResult> {
    return this.#run('off', async (run) => {
      if (resync || this.#held === undefined) await this.#read(run);
      run.plan = await this.#takeOut(run);
    });
  }

  async #run(mode: Mode, work: (run: Run) => Promise<void>): Promise<NftSyncResult> {
    const run: Run = { mode, seconds: {}, failures: [], drift: [], plan: undefined, stepsApplied: 0 };
    try {
      await work(run);
    } catch (error) {
      this.#held = undefined;
      run.failures.push(failureOf(error));
    }
    this.#options.tidy?.synced(this.#held ? sizeOfLeft(this.#held) : 0);
    return this.#resultOf(run);
  }

  async #bring(intent: NodeIntent, { mode, resync, interfaces }: SyncRequest, run: Run): Promise<void> {
    if (resync && this.#rejected.size > 0) this.#rejected = new Map();
    let isToRead = this.#held === undefined || (resync && !(await this.#options.kernel.isAsLeft?.()));
    for (let attempt = 1; ; attempt++) {
      const layout = this.#layouts[mode === 'audit' ? 'audit' : 'enforce'];
      const isRemembered = !isToRead;
      const render = (): Promise<Table> =>
        this.#timed(run, 'render', () =>
          runSliced(this.#renderer.renderInSteps(intent, layout, interfaces, this.#refused)),
        );
      const rendered = isToRead ? await this.#readAndRender(run, render) : await render();
      if (mode === 'dry-run') {
        await this.#takeOut(run);
        run.plan = (await this.#plan(intent, rendered, layout, true, run)).plan;
        return;
      }
      this.#options.onRendered?.(rendered);
      if (stamps(layout)) await this.#options.epochs?.look(resync && attempt === 1);
      const { plan, next } = await this.#plan(intent, rendered, layout, isRemembered, run);
      run.plan = plan;
      const failed = await this.#apply(plan, run);
      if (!failed) {
        next?.confirm();
        this.#held = plan.after;
        this.#revision = intent.revision;
        run.failures.push(...this.#rejected.values());
        return;
      }
      // Of a transaction that was refused nothing was done.
      if (failed.reason !== 'refused' || plan.steps.length > 1) this.#held = undefined;
      isToRead = true;
      // What was planned from memory may not fit what others made of the table; and whether it was done may not be known.
      if (isRemembered) continue;
      if (attempt > MAX_ATTEMPTS || !this.#leaveOut(failed, rendered)) throw failed;
    }
  }

  /** Beside each other; but where something was refused, what stands instead of it has to be read first. */
  async #readAndRender(run: Run, render: () => Promise<Table>): Promise<Table> {
    const reading = this.#read(run);
    if (this.#rejected.size > 0) await reading;
    const [read, rendered] = await Promise.allSettled([reading, render()]);
    if (read.status === 'rejected') throw read.reason;
    if (rendered.status === 'rejected') throw rendered.reason;
    return rendered.value;
  }

  get #refused(): Refused {
    const [rejected, held] = [this.#rejected, this.#held];
    if (rejected.size === 0 || !held) return { rejected };
    return { rejected, standing: { ...held.rendered, revision: this.#revision } };
  }

  async #read(run: Run): Promise<void> {
    const held = this.#held;
    const table = await this.#timed(run, 'observe', () => this.#options.kernel.read(held ? knownOf(held) : undefined));
    const read = table && splitTable(table);
    if (held) run.drift = await runSliced(findDrift(held, read));
    if (table) this.#options.epochs?.found(table);
    this.#held = read ? { ...read, left: NO_LEFTOVERS } : null;
  }

  #plan(
    intent: NodeIntent,
    rendered: Table,
    layout: Layout,
    isRemembered: boolean,
    run: Run,
  ): Promise<{ plan: Plan; next: NextEpoch | undefined }> {
    return this.#timed(run, 'plan', async () => {
      const held = this.#held ?? { ...EMPTY, left: NO_LEFTOVERS };
      const first = await runSliced(comparePart(rendered, held.rendered, held.left));
      const gone = new Map(first.goneChains.map((chain) => [chain.name, chain]));
      const chains = (name: string) => rendered.chains.get(name) ?? gone.get(name);
      const isSame = Object.values(first).every((list) => list.length === 0);
      const known = (): Revoked => revokedBy(first, chains, intent.directory, this.#renderer.stopping);
      const revoked = isSame ? 'nothing' : isRemembered ? known() : 'all';
      const next = stamps(layout) ? this.#options.epochs?.next(revoked, intent.directory, intent.revision) : undefined;
      const epochs = this.#epochTables.of(rendered, layout, next, held.epochs);
      const isClash = first.clashes.length > 0;
      const [actual, left] = isClash ? [EMPTY, NO_LEFTOVERS] : [held, held.left];
      const found = isClash ? await runSliced(comparePart(rendered, EMPTY_TABLE, NO_LEFTOVERS)) : first;
      const isSameEpoch = epochs === actual.epochs;
      const difference = isSameEpoch ? found : await runSliced(comparePart(epochs, actual.epochs, left, found));
      const request: PlanRequest = {
        desired: { rendered, epochs },
        difference,
        left,
        writer: this.#writer,
        before:
          this.#held === null || run.mode === 'dry-run'
            ? 'missing'
            : isClash
              ? { unusable: familiesIn(held) }
              : 'usable',
        // Also of what an agent before this one left: its counters are read ahead of that.
        tidies: !this.#options.tidy || this.#options.tidy.isDue,
        epoch: next?.epoch,
        isAnotherEpoch: next?.isAnother ?? false,
      };
      return { plan: await runSliced(planInSteps(request)), next };
    });
  }

  async #takeOut(run: Run): Promise<Plan | undefined> {
    const held = this.#held ?? { ...EMPTY, left: NO_LEFTOVERS };
    const commands = this.#held === null ? [] : familiesIn(held).map((family) => this.#writer.deleteTable(family));
    const plan: Plan = {
      steps: commands.length > 0 ? [{ kind: 'commit', commands }] : [],
      counts: { ...NO_COUNTS, chainsDeleted: this.#held ? chainsIn(this.#held).length : 0 },
      after: undefined,
      epoch: undefined,
    };
    const failed = await this.#apply(plan, run);
    if (failed) throw failed;
    this.#held = null;
    return plan;
  }

  /** What did not go in. */
  async #apply({ steps }: Plan, run: Run): Promise<NftFailed | undefined> {
    if (steps.length === 0) return undefined;
    try {
      await this.#timed(run, 'apply', async () => {
        for (const { kind, commands } of steps) {
          if (kind === 'tidy') await this.#options.beforeTidying?.();
          await this.#options.kernel.write(commands);
          run.stepsApplied++;
        }
      });
      return undefined;
    } catch (error) {
      if (error instanceof NftFailed) return error;
      throw error;
    }
  }

  /** The pods that need what was refused stay with what stands, or are closed; false: it is nothing that can be left out. */
  #leaveOut(failed: NftFailed, { chains, sets }: Table): boolean {
    const { object } = failed;
    if (object === undefined || this.#rejected.has(object)) return false;
    const judging = [...chains.values()].filter(({ name, policies, lines }) => {
      return (
        policies !== undefined &&
        (name === object || (sets.has(object) && lines.some((line) => mentions(line, object))))
      );
    });
    if (judging.length === 0) return false;
    const policies = new Set(judging.flatMap((chain) => (chain.policies ?? []).map(objectKey)));
    this.#rejected = new Map([...this.#rejected, [object, { ...failureOf(failed), policies: [...policies] }]]);
    return true;
  }

  async #timed<T>(run: Run, phase: SyncPhase, work: () => Promise<T>): Promise<T> {
    const started = this.#options.now();
    try {
      return await work();
    } finally {
      run.seconds[phase] = (run.seconds[phase] ?? 0) + (this.#options.now() - started) / 1000;
    }
  }

  #resultOf({ plan, failures, ...run }: Run): NftSyncResult {
    const held = this.#held;
    return {
      mode: run.mode,
      change: plan && changeOf(plan, this.#rejected.size > 0 ? this.#renderer.degraded : []),
      ...(held === undefined ? {} : { size: () => sizeOf(held) }),
      stepsApplied: run.stepsApplied,
      drift: run.drift,
      failures,
      partial: failures.length > 0 && held !== undefined,
      seconds: run.seconds,
    };
  }
}

const NO_COUNTS = {
  chainsWritten: 0,
  chainsDeleted: 0,
  jumpsRepaired: 0,
  setsCreated: 0,
  setsDestroyed: 0,
  membersAdded: 0,
  membersDeleted: 0,
  epochsAdvanced: 0,
} as const;

function mentions(line: string, set: string): boolean {
  return line.split(' ').includes(`@${set}`);
}

function failureOf(error: unknown): SyncFailure {
  const failed = error instanceof NftFailed ? error : undefined;
  return {
    object: failed?.object,
    tool: 'nft',
    reason: failed?.reason ?? 'unavailable',
    message: messageOf(error),
    policies: [],
  };
}

function changeOf(plan: Plan, degraded: readonly Degraded[]): NonNullable<SyncOutcome['change']> {
  return {
    counts: plan.counts,
    isEmpty: plan.steps.length === 0,
    onlyWaits: false,
    steps: plan.steps.map(({ kind, commands }) => ({ kind, lines: commands })),
    text: () => planText(plan),
    degraded,
    setsToFill: 0,
    epoch: plan.epoch,
  };
}

/** Which tables there are; one that nothing is in is of family inet. */
function familiesIn(held: Held): readonly TableFamily[] {
  const found = familiesOf([...chainsIn(held), ...setsIn(held)].map(({ name }) => name));
  return found.length === 0 ? ['inet'] : found;
}

function chainsIn({ rendered, epochs, left }: Held) {
  return [rendered.chains, epochs.chains, left.chains].flatMap((chains) => [...chains.values()]);
}

function setsIn({ rendered, epochs, left }: Held) {
  return [rendered.sets, epochs.sets, left.sets].flatMap((sets) => [...sets.values()]);
}

function sizeOf(held: Held | null): DataplaneSize {
  if (!held) return { rules: 0, chains: 0, sets: 0, setEntries: 0 };
  const chains = chainsIn(held);
  const sets = setsIn(held);
  return {
    rules: chains.reduce((sum, { lines }) => sum + lines.length, 0),
    chains: chains.length,
    sets: sets.length,
    setEntries: sets.reduce((sum, { elements }) => sum + elements.size, 0),
  };
}

function sizeOfLeft({ left }: Held): number {
  let size = left.sets.size;
  for (const { lines } of left.chains.values()) size += 1 + lines.length;
  return size;
}
