/**
 * What a shape of policies costs, from the API object to the lines for the kernel: a program of its own, so that neither other tests nor
 * their coverage show in the counts. Arguments: `count` or `heap`, then the sizes. Prints one JSON line per shape and size.
 *
 * Work is what V8 counts of blocks of our code that were run, which is the same on every machine and on every run.
 */
import { Session } from 'node:inspector/promises';
import type { Policy } from '../../src/policy/model.ts';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { ObservedState, Plan } from '../../src/dataplane/iptables/plan/plan.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import { NodeRenderer } from '../../src/dataplane/iptables/render/render-node.ts';
import { namespace, parsedPolicy } from './builders.ts';
import { LAYOUT } from './fake-cluster.ts';
import { HOSTILE_SHAPES, type HostileNamespace } from './hostile-shapes.ts';

export interface Work {
  readonly shape: string;
  readonly count: number;
  /** Bytes of the policies as JSON. */
  readonly bytes: number;
  /** Blocks of our code that were run; 0 unless they are counted. */
  readonly operations: number;
  /** Bytes that the stages keep. */
  readonly heap: number;
  readonly clauses: number;
  /** RETURN rules of the endpoint chains of both families, and of the longest of these. */
  readonly rules: number;
  readonly longest: number;
  readonly legend: number;
  readonly sets: number;
  readonly members: number;
  /** For the kernel, of the first sync; and, where operations are counted, of one after the last rule was taken out. */
  readonly lines: number;
  readonly editedLines: number;
}

/** What the stages hold between two syncs. */
class Stages {
  readonly compiler = new NodeCompiler('node-1');
  readonly renderer = new NodeRenderer();
  observed: ObservedState = {
    families: {
      4: { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } },
      6: { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } },
    },
    sets: new Map(),
  };

  load({ policies, pods }: HostileNamespace): void {
    this.compiler.namespace('evil', namespace('evil'));
    for (const pod of pods) this.compiler.pod(`${pod.namespace}/${pod.name}`, pod);
    for (const object of policies) this.put(parsedPolicy(object));
  }

  put(policy: Policy): void {
    this.compiler.policy(`${policy.namespace}/${policy.name}`, policy);
  }

  sync(): Plan {
    const ruleset = this.renderer.render(this.compiler.intent(), { ...LAYOUT, mode: 'enforce' });
    const plan = diff(ruleset, this.observed, { remembered: true });
    this.observed = plan.after;
    return plan;
  }
}

function withoutLastRule(policy: Policy): Policy {
  return { ...policy, ingress: policy.ingress.slice(0, -1), egress: policy.egress.slice(0, -1) };
}

const linesOf = (plan: Plan): number => plan.steps.reduce((sum, { lines }) => sum + lines.length, 0);

/** Calls `work` and counts the blocks of src/ that are run meanwhile. Exact only where V8 does not optimise. */
async function counted(session: Session, work: () => void): Promise<number> {
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  work();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  await session.post('Profiler.stopPreciseCoverage');
  const functions = result.filter(({ url }) => url.includes('/src/')).flatMap((file) => file.functions);
  return functions.flatMap(({ ranges }) => ranges).reduce((sum, { count }) => sum + count, 0);
}

function heapUsed(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
}

async function measure(session: Session | undefined, shape: string, count: number): Promise<Work> {
  const input = HOSTILE_SHAPES[shape]!(count);
  const bytes = input.policies.reduce((sum, object) => sum + JSON.stringify(object).length, 0);
  const stages = new Stages();
  const before = heapUsed();
  let found: Found | undefined;
  let editedLines = 0;
  const work = (): void => {
    stages.load(input);
    found = whatIsThere(stages, stages.sync());
    if (!session) return;
    stages.put(withoutLastRule(parsedPolicy(input.policies.at(-1))));
    editedLines = linesOf(stages.sync());
  };
  const operations = session ? await counted(session, work) : work();
  return { shape, count, bytes, operations: operations ?? 0, ...found!, editedLines, heap: heapUsed() - before };
}

type Found = Pick<Work, 'clauses' | 'rules' | 'legend' | 'longest' | 'sets' | 'members' | 'lines'>;

function whatIsThere({ compiler, observed: { families, sets } }: Stages, plan: Plan): Found {
  const chains = Object.values(families).flatMap((family) =>
    [...family.chains].filter(([name]) => /^PCL-[EI]-/.test(name)).map(([, lines]) => lines),
  );
  const numbers = (pattern: RegExp): number[] =>
    chains.map((lines) => lines.filter((line) => pattern.test(line)).length);
  const sum = (all: readonly number[]): number => all.reduce((total, number) => total + number, 0);
  return {
    clauses: sum(compiler.intent().programs.map((program) => acceptRules(program).length)),
    rules: sum(numbers(/-j RETURN$/)),
    longest: Math.max(...numbers(/-j RETURN$/)),
    legend: sum(numbers(/^-m comment/)),
    sets: sets.size,
    members: sum([...sets.values()].map(({ members }) => members.size)),
    lines: linesOf(plan),
  };
}

const [mode, ...sizes] = process.argv.slice(2);
const session = mode === 'count' ? new Session() : undefined;
session?.connect();
await session?.post('Profiler.enable');
for (const shape of Object.keys(HOSTILE_SHAPES)) {
  for (const size of sizes) console.log(JSON.stringify(await measure(session, shape, Number(size))));
}
session?.disconnect();
