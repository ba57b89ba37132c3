/** Syncs one after the other, and what one of them leaves to the next. */
import { FAMILIES, type Family, type Mode } from '../../../core/vocabulary.ts';
import type { NodeIntent } from '../../../compile/intent.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { SyncRequest } from '../../dataplane.ts';
import type { MissingFeatures } from '../rules/kernel-features.ts';
import type { ObservedFamily, ObservedState } from '../plan/plan.ts';
import type { Standing } from '../drift/drift-watch.ts';

import { NodeCompiler } from '../../../compile/compile-node.ts';
import { asInKernel } from '../plan/add-only.ts';
import { NodeRenderer } from '../render/render-node.ts';
import { OneSync, type SyncMemory, type SyncOptions, type SyncResult } from './one-sync.ts';

const READ_AGAIN_MS = 2_000;
/**
 * Epochs that begin only because members left, as where pods of other nodes come and go, are so far apart at least: live flows are judged
 * again after that long at most. After a pause such an epoch begins at once.
 */
const EPOCH_GAP_MS = 250;

export class Synchronizer {
  readonly #options: SyncOptions;
  readonly #renderer = new NodeRenderer();
  #memory: SyncMemory = { written: undefined, epochs: {}, released: {}, unread: [], busyChains: [], unrevoked: [] };
  #lastReadMs = 0;
  /** The kernel refused something of the last sync: it may lack what it had. */
  #wasRefused = false;
  #mode: Mode | undefined;
  #isSyncing = false;
  #syncs = 0;
  #standing: Standing | undefined;
  #epochBeganMs = Number.NEGATIVE_INFINITY;
  #isEpochDue = false;
  #onEpochDue = (): void => {};
  /** Asked ahead of the next sync. */
  #features: Promise<MissingFeatures> | undefined;

  constructor(options: SyncOptions) {
    this.#options = options;
  }

  /** What the kernel should hold now; undefined while a sync runs, while nothing is enforced, and while that is not known. */
  standing(): Standing | undefined {
    const { written } = this.#memory;
    const isEnforced = this.#mode === 'enforce' || this.#mode === 'audit';
    if (this.#isSyncing || !isEnforced || !written) return undefined;
    this.#standing ??= { written: withDead(written), syncs: this.#syncs };
    return this.#standing;
  }

  /** What was written last, for those who only look something up in it. */
  get written(): ObservedState | undefined {
    return this.#memory.written;
  }

  /** Called when an epoch has waited for long enough. */
  onEpochDue(callback: () => void): void {
    this.#onEpochDue = callback;
  }

  /** See Dataplane.closeToNewPods. */
  async closeToNewPods(interfaces: PodInterfaces): Promise<'rules stand' | 'closed'> {
    const { families } = await this.#options.kernel.readBack();
    if (Object.values(families).some(({ chains }) => chains.size > 0)) return 'rules stand';
    const nothingListed = new NodeCompiler('').intent();
    const memory = { ...this.#memory, written: undefined, unread: [], busyChains: [] };
    const run = new OneSync(this.#options, this.#renderer, memory, 'enforce');
    await run.prepare(nothingListed, interfaces, { question: 'known', resync: true });
    await run.execute(true);
    const [failure] = run.result().failures;
    this.#memory = { ...this.#memory, epochs: run.epochs };
    if (failure) throw new Error(failure.message);
    return 'closed';
  }

  /** See Dataplane.prepare. */
  prepare(mode: Mode): void {
    if (mode === 'off' || mode === 'dry-run') return;
    this.#features ??= this.#options.missingFeatures?.('missing');
    // Whoever waits for it is told.
    this.#features?.catch(() => {});
  }

  /** See Dataplane.sync. */
  sync(intent: NodeIntent, { mode, resync, interfaces }: SyncRequest): Promise<SyncResult> {
    return this.#run(mode, resync, (run, how) => run.prepare(intent, interfaces, how));
  }

  /** See Dataplane.remove. */
  remove({ resync }: Pick<SyncRequest, 'resync'>): Promise<SyncResult> {
    return this.#run('off', resync, async () => {});
  }

  async #run(
    mode: Mode,
    isAsked: boolean,
    prepare: (run: OneSync, how: Parameters<OneSync['prepare']>[2]) => Promise<void>,
  ): Promise<SyncResult> {
    const resync = isAsked || this.#isToReadAgain();
    // Until the kernel is read again, chains that cannot go are not tried again.
    const memory = resync ? { ...this.#memory, busyChains: [] } : this.#memory;
    const features = this.#features;
    this.#features = undefined;
    const options = features ? { ...this.#options, missingFeatures: () => features } : this.#options;
    const run = new OneSync(options, this.#renderer, memory, mode);
    this.#mode = mode;
    this.#isSyncing = true;
    try {
      await prepare(run, { question: resync ? (this.#wasRefused ? 'all' : 'missing') : 'known', resync });
      await run.execute(resync, this.#options.after !== undefined && this.#msToNextEpoch() > 0);
    } catch (error) {
      run.fail(error);
    }
    this.#isSyncing = false;
    this.#syncs++;
    this.#memory = run.memory();
    this.#standing = undefined;
    this.#options.tidy?.synced(run.deadRules);
    if (resync) this.#lastReadMs = this.#options.now();
    const result = run.result();
    this.#wasRefused = result.failures.some(({ reason }) => reason === 'refused');
    this.#seeToEpoch(result);
    return result;
  }

  #msToNextEpoch(): number {
    return this.#epochBeganMs + EPOCH_GAP_MS - this.#options.now();
  }

  #seeToEpoch({ plan, failures }: SyncResult): void {
    if (!plan || failures.length > 0) return;
    if (plan.summary.epochsAdvanced > 0) this.#epochBeganMs = this.#options.now();
    if (plan.revokesNext.length === 0 || this.#isEpochDue) return;
    this.#isEpochDue = true;
    this.#options.after?.(Math.max(0, this.#msToNextEpoch()), () => {
      this.#isEpochDue = false;
      if (this.#memory.unrevoked.length > 0) this.#onEpochDue();
    });
  }

  /** Something could not be read, and not just now: however many events there are, it is asked again. */
  #isToReadAgain(): boolean {
    const isUnknown = this.#memory.unread.some(({ isKnown }) => !isKnown);
    return isUnknown && this.#options.now() - this.#lastReadMs > READ_AGAIN_MS;
  }
}

/** With the dead rules where they are. */
function withDead(written: ObservedState): ObservedState {
  const families: Partial<Record<Family, ObservedFamily>> = { ...written.families };
  for (const family of FAMILIES) if (families[family]?.dead) families[family] = asInKernel(families[family]);
  return { ...written, families };
}
