import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import { type ManifestObject, withNamespace } from '../../cluster/read-manifests.ts';
import type { Level, WrittenPolicy } from '../../policy/lint.ts';
import type { CommandContext } from '../command.ts';
import type { LintOptions } from './options.ts';

import { CHECKS, LEVELS, lintPolicies } from '../../policy/lint.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { paintFor } from '../paint.ts';
import { readInventory } from '../source/read-objects.ts';
import { findingsData, findingsText, type Placed, sarif } from './report.ts';

export async function runLint(options: LintOptions, context: CommandContext): Promise<number> {
  const inventory = await readInventory(options, context, { tellsOfPolicies: true });
  if (!inventory) return EXIT_FAILURE;
  const written = inventory.objects.flatMap((from) => policyIn(from, options.namespace));
  const places = new Map(written.map(({ policy, from }) => [`${policy.namespace}/${policy.name}`, from]));
  const isWhole = options.files.length === 0 || isDump(inventory);
  const found = lintPolicies(written, {
    snapshot: inventory.snapshot,
    serviceAddresses: addressesOf(inventory),
    isWhole,
  });
  const placed = found
    .filter(({ check }) => isAtLeast(CHECKS[check][0], options.level))
    .map((finding): Placed => ({ finding, from: places.get(`${finding.object.namespace}/${finding.object.name}`) }));
  context.out(textOf(placed, written.length, options, context));
  const { failOn } = options;
  const fails = failOn !== 'never' && found.some(({ check }) => isAtLeast(CHECKS[check][0], failOn));
  return fails ? EXIT_FAILURE : EXIT_OK;
}

function textOf(placed: readonly Placed[], policies: number, { output }: LintOptions, context: CommandContext): string {
  switch (output) {
    case 'text':
      return findingsText(placed, policies, paintFor(process.stdout, context.env));
    case 'json':
      return `${JSON.stringify(findingsData(placed), undefined, 2)}\n`;
    case 'yaml':
      return stringify(findingsData(placed));
    case 'sarif':
      return `${JSON.stringify(sarif(placed, context.version), undefined, 2)}\n`;
  }
}

function isAtLeast(level: Level, least: Level): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(least);
}

/** What cannot be named as a policy is told by the reader. */
function policyIn(
  from: ManifestObject,
  defaultNamespace: string,
): (WrittenPolicy & { readonly from: ManifestObject })[] {
  const { object } = from;
  if (!isRecord(object) || object.kind !== 'NetworkPolicy' || object.apiVersion !== 'networking.k8s.io/v1') return [];
  const raw = withNamespace(object, defaultNamespace);
  const { policy, problems } = parsePolicy(raw);
  return policy && isRecord(raw) ? [{ raw, policy, problems, from }] : [];
}

/** Manifests with the namespace of the system's own pods are those of a whole cluster. */
function isDump({ objects }: Inventory): boolean {
  return objects.some(
    ({ object }) =>
      isRecord(object) &&
      object.kind === 'Namespace' &&
      isRecord(object.metadata) &&
      object.metadata.name === 'kube-system',
  );
}

function addressesOf({ services }: Inventory): ReadonlyMap<string, string> {
  return new Map(
    services.flatMap(({ namespace, name, clusterIPs }) => clusterIPs.map((ip) => [ip, `${namespace}/${name}`])),
  );
}
