/** A node's rules, or what would change of them, as the tools read them, and as data for programs. */
import type { PlannedChange } from '../../dataplane/dataplane.ts';
import type { RenderOptions } from './options.ts';
import type { NodeRules } from './node-rules.ts';

export const API_VERSION = 'portcullis.dev/v1alpha1';

/** With a first line that the tools pass over. */
export function rulesText(
  node: string,
  { mode, plan }: RenderOptions,
  rules: NodeRules,
  change: PlannedChange,
): string {
  const { endpoints, localAddresses } = rules.intent;
  const pods = new Set(localAddresses.values()).size;
  const what = plan ? 'what would change' : 'from nothing';
  return `# node ${node}, ${mode}, ${what}: policies select ${endpoints.length} of its ${pods} pods\n${change.text()}`;
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function rulesData(
  node: string,
  { mode, plan }: RenderOptions,
  rules: NodeRules,
  change: PlannedChange,
): unknown {
  const { outcome, intent } = rules;
  return {
    apiVersion: API_VERSION,
    kind: plan ? 'NodePlan' : 'NodeRules',
    node,
    mode,
    dataplane: rules.dataplane,
    isEmpty: change.isEmpty,
    summary: change.counts,
    ...(outcome.size ? { size: outcome.size() } : {}),
    steps: change.steps,
    problems: intent.problems,
  };
}
