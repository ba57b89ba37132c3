/** The lab's API server over TLS in a process of its own, filled with a cluster. This file is both the handle and that process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startApiServer } from '../lab/api/api-server.ts';
import { ApiStore } from '../lab/api/api-store.ts';
import type { ApiObject, ResourceName } from '../lab/api/objects.ts';
import { ClusterModel, type ClusterOptions, podObject, type RawObject } from './cluster-model.ts';

/** It holds every object whole, and its text. */
const SERVER_FLAGS = ['--max-old-space-size=12000'];

interface Access {
  readonly port: number;
  readonly caPem: string;
  readonly token: string;
  readonly kubeconfig: string;
}

export interface ApiProcess extends Access {
  /** Folder with `token` and `ca.crt`, as a pod has it. */
  readonly serviceAccountDir: string;
  readonly kubeconfigFile: string;
  stop(): void;
}

/** Resolves when the server listens. Its files go into `directory`. */
export async function startApiProcess(cluster: ClusterOptions, directory: string): Promise<ApiProcess> {
  const child = spawn(process.execPath, [...SERVER_FLAGS, import.meta.filename, JSON.stringify(cluster)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const access = await firstMessage(child);
  const serviceAccountDir = join(directory, `account-${access.port}`);
  mkdirSync(serviceAccountDir);
  writeFileSync(join(serviceAccountDir, 'token'), access.token);
  writeFileSync(join(serviceAccountDir, 'ca.crt'), access.caPem);
  const kubeconfigFile = join(serviceAccountDir, 'kubeconfig');
  writeFileSync(kubeconfigFile, access.kubeconfig);
  return { ...access, serviceAccountDir, kubeconfigFile, stop: () => child.kill() };
}

function firstMessage(child: ChildProcess): Promise<Access> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as Access));
    child.once('exit', (code) => reject(new Error(`API server: ended with exit code ${code}`)));
  });
}

async function serve(options: ClusterOptions): Promise<void> {
  const store = new ApiStore();
  const model = new ClusterModel(options);
  put(store, 'namespaces', model.namespaces);
  put(store, 'networkpolicies', model.policies);
  put(store, 'nodes', [model.node]);
  for (const pod of model.pods) put(store, 'pods', [podObject(pod, { fullSize: true })]);
  const { port, caPem, token, kubeconfig } = await startApiServer({ store });
  process.send!({ port, caPem, token, kubeconfig } satisfies Access);
}

/** Past the API's checks, which would take longer than what is measured. */
function put(store: ApiStore, resource: ResourceName, objects: readonly RawObject[]): void {
  for (const object of objects) store.storage.put(resource, object as unknown as ApiObject);
}

if (process.argv[1] === import.meta.filename) await serve(JSON.parse(process.argv[2]!) as ClusterOptions);
