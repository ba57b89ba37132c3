/**
 * A data plane that takes out the rules of the other one once its own stand. Until then both judge every packet, and a packet passes what both
 * let through; a process that ends in between leaves it to the next one. Looking takes up to a dozen processes: whoever asked for the sync does
 * not wait for it, whatever touches the kernel next does.
 */
import type { SyncFailure, SyncOutcome } from '../dataplane/dataplane.ts';
import type { Logger } from '../telemetry/log.ts';
import type { TellingDataplane } from './node-dataplane.ts';

import { messageOf } from '../core/error-text.ts';

export interface OtherDataplane {
  readonly name: string;
  /** Whether rules of ours stand there. Rejects where that cannot be found out. */
  stands(): Promise<boolean>;
  /** What they have counted is read, as they are about to go. Resolves soon, and never rejects. */
  lastReading(): Promise<void>;
  /** Takes them out; returns what could not be. */
  remove(): Promise<readonly SyncFailure[]>;
}

export interface TakeOver {
  readonly dataplane: TellingDataplane;
  /** Why rules of the other one that are known to stand could not be taken out; undefined: none are known. */
  left(): string | undefined;
  /** They are being looked for, and taken out, for the first time: until then nothing is known of them. */
  isFirstLook(): boolean;
  /** Resolves when they are not being looked for or taken out. */
  settled(): Promise<void>;
  /** They may stand again. */
  again(): void;
}

interface TakeOverOptions {
  readonly dataplane: TellingDataplane;
  readonly other: OtherDataplane;
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Before the first rule of the other one goes. Absent: what they have counted is read. */
  readonly before?: () => Promise<void>;
  /** Nothing of the other one stands. */
  readonly onGone?: () => void;
}

/** With the syncs that follow it is tried again, so far apart. */
const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 60_000;

export function takingOver({ dataplane, other, log, now, before, onGone }: TakeOverOptions): TakeOver {
  let isDone = false;
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  let retryMs = FIRST_RETRY_MS;
  let told = '';
  let left: string | undefined;
  let isFirstLook = false;
  let hasLooked = false;
  let settled = Promise.resolve();
  const take = async (): Promise<void> => {
    left = undefined;
    if (!(await other.stands())) return onGone?.();
    left = 'not taken out yet';
    await (before ? before() : other.lastReading());
    const failures = await other.remove();
    if (failures.length > 0) {
      left = failures.map(({ message }) => message).join('; ');
      throw new Error(left);
    }
    left = undefined;
    onGone?.();
    log.warn(`took the rules of ${other.name} out, which stood before: those of this data plane stand`);
  };
  const takeOut = async (): Promise<void> => {
    isFirstLook = !hasLooked;
    hasLooked = true;
    try {
      await take();
      isDone = true;
    } catch (error) {
      const words = `rules of ${other.name} may still stand beside these, and deny what they denied: ${messageOf(error)}`;
      if (words !== told) log.warn(words);
      told = words;
      notBeforeMs = now() + retryMs;
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    }
    isFirstLook = false;
  };
  const behind = async (write: () => Promise<SyncOutcome>): Promise<SyncOutcome> => {
    await settled;
    const outcome = await write();
    if (!isDone && now() >= notBeforeMs && isStanding(outcome)) settled = takeOut();
    return outcome;
  };
  return {
    left: () => left,
    isFirstLook: () => isFirstLook,
    settled: () => settled,
    again: () => {
      isDone = false;
      notBeforeMs = Number.NEGATIVE_INFINITY;
      retryMs = FIRST_RETRY_MS;
    },
    dataplane: {
      ...dataplane,
      sync: (intent, request) => behind(() => dataplane.sync(intent, request)),
      remove: (request) => behind(() => dataplane.remove(request)),
      closeToNewPods: async (interfaces) => {
        // They let pass what was programmed, and a closed table beside them would not.
        if (await other.stands().catch(() => false)) return 'rules stand';
        return dataplane.closeToNewPods(interfaces);
      },
    },
  };
}

/** Pods whose rules are not in yet are closed: without those of the other one, nothing more passes than it should. */
function isStanding({ failures, change }: SyncOutcome): boolean {
  if (change === undefined) return false;
  return failures.every(({ reason, object }) => reason === 'refused' && object !== undefined);
}
