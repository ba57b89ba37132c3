/** The lab's API server over TLS in a process of its own, filled with a cluster. This file is both the handle and that process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startApiServer } from '../lab/api/api-server.ts';
import { ApiStore } from '../lab/api/api-store.ts';
import type { ApiObject, ResourceName } from '../lab/api/objects.ts';
import { endWithUs } from './children.ts';
import { ClusterModel, type ClusterOptions, podObject, type RawObject } from './cluster-model.ts';
import { wallMs } from './stalls.ts';

/** It holds every object whole, and its text. */
const SERVER_FLAGS = ['--max-old-space-size=12000'];

export type ApiResource = 'pods' | 'namespaces' | 'networkpolicies' | 'nodes';
export type ApiObjects = Readonly<Record<ApiResource, readonly object[]>>;
type Argv = readonly [string, ...string[]];

/** One write to the API. */
export interface ApiWrite {
  readonly type: 'put' | 'remove';
  readonly resource: ApiResource;
  readonly object: RawObject;
}

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
  /** Wall clock in ms just before the write. */
  write(write: ApiWrite): Promise<number>;
  stop(): void;
}

export interface ApiProcessOptions {
  /** How a command is made to run in another network namespace. */
  readonly inside?: (argv: Argv) => Argv;
}

/** Resolves when the server listens. Its files go into `directory`. */
export async function startApiProcess(
  cluster: ClusterOptions | ApiObjects,
  directory: string,
  { inside = (argv) => argv }: ApiProcessOptions = {},
): Promise<ApiProcess> {
  const file = join(mkdtempSync(join(directory, 'api-')), 'cluster.json');
  writeFileSync(file, JSON.stringify(cluster));
  const [program, ...args] = inside([process.execPath, ...SERVER_FLAGS, import.meta.filename, file]);
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  endWithUs(child);
  const messages = new Messages(child);
  const access = (await messages.next()) as Access;
  const serviceAccountDir = join(directory, `account-${child.pid}`);
  mkdirSync(serviceAccountDir);
  writeFileSync(join(serviceAccountDir, 'token'), access.token);
  writeFileSync(join(serviceAccountDir, 'ca.crt'), access.caPem);
  const kubeconfigFile = join(serviceAccountDir, 'kubeconfig');
  writeFileSync(kubeconfigFile, access.kubeconfig);
  const write = (what: ApiWrite): Promise<number> => {
    child.send(what);
    return messages.next() as Promise<number>;
  };
  return { ...access, serviceAccountDir, kubeconfigFile, write, stop: () => child.kill() };
}

/** What the process says, in order: each message belongs to the one who has waited longest. */
class Messages {
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];
  #ended: Error | undefined;

  constructor(child: ChildProcess) {
    child.on('message', (message) => this.#waiting.shift()?.resolve(message));
    child.once('exit', (code) => {
      this.#ended = new Error(`API server: ended with exit code ${code}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    });
  }

  next(): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#ended);
    const next = Promise.withResolvers<unknown>();
    this.#waiting.push(next);
    return next.promise;
  }
}

async function serve(cluster: ClusterOptions | ApiObjects): Promise<void> {
  const store = new ApiStore();
  if ('networkpolicies' in cluster)
    for (const resource of Object.keys(cluster) as ApiResource[]) put(store, resource, cluster[resource]);
  else fill(store, new ClusterModel(cluster));
  const { port, caPem, token, kubeconfig } = await startApiServer({ store });
  process.on('message', (message) => {
    const { type, resource, object } = message as ApiWrite;
    const at = wallMs();
    if (type === 'put') put(store, resource, [object]);
    else store.storage.remove(resource, object.metadata);
    process.send!(at);
  });
  process.on('disconnect', () => process.exit());
  process.send!({ port, caPem, token, kubeconfig } satisfies Access);
}

function fill(store: ApiStore, model: ClusterModel): void {
  put(store, 'namespaces', model.namespaces);
  put(store, 'networkpolicies', model.policies);
  put(store, 'nodes', [model.node]);
  for (const pod of model.pods) put(store, 'pods', [podObject(pod, { fullSize: true })]);
}

/** Past the API's checks, which would take longer than what is measured. */
function put(store: ApiStore, resource: ResourceName, objects: readonly object[]): void {
  for (const object of objects) store.storage.put(resource, object as ApiObject);
}

if (process.argv[1] === import.meta.filename)
  await serve(JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as ClusterOptions | ApiObjects);
