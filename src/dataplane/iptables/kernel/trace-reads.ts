/** What a trace reads of the kernel: beside everything else, without its locks and behind whoever wants the processor. */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { RunCommand } from '../../../host/command.ts';
import type { ObservedFamily, ObservedSet } from '../plan/plan.ts';

import { runSliced } from '../../../core/run-sliced.ts';
import { savedRules, savedSets } from '../plan/read-saved.ts';
import { WITHOUT_LOCK } from './list-counters.ts';
import { listRules } from './list-rules.ts';

const TIMEOUT_MS = 20_000;
/** From one small process; a set that is gone by now ends it. */
const SAVE_SETS = 'for set; do ipset save "$set" || exit; done';

export function traceReads(run: RunCommand, backend: () => Backend) {
  const behind: RunCommand = (request) => run({ ...request, env: WITHOUT_LOCK, background: true });
  return {
    rules: async (family: Family): Promise<ObservedFamily> => {
      const listing = await listRules(behind, backend(), family);
      if ('why' in listing) throw new Error(listing.why);
      return await runSliced(savedRules(listing.kind === 'read' ? listing.text : ''));
    },
    sets: async (names: readonly string[]): Promise<ReadonlyMap<string, ObservedSet>> => {
      const { stdout } = await behind({ argv: ['sh', '-c', SAVE_SETS, 'ipset', ...names], timeoutMs: TIMEOUT_MS });
      return await runSliced(savedSets(stdout));
    },
  };
}
