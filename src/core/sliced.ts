/** Work that can be interrupted: it yields every millisecond or so, and its caller decides who else gets a turn then. */
export type Steps<T> = Generator<void, T>;

export function runToEnd<T>(work: Steps<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}
