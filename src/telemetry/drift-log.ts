/** What other programs did to our rules and sets, in the log and the metrics, and as a condition. */
import type { Alike, FightState, JumpState, NeighbourListener } from '../dataplane/listener.ts';
import type { ConditionState } from './health.ts';
import type { AgentMetrics, DriftAuthor } from './metrics.ts';
import type { Logger } from './log.ts';

/** Of objects in one log line. */
const MAX_NAMED = 5;
const SLOWER = 'what others do to our rules is noticed within 5 s instead of 1 s';

export function createDriftLog(
  metrics: Pick<AgentMetrics, 'driftRepaired' | 'monitorLost'>,
  log: Logger,
): NeighbourListener {
  return {
    onDrift: (alike, repair) => {
      const [{ kind, object }] = alike;
      switch (repair.kind) {
        case 'pending':
          log.warn(`not repaired yet: ${inWords(alike)}`, { kind, object });
          break;
        case 'repaired': {
          const { by, fight } = repair;
          metrics.driftRepaired(kind, authorLabel(by), alike.length);
          logRepair(log, `repaired: ${inWords(alike)}`, fight, { kind, object, ...(by === undefined ? {} : { by }) });
        }
      }
    },
    onForeignWrite: (program) => log.debug('others wrote to table mangle', { program }),
    onMonitorLost: (family, loss, complaint) => {
      metrics.monitorLost(loss);
      // xtables-monitor ends at any rule that it cannot print: nobody need know, and the metric counts.
      log.debug('commits to nf_tables are followed anew', { family, loss, ...(complaint === '' ? {} : { complaint }) });
    },
    onMonitorUseless: (why, complaint) => {
      if (why === 'missing')
        log.warn(
          `xtables-monitor cannot be started: ${SLOWER}; it is part of package iptables, and needs stdbuf of package coreutils`,
        );
      else log.warn(`xtables-monitor does not run: ${SLOWER}`, complaint === '' ? {} : { complaint });
    },
  };
}

function logRepair(log: Logger, message: string, fight: FightState, fields: Readonly<Record<string, string>>): void {
  switch (fight) {
    case 'single':
      log.warn(message, fields);
      break;
    case 'begins':
      log.error(
        `${message}; somebody undoes our rules again and again, they are put back each time: ` +
          'find that program and let it leave our rules and sets alone, for packets are judged wrongly in between. ' +
          'What follows of this is told at level debug',
        fields,
      );
      break;
    case 'goes-on':
      log.debug(message, fields);
  }
}

export function jumpsPresent(state: JumpState): ConditionState {
  switch (state.kind) {
    case 'away':
      return { ok: false, reason: `packets may pass unjudged until it is repaired: ${state.what}` };
    case 'fought':
      return { ok: false, reason: `somebody undoes our rules again and again: ${state.what}` };
    case 'not-watched':
      return { ok: true, reason: 'not looked at: a sync is under way, or no rules are wanted' };
    case 'first':
      return {
        ok: true,
        reason: `our rules are first; ${state.isTold ? 'the kernel tells of changes' : 'looked at every few seconds'}`,
      };
  }
}

function inWords([first, ...others]: Alike): string {
  const more =
    others.length === 0
      ? ''
      : ` (and ${others.length} more: ${others
          .slice(0, MAX_NAMED)
          .map(({ object }) => object)
          .join(', ')}${others.length > MAX_NAMED ? ', ...' : ''})`;
  return `${first.object}, ${first.what}${more}`;
}

function authorLabel(program: string | undefined): DriftAuthor {
  if (program === undefined) return 'unknown';
  if (/^(ip6?tables|xtables)/.test(program)) return 'iptables';
  return program === 'nft' ? 'nft' : 'other';
}
