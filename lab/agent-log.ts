/** What one agent of the lab printed since it was started: kept within bounds, and followed. */
import type { ContainerLog, LogLine } from './api/pod-log.ts';

/** The oldest lines go beyond this. */
const MAX_CHARACTERS = 8 * 1024 * 1024;

export class AgentLog implements ContainerLog {
  readonly #followers = new Set<{ readonly onLine: (line: LogLine) => void; readonly onEnd: () => void }>();
  #lines: LogLine[] = [];
  #characters = 0;
  #ended = false;

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  add(line: LogLine): void {
    this.#lines.push(line);
    this.#characters += line.text.length;
    if (this.#characters > MAX_CHARACTERS) this.#dropOldest();
    for (const { onLine } of this.#followers) onLine(line);
  }

  /** The process is gone. */
  end(): void {
    this.#ended = true;
    for (const { onEnd } of this.#followers) onEnd();
    this.#followers.clear();
  }

  follow(onLine: (line: LogLine) => void, onEnd: () => void): () => void {
    const follower = { onLine, onEnd };
    if (this.#ended) onEnd();
    else this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Half of them, so that it is not done for every line. */
  #dropOldest(): void {
    let first = 0;
    for (; this.#characters > MAX_CHARACTERS / 2; first += 1) this.#characters -= this.#lines[first]!.text.length;
    this.#lines = this.#lines.slice(first);
  }
}
