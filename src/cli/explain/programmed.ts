/** What the rules in the kernels of the nodes that judge a flow do with it, beside what the policies ask for. */
import type { Direction, Family, Protocol } from '../../core/vocabulary.ts';
import type { TracedFlow } from '../../dataplane/dataplane.ts';
import type { TracedFlowPage, TracePage } from '../../telemetry/trace-page.ts';
import type { Answer, Answers } from './questions.ts';

import { ASSUMED_NODE } from '../../cluster/inventory.ts';
import { letsPass } from '../../policy/evaluate.ts';

/** What came of asking one node about one flow. */
export interface Programmed {
  readonly node: string;
  readonly family: Family;
  /** Which of its sides are judged there. */
  readonly directions: readonly Direction[];
  /** What the policies ask this node to do, and its mode lets it. */
  readonly expected: 'passes' | 'dropped' | undefined;
  readonly traced: NodeTrace;
  readonly outcome: 'agrees' | 'disagrees' | 'unknown';
}

export interface VerifiedAnswer extends Answer {
  /** Absent: was not asked. */
  readonly programmed?: readonly Programmed[];
}

export type VerifiedAnswers = Omit<Answers, 'answers'> & { readonly answers: readonly VerifiedAnswer[] };

/** `mode`: in force there. */
export type NodeTrace = { readonly mode: string; readonly flow: TracedFlowPage } | { readonly problem: string };

/** A node's answer to all that it was asked, in that order. */
export type NodeTraces = Pick<TracePage, 'mode' | 'settled' | 'flows'> | { readonly problem: string };

/** `only`: the one that has to be asked again; asks nodes side by side. */
export type AskTraces = (
  questions: ReadonlyMap<string, readonly TracedFlow[]>,
) => Promise<ReadonlyMap<string, NodeTraces>>;

/** Each is traced on up to two nodes, and a node answers so many in a second. */
export const MAX_VERIFIED = 512;
/** A change may be on its way to the rules. */
const TRIES = 4;

/** By answer, in their order: of each node that judges it. */
export async function programmedFor(
  answers: readonly Answer[],
  ask: AskTraces,
): Promise<readonly (readonly Programmed[])[]> {
  const places = answers.map(placesOf);
  let found = await askedOnce(answers, places, ask, () => true);
  for (let tries = 1; tries < TRIES && found.unsettled.size > 0; tries++) {
    const again = await askedOnce(answers, places, ask, (node) => found.unsettled.has(node));
    const programmed = found.programmed.map((each, index) => mergedBy(each, again.programmed[index]!));
    found = { programmed, unsettled: again.unsettled };
  }
  return found.programmed;
}

function mergedBy(before: readonly Programmed[], after: readonly Programmed[]): readonly Programmed[] {
  return before.map((one) => after.find(({ node, family }) => node === one.node && family === one.family) ?? one);
}

interface Place {
  readonly node: string;
  readonly family: Family;
  readonly directions: readonly Direction[];
  readonly flow: TracedFlow;
}

function placesOf({ source, destination, protocol, port, servicePort, families }: Answer): readonly Place[] {
  // What a pod sends to its own address stays in it, and meets no rule (N-71).
  if (source.pod !== undefined && source.name === destination.name && servicePort === undefined) return [];
  const sides = [
    { direction: 'egress', node: source.pod?.nodeName },
    { direction: 'ingress', node: destination.pod?.nodeName },
  ] as const;
  const nodes = Map.groupBy(
    sides.filter(({ node }) => node !== undefined),
    ({ node }) => node!,
  );
  return families.flatMap((family) =>
    [...nodes].map(([node, judged]) => ({
      node,
      family,
      directions: judged.map(({ direction }) => direction),
      flow: tracedFlow(source.addresses[family]!, destination.addresses[family]!, protocol, port),
    })),
  );
}

function tracedFlow(source: string, destination: string, protocol: Protocol, port: number): TracedFlow {
  return { source, destination, protocol, port };
}

async function askedOnce(
  answers: readonly Answer[],
  places: readonly (readonly Place[])[],
  ask: AskTraces,
  isAsked: (node: string) => boolean,
): Promise<{ readonly programmed: readonly (readonly Programmed[])[]; readonly unsettled: ReadonlySet<string> }> {
  const asked = places.flat().filter(({ node }) => node !== ASSUMED_NODE && isAsked(node));
  const byNode = Map.groupBy(asked, ({ node }) => node);
  const found = await ask(new Map([...byNode].map(([node, each]) => [node, each.map(({ flow }) => flow)])));
  const unsettled = new Set<string>();
  const programmed = places.map((each, index) =>
    each
      .filter(({ node }) => isAsked(node))
      .map((place) => {
        const answer = found.get(place.node);
        const told = programmedAt(place, answers[index]!, traceOf(place, byNode.get(place.node) ?? [], answer));
        const isMoving = answer !== undefined && 'settled' in answer && !answer.settled;
        if (told.outcome !== 'agrees' && isMoving) unsettled.add(place.node);
        return told;
      }),
  );
  return { programmed, unsettled };
}

function traceOf(place: Place, asked: readonly Place[], answer: NodeTraces | undefined): NodeTrace {
  if (place.node === ASSUMED_NODE) return { problem: 'the pod is on no node yet' };
  if (!answer) return { problem: `no agent runs on ${place.node}` };
  if ('problem' in answer) return answer;
  const flow = answer.flows[asked.indexOf(place)];
  return flow
    ? { mode: answer.mode.inForce, flow }
    : { problem: 'its agent answered something else than it was asked' };
}

function programmedAt(place: Place, { explanation }: Answer, traced: NodeTrace): Programmed {
  const { node, family, directions } = place;
  const verdicts = explanation.directions.filter(({ direction }) => directions.includes(direction));
  const passes = verdicts.every(({ verdict }) => letsPass(verdict));
  const told = { node, family, directions, traced };
  if ('problem' in traced) return { ...told, expected: undefined, outcome: 'unknown' };
  const { mode, flow } = traced;
  const expected = passes || mode !== 'enforce' ? 'passes' : 'dropped';
  const outcome = flow.verdict === 'unknown' ? 'unknown' : flow.verdict === expected ? 'agrees' : 'disagrees';
  return { ...told, expected, outcome };
}
