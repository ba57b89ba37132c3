/** How far the pods' interfaces and early addresses are known, as conditions that never keep a node from being ready. */
import type { CheckpointState } from '../host/checkpoint-watch.ts';
import type { InterfaceState } from '../host/interface-watch.ts';
import type { ConditionState } from './health.ts';
import type { Logger } from './log.ts';

import { logChanges } from './log-changes.ts';

/** Named in one line of the log and of /readyz; the others are counted. */
const MAX_NAMED = 5;

export function interfacesKnown({ problem, unknown, nobodys }: InterfaceState): ConditionState {
  return { ok: true, reason: describeInterfaces(problem, unknown, nobodys) };
}

function describeInterfaces(
  problem: string | undefined,
  unknown: readonly string[],
  nobodys: readonly string[],
): string {
  const limit =
    'what such a pod sends from, or gets at, an address that is not in its podIPs (link-local, multicast, broadcast, a second ' +
    'interface) is NOT judged by its policies';
  if (problem !== undefined) return `cannot tell pods' interfaces (${problem}); ${limit}`;
  const strangers = nobodys.length === 0 ? '' : `; interfaces of no pod of this node that is known: ${named(nobodys)}`;
  if (unknown.length > 0) return `the interface of ${named(unknown)} is not known; ${limit}${strangers}`;
  return `the interfaces of all pods are known${strangers}`;
}

/** Writes the condition when it is another, and lasts. */
export function createInterfaceLog(log: Logger): (state: InterfaceState) => void {
  const tell = logChanges(log);
  return (state) => {
    const isWhole = state.problem === undefined && state.unknown.length === 0;
    if (state.isSettled) tell(isWhole ? 'info' : 'warn', interfacesKnown(state).reason);
  };
}

export function checkpointRead({ file, pods, problem }: CheckpointState): ConditionState {
  const reason =
    problem === undefined ? `${pods} pods in ${file}` : `addresses of new pods are known late: ${file}: ${problem}`;
  return { ok: true, reason };
}

/** Writes when the file cannot be read, and when it can again. */
export function createCheckpointLog(log: Logger): (state: CheckpointState) => void {
  const tell = logChanges(log);
  return (state) =>
    tell(state.problem === undefined ? 'info' : 'warn', checkpointRead(state).reason, state.problem ?? '');
}

function named(names: readonly string[]): string {
  const rest = names.length - MAX_NAMED;
  return names.slice(0, MAX_NAMED).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
