/** Short looks at the kernel (docs/decisions/noticing-drift.md). */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { ObservedFamily } from '../plan/plan.ts';
import type { SetHeader } from './read-looks.ts';
import type { Hook } from '../rules/ruleset.ts';

import { readChainListing, readSetHeaders } from './read-looks.ts';
import { savedRules } from '../plan/read-saved.ts';
import { openReadingShell } from '../../../host/reading-shell.ts';
import { toolName } from '../kernel/linux-kernel.ts';
import { runSliced } from '../../../core/run-sliced.ts';

export interface Looks {
  /** All rules of the built-in chain; undefined: could not be read. None of these rejects. */
  hook(backend: Backend, family: Family, hook: Hook): Promise<readonly string[] | undefined>;
  /** Everything of ours in table mangle; takes time in proportion to the table. */
  rules(backend: Backend, family: Family): Promise<ObservedFamily | undefined>;
  /** All sets, without members. */
  setHeaders(): Promise<ReadonlyMap<string, SetHeader> | undefined>;
  stop(): void;
}

export function createLooks(): Looks {
  const shell = openReadingShell();
  return {
    hook: async (backend, family, hook) => {
      const tool = toolName(backend, family, 'save').replace(/-save$/, '');
      const text = await shell.read([tool, '-t', 'mangle', '-S', hook]);
      return text === undefined ? undefined : readChainListing(text, hook);
    },
    rules: async (backend, family) => {
      const text = await shell.read([toolName(backend, family, 'save'), '-t', 'mangle']);
      return text === undefined ? undefined : await runSliced(savedRules(text));
    },
    setHeaders: async () => {
      const text = await shell.read(['ipset', 'list', '-terse']);
      return text === undefined ? undefined : readSetHeaders(text);
    },
    stop: () => shell.stop(),
  };
}
