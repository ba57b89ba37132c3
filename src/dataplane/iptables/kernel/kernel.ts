/** The door of this folder: the part of the kernel the agent may read and change. */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { ObservedState, Step } from '../plan/plan.ts';

export interface Kernel {
  readonly backend: Backend;
  readonly families: readonly Family[];
  /** Reads our chains, jumps and sets. Rejects with CommandFailed or KernelUnreadable. */
  readBack(): Promise<ObservedState>;
  /**
   * Carries out one step. Rejects with StepFailed. `destroy-sets` does not fail for a set the kernel still uses:
   * such sets are returned, to be planned again later; all other steps return nothing.
   */
  apply(step: Step): Promise<readonly string[]>;
}

/** The same kernel, and `apply` in the place of its own. */
export function withApply(kernel: Kernel, apply: Kernel['apply']): Kernel {
  return {
    // What is decided anew while the agent runs is asked each time.
    get backend() {
      return kernel.backend;
    },
    get families() {
      return kernel.families;
    },
    readBack: () => kernel.readBack(),
    apply,
  };
}

/** What the tools printed cannot be true, or nothing was printed at all; nothing may be concluded from it. */
export class KernelUnreadable extends Error {
  constructor(why: string) {
    super(`the kernel's rules cannot be read: ${why}`);
    this.name = 'KernelUnreadable';
  }
}

/** A step the kernel refused. An `iptables` step that failed changed nothing; an `ipset` one may have done its first lines. */
export class StepFailed extends Error {
  readonly step: Step;
  /** 1-based line of the step's input that was refused; absent if the tool did not say. */
  readonly line: number | undefined;
  /** The chain or set that line belongs to; absent if no single one is to blame. */
  readonly object: string | undefined;
  readonly tool: string;
  /** `lock`: another program held the xtables lock for the whole wait. */
  readonly reason: 'refused' | 'lock' | 'unavailable';

  constructor(
    step: Step,
    tool: string,
    reason: StepFailed['reason'],
    line: number | undefined,
    cause: Error,
    advice = '',
  ) {
    const refused = line === undefined ? undefined : step.lines[line - 1];
    const isCommit = refused?.text === 'COMMIT' || refused?.text.startsWith('*');
    const where = refused && !isCommit ? `, line ${line}: ${refused.text}` : '';
    super(`${step.kind}${where}: ${cause.message}${advice}`, { cause });
    this.name = 'StepFailed';
    this.step = step;
    this.tool = tool;
    this.reason = reason;
    this.line = line;
    this.object = isCommit ? undefined : refused?.object;
  }
}
