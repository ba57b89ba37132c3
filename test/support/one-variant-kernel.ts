/** One iptables variant of a real or a fake host, read as it is: without the choice of a variant, and the doubts, of host-kernel.ts. */
import type { Backend, Family } from '../../src/core/vocabulary.ts';
import type { RunCommand } from '../../src/host/command.ts';
import type { Kernel } from '../../src/dataplane/iptables/kernel/kernel.ts';
import type { ObservedFamily, ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { runSliced } from '../../src/core/run-sliced.ts';
import { applyStep, readSets, toolName } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { savedRules } from '../../src/dataplane/iptables/plan/read-saved.ts';

export interface OneVariantOptions {
  readonly backend: Backend;
  readonly families: readonly Family[];
  readonly run: RunCommand;
  /** How long iptables may wait for /run/xtables.lock, in whole seconds. */
  readonly lockWaitSeconds: number;
}

export function createOneVariantKernel(options: OneVariantOptions): Kernel {
  const { backend, families } = options;
  return { backend, families, readBack: () => observe(options), apply: (step) => applyStep(options, step) };
}

async function observe(options: OneVariantOptions): Promise<ObservedState> {
  const families: Partial<Record<Family, ObservedFamily>> = {};
  for (const family of options.families) {
    const argv = [toolName(options.backend, family, 'save'), '-t', 'mangle'] as const;
    families[family] = await runSliced(savedRules((await options.run({ argv, timeoutMs: 30_000 })).stdout));
  }
  return { families, sets: await readSets(options) };
}
