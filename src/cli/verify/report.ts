/** What probes found, in words, as data, and as test cases. */
import type { Direction, Family } from '../../core/vocabulary.ts';
import type { Paint } from '../paint.ts';
import type { Check } from './run-probes.ts';
import type { Droppers } from './droppers.ts';

import { type JUnitCase, junitText } from './junit.ts';
import { directionOf, judgeOf, PHASE_TEXTS, PHASES, type Phase } from './plan.ts';

export interface ProbeReport {
  readonly namespace: string;
  readonly nodes: readonly NodeFacts[];
  readonly checks: readonly Check[];
  readonly droppers: Droppers;
  readonly seconds: number;
}

export interface NodeFacts {
  readonly name: string;
  /** Of its annotation or label; absent: none is set. */
  readonly mode?: string;
}

export const VERIFICATION = { apiVersion: 'portcullis.dev/v1alpha1', kind: 'Verification' } as const;

export function isEnforced({ checks }: ProbeReport): boolean {
  return checks.every(({ ok }) => ok);
}

export function reportText(report: ProbeReport, paint: Paint): string {
  const { nodes, checks, droppers, seconds } = report;
  const families = [...new Set(checks.map(({ probe }) => probe.family))].map((family) => `IPv${family}`);
  const head = `${checks.length} probes, ${families.join(' and ')}, from and to pods on ${nodes.map(({ name }) => name).join(', ')}, in ${seconds.toFixed(0)} s`;
  const verdict = isEnforced(report)
    ? paint('green', `policies are enforced on ${nodes.length === 1 ? 'it' : 'all of them'}`)
    : paint('red', `policies are NOT enforced on ${badNodes(report).join(', ')}`);
  return [
    head,
    ...tableLines(report, paint),
    ...failureLines(report),
    ...nodes.flatMap((node) => modeLines(node)),
    ...dropperLines(droppers),
    verdict,
    '',
  ].join('\n');
}

/** One of each phase and node stands for all. */
function failureLines({ checks, nodes }: ProbeReport): string[] {
  const wrong = checks.filter(({ ok }) => !ok);
  const groups = Map.groupBy(wrong, ({ phase, probe }) => `${phase} ${judgeOf(phase, probe)}`);
  return [...groups.values()].map((each) => {
    const more = each.length > 1 ? ` (and ${each.length - 1} more)` : '';
    return `  ${failureText(each[0]!, nodes)}${more}`;
  });
}

function badNodes({ checks, nodes }: ProbeReport): readonly string[] {
  const bad = new Set(checks.filter(({ ok }) => !ok).map((check) => judgeOf(check.phase, check.probe)));
  return [...bad].sort((a, b) => a - b).map((place) => nodes[place]!.name);
}

/** Phases down, judging nodes across. */
function tableLines({ nodes, checks }: ProbeReport, paint: Paint): string[] {
  const width = Math.max(...PHASES.map((phase) => PHASE_TEXTS[phase].length));
  const names = nodes.map(({ name }) => name.padEnd(MARK));
  return [
    `${' '.repeat(width)}  ${names.join('  ')}`.trimEnd(),
    ...PHASES.map((phase) => {
      const cells = nodes.map(({ name }, place) => {
        const own = checks.filter((check) => check.phase === phase && judgeOf(phase, check.probe) === place);
        const wrong = own.filter(({ ok }) => !ok).length;
        const text = wrong === 0 ? 'ok' : `${wrong} of ${own.length}`;
        return paint(wrong === 0 ? 'green' : 'red', text.padEnd(Math.max(MARK, name.length)));
      });
      return `${PHASE_TEXTS[phase].padEnd(width)}  ${cells.join('  ')}`.trimEnd();
    }),
  ];
}

const MARK = 'ok'.length;

function failureText({ phase, probe, expected, seen }: Check, nodes: readonly NodeFacts[]): string {
  const judge = nodes[judgeOf(phase, probe)]!.name;
  const said = seen === undefined ? 'is not answered for in time' : SAID[seen];
  return `${judge}: ${PHASE_TEXTS[phase]}: ${wayText(probe, nodes)} ${said}, and should ${expected ? 'reach' : 'not'}`;
}

const SAID = {
  reached: 'reaches',
  blocked: 'is blocked',
  refused: 'is refused',
  failed: 'could not be tried',
} as const;

function wayText({ from, to, family, port }: Check['probe'], nodes: readonly NodeFacts[]): string {
  return `pod on ${nodes[from]!.name} -> pod on ${nodes[to]!.name} TCP ${port} over IPv${family}`;
}

function modeLines({ name, mode }: NodeFacts): string[] {
  return mode === undefined || mode === 'enforce' ? [] : [`  ${name} is in mode ${mode}: nothing is dropped there`];
}

function dropperLines({ droppers, notes }: Droppers): string[] {
  const lines = droppers.map(({ node, direction, policy, flows }) => `  ${node}: ${direction}: ${policy} (${flows})`);
  return [
    ...(lines.length > 0 ? ['dropped by, as agents tell (denied flows):', ...lines] : []),
    ...notes.map((note) => `note: ${note}`),
  ];
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function reportData(report: ProbeReport): unknown {
  const { namespace, nodes, checks, droppers, seconds } = report;
  return {
    ...VERIFICATION,
    enforced: isEnforced(report),
    namespace,
    seconds,
    nodes: nodes.map((node, place) => ({
      ...node,
      enforced: checks.every((check) => check.ok || judgeOf(check.phase, check.probe) !== place),
    })),
    checks: checks.map((check) => checkData(check, nodes)),
    droppedBy: droppers.droppers,
    notes: droppers.notes,
  };
}

interface CheckData {
  readonly phase: Phase;
  readonly direction?: Direction;
  readonly judge: string;
  readonly from: string;
  readonly to: string;
  readonly family: `IPv${Family}`;
  readonly port: number;
  readonly expected: 'reached' | 'denied';
  readonly seen: Check['seen'] | 'nothing';
  readonly ok: boolean;
}

function checkData({ phase, probe, expected, seen, ok }: Check, nodes: readonly NodeFacts[]): CheckData {
  const direction = directionOf(phase);
  return {
    phase,
    ...(direction ? { direction } : {}),
    judge: nodes[judgeOf(phase, probe)]!.name,
    from: nodes[probe.from]!.name,
    to: nodes[probe.to]!.name,
    family: `IPv${probe.family}`,
    port: probe.port,
    expected: expected ? 'reached' : 'denied',
    seen: seen ?? 'nothing',
    ok,
  };
}

export function reportJUnit({ nodes, checks, seconds }: ProbeReport): string {
  const cases = checks.map(
    (check): JUnitCase => ({
      suite: `enforcement on ${nodes[judgeOf(check.phase, check.probe)]!.name}`,
      name: `${PHASE_TEXTS[check.phase]}: ${wayText(check.probe, nodes)}`,
      ...(check.ok ? {} : { failure: failureText(check, nodes) }),
    }),
  );
  return junitText('portcullis verify', cases, seconds);
}
