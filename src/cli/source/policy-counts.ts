/** What the agents' counters say of policies, added up over the nodes that told. Text in the exposition format of Prometheus. */

/** Field of the count, and the metric without our prefix. */
const METRICS = {
  allowed: 'allowed_connections_total',
  denied: 'denied_packets_total',
  wouldDeny: 'audit_denied_connections_total',
} as const;
type Count = keyof typeof METRICS;

export type PolicyCounts = Readonly<Record<string, Readonly<Partial<Record<Count, number>>>>>;

const LINE = /^portcullis_(\w+)\{([^}]*)\} (\S+)$/;
const LABEL = /(\w+)="([^"]*)"/g;
const FIELDS = new Map(Object.entries(METRICS).map(([field, metric]) => [metric as string, field as Count]));

/** Keys: `namespace/name direction`. A count that is of several policies counts for each. */
export function readPolicyCounts(texts: readonly string[]): PolicyCounts {
  const counts: Record<string, Partial<Record<Count, number>>> = {};
  for (const line of texts.flatMap((text) => text.split('\n'))) {
    const [, metric = '', labels = '', value = ''] = LINE.exec(line) ?? [];
    const field = FIELDS.get(metric);
    if (!field) continue;
    const { namespace, policies, direction } = Object.fromEntries(
      [...labels.matchAll(LABEL)].map(([, key, text]) => [key!, text!]),
    );
    for (const name of policies?.split(',') ?? []) {
      const key = `${namespace}/${name} ${direction}`;
      const known = counts[key] ?? {};
      counts[key] = { ...known, [field]: (known[field] ?? 0) + Number(value) };
    }
  }
  return counts;
}
