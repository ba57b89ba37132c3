/** A kernel that tells of each write of ours, so that others' writes can be told apart. */
import type { Step } from '../plan/plan.ts';
import { type Kernel, withApply } from '../kernel/kernel.ts';

interface WriteListener {
  began(step: Step): void;
  ended(step: Step, isDone: boolean): void;
}

export function watchWrites(kernel: Kernel, listener: WriteListener): Kernel {
  return withApply(kernel, async (step) => {
    listener.began(step);
    let isDone = false;
    try {
      const busy = await kernel.apply(step);
      isDone = true;
      return busy;
    } finally {
      listener.ended(step, isDone);
    }
  });
}
