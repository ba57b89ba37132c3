import { randomBytes } from 'node:crypto';
import { stringify } from 'yaml';
import type { Connection } from '../../cluster/connection.ts';
import type { CommandContext } from '../command.ts';
import type { Droppers } from './droppers.ts';
import type { VerifyOptions } from './options.ts';

import { loadConnection } from '../../cluster/connection.ts';
import { readList } from '../../cluster/read-list.ts';
import { systemClock } from '../../core/clock.ts';
import { messageOf } from '../../core/error-text.ts';
import { MODE_KEY } from '../../core/vocabulary.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { mayHaveAgent } from '../ask-nodes.ts';
import { EXIT_DISAGREES, EXIT_FAILURE, EXIT_OK, EXIT_UNKNOWN } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { paintFor } from '../paint.ts';
import { withAgents } from '../source/agents.ts';
import { inventoryFrom, readObjects } from '../source/read-objects.ts';
import { readDroppers } from './droppers.ts';
import { asked, BadExpectations, type Expectation, isExpectations, readExpectations } from './expectations.ts';
import {
  expectationsData,
  expectationsJUnit,
  expectationsText,
  type ExpectationReport,
  isAsExpected,
  isAsPoliciesSay,
} from './expectations-report.ts';
import { sampleOf } from './plan.ts';
import { type Probed, probeExpectations } from './probe-expectations.ts';
import { isEnforced, type NodeFacts, reportData, reportJUnit, reportText } from './report.ts';
import { CannotProbe, type ProbeRunOptions, runProbes, sweepNamespaces, withNamespace } from './run-probes.ts';

const REQUEST_MS = 20_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** Throws `UsageProblem`. */
export async function runVerify(options: VerifyOptions, context: CommandContext): Promise<number> {
  try {
    return options.files.length === 0
      ? await verifyNodes(options, context)
      : await verifyExpectations(options, context);
  } catch (error) {
    if (error instanceof BadExpectations) throw new UsageProblem(error.message);
    if (!(error instanceof CannotProbe)) throw error;
    context.err(`portcullis verify: ${error.message}\n`);
    return EXIT_UNKNOWN;
  }
}

// --------------------------------------------------------------------------------------------------------- enforcement

async function verifyNodes(options: VerifyOptions, context: CommandContext): Promise<number> {
  const report = await withRun(options, context, async (run, connection) => {
    const nodes = await nodesOf(connection, options.nodes, context.signal);
    const begun = systemClock.now();
    const told = await withNamespace(run, async () => ({
      checks: await runProbes({ ...run, nodes: nodes.map(({ name }) => name) }),
      droppers: await droppersOf(options, run.namespace, context),
    }));
    return { namespace: run.namespace, nodes, ...told, seconds: (systemClock.now() - begun) / 1_000 };
  });
  print(options, context, {
    text: () => reportText(report, paintFor(process.stdout, context.env)),
    data: () => reportData(report),
    junit: () => reportJUnit(report),
  });
  return isEnforced(report) ? EXIT_OK : EXIT_FAILURE;
}

/** Ready, and such that policies could be enforced there. */
async function nodesOf(
  connection: Connection,
  count: number | undefined,
  signal: AbortSignal,
): Promise<readonly NodeFacts[]> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]);
  const page = await readList(connection, { path: '/api/v1/nodes', signal: limited }, MAX_BYTES);
  if (page.kind !== 'list')
    throw new CannotProbe(
      `nodes cannot be listed: ${page.kind === 'refused' ? `HTTP ${page.status}: ${page.said}` : 'no list'}`,
    );
  const usable = page.items.filter(isRecord).flatMap(nodeFacts);
  if (usable.length === 0) throw new CannotProbe('no node is ready that pods with policies could run on');
  return sampleOf(
    usable.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    count,
  );
}

function nodeFacts({ metadata, status }: RawRecord): NodeFacts[] {
  if (!isRecord(metadata)) return [];
  const labels = isRecord(metadata.labels) ? metadata.labels : {};
  const annotations = isRecord(metadata.annotations) ? metadata.annotations : {};
  const conditions = isRecord(status) && Array.isArray(status.conditions) ? status.conditions.filter(isRecord) : [];
  const isReady = conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True');
  if (!isReady || !mayHaveAgent(labels as Readonly<Record<string, string>>)) return [];
  const mode = annotations[MODE_KEY] ?? labels[MODE_KEY];
  return [{ name: String(metadata.name), ...(typeof mode === 'string' ? { mode } : {}) }];
}

/** Whatever enforces here, agents are asked; that there are none is no reason to fail. */
async function droppersOf(options: VerifyOptions, namespace: string, context: CommandContext): Promise<Droppers> {
  try {
    return await withAgents(options.agents, options.kubeconfig, context, (ask) => readDroppers(ask, namespace));
  } catch (error) {
    if (context.signal.aborted) throw error;
    return { droppers: [], notes: [`what dropped is not told: ${messageOf(error)}`] };
  }
}

// -------------------------------------------------------------------------------------------------------- expectations

async function verifyExpectations(options: VerifyOptions, context: CommandContext): Promise<number> {
  const given = await readObjects(options, context);
  if (!given) return EXIT_FAILURE;
  const expectations = given.filter(isExpectations).flatMap((each) => readExpectations(each, options.namespace));
  if (expectations.length === 0)
    throw new UsageProblem('--file: no object of kind ReachExpectations is among what was given');
  const manifests = given.filter((each) => !isExpectations(each));
  if (options.probe && manifests.length > 0)
    throw new UsageProblem('--probe: sends packets in a cluster: give expectations, and no manifests');
  const report = await reportOn(expectations, manifests, options, context);
  if (!report) return EXIT_FAILURE;
  print(options, context, {
    text: () => expectationsText(report, paintFor(process.stdout, context.env)),
    data: () => expectationsData(report),
    junit: () => expectationsJUnit(report),
  });
  if (!isAsExpected(report)) return EXIT_FAILURE;
  return isAsPoliciesSay(report) ? EXIT_OK : EXIT_DISAGREES;
}

async function reportOn(
  expectations: readonly Expectation[],
  manifests: NonNullable<Awaited<ReturnType<typeof readObjects>>>,
  options: VerifyOptions,
  context: CommandContext,
): Promise<ExpectationReport | undefined> {
  const begun = systemClock.now();
  const objects = manifests.length > 0 ? manifests : await readObjects({ ...options, files: [] }, context);
  if (!objects) return undefined;
  const inventory = inventoryFrom(objects, options, context);
  const judged = expectations.map((each) => asked(each, inventory));
  const seconds = (): number => (systemClock.now() - begun) / 1_000;
  if (!options.probe) return { judged, seconds: seconds() };
  const probed = await withRun(
    options,
    context,
    (run): Promise<Probed> => withNamespace(run, (namespace) => probeExpectations(judged, run, namespace)),
  );
  return { judged, probed, seconds: seconds() };
}

// --------------------------------------------------------------------------------------------------------------- a run

/** With a connection, and without what runs before it left behind. */
async function withRun<T>(
  { kubeconfig, image, startMs, settleMs }: VerifyOptions,
  { env, signal, err }: CommandContext,
  work: (run: ProbeRunOptions, connection: Connection) => Promise<T>,
): Promise<T> {
  const transport = await loadConnection({ env, ...(kubeconfig === undefined ? {} : { kubeconfig }) });
  const isTerminal = process.stderr.isTTY;
  const onProgress = (text: string): void => {
    if (isTerminal) err(`\r\u001B[2K... ${text}`);
  };
  try {
    const left = await sweepNamespaces(transport, systemClock.wallTime(), signal);
    if (left.length > 0) err(`! taken away, as runs that were killed left it behind: namespace ${left.join(', ')}\n`);
    const namespace = `portcullis-verify-${randomBytes(3).toString('hex')}`;
    const clock = systemClock;
    return await work(
      { transport, namespace, nodes: [], image, startMs, settleMs, clock, signal, onProgress },
      transport,
    );
  } finally {
    if (isTerminal) err('\r\u001B[2K');
    transport.close();
  }
}

interface Forms {
  readonly text: () => string;
  readonly data: () => unknown;
  readonly junit: () => string;
}

function print({ output }: VerifyOptions, { out }: CommandContext, { text, data, junit }: Forms): void {
  const forms = {
    text,
    json: () => `${JSON.stringify(data(), undefined, 2)}\n`,
    yaml: () => stringify(data()),
    junit,
  };
  out(forms[output]());
}
