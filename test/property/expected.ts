/** What one node must do with a flow, by the reference evaluator. */
import type { Direction } from '../../src/core/vocabulary.ts';
import { MAX_AUDITED_ALONE } from '../../src/compile/limits.ts';
import type { CountedAction, CountedFor } from '../../src/dataplane/dataplane.ts';
import { addressOwners, claimantsOf, isContested } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { auditOutcome, createEvaluator, letsPass, outcomeAlone } from '../../src/policy/evaluate.ts';
import { type ClusterSnapshot, type Flow, objectKey, type Pod, type PolicyRef } from '../../src/policy/model.ts';
import { isAudited } from '../../src/policy/policy-mode.ts';
import { mayMatch } from '../../src/policy/selector.ts';
import type { Packet } from '../support/tracer.ts';
import { NODE } from './clusters.ts';

/** A flow as this node forwards it (or takes it in), and whether the evaluator lets it through the sides this node judges. */
export function expectedHere(
  snapshot: ClusterSnapshot,
): (flow: Flow) => { readonly passes: boolean; readonly why: string } {
  const owners = addressOwners(snapshot.pods.values());
  const evaluator = createEvaluator(snapshot);
  const isHere = (address: string): boolean =>
    claimantsOf(owners.get(address)).some(({ nodeName }) => nodeName === NODE);
  return (flow) => {
    // What a pod sends to itself is forwarded only if it came by way of a Service (N-71).
    const verdict = evaluator.evaluate({ ...flow, viaService: true });
    const egress = !isHere(flow.source) || letsPass(verdict.egress);
    const ingress = !isHere(flow.destination) || letsPass(verdict.ingress);
    return { passes: egress && ingress, why: JSON.stringify(verdict) };
  };
}

/** Of a flow's ends: a pod had the address, and none has it any more. Nothing of such a flow is left to go on. */
export function goneBetween(before: ClusterSnapshot, after: ClusterSnapshot): (flow: Flow) => boolean {
  const [owned, owns] = [before, after].map(({ pods }) => addressOwners(pods.values()));
  const isGone = (address: string): boolean => owned!.has(address) && !owns!.has(address);
  return ({ source, destination }) => isGone(source) || isGone(destination);
}

export function packetOf(snapshot: ClusterSnapshot, flow: Flow): Packet {
  const isToNode = snapshot.nodes.get(NODE)?.addresses.includes(flow.destination) ?? false;
  return {
    ...flow,
    family: flow.source.includes(':') ? 6 : 4,
    hook: isToNode ? 'INPUT' : 'FORWARD',
    // Echo requests; what has no ports is no neighbour discovery.
    port: flow.protocol === 58 ? 128 : flow.protocol === 1 ? 8 : flow.port,
  };
}

/** What rules count for policies that are only audited. */
export const AUDIT_COUNTS = [
  'would-deny',
  'would-deny-alone',
  'would-allow',
] as const satisfies readonly CountedAction[];

/** `action direction policies` of what counts for audit; nothing of other counts. */
export function countText(action: CountedAction, direction: Direction, of: CountedFor): readonly string[] {
  if (!AUDIT_COUNTS.some((each) => each === action)) return [];
  const whose = of.kind === 'policies' ? of.policies.map(objectKey) : [of.kind];
  return [textOf(action, direction, whose)];
}

/** What the rules of one flow's first packet must count, sorted. */
export function auditCountsHere(
  snapshot: ClusterSnapshot,
  mode: 'enforce' | 'audit',
): (flow: Flow, isToNode: boolean) => readonly string[] {
  const evaluator = createEvaluator(snapshot);
  const owners = addressOwners(snapshot.pods.values());
  return (flow, isToNode) => {
    const connection = connectionOf(owners, { ...flow, viaService: true });
    const verdict = evaluator.evaluate(connection.flow);
    const found: string[] = [];
    for (const direction of ['egress', 'ingress'] as const) {
      const owner = owners.get(direction === 'egress' ? flow.source : flow.destination);
      const isHere = claimantsOf(owner).some(({ nodeName }) => nodeName === NODE);
      if (!isHere || (direction === 'ingress' && isToNode)) continue;
      const judged = verdict[direction];
      if (mode === 'audit' && judged.kind === 'denied')
        found.push(textOf('would-deny', direction, judged.isolatedBy.map(objectKey)));
      if (mode === 'audit' && judged.kind === 'tier-rule' && judged.action === 'Deny')
        found.push(textOf('would-deny', direction, [objectKey(judged.by.policy)]));
      // S-73: of an address that several pods show, only what is in force is counted.
      if (owner && !isContested(owner)) {
        const audited = auditedOf(snapshot, direction, owner);
        const together = verdict.ifEnforced?.[direction];
        if (auditOutcome(verdict, direction) === 'would-deny' && together?.kind === 'denied')
          found.push(textOf('would-deny', direction, together.isolatedBy.map(objectKey)));
        for (const policy of audited) {
          const outcome = outcomeAlone(snapshot, policy, direction, connection);
          // Of more than are counted alone, the first one that matches counts what they would allow.
          if (outcome && audited.length <= MAX_AUDITED_ALONE)
            found.push(textOf(outcome === 'would-deny' ? 'would-deny-alone' : outcome, direction, [objectKey(policy)]));
        }
        if (audited.length > MAX_AUDITED_ALONE && auditOutcome(verdict, direction) === 'would-allow')
          found.push(textOf('would-allow', direction, MANY));
      }
      if (mode === 'enforce' && !letsPass(judged)) break;
    }
    return found.sort();
  };
}

const MANY: readonly string[] = ['one of many'];

/** Where more are audited than are counted alone, whichever of them counts. */
export function asExpected(counted: readonly string[], expected: readonly string[]): readonly string[] {
  return counted.map((each) => {
    const asked = each.replace(/^(would-allow \S+) .*$/, `$1 ${MANY.join()}`);
    return expected.includes(asked) ? asked : each;
  });
}

function textOf(action: CountedAction, direction: Direction, whose: readonly string[]): string {
  return `${action} ${direction} ${whose.join()}`;
}

/** That would isolate the pod. */
function auditedOf({ policies, namespaces }: ClusterSnapshot, direction: Direction, pod: Pod): readonly PolicyRef[] {
  return [...policies.values()].filter(
    (policy) =>
      policy.namespace === pod.namespace &&
      policy.isolates[direction] &&
      isAudited(policy, namespaces.get(policy.namespace)) &&
      mayMatch(policy.podSelector, pod.labels),
  );
}
