/** Reads the real kernel and refuses to change it: a step that reaches it is a bug in the caller. */
import type { Kernel } from './kernel.ts';

export function createDryRunKernel(real: Kernel): Kernel {
  return {
    backend: real.backend,
    families: real.families,
    observe: () => real.observe(),
    apply: (step) => Promise.reject(new Error(`dry-run: step ${step.kind} must not be applied`)),
  };
}
