/**
 * An API server in a process of its own that streams a cluster and, made as they are sent, any amount of hostile objects: no server holds
 * them. Edits one policy of the measured node on request. This file is both the handle and that process.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { API_KINDS } from '../src/cluster/kinds.ts';
import type { ObjectKind } from '../src/core/vocabulary.ts';
import { ClusterModel, type ClusterOptions, type RawObject, podObject, policyObject } from './cluster-model.ts';
import { HOSTILE_KINDS } from './hostile-objects.ts';

/** Keeps quiet watches alive. */
const BOOKMARK_MS = 5_000;
const VERSION = 1_000_000_000;

interface Task {
  readonly cluster: ClusterOptions;
  readonly hostileMB: number;
}

export class HostileServer {
  readonly kubeconfigFile: string;
  readonly #child: ChildProcess;
  #edits = 0;

  private constructor(child: ChildProcess, kubeconfigFile: string) {
    this.#child = child;
    this.kubeconfigFile = kubeconfigFile;
  }

  static async start(task: Task, directory: string): Promise<HostileServer> {
    const child = spawn(process.execPath, ['--max-old-space-size=4000', import.meta.filename, JSON.stringify(task)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const [port] = (await once(child, 'message')) as [number];
    const file = join(directory, `kubeconfig-${port}`);
    const named = {
      name: 'bench',
      cluster: { server: `http://127.0.0.1:${port}` },
      context: { cluster: 'bench', user: 'bench' },
    };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [named],
      contexts: [named],
      users: [{ name: 'bench', user: {} }],
    };
    writeFileSync(file, JSON.stringify({ ...config, 'current-context': 'bench' }));
    return new HostileServer(child, file);
  }

  /** Changes what a policy of a local pod lets through; with it comes a hostile policy that is changed, if there are any. */
  edit(): void {
    this.#child.send(++this.#edits);
  }

  stop(): void {
    this.#child.kill();
  }
}

// ------------------------------------------------------------------------------------------------------- that process

async function serve({ cluster, hostileMB }: Task): Promise<void> {
  const model = new ClusterModel(cluster);
  const watches = new Map<ObjectKind, ServerResponse>();
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const kind = (Object.keys(API_KINDS) as ObjectKind[]).find((each) => API_KINDS[each].path === url.pathname);
    if (kind === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'application/json' });
    if (url.searchParams.get('watch') !== 'true')
      return void response.end(
        JSON.stringify({ kind: 'List', metadata: { resourceVersion: `${VERSION}` }, items: [] }),
      );
    const isList = url.searchParams.get('sendInitialEvents') === 'true';
    void stream(response, isList ? objectsOf(kind, model, hostileMB * 1e6) : [], isList).then(() =>
      watches.set(kind, response),
    );
  });
  setInterval(() => {
    for (const response of watches.values()) response.write(bookmark(false));
  }, BOOKMARK_MS);
  process.on('message', (edit: number) => {
    const response = watches.get('networkpolicies');
    response?.write(line('MODIFIED', editedPolicy(edit)));
    if (hostileMB > 0) response?.write(line('MODIFIED', hostileEdit(edit)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.send!((server.address() as AddressInfo).port);
}

/** As fast as the other side reads; the answer stays open. */
async function stream(response: ServerResponse, objects: Iterable<RawObject>, isList: boolean): Promise<void> {
  const lines = Readable.from(
    (function* () {
      for (const object of objects) yield line('ADDED', object);
      yield bookmark(isList);
    })(),
    { objectMode: true, highWaterMark: 1 },
  );
  lines.pipe(response, { end: false });
  await once(lines, 'end');
}

function* objectsOf(kind: ObjectKind, model: ClusterModel, hostileBytes: number): Generator<RawObject, void> {
  if (kind === 'namespaces') yield* model.namespaces;
  if (kind === 'nodes') yield model.node;
  if (kind === 'pods') for (const pod of model.pods) yield podObject(pod, { fullSize: true });
  if (kind === 'networkpolicies') {
    yield* model.policies;
    yield editedPolicy(0);
  }
  for (const { resource, part, make } of HOSTILE_KINDS) {
    if (resource !== kind) continue;
    for (let n = 0, bytes = 0; bytes < hostileBytes * part; n++) {
      const object = make(n);
      bytes += JSON.stringify(object).length;
      yield object;
    }
  }
}

/** Of the namespace of the first local pods. */
function editedPolicy(edit: number): RawObject {
  const ingress = [{ ports: [{ protocol: 'TCP', port: 7000 + (edit % 1000) }] }];
  return policyObject('team-0', 'edited', { podSelector: {}, policyTypes: ['Ingress'], ingress }, VERSION + 2 * edit);
}

function hostileEdit(edit: number): RawObject {
  const { make } = HOSTILE_KINDS[edit % 3]!;
  const object = make(edit);
  return { ...object, metadata: { ...object.metadata, resourceVersion: `${VERSION + 2 * edit + 1}` } };
}

function line(type: string, object: object): string {
  return `${JSON.stringify({ type, object })}\n`;
}

function bookmark(endsList: boolean): string {
  const annotations = endsList ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  return line('BOOKMARK', { metadata: { resourceVersion: `${VERSION}`, ...annotations } });
}

if (process.argv[1] === import.meta.filename) await serve(JSON.parse(process.argv[2]!) as Task);
