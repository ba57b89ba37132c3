/**
 * A data plane that takes out the rules of the other one once its own stand. Until then both judge every packet, and a packet passes what both
 * let through; a process that ends in between leaves it to the next one.
 */
import type { SyncFailure, SyncOutcome } from '../dataplane/dataplane.ts';
import type { Logger } from '../telemetry/log.ts';
import type { TellingDataplane } from './node-dataplane.ts';

export interface OtherDataplane {
  readonly name: string;
  /** Whether rules of ours stand there. Rejects where that cannot be found out. */
  stands(): Promise<boolean>;
  /** Takes them out; returns what could not be. */
  remove(): Promise<readonly SyncFailure[]>;
}

/** So often it is tried again, with the syncs that follow. */
const TRIES = 20;

export function takingOver(dataplane: TellingDataplane, other: OtherDataplane, log: Logger): TellingDataplane {
  let triesLeft = TRIES;
  const takeOut = async (outcome: SyncOutcome): Promise<SyncOutcome> => {
    if (triesLeft === 0 || outcome.failures.length > 0) return outcome;
    triesLeft--;
    try {
      if (!(await other.stands())) {
        triesLeft = 0;
        return outcome;
      }
      const failures = await other.remove();
      if (failures.length > 0) throw new Error(failures.map(({ message }) => message).join('; '));
      triesLeft = 0;
      log.warn(`took the rules of ${other.name} out, which an agent before this one left: those of this one stand`);
    } catch (error) {
      log.warn(`rules of ${other.name} may still stand beside these: ${(error as Error).message}`);
    }
    return outcome;
  };
  return {
    ...dataplane,
    sync: async (intent, request) => takeOut(await dataplane.sync(intent, request)),
    remove: async (request) => takeOut(await dataplane.remove(request)),
    closeToNewPods: async (interfaces) => {
      // They let pass what was programmed, and a closed table beside them would not.
      if (await other.stands().catch(() => false)) return 'rules stand';
      return dataplane.closeToNewPods(interfaces);
    },
  };
}
