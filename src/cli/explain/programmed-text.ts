/** What nodes' rules do with a flow, in words and as data. */
import type { TracedFlowPage } from '../../telemetry/trace-page.ts';
import type { Paint } from '../paint.ts';
import type { Programmed } from './programmed.ts';

/** Lines for people, below a flow. */
export function programmedLines(programmed: readonly Programmed[], paint: Paint): readonly string[] {
  if (programmed.length === 0) return ['  programmed: no node judges it'];
  return programmed.flatMap((each) => nodeLines(each, programmed, paint));
}

function nodeLines(each: Programmed, all: readonly Programmed[], paint: Paint): string[] {
  const { node, family, traced, outcome, expected } = each;
  const families = new Set(all.map((other) => other.family));
  const head = `  programmed on ${node}${families.size > 1 ? ` for IPv${family}` : ''}: `;
  if ('problem' in traced) return [`${head}${paint('yellow', 'unknown')}: ${traced.problem}`];
  const { flow, mode } = traced;
  const path = flow.path.map((line) => paint('dim', `    ${line}`));
  const others = flow.others.map((line) => `    not followed, as it is somebody else's: ${line}`);
  const rest = [...path, ...others];
  if (outcome === 'unknown') return [`${head}${paint('yellow', 'unknown')}: ${flow.why ?? 'no reason given'}`, ...rest];
  const said = `${verdictText(flow, paint)}${modeText(mode)}${flow.why === null ? '' : ` (${flow.why})`}`;
  const wrong =
    outcome === 'disagrees'
      ? [
          `    ${paint('alarm', 'DISAGREES')}: by policies and mode it is to be ${expected === 'passes' ? 'let through' : 'dropped'}`,
        ]
      : [];
  return [`${head}${said}`, ...wrong, ...rest];
}

function verdictText({ verdict, decided }: TracedFlowPage, paint: Paint): string {
  const by = decided.map(({ direction, action, rules, policies }) => {
    const whose =
      rules.length > 0 ? rules.join(', ') : policies.length > 0 ? policies.join(', ') : 'no policy in particular';
    return `${direction} ${ACTIONS[action]} ${whose}`;
  });
  const shown = verdict === 'dropped' ? paint('red', 'dropped') : paint('green', 'let through');
  return [shown, ...by].join('; ');
}

const ACTIONS = {
  allow: 'allowed by',
  deny: 'denied by',
  'would-deny': 'would be denied by',
  'would-deny-alone': 'would be denied, were it enforced alone, by',
  'would-allow': 'would be allowed by',
} as const;

function modeText(mode: string): string {
  return mode === 'enforce' ? '' : `, in mode ${mode}: nothing is dropped there`;
}

/** What tells two flows with the same reasons apart. */
export function programmedKey(programmed: readonly Programmed[] = []): unknown {
  return programmed.map(({ node, family, outcome, traced }) => [
    node,
    family,
    outcome,
    'problem' in traced ? traced.problem : [traced.mode, traced.flow.verdict, traced.flow.why, traced.flow.decided],
  ]);
}

/** Stable, as the rest of an answer. */
export function programmedData({ node, family, directions, expected, traced, outcome }: Programmed): unknown {
  const told = { node, family: `IPv${family}`, directions, outcome };
  if ('problem' in traced) return { ...told, problem: traced.problem };
  const { verdict, why, decided, path, others } = traced.flow;
  return { ...told, mode: traced.mode, expected, verdict, ...(why === null ? {} : { why }), decided, path, others };
}
