/** What `-f` names -> objects: files, folders, standard input, and what kubectl builds of a kustomization. */
import { buffer } from 'node:stream/consumers';
import type { Manifests } from '../../src/cluster/read-manifests.ts';
import type { LabCommandOptions } from './options.ts';

import { readManifests } from '../../src/cluster/read-manifests.ts';
import { buildKustomization } from '../../src/host/kustomize.ts';

export function readGiven({ files, recursive }: Pick<LabCommandOptions, 'files' | 'recursive'>): Promise<Manifests> {
  const readStdin = (): Promise<Uint8Array> => buffer(process.stdin);
  return readManifests(files, { recursive, readStdin, kustomize: buildKustomization });
}
