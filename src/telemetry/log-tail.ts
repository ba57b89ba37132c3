/** The last lines of the log, for those who ask the agent and not whoever reads its standard output. */

/** Lines, and bytes of them, that are kept. */
const MAX_LINES = 500;
const MAX_CHARACTERS = 128 * 1024;

export class LogTail {
  #lines: string[] = [];
  #characters = 0;

  write(line: string): void {
    this.#lines.push(line);
    this.#characters += line.length;
    while (this.#lines.length > MAX_LINES || this.#characters > MAX_CHARACTERS)
      this.#characters -= this.#lines.shift()!.length;
  }

  /** Oldest first. */
  text(): string {
    return this.#lines.join('');
  }
}
