/**
 * Reads a group of scenarios from Markdown (README.md in this folder says how one is written). What is not understood is an error
 * `file:line: ...`, so that a slip of the pen never makes a scenario ask less.
 */
import { readChange, readPolicy } from './read-change.ts';
import { readCluster } from './read-cluster.ts';
import { readExpectations } from './read-expectation.ts';
import type { Change, Expectation, Scenario, Step, Topology } from './scenario.ts';
import { fail, readYaml, type Source } from './source.ts';

export interface Suite {
  readonly name: string;
  readonly scenarios: readonly Scenario[];
}

/** A line that means something, or a fenced block. */
type Part =
  | { readonly kind: 'suite' | 'scenario' | 'step' | 'change' | 'text'; readonly text: string; readonly source: Source }
  | Block;

interface Block {
  readonly kind: 'block';
  readonly language: string;
  readonly text: string;
  readonly source: Source;
  /** Stands for itself with each of these for n; from the line `For n = 0, 2:` before it. */
  readonly numbers?: readonly number[];
}

const EACH = /^For n = (\d+(?:, \d+)*):$/;
const REFUSED = 'The API server refuses such objects today.';
const UNSUPPORTED = 'This agent does not understand all of it.';

/** `file`: what errors call it. */
export function readScenarios(text: string, file: string): Suite {
  const [first, ...parts] = partsOf(text, file);
  if (first?.kind !== 'suite') return fail({ file, line: 1 }, 'does not begin with "# name of the group"');
  const start = parts.findIndex(({ kind }) => kind === 'scenario');
  const prose = parts.slice(0, start < 0 ? parts.length : start).find(({ kind }) => kind !== 'text');
  if (prose !== undefined) fail(prose.source, 'belongs to no scenario; one begins with "## ID title (S-01, S-02)"');
  const groups = splitBefore(parts.slice(start < 0 ? parts.length : start), 'scenario');
  if (groups.length === 0) fail(first.source, 'has no scenario');
  return { name: first.text, scenarios: groups.map(readScenario) };
}

function partsOf(text: string, file: string): readonly Part[] {
  const lines = text.split('\n');
  const parts: Part[] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    const source = { file, line: index + 1 };
    if (line.startsWith('```')) {
      const end = lines.indexOf('```', index + 1);
      if (end < 0) fail(source, 'the block does not end');
      const body = lines.slice(index + 1, end).join('\n');
      const block: Block = { kind: 'block', language: line.slice(3), text: body, source: { file, line: index + 2 } };
      const numbers = EACH.exec(parts.at(-1)?.text ?? '')?.[1]
        ?.split(', ')
        .map(Number);
      if (numbers !== undefined) parts.pop();
      parts.push(numbers === undefined ? block : { ...block, numbers });
      index = end;
    } else if (line.trim() !== '') parts.push({ ...kindOf(line), source });
  }
  return parts;
}

function kindOf(line: string): { kind: Exclude<Part['kind'], 'block'>; text: string } {
  if (line.startsWith('# ')) return { kind: 'suite', text: line.slice(2) };
  if (line.startsWith('## ')) return { kind: 'scenario', text: line.slice(3) };
  if (line.startsWith('### ')) return { kind: 'step', text: line.slice(4) };
  if (line.startsWith('- ')) return { kind: 'change', text: line.slice(2) };
  return { kind: 'text', text: line };
}

/** Each group begins with a part of `kind`; so do `parts`. */
function splitBefore(parts: readonly Part[], kind: Part['kind']): readonly (readonly Part[])[] {
  const groups: Part[][] = [];
  for (const part of parts) {
    if (part.kind === kind) groups.push([part]);
    else groups.at(-1)!.push(part);
  }
  return groups;
}

function readScenario([heading, ...parts]: readonly Part[]): Scenario {
  const match = /^([A-Z]-\d+[a-z]?) (.+) \(([SN]-\d\d(?:, [SN]-\d\d)*)\)$/.exec(heading!.text);
  if (match === null) return fail(heading!.source, `"${heading!.text}" is not "ID title (S-01, N-60)"`);
  const [, id = '', title = '', cites = ''] = match;
  const { before, cluster, after } = splitAtCluster(parts, heading!.source);
  const refused = before.some(({ text }) => text === REFUSED);
  const unsupported = before.some(({ text }) => text === UNSUPPORTED);
  const strange = before.find(({ text }) => text !== REFUSED && text !== UNSUPPORTED && !isNote(text));
  if (strange !== undefined) fail(strange.source, notUnderstood(strange));
  const topology = readClusterBlock(cluster);
  return {
    id,
    title,
    cites: cites.split(', '),
    ...(refused ? { refusedByApi: true } : {}),
    ...(unsupported ? { unsupported: true } : {}),
    topology,
    steps: readSteps(after, topology, cluster.source),
  };
}

function splitAtCluster(
  parts: readonly Part[],
  source: Source,
): { before: readonly Part[]; cluster: Block; after: readonly Part[] } {
  const at = parts.findIndex(({ kind }) => kind !== 'text');
  const cluster = parts[at];
  if (cluster?.kind !== 'block' || cluster.language !== 'yaml' || cluster.numbers !== undefined) {
    return fail(cluster?.source ?? source, 'the first thing of a scenario is its cluster, a block of yaml');
  }
  return { before: parts.slice(0, at), cluster, after: parts.slice(at + 1) };
}

function readClusterBlock({ text, source }: Block): Topology {
  const [document, ...more] = readYaml(text, source);
  if (document === undefined || more.length > 0) return fail(source, 'a cluster is one YAML document');
  return readCluster(document.value, document.source);
}

/** Names are optional: a step called `Step 2` is the second and has none, and the first needs no heading. */
function readSteps(parts: readonly Part[], topology: Topology, source: Source): readonly Step[] {
  const start: Part = { kind: 'step', text: 'Step 1', source };
  const groups = splitBefore(parts[0]?.kind === 'step' ? parts : [start, ...parts], 'step');
  const known = new Set([
    ...topology.nodes,
    ...topology.outside.map(({ name }) => name),
    ...topology.pods.map(({ key }) => key),
  ]);
  return groups.map(([heading, ...body], index) => readStep(heading!, body, index + 1, known));
}

function readStep(heading: Part, parts: readonly Part[], number: number, known: Set<string>): Step {
  const given = /^Step (\d+)$/.exec(heading.text)?.[1];
  if (given !== undefined && Number(given) !== number) fail(heading.source, `this is step ${number}`);
  const changes: Change[] = [];
  const expect: Expectation[] = [];
  for (const part of parts) {
    const found = readPart(part, known);
    if (found.changes.length > 0 && expect.length > 0)
      fail(part.source, 'a change after a table begins a new step: "### name"');
    changes.push(...found.changes);
    expect.push(...found.expect);
  }
  if (expect.length === 0) fail(heading.source, 'the step has no table');
  return { ...(given === undefined ? { name: heading.text } : {}), changes, expect };
}

function readPart(part: Part, known: Set<string>): Pick<Step, 'changes' | 'expect'> {
  const { source, text } = part;
  if (part.kind === 'change') {
    const change = readChange(text, source);
    if (change.kind === 'create-pod') known.add(change.pod.key);
    return { changes: [change], expect: [] };
  }
  if (part.kind === 'text' && isNote(text)) return { changes: [], expect: [] };
  if (part.kind !== 'block') return fail(source, notUnderstood(part));
  if (part.language === 'yaml')
    return { changes: policyTexts(part).flatMap((each) => readYaml(each, source).map(readPolicy)), expect: [] };
  if (part.numbers !== undefined) fail(source, 'only policies are repeated');
  if (part.language !== 'text') return fail(source, `a block of "${part.language}"; policies are yaml, tables text`);
  const { table, expectations } = readExpectations(text, source);
  const strange = [...table.rows, ...table.columns].find((name) => !known.has(name));
  if (strange !== undefined) fail(source, `the table names ${strange}, which does not exist`);
  return { changes: [], expect: expectations };
}

/** The block once for each of its numbers, which stand where it has `{n}` or, added up, `{9000+n}`. */
function policyTexts({ text, numbers }: Block): readonly string[] {
  if (numbers === undefined) return [text];
  return numbers.map((n) => text.replaceAll(/\{(?:(\d+)\+)?n\}/g, (_, base = '0') => String(Number(base) + n)));
}

function isNote(text: string): boolean {
  return text.startsWith('> ');
}

function notUnderstood({ text }: Part): string {
  return `"${text}" is neither heading, change ("- ..."), block nor note ("> ...")`;
}
