/**
 * What is measured with each event and each sync reaches the library behind the metrics when somebody asks for them, or when there is much of
 * it: the library takes longer for one value by itself than for many in a row.
 */
import type { Counter, Gauge, Histogram } from 'prom-client';

/** Of a histogram. */
const MAX_HELD = 256;

export class HeldValues {
  readonly #flush: (() => void)[] = [];

  /** `child`: of one combination of label values; it is there from now on. */
  counter(child: Counter.Internal): Pick<Counter.Internal, 'inc'> {
    let held = 0;
    child.inc(0);
    this.#flush.push(() => {
      if (held > 0) child.inc(held);
      held = 0;
    });
    return {
      inc: () => {
        held++;
      },
    };
  }

  /** `gauge`: without labels. The last value counts. */
  gauge(gauge: Pick<Gauge, 'set'>): { set(value: number): void } {
    let held: number | undefined;
    this.#flush.push(() => {
      if (held !== undefined) gauge.set(held);
    });
    return {
      set: (value) => {
        held = value;
      },
    };
  }

  histogram(child: Pick<Histogram.Internal<string>, 'observe'>): Pick<Histogram.Internal<string>, 'observe'> {
    const held: number[] = [];
    const flush = (): void => {
      for (const value of held) child.observe(value);
      held.length = 0;
    };
    this.#flush.push(flush);
    return {
      observe: (value) => {
        held.push(value);
        if (held.length >= MAX_HELD) flush();
      },
    };
  }

  /** All that is held reaches the library. */
  flush(): void {
    for (const flush of this.#flush) flush();
  }
}
