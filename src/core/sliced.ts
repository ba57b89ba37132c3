/** Work that can be interrupted: it yields every millisecond or so, and its caller decides who else gets a turn then. */
export type Sliced<T> = Generator<void, T>;

/** Runs `work` to its end at once. */
export function runSync<T>(work: Sliced<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}
