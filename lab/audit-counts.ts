/** What the agents themselves have counted in audit mode, out of their pages `/metrics`. Pure. */

/** Connections that enforcing would have denied, over all nodes. */
export interface AuditCount {
  readonly namespace: string;
  /** All that isolate the pod, as the metric has them: `a,b`. */
  readonly policies: string;
  readonly direction: string;
  readonly connections: number;
}

const LINE = /^portcullis_audit_denied_connections_total\{(.*)\} (\S+)$/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** In order of namespace, policies and direction; what nobody counted is not there. */
export function auditCounts(pages: readonly string[]): readonly AuditCount[] {
  const counts = new Map<string, AuditCount>();
  for (const page of pages) {
    for (const [, labels = '', value] of page.matchAll(LINE)) {
      const {
        namespace = '',
        policies = '',
        direction = '',
      } = Object.fromEntries([...labels.matchAll(LABEL)].map(([, name, text]) => [name!, text!])) as Record<
        string,
        string
      >;
      const key = JSON.stringify([namespace, policies, direction]);
      const connections = (counts.get(key)?.connections ?? 0) + Number(value);
      counts.set(key, { namespace, policies, direction, connections });
    }
  }
  const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count);
  return sorted.filter(({ connections }) => connections > 0);
}
