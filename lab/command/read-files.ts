/** What `-f` names -> objects: files, folders, standard input, and what kubectl builds of a kustomization. */
import { buffer } from 'node:stream/consumers';
import type { Manifests, ReadOptions } from '../../src/cluster/read-manifests.ts';
import type { LabCommandOptions } from './options.ts';

import { readManifests } from '../../src/cluster/read-manifests.ts';
import { buildKustomization, NO_KUBECTL } from '../../src/host/kustomize.ts';
import { buildKustomization as buildHere, KustomizeFailed } from '../kustomize.ts';

export function readGiven({ files, recursive }: Pick<LabCommandOptions, 'files' | 'recursive'>): Promise<Manifests> {
  const readStdin = (): Promise<Uint8Array> => buffer(process.stdin);
  return readManifests(files, { recursive, readStdin, kustomize });
}

/** By kubectl, whose meaning counts; without one by the lab, which refuses what it does not know. */
const kustomize: NonNullable<ReadOptions['kustomize']> = async (folder) => {
  const built = await buildKustomization(folder);
  if (!('error' in built) || built.error !== NO_KUBECTL) return built;
  try {
    const items = buildHere(folder).map(({ object }) => object);
    return { text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) };
  } catch (error) {
    if (!(error instanceof KustomizeFailed)) throw error;
    return { error: `${NO_KUBECTL}, and for the lab alone it is too much: ${error.message}` };
  }
};
