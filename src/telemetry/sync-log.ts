/** Outcomes of syncs -> lines of the log. */
import type { SyncInfo } from '../agent/agent.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { ChangeCounts, SyncOutcome } from '../dataplane/dataplane.ts';
import type { LogFields, Logger } from './log.ts';

import { TIDYING } from '../dataplane/dataplane.ts';
import { createLockLog } from './lock-log.ts';
import { remedyOf } from './readiness.ts';
import { auditedPolicies } from './audited-policies.ts';
import { createUnreadLog, isUnread } from './unread-log.ts';

/** The log shows where the time went from here on. */
const SLOW_SYNC_SECONDS = 0.5;
/** So far apart are lines about syncs that changed nothing but who is in a set. */
const MEMBERS_LINE_MS = 1_000;

/** To be called with each sync. `backend`: the one written to now; `now`: monotonic milliseconds. */
export function createSyncLog(
  log: Logger,
  backend: () => string,
  now: () => number = () => performance.now(),
): (outcome: SyncOutcome, info: SyncInfo) => void {
  const logLock = createLockLog(log, now);
  const logUnread = createUnreadLog(log, now);
  const logLacks = createLackLog(log);
  const logWaits = createWaitLog(log);
  const logAudits = createAuditLog(log);
  const logWork = createWorkLog(log, now);
  let audits: NodeIntent['audits'] | undefined;
  return (outcome, info) => {
    logLacks(outcome);
    logUnread(outcome);
    logLock(outcome.failures);
    logFailures(log, outcome);
    logWork(outcome, info, backend());
    logWaits(outcome, info);
    if (info.intent && info.intent.audits !== audits) logAudits(auditedPolicies(info.intent));
    audits = info.intent?.audits ?? audits;
  };
}

function createLackLog(log: Logger): (outcome: SyncOutcome) => void {
  let told = '';
  return ({ lacks, mode }) => {
    if (mode !== 'enforce' && mode !== 'audit') return;
    const text = lacks.map((lack) => lack.text).join('\n');
    if (text === told) return;
    told = text;
    const level = lacks.some(({ neededFor }) => neededFor === 'policies') ? 'error' : 'warn';
    for (const lack of lacks) log[level](`the kernel lacks ${lack.text}; ${remedyOf(lack)}`);
    if (lacks.length === 0) log.info('the kernel takes all rules now');
  };
}

/** Of policies in one line. */
const MAX_NAMED = 10;

/** Which policies are only audited, when that changes. */
function createAuditLog(log: Logger): (audited: ReadonlySet<string>) => void {
  let before: ReadonlySet<string> = new Set();
  return (audited) => {
    const begun = [...audited].filter((policy) => !before.has(policy));
    const ended = [...before].filter((policy) => !audited.has(policy));
    before = audited;
    if (begun.length > 0)
      log.info('policies are audited: they isolate nobody here, and what they would change is counted', named(begun));
    if (ended.length > 0) log.info('policies are not audited here any more: they are enforced or gone', named(ended));
  };
}

function named(policies: readonly string[]): Readonly<Record<string, unknown>> {
  const names = [...policies].sort();
  const more = names.length - MAX_NAMED;
  return { policies: names.slice(0, MAX_NAMED), ...(more > 0 ? { more } : {}) };
}

/** What goes on unchanged for long is told once: a plan that is only shown, a set that somebody else uses. */
function createWaitLog(log: Logger): (outcome: SyncOutcome, info: SyncInfo) => void {
  const isNews = { plan: createNews(), sets: createNews(), chains: createNews(), namespaces: createNews() };
  return ({ change, mode, busySets, busyChains }, { intent }) => {
    const counts = mode === 'dry-run' && change ? nonZero(change.counts) : undefined;
    if (isNews.plan(counts ? JSON.stringify(counts) : ''))
      log.info('dry-run: nothing of ours is in the kernel; what enforcing would write, line by line, is at /plan', {
        ...counts,
        steps: change?.steps.length,
      });
    const sets = change?.onlyWaits ? busySets.join(' ') : '';
    if (isNews.sets(sets))
      log.warn(
        'sets that nothing of ours needs any more cannot be destroyed: in use by rules that are not ours (iptables-save shows them); ' +
          'what is enforced is right all the same',
        { sets },
      );
    const namespaces = intent?.waiting.join(' ') ?? '';
    if (isNews.namespaces(namespaces))
      log.debug('much to compile: what changed there follows, their pods are judged as before meanwhile', {
        namespaces,
      });
    const chains = busyChains.join(' ');
    if (isNews.chains(chains))
      log.warn(
        'chains that nothing of ours needs any more cannot be deleted: rules that are not ours lead there (iptables-save -t mangle shows ' +
          'them); what is enforced is right all the same',
        { chains },
      );
  };
}

/** Whether a text is there that was not there the last time. */
function createNews(): (text: string) => boolean {
  let last = '';
  return (text) => {
    const isNew = text !== '' && text !== last;
    last = text;
    return isNew;
  };
}

function logFailures(log: Logger, outcome: SyncOutcome): void {
  for (const failure of outcome.failures) {
    if (failure.reason === 'lock' || isUnread(outcome, failure)) continue;
    const { tool, reason, policies } = failure;
    log.error(`not written, trying again: ${failure.message}`, {
      tool,
      reason,
      ...(policies.length > 0 ? { policies } : {}),
    });
  }
  for (const { address, desired, actual } of outcome.change?.degraded ?? [])
    log.warn('a pod is judged by other rules than its policies ask for, as the kernel did not take those', {
      address,
      desired,
      actual,
    });
}

function createWorkLog(
  log: Logger,
  now: () => number,
): (outcome: SyncOutcome, info: SyncInfo, backend: string) => void {
  const logChange = createChangeLog(log, now);
  return (outcome, info, backend) => {
    const { change, mode } = outcome;
    const changed = change !== undefined && !change.isEmpty && !change.onlyWaits;
    const fields = (): LogFields => fieldsOf(outcome, info);
    if (mode === 'dry-run' && outcome.stepsApplied > 0)
      log.info('dry-run: what there was of ours was taken out of the kernel; no policy denies anything here now');
    if (info.verdict === 'failed' || info.verdict === 'locked')
      log.debug('nothing, or not all, was written', () => ({ ...fields(), stepsApplied: outcome.stepsApplied }));
    else if (info.first) log.info(`first sync done on ${backend}`, fields());
    else if (changed && info.reasons.every((reason) => reason === TIDYING))
      log.debug('took rules out of the kernel that were replaced', fields);
    else if (changed && mode !== 'dry-run') logChange(change.counts, fields);
    else log.debug('nothing to do', fields);
  };
}

/** Where pods of other nodes come and go there is a sync for each. Those without a line at level info are counted in the next. */
function createChangeLog(log: Logger, now: () => number): (counts: ChangeCounts, fields: () => LogFields) => void {
  let toldMs = Number.NEGATIVE_INFINITY;
  let untold = 0;
  return (counts, fields) => {
    if (isOfMembers(counts) && now() - toldMs < MEMBERS_LINE_MS) {
      untold++;
      log.debug('changed the kernel', fields);
      return;
    }
    log.info('changed the kernel', { ...fields(), ...(untold > 0 ? { syncsNotLogged: untold } : {}) });
    toldMs = now();
    untold = 0;
  };
}

function isOfMembers({ chainsWritten, chainsDeleted, jumpsRepaired }: ChangeCounts): boolean {
  return chainsWritten + chainsDeleted + jumpsRepaired === 0;
}

function fieldsOf({ change, mode, seconds }: SyncOutcome, info: SyncInfo): LogFields {
  const waiting = change?.setsToFill ?? 0;
  return {
    mode,
    reasons: info.reasons,
    ms: Math.round(info.seconds * 1000),
    ...(info.programmingSeconds === undefined ? {} : { sinceChangeMs: Math.round(info.programmingSeconds * 1000) }),
    ...(change && mode !== 'dry-run' ? nonZero(change.counts) : {}),
    ...(waiting > 0 ? { setsToFill: waiting } : {}),
    ...(info.seconds > SLOW_SYNC_SECONDS ? { phases: { compile: info.compileSeconds, ...seconds } } : {}),
  };
}

function nonZero(counts: ChangeCounts): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0));
}
