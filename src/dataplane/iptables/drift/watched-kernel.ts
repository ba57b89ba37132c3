/** A kernel that tells of each write of ours, so that others' writes can be told apart. */
import type { Step } from '../plan/plan.ts';
import type { Kernel } from '../kernel/kernel.ts';

interface WriteListener {
  began(step: Step): void;
  ended(step: Step, isDone: boolean): void;
}

export function watchWrites(kernel: Kernel, listener: WriteListener): Kernel {
  return {
    // What is decided anew while the agent runs is asked each time.
    get backend() {
      return kernel.backend;
    },
    get families() {
      return kernel.families;
    },
    readBack: () => kernel.readBack(),
    apply: async (step) => {
      listener.began(step);
      let isDone = false;
      try {
        const busy = await kernel.apply(step);
        isDone = true;
        return busy;
      } finally {
        listener.ended(step, isDone);
      }
    },
  };
}
