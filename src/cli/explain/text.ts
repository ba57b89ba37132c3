/** Answers in words for people, and as data for programs. */
import { stringify } from 'yaml';
import type { Remedy } from '../../policy/remedy.ts';
import type { DirectionExplanation } from '../../policy/explain-flow.ts';
import type { VerifiedAnswer as Answer, VerifiedAnswers } from './programmed.ts';
import type { Paint } from '../paint.ts';

import { ASSUMED_NODE } from '../../cluster/inventory.ts';
import { letsPass } from '../../policy/evaluate.ts';
import { reasonText } from '../../policy/explain-denial.ts';
import { explainDirection, ruleText } from '../../policy/explain-verdict.ts';
import { programmedData, programmedKey, programmedLines } from './programmed-text.ts';
import type { Inventory } from '../../cluster/inventory.ts';

export const EXPLANATION = { apiVersion: 'portcullis.dev/v1alpha1', kind: 'FlowExplanation' } as const;

/** Of flows that one explanation is for. */
const MAX_NAMED = 6;

/** Flows with the same reasons are told together, denied ones first. */
export function answersText({ answers, notes }: VerifiedAnswers, inventory: Inventory, paint: Paint): string {
  const groups = Map.groupBy(answers, (answer) => JSON.stringify([answer.explanation.allowed, ...reasonsOf(answer)]));
  const sorted = [...groups.values()].sort(
    ([a], [b]) => Number(a!.explanation.allowed) - Number(b!.explanation.allowed),
  );
  const allowed = answers.filter(({ explanation }) => explanation.allowed).length;
  const total =
    answers.length > 1 ? [`${answers.length} flows: ${allowed} allowed, ${answers.length - allowed} denied`] : [];
  const parts = [...total, ...sorted.map((group) => groupText(group, inventory, paint))];
  const said = notes.map((note) => paint('dim', `note: ${note}`));
  return `${[...parts, ...(said.length > 0 ? [said.join('\n')] : [])].join('\n\n')}\n`;
}

function groupText(group: readonly Answer[], inventory: Inventory, paint: Paint): string {
  const [first] = group as [Answer, ...Answer[]];
  const { allowed, directions } = first.explanation;
  const verdict = allowed ? paint('green', 'allowed') : paint('red', 'denied');
  const named = group.slice(0, MAX_NAMED).map((answer) => `${paint('bold', flowText(answer))}: ${verdict}`);
  const more = group.length - named.length;
  return [
    ...named,
    ...(more > 0 ? [`and ${more} more, for the same reasons`] : []),
    ...directions.flatMap((direction) => directionLines(first, direction, inventory, paint)),
    ...(first.programmed ? programmedLines(first.programmed, paint) : []),
  ].join('\n');
}

function flowText({ source, destination, protocol, port, servicePort, families }: Answer): string {
  const has = ([4, 6] as const).filter((family) => source.addresses[family] && destination.addresses[family]);
  const family = families.length < has.length ? ` over IPv${families.join()}` : '';
  const isItself = servicePort !== undefined && source.name === destination.name;
  const how = isItself ? ['to itself by way of the Service'] : [];
  if (servicePort !== undefined && servicePort !== port) how.push(`port ${servicePort} of the Service`);
  const service = how.length === 0 ? '' : ` (${how.join(', ')})`;
  return `${source.name} -> ${destination.name} ${protocol} ${port}${service}${family}`;
}

function directionLines(answer: Answer, explained: DirectionExplanation, inventory: Inventory, paint: Paint): string[] {
  const { direction, verdict, policies, remedy } = explained;
  const { connection } = answer.explanation;
  const where = placeOf(answer, direction, inventory);
  const head = `  ${direction}${where ? ` (${where})` : ''}: `;
  if (verdict.kind !== 'denied') return [`${head}${explainDirection(direction, verdict)}`];
  const count = policies.length === 1 ? 'the policy' : `${policies.length} policies`;
  const isolated = policies.length === 1 ? 'isolates it does' : 'isolate it do';
  return [
    `${head}${paint('red', 'denied')}: ${count} that ${isolated} not allow this`,
    ...policies.map(
      ({ policy, reason }) => `    ${policy.namespace}/${policy.name}: ${reasonText(reason, direction, connection)}`,
    ),
    ...(verdict.passedBy ? [`    passed on by ${verdict.passedBy.map(ruleText).join(', ')}`] : []),
    ...(remedy ? remedyLines(remedy) : []),
  ];
}

function remedyLines(remedy: Remedy): string[] {
  const [head, written] =
    remedy.kind === 'add'
      ? [`add to ${remedy.policy.namespace}/${remedy.policy.name}, ${remedy.field}`, [remedy.entry]]
      : ['apply', remedy.manifest];
  const lines = stringify(written).trimEnd().split('\n');
  return [`    to allow it, ${head}:`, ...lines.map((line) => `      ${line}`)];
}

/** The node that judges it, and what it does with denied packets where that is known. */
function placeOf({ source, destination }: Answer, direction: 'egress' | 'ingress', { snapshot }: Inventory): string {
  const { pod } = direction === 'egress' ? source : destination;
  if (!pod?.nodeName || pod.nodeName === ASSUMED_NODE) return '';
  const node = snapshot.nodes.get(pod.nodeName);
  const mode = node?.modeAnnotation ?? node?.modeLabel;
  const how = mode === undefined || mode === 'enforce' ? '' : `, in mode ${mode}: nothing is dropped there`;
  return `judged on ${pod.nodeName}${how}`;
}

function reasonsOf({ protocol, programmed, explanation: { directions, connection } }: Answer): unknown[] {
  return [
    protocol,
    programmedKey(programmed),
    ...directions.map(({ direction, verdict, policies, remedy }) => [
      verdict,
      policies.map(({ reason }) => reasonText(reason, direction, connection)),
      remedy,
    ]),
  ];
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function answersData({ answers, notes }: VerifiedAnswers, { assumed }: Inventory): unknown {
  return {
    ...EXPLANATION,
    allowed: answers.every(({ explanation }) => explanation.allowed),
    flows: answers.map(({ source, destination, protocol, port, servicePort, families, explanation, programmed }) => ({
      source: endData(source, assumed),
      destination: endData(destination, assumed),
      protocol,
      port,
      ...(servicePort === undefined ? {} : { servicePort }),
      families: families.map((family) => `IPv${family}`),
      allowed: explanation.allowed,
      ...(programmed ? { programmed: programmed.map(programmedData) } : {}),
      directions: explanation.directions.map(({ direction, verdict, policies, remedy }) => ({
        direction,
        passes: letsPass(verdict),
        verdict: verdict.kind,
        ...(verdict.kind === 'allowed' ? { by: verdict.by } : {}),
        ...(verdict.kind === 'denied' ? { isolatedBy: verdict.isolatedBy } : {}),
        ...(verdict.kind === 'tier-rule' ? { action: verdict.action, by: [verdict.by] } : {}),
        ...(verdict.passedBy ? { passedBy: verdict.passedBy } : {}),
        reason: explainDirection(direction, verdict),
        ...(policies.length === 0
          ? {}
          : {
              policies: policies.map(({ policy, reason }) => ({
                ...policy,
                ...(reason.kind === 'rule' ? { rule: reason.index } : {}),
                reason: reasonText(reason, direction, explanation.connection),
              })),
            }),
        ...(remedy ? { remedy } : {}),
      })),
    })),
    notes,
  };
}

function endData({ name, pod, node, addresses }: Answer['source'], assumed: Inventory['assumed']): unknown {
  const shown = Object.values(addresses).filter((address) => !assumed.has(address));
  const on = node ?? (pod?.nodeName === ASSUMED_NODE ? undefined : pod?.nodeName);
  return {
    name,
    ...(pod ? { namespace: pod.namespace, pod: pod.name } : {}),
    ...(on === undefined ? {} : { node: on }),
    ...(shown.length > 0 ? { addresses: shown } : { addresses: Object.values(addresses), addressesAssumed: true }),
  };
}
