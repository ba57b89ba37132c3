/** Chains that go, in a commit of their own after all others: what their rules have counted can be read in between, in nobody's way. */
import type { PlanLine, Step } from './plan.ts';

type RulesStep = Extract<Step, { readonly kind: 'rules' | 'final-rules' }>;

/** Nothing leads to such chains any more once the first commit is in, so no packet meets a verdict that depends on when they go. */
export function deletionsLast(steps: readonly Step[]): readonly Step[] {
  const deletions: Step[] = [];
  const others = steps.map((step): Step => {
    if (step.kind !== 'rules' || !writesRules(step)) return step;
    const gone = new Set(deletedChains(step));
    if (gone.size === 0) return step;
    const [table, commit] = [step.lines[0]!, step.lines.at(-1)!];
    const goes = (line: PlanLine): boolean => gone.has(line.object);
    deletions.push({ ...step, kind: 'final-rules', lines: [table, ...step.lines.filter(goes), commit] });
    return { ...step, lines: step.lines.filter((line) => !goes(line)) };
  });
  if (deletions.length === 0) return steps;
  const at = others.findIndex(({ kind }) => kind === 'destroy-sets');
  return at < 0 ? [...others, ...deletions] : others.toSpliced(at, 0, ...deletions);
}

export function deletedChains({ lines }: RulesStep): readonly string[] {
  return lines.filter(isDeletion).map(({ object }) => object);
}

export function writesRules({ lines }: RulesStep): boolean {
  return lines.some(({ text }) => text.startsWith('-A ') || text.startsWith('-I '));
}

function isDeletion({ text }: PlanLine): boolean {
  return text.startsWith('-X ');
}
