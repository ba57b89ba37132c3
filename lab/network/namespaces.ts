/** Runs what `plumbing.ts` and `service-rules.ts` write, in the namespaces they are meant for. */
import type { RunCommand } from '../../src/host/command.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { type NamespaceScript, scriptText } from './plumbing.ts';
import type { IptablesBackend } from './types.ts';

const COMMAND_TIMEOUT_MS = 20_000;
const LOCK_WAIT_S = 5;
/** More only wait for the kernel's one lock on interfaces. */
const SCRIPTS_AT_ONCE = 4;

export class Namespaces {
  readonly #run: RunCommand;
  readonly #abort = new AbortController();
  #running = 0;

  constructor(run: RunCommand) {
    this.#run = run;
  }

  /** Whether a command is under way. */
  get busy(): boolean {
    return this.#running > 0;
  }

  /** Kills the command under way and refuses every later one. */
  abort(): void {
    this.#abort.abort();
  }

  async add(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.#command(['ip', '-batch', '-'], names.map((name) => `netns add ${name}\n`).join(''));
  }

  async delete(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.#command(['ip', '-force', '-batch', '-'], names.map((name) => `netns del ${name}\n`).join(''));
  }

  /** `ip` lines in one namespace, as one process; stops at the first that fails. */
  async ip(netns: string, lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    await this.#command(['ip', '-n', netns, '-batch', '-'], `${lines.join('\n')}\n`);
  }

  /** A script per namespace, a few at a time. */
  async scripts(scripts: readonly NamespaceScript[]): Promise<void> {
    const waiting = scripts.values();
    const work = async (): Promise<void> => {
      for (const script of waiting)
        await this.#command(['ip', 'netns', 'exec', script.netns, 'sh'], scriptText(script));
    };
    await Promise.all(Array.from({ length: SCRIPTS_AT_ONCE }, work));
  }

  /** `iptables-restore --noflush` on a node, by the backend's full program name. */
  async restore(
    node: { readonly netns: string; readonly xtablesLockFile: string },
    backend: IptablesBackend,
    family: Family,
    input: string,
  ): Promise<void> {
    const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}-restore`;
    const argv = ['ip', 'netns', 'exec', node.netns, program, '--noflush', '-w', String(LOCK_WAIT_S)] as const;
    await this.#command(argv, input, { XTABLES_LOCKFILE: node.xtablesLockFile });
  }

  async #command(argv: readonly [string, ...string[]], stdin: string, env: Record<string, string> = {}): Promise<void> {
    this.#running++;
    try {
      await this.#run({ argv, stdin, timeoutMs: COMMAND_TIMEOUT_MS, env, signal: this.#abort.signal });
    } finally {
      this.#running--;
    }
  }
}
