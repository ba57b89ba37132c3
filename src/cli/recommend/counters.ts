/** What the agents' counters say of a policy: connections that its rules let through, over all nodes that told. */
import type { RuleRef } from '../../policy/model.ts';

const ALLOWED = /^portcullis_allowed_connections_total\{([^}]*)\} (\S+)/;
const LABEL = /(\w+)="([^"]*)"/g;

export class PolicyCounters {
  readonly #counts = new Map<string, number>();

  constructor(lines: readonly string[]) {
    for (const line of lines) {
      const [, labels = '', value = ''] = ALLOWED.exec(line) ?? [];
      const { namespace, policies, direction } = Object.fromEntries(
        [...labels.matchAll(LABEL)].map(([, key, text]) => [key!, text!]),
      );
      // A count may be of several policies that ask for the same.
      for (const name of policies?.split(',') ?? []) {
        const key = `${namespace}/${name} ${direction}`;
        this.#counts.set(key, (this.#counts.get(key) ?? 0) + Number(value));
      }
    }
  }

  /** Undefined: no agent told of it. */
  allowedBy({ policy: { namespace, name }, direction }: RuleRef): number | undefined {
    return this.#counts.get(`${namespace}/${name} ${direction}`);
  }
}
