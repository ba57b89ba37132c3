/** Keys that need a look, looked at soon and once, however often they were named. */

export interface ControlLoop {
  /** Asks for a pass over `key`; passes run after the present events are through. */
  add(key: string): void;
  stop(): void;
}

/** `reconcile` is called for each key in the order of first mention. A failed key is reported and tried again after `retryMs`. */
export function startControlLoop(
  reconcile: (key: string) => void,
  onError: (error: unknown, key: string) => void,
  retryMs = 1000,
): ControlLoop {
  const keys = new Set<string>();
  const retries = new Set<NodeJS.Timeout>();
  let scheduled: NodeJS.Immediate | undefined;
  let stopped = false;

  const add = (key: string): void => {
    if (stopped) return;
    keys.add(key);
    scheduled ??= setImmediate(run);
  };
  const retryLater = (key: string): void => {
    const timer = setTimeout(() => {
      retries.delete(timer);
      add(key);
    }, retryMs).unref();
    retries.add(timer);
  };
  function run(): void {
    scheduled = undefined;
    const batch = [...keys];
    keys.clear();
    for (const key of batch) {
      if (stopped) return;
      try {
        reconcile(key);
      } catch (error) {
        onError(error, key);
        retryLater(key);
      }
    }
  }
  return {
    add,
    stop: () => {
      stopped = true;
      if (scheduled) clearImmediate(scheduled);
      for (const timer of retries) clearTimeout(timer);
    },
  };
}
