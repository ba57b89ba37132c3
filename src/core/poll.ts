/** A question that is asked again and again. */
import type { MonotonicClock } from './clock.ts';

interface PollOptions<T> {
  /** Must not reject. */
  readonly ask: () => Promise<T>;
  /** Gets each answer; returns after how many milliseconds to ask again. Not called once the poll was stopped. */
  readonly onAnswer: (answer: T) => number;
  readonly clock: Pick<MonotonicClock, 'after'>;
}

/** Asks now, and again some time after each answer. The result stops it. */
export function poll<T>({ ask, onAnswer, clock }: PollOptions<T>): () => void {
  let isStopped = false;
  let cancel = (): void => {};
  const turn = async (): Promise<void> => {
    const answer = await ask();
    if (isStopped) return;
    cancel = clock.after(onAnswer(answer), () => void turn());
  };
  void turn();
  return () => {
    isStopped = true;
    cancel();
  };
}
