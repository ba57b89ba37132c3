/** Manifests or a cluster -> what can be asked about. */
import { buffer } from 'node:stream/consumers';
import type { CommandContext } from '../command.ts';
import type { Inventory } from '../../cluster/inventory.ts';
import type { ManifestObject } from '../../cluster/read-manifests.ts';
import type { ObjectSource } from './options.ts';

import { loadConnection } from '../../cluster/connection.ts';
import { inventoryOf } from '../../cluster/inventory.ts';
import { readCluster } from '../../cluster/read-cluster.ts';
import { readManifests } from '../../cluster/read-manifests.ts';
import { buildKustomization } from '../../host/kustomize.ts';
import { problemText } from '../../telemetry/problem-log.ts';

/**
 * Undefined: what was given cannot be used, which was said. What is wrong with objects goes to standard error, unless the caller tells of
 * policies itself.
 */
export async function readInventory(
  source: ObjectSource,
  context: CommandContext,
  { tellsOfPolicies = false }: { readonly tellsOfPolicies?: boolean } = {},
): Promise<Inventory | undefined> {
  const objects = await readObjects(source, context);
  return objects && inventoryFrom(objects, source, context, tellsOfPolicies);
}

/** Says what is wrong with the objects, as `readInventory` does. */
export function inventoryFrom(
  objects: readonly ManifestObject[],
  source: ObjectSource,
  context: CommandContext,
  tellsOfPolicies = false,
): Inventory {
  const inventory = inventoryOf(objects, { defaultNamespace: source.namespace, podCidr: source.podCidr });
  tellProblems(inventory, context, tellsOfPolicies);
  return inventory;
}

const POLICY_KINDS = new Set(['NetworkPolicy', 'ClusterNetworkPolicy']);

export function tellProblems({ snapshot }: Inventory, { err }: CommandContext, tellsOfPolicies = false): void {
  for (const problem of snapshot.problems) {
    const isTold = tellsOfPolicies && POLICY_KINDS.has(problem.object.kind) && problem.field !== 'apiVersion';
    if (!isTold) err(`! ${problemText(problem)}\n`);
  }
}

/** Of the files, or of the cluster where there are none. Undefined: they cannot be used, which was said. */
export async function readObjects(
  source: ObjectSource,
  context: CommandContext,
): Promise<readonly ManifestObject[] | undefined> {
  return source.files.length > 0 ? readGiven(source, context) : readLive(source, context);
}

async function readGiven(
  { files, recursive }: ObjectSource,
  { err }: CommandContext,
): Promise<readonly ManifestObject[] | undefined> {
  const options = { recursive, readStdin: () => buffer(process.stdin), kustomize: buildKustomization };
  const { objects, problems, warnings } = await readManifests(files, options);
  for (const { object, message } of [...problems, ...warnings]) err(`! ${object.name}: ${message}\n`);
  // Half of what was meant would give answers about something else.
  return problems.length > 0 ? undefined : objects;
}

async function readLive({ kubeconfig }: ObjectSource, context: CommandContext): Promise<readonly ManifestObject[]> {
  const connection = await loadConnection({
    env: context.env,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  });
  const isTerminal = process.stderr.isTTY;
  const onProgress = (text: string): void => {
    if (isTerminal) context.err(`\r\u001B[2K... ${text}`);
  };
  try {
    const { objects, warnings } = await readCluster(connection, context.signal, onProgress);
    if (isTerminal) context.err('\r\u001B[2K');
    for (const warning of warnings) context.err(`! ${warning}\n`);
    return objects;
  } finally {
    connection.close();
  }
}
