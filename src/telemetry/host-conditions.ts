/** Looks again and again for what has a say beside us on this host, or carries traffic past us; tells of it when it changes. */
import type { ConditionState } from './health.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Logger } from './log.ts';
import type { HostSurvey, IpvsState } from '../host/host-findings.ts';

import { findEnforcers, findIpvs, findUnjudged } from '../host/host-findings.ts';
import { surveyHost } from '../host/host-survey.ts';
import { openReadingShell } from '../host/reading-shell.ts';
import { after } from '../core/clock.ts';

/** Some ten short commands. */
const SURVEY_INTERVAL_MS = 30_000;
/** While it keeps the node from being ready, whoever mends that wants to see it. */
const RESURVEY_INTERVAL_MS = 2_000;

export interface HostWatchOptions {
  readonly metrics: Pick<AgentMetrics, 'otherEnforcers'>;
  readonly log: Logger;
  readonly isIpvsAllowed: boolean;
  readonly survey?: () => Promise<HostSurvey>;
}

export interface HostWatch {
  /** By name, for /readyz. */
  readonly conditions: ReadonlyMap<string, () => ConditionState>;
  stop(): void;
}

interface Findings {
  readonly enforcers: string;
  readonly ipvs: IpvsState;
  readonly unjudged: string;
}

export function watchHost({ metrics, log, isIpvsAllowed, survey }: HostWatchOptions): HostWatch {
  const shell = openReadingShell();
  const hostLog = log.child('host');
  let last: Findings | undefined;
  let cancel = (): void => {};
  let stopped = false;
  const check = async (): Promise<void> => {
    const found = await (survey ?? (() => surveyHost(shell.read)))();
    if (stopped) return;
    const enforcers = findEnforcers(found);
    metrics.otherEnforcers(enforcers.map(({ name }) => name));
    const now: Findings = {
      enforcers: enforcers.map(({ name, by }) => `${name} (${by})`).join(', '),
      ipvs: findIpvs(found),
      unjudged: findUnjudged(found).join('; '),
    };
    tell(hostLog, last, now, isIpvsAllowed);
    last = now;
    const isBad = now.ipvs.kind === 'active' && !isIpvsAllowed;
    cancel = after(isBad ? RESURVEY_INTERVAL_MS : SURVEY_INTERVAL_MS, () => void check());
  };
  void check();
  return {
    conditions: new Map([
      ['other-enforcers', () => ({ ok: true, reason: last ? enforcersReason(last.enforcers) : NOT_YET })],
      ['kube-proxy-mode', () => ipvsCondition(last?.ipvs, isIpvsAllowed)],
      ['traffic-seen', () => ({ ok: true, reason: last ? unjudgedReason(last.unjudged) : NOT_YET })],
    ]),
    stop: () => {
      stopped = true;
      cancel();
      shell.stop();
    },
  };
}

const NOT_YET = 'not looked at yet';

function tell(log: Logger, last: Findings | undefined, now: Findings, isIpvsAllowed: boolean): void {
  if (now.enforcers !== (last?.enforcers ?? '')) {
    if (now.enforcers === '') log.info(enforcersReason(''));
    else log.warn(enforcersReason(now.enforcers));
  }
  const ipvs = ipvsCondition(now.ipvs, isIpvsAllowed);
  if (ipvs.reason !== ipvsCondition(last?.ipvs ?? { kind: 'none' }, isIpvsAllowed).reason) {
    if (ipvs.ok) log.info(ipvs.reason);
    else log.error(ipvs.reason);
  }
  if (now.unjudged !== (last?.unjudged ?? '')) {
    if (now.unjudged === '') log.info(unjudgedReason(''));
    else log.warn(unjudgedReason(now.unjudged));
  }
}

function enforcersReason(found: string): string {
  if (found === '') return 'no other engine that enforces policies was found';
  return (
    `another engine enforces policies on this node: ${found}; both must allow what is to pass. ` +
    'Switch one of them off, and take away what it leaves behind'
  );
}

function unjudgedReason(found: string): string {
  return found === ''
    ? 'nothing was found that carries traffic past the rules'
    : `not judged as policies mean it: ${found}`;
}

function ipvsCondition(ipvs: IpvsState | undefined, isAllowed: boolean): ConditionState {
  switch (ipvs?.kind) {
    case undefined:
      return { ok: true, reason: NOT_YET };
    case 'none':
      return { ok: true, reason: 'no sign of IPVS: service traffic is forwarded, where it is judged' };
    case 'left-over':
      return { ok: true, reason: `interface ${ipvs.interface} is left over from IPVS mode: IPVS serves nothing` };
    case 'active':
      return {
        ok: isAllowed,
        reason:
          `kube-proxy runs in IPVS mode (interface ${ipvs.interface}): policies are wrong for service addresses, allowed connections ` +
          'of isolated pods are blocked and denied ones reach pods of the same node. Run kube-proxy in mode iptables or nftables' +
          (isAllowed
            ? ' (counted as ready by --allow-kube-proxy-ipvs=true)'
            : ', or accept this with --allow-kube-proxy-ipvs=true'),
      };
  }
}
