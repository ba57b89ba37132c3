/** Nodes are asked for traces: their agents, by the API server's pod proxy, or what was saved of one. */
import type { Inventory } from '../../cluster/inventory.ts';
import type { TracedFlow } from '../../dataplane/dataplane.ts';
import type { TracePage } from '../../telemetry/trace-page.ts';
import type { AskOptions } from '../ask-nodes.ts';
import type { Observed } from '../render/observed.ts';
import type { AskTraces, NodeTraces } from './programmed.ts';

import { parseJson } from '../../cluster/read-answer.ts';
import { sleep } from '../../core/clock.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { MAX_TRACED, TRACE_VERSION, tracedFlowText, tracePage } from '../../telemetry/trace-page.ts';
import { readPages } from '../ask-nodes.ts';
import { tracesOfSaved } from '../render/node-rules.ts';

const GAP_MS = 1_050;
/** Others may be asking as well. */
const TRIES = 10;
const TOO_SOON = 429;

/** Of running agents. Throws `CannotAsk`. */
export function askAgents(options: AskOptions): AskTraces {
  return async (questions) => {
    const found = [...questions].map(async ([node, flows]) => [node, await askNode(options, node, flows)] as const);
    return new Map((await Promise.all(found)).flatMap(([node, traces]) => (traces ? [[node, traces]] : [])));
  };
}

/** Undefined: there is no agent. */
async function askNode(
  options: AskOptions,
  node: string,
  flows: readonly TracedFlow[],
): Promise<NodeTraces | undefined> {
  const pages: TracePage[] = [];
  for (let start = 0; start < flows.length; start += MAX_TRACED) {
    const page = await askPart(options, node, flows.slice(start, start + MAX_TRACED));
    if (!page || 'problem' in page) return page;
    pages.push(page);
  }
  const [first] = pages;
  return (
    first && { ...first, settled: pages.every(({ settled }) => settled), flows: pages.flatMap((page) => page.flows) }
  );
}

async function askPart(
  options: AskOptions,
  node: string,
  flows: readonly TracedFlow[],
): Promise<TracePage | { readonly problem: string } | undefined> {
  const query = new URLSearchParams(flows.map((flow): [string, string] => ['flow', tracedFlowText(flow)]));
  for (let tries = 1; ; tries++) {
    const answers = await readPages(options, `/trace?${query.toString()}`, [node]);
    // While an agent is replaced its node has two.
    const { answer } = answers.find((each) => 'body' in each.answer) ?? answers[0] ?? {};
    if (!answer) return undefined;
    if ('body' in answer) return pageIn(answer.body);
    if (answer.status !== TOO_SOON || tries >= TRIES) return answer;
    await sleep(GAP_MS, options.signal);
  }
}

function pageIn(body: Buffer): TracePage | { readonly problem: string } {
  const page = parseJson(body);
  if (!isRecord(page) || !Array.isArray(page.flows)) return { problem: 'what answers at its port is no agent' };
  if (page.version !== TRACE_VERSION)
    return { problem: `its agent answers in format ${String(page.version)}, this program reads ${TRACE_VERSION}` };
  return page as unknown as TracePage;
}

/** Of the one node that was saved. */
export function askSaved(node: string, inventory: Inventory, observed: Observed): AskTraces {
  return async (questions) => {
    const flows = questions.get(node);
    if (!flows) return new Map();
    const { modeAnnotation, modeLabel } = inventory.snapshot.nodes.get(node) ?? {};
    const page = tracePage(flows, {
      nodeName: node,
      agent: undefined,
      verdicts: await tracesOfSaved(inventory.snapshot, node, flows, observed),
    });
    const inForce = modeAnnotation ?? modeLabel ?? 'enforce';
    return new Map([[node, { ...page, mode: { inForce, source: 'default' }, settled: true }]]);
  };
}
