/** What has a say beside us on this host, or carries traffic past us, as conditions. */
import type { MonotonicClock } from '../core/clock.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Logger } from './log.ts';
import type { HostSurvey, IpvsState } from '../host/host-findings.ts';

import { findEnforcers, findIpvs, findUnjudged } from '../host/host-findings.ts';
import { type ConditionWatch, type Finding, watchConditions } from './condition.ts';

/** Some ten short commands. */
const INTERVAL_MS = 30_000;
/** While it keeps the node from being ready, whoever mends that wants to see it. */
const REPAIR_INTERVAL_MS = 2_000;

interface HostConditionOptions {
  readonly survey: () => Promise<HostSurvey>;
  readonly metrics: Pick<AgentMetrics, 'otherEnforcers'>;
  readonly log: Logger;
  /** Ready although kube-proxy runs in IPVS mode. */
  readonly isIpvsAllowed: boolean;
  readonly clock: Pick<MonotonicClock, 'after'>;
}

export function watchHost({ survey, metrics, log, isIpvsAllowed, clock }: HostConditionOptions): ConditionWatch {
  const judgeKubeProxy = (ipvs: IpvsState): Finding => judgeIpvs(ipvs, isIpvsAllowed);
  return watchConditions({
    look: async () => {
      const found = await survey();
      return { enforcers: findEnforcers(found), ipvs: findIpvs(found), unjudged: findUnjudged(found) };
    },
    conditions: [
      {
        name: 'other-enforcers',
        judge: ({ enforcers }) => {
          metrics.otherEnforcers(enforcers.map(({ name }) => name));
          return judgeEnforcers(enforcers.map(({ name, by }) => `${name} (${by})`));
        },
        usual: judgeEnforcers([]).reason,
      },
      {
        name: 'kube-proxy-mode',
        judge: ({ ipvs }) => judgeKubeProxy(ipvs),
        usual: judgeKubeProxy({ kind: 'none' }).reason,
      },
      { name: 'traffic-seen', judge: ({ unjudged }) => judgeUnjudged(unjudged), usual: judgeUnjudged([]).reason },
    ],
    intervalMs: ({ ipvs }) => (judgeKubeProxy(ipvs).ok ? INTERVAL_MS : REPAIR_INTERVAL_MS),
    log: log.child('host'),
    clock,
  });
}

function judgeEnforcers(found: readonly string[]): Finding {
  if (found.length === 0)
    return { ok: true, level: 'info', reason: 'no other engine that enforces policies was found' };
  const reason =
    `another engine enforces policies on this node: ${found.join(', ')}; both must allow what is to pass. ` +
    'Switch one of them off, and take away what it leaves behind';
  return { ok: true, level: 'warn', reason };
}

function judgeUnjudged(found: readonly string[]): Finding {
  if (found.length === 0)
    return { ok: true, level: 'info', reason: 'nothing was found that carries traffic past the rules' };
  return { ok: true, level: 'warn', reason: `not judged as policies mean it: ${found.join('; ')}` };
}

function judgeIpvs(ipvs: IpvsState, isAllowed: boolean): Finding {
  switch (ipvs.kind) {
    case 'none':
      return {
        ok: true,
        level: 'info',
        reason: 'no sign of IPVS: service traffic is forwarded, where it is judged',
      };
    case 'left-over':
      return {
        ok: true,
        level: 'info',
        reason: `interface ${ipvs.interface} is left over from IPVS mode: IPVS serves nothing`,
      };
    case 'active':
      return {
        ok: isAllowed,
        level: isAllowed ? 'info' : 'error',
        reason:
          `kube-proxy runs in IPVS mode (interface ${ipvs.interface}): policies are wrong for service addresses, allowed connections ` +
          'of isolated pods are blocked and denied ones reach pods of the same node. Run kube-proxy in mode iptables or nftables' +
          (isAllowed
            ? ' (counted as ready by --allow-kube-proxy-ipvs=true)'
            : ', or accept this with --allow-kube-proxy-ipvs=true'),
      };
  }
}
