/** What rules have counted -> metrics. The data plane bounds how many counts there are (docs/metrics.md). */
import { Counter, type Registry } from 'prom-client';
import type { CountedFor, RuleCounter } from '../dataplane/dataplane.ts';

/** Of policies that share a count. */
const MAX_NAMES = 8;
/** No name of a namespace or policy begins so. */
const NOT_A_NAME = '_';

export interface RuleCounterMetrics {
  /** All there are: what is not among them is not shown any more. */
  ruleCounters(counters: readonly RuleCounter[]): void;
}

export function ruleCounterMetrics(registry: Registry): RuleCounterMetrics {
  const labels = ['namespace', 'policies', 'direction'];
  const counter = (name: string, help: string, labelNames: string[]): Counter =>
    new Counter({ name: `portcullis_${name}`, help, labelNames, registers: [registry] });
  const allowed = counter(
    'allowed_connections_total',
    'Connections let through by a rule of the policies: their first packets. Packets repeated before the first answer count again, and in ' +
      'enforce mode so does a live flow each time that it is judged anew (portcullis_generation moved)',
    labels,
  );
  const denied = counter(
    'denied_packets_total',
    'Packets dropped because none of the policies, which isolate the pod, allows them; flow new: attempts to connect, repeats included',
    [...labels, 'flow'],
  );
  const audited = counter(
    'audit_denied_connections_total',
    'Connections that would be denied, each once: by policies of a node in audit mode, or by policies that are audited, were they all enforced',
    labels,
  );
  const deniedAlone = counter(
    'audited_policy_denied_connections_total',
    'Connections that this policy, which is audited, would deny if it were enforced and all others stayed as they are; each once',
    ['namespace', 'policy', 'direction'],
  );
  const newlyAllowed = counter(
    'audit_allowed_packets_total',
    'Packets denied by the policies in force that these policies, which are audited, would let through; repeats included',
    labels,
  );
  return {
    ruleCounters: (counters) => {
      for (const metric of [allowed, denied, audited, deniedAlone, newlyAllowed]) metric.reset();
      for (const { action, direction, flow, of, packets } of counters) {
        const whose = { ...whoseLabels(of), direction };
        switch (action) {
          case 'allow':
            allowed.inc(whose, packets);
            break;
          case 'deny':
            denied.inc({ ...whose, flow }, packets);
            break;
          case 'would-deny':
            audited.inc(whose, packets);
            break;
          case 'would-deny-alone': {
            const { namespace, policies: policy } = whoseLabels(of);
            deniedAlone.inc({ namespace, policy, direction }, packets);
            break;
          }
          case 'would-allow':
            newlyAllowed.inc(whose, packets);
        }
      }
    },
  };
}

/** Policies of one count are all in one namespace. */
export function whoseLabels(of: CountedFor): { readonly namespace: string; readonly policies: string } {
  if (of.kind !== 'policies') return { namespace: NOT_A_NAME + of.kind, policies: NOT_A_NAME + of.kind };
  const names = of.policies.map(({ name }) => name);
  const more = names.length - MAX_NAMES;
  const policies = [...names.slice(0, MAX_NAMES), ...(more > 0 ? [`+${more}`] : [])].join(',');
  return { namespace: of.policies[0]?.namespace ?? '', policies };
}
