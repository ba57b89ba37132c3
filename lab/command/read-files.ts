/** What `-f` names -> objects: files, folders, standard input, and what kubectl builds of a kustomization. */
import { buffer } from 'node:stream/consumers';
import type { Manifests } from '../../src/cluster/read-manifests.ts';
import type { LabCommandOptions } from './options.ts';

import { readManifests } from '../../src/cluster/read-manifests.ts';
import { CommandFailed, runCommand } from '../../src/host/command.ts';

/** Remote resources of a kustomization are fetched by kubectl. */
const BUILD_TIMEOUT_MS = 60_000;

export function readGiven({ files, recursive }: Pick<LabCommandOptions, 'files' | 'recursive'>): Promise<Manifests> {
  return readManifests(files, { recursive, readStdin: () => buffer(process.stdin), kustomize });
}

async function kustomize(folder: string): Promise<{ readonly text: string } | { readonly error: string }> {
  try {
    const { stdout } = await runCommand({ argv: ['kubectl', 'kustomize', folder], timeoutMs: BUILD_TIMEOUT_MS });
    return { text: stdout };
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    if (error.reason === 'not-found') return { error: 'there is no kubectl on PATH' };
    return { error: error.stderr.trim().split('\n').at(-1) || error.message };
  }
}
