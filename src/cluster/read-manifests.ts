/**
 * YAML and JSON files -> objects, and the ClusterSnapshot that a watch would give of them. For the commands that need no cluster,
 * and for the lab.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import {
  type ClusterPolicy,
  type ClusterSnapshot,
  type LabelledNode,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type NodeRecord,
  type Pod,
  type Policy,
  type Problem,
} from '../policy/model.ts';
import { isRecord, quote } from '../policy/raw-values.ts';
import { describeFileFailure } from './describe-failure.ts';
import {
  type ObjectRecord,
  type Project,
  projectClusterPolicy,
  projectLabelledNode,
  projectNamespace,
  projectNode,
  projectPod,
  projectPolicy,
} from './project.ts';
import { Interner } from './interner.ts';
import { type Position, readYaml, type YamlDocument } from './kubectl-yaml.ts';

export const CLUSTER_POLICY_VERSION = 'policy.networking.k8s.io/v1alpha2';
const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);
const KUSTOMIZATIONS = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];
/** The name of standard input among paths, and in what is said of it. */
export const STDIN = '-';
const STDIN_NAME = 'stdin';

export interface ManifestObject {
  readonly object: unknown;
  /** As given, or joined to the directory given; `stdin` for standard input. */
  readonly file: string;
  /** 1-based line where the object starts. */
  readonly line: number;
  /** Where it is in a file of several: `document 2`, `item 7`, `document 2, item 7`. */
  readonly part?: string;
  /** 1-based line of a field, by keys and indexes; undefined where it is not known. */
  readonly lineAt?: (path: readonly (string | number)[]) => number | undefined;
  /** The same, with the column. */
  readonly positionAt?: (path: readonly (string | number)[]) => Position | undefined;
}

export interface Manifests {
  readonly objects: readonly ManifestObject[];
  /** Files that cannot be read, documents that cannot be parsed. `object.kind` is `File`, `object.name` the file. */
  readonly problems: readonly Problem[];
  /** The same for what was read, and probably not as it was meant. */
  readonly warnings: readonly Problem[];
}

export interface ReadOptions {
  /** Folders within folders, too. */
  readonly recursive?: boolean;
  /** What `-` among the paths stands for; absent: nothing, which is a problem. */
  readonly readStdin?: () => Promise<Uint8Array>;
  /** What a folder with a kustomization builds, or why it cannot be built; absent: it cannot. */
  readonly kustomize?: (folder: string) => Promise<{ readonly text: string } | { readonly error: string }>;
}

/**
 * Reads files, and folders with their .yaml, .yml and .json files in order of path. Several documents a file and `kind: List`
 * (or `PodList` ...) are taken apart. Never rejects.
 */
export async function readManifests(paths: readonly string[], options: ReadOptions = {}): Promise<Manifests> {
  const reading = new FileReading(options);
  for (const path of paths) await reading.read(path);
  const { objects, problems, warnings } = reading;
  if (paths.length > 0 && objects.length + problems.length === 0)
    problems.push(fileProblem(reading.names[0] ?? '', undefined, 'holds no object'));
  return { objects, problems, warnings };
}

class FileReading {
  readonly objects: ManifestObject[] = [];
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  /** Of everything read so far. */
  readonly names: string[] = [];
  readonly #options: ReadOptions;

  constructor(options: ReadOptions) {
    this.#options = options;
  }

  async read(path: string): Promise<void> {
    if (path === STDIN) return this.#readStdin();
    try {
      if ((await stat(path)).isDirectory()) await this.#readFolder(path);
      else await this.#readFile(path);
    } catch (error) {
      this.problems.push(fileProblem(path, undefined, describeFileFailure(error, 'manifests', path)));
    }
  }

  async #readStdin(): Promise<void> {
    const { readStdin } = this.#options;
    if (this.names.includes(STDIN_NAME) || !readStdin)
      this.problems.push(fileProblem(STDIN_NAME, undefined, 'can be read once only'));
    else this.#take(await readStdin(), STDIN_NAME);
  }

  async #readFile(path: string): Promise<void> {
    this.#take(await readFile(path), path);
  }

  async #readFolder(path: string): Promise<void> {
    const entries = await readdir(path, { withFileTypes: true });
    if (entries.some(({ name }) => KUSTOMIZATIONS.includes(name))) return this.#build(path);
    const folders = entries.filter((entry) => entry.isDirectory());
    const files = entries.filter((entry) => !entry.isDirectory() && EXTENSIONS.has(extname(entry.name)));
    const wanted = this.#options.recursive ? [...files, ...folders] : files;
    if (wanted.length === 0) {
      const deeper = folders.length > 0 ? `; its ${folders.length} folders are read with -R (--recursive)` : '';
      this.problems.push(fileProblem(path, undefined, `holds no .yaml, .yml or .json file${deeper}`));
    }
    for (const { name } of wanted.sort((a, b) => (a.name < b.name ? -1 : 1))) await this.read(join(path, name));
  }

  async #build(folder: string): Promise<void> {
    const built = await this.#options.kustomize?.(folder);
    if (built && 'text' in built) this.#takeText(built.text, `${folder} (built)`);
    else {
      const why = built ? `: ${built.error}` : '';
      const how = `give what it builds: kubectl kustomize ${folder} | portcullis lab -f -`;
      this.problems.push(fileProblem(folder, undefined, `is a kustomization that cannot be built here${why}; ${how}`));
    }
  }

  #take(bytes: Uint8Array, name: string): void {
    const text = decodeText(bytes);
    if (text === undefined) this.problems.push(fileProblem(name, undefined, 'is no text: neither UTF-8 nor UTF-16'));
    else this.#takeText(text, name);
  }

  #takeText(text: string, name: string): void {
    this.names.push(name);
    const parsed = parseManifests(text, name);
    this.objects.push(...parsed.objects);
    this.problems.push(...parsed.problems);
    this.warnings.push(...parsed.warnings);
  }
}

/** UTF-8, or UTF-16 with a byte order mark, as Windows PowerShell redirects what a command prints. */
function decodeText(bytes: Uint8Array): string | undefined {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The objects in `text`; `file` only names it. */
export function parseManifests(text: string, file: string): Manifests {
  const objects: ManifestObject[] = [];
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  const documents = readYaml(text);
  const count = documents.filter((document) => 'error' in document || document.value !== null).length;
  let number = 0;
  for (const document of documents) {
    if ('value' in document && document.value === null) continue;
    number += 1;
    const part = count > 1 ? `document ${number}` : undefined;
    if ('error' in document) {
      problems.push(fileProblem(file, document.line, part ? `${part} ${document.error}` : document.error));
      continue;
    }
    objects.push(...takeApart(document, file, part));
    for (const { key, line } of document.duplicates)
      warnings.push(fileProblem(file, line, `${quote(key)} is given twice: the later one counts`));
  }
  return { objects, problems, warnings };
}

/**
 * The cluster that the objects describe. Pods and policies without a namespace go to `defaultNamespace`; namespaces that
 * are mentioned but not described exist with no labels of their own. Other kinds are passed over; of two objects with one
 * name the later counts. Problems end in ` (file:line)`.
 */
export function snapshotFromObjects(
  objects: readonly ManifestObject[],
  options: { readonly defaultNamespace: string },
): ClusterSnapshot {
  const reading = new Reading();
  for (const from of objects) {
    const { object } = from;
    switch (kindOf(object)) {
      case 'v1/Pod':
        reading.put(reading.pods, projectPod, from, withNamespace(object, options.defaultNamespace));
        break;
      case 'v1/Namespace':
        reading.put(reading.namespaces, projectNamespace, from, object);
        break;
      case 'v1/Node':
        reading.put(reading.nodes, projectNode, from, object);
        reading.addLabelledNode(object);
        break;
      case 'networking.k8s.io/v1/NetworkPolicy':
        reading.put(reading.policies, projectPolicy, from, withNamespace(object, options.defaultNamespace));
        break;
      case `${CLUSTER_POLICY_VERSION}/ClusterNetworkPolicy`:
        reading.put(reading.clusterPolicies, projectClusterPolicy, from, object);
        break;
      default:
        reading.problems.push(...unknownKind(from));
    }
  }
  reading.addMentionedNamespaces();
  const { pods, namespaces, policies, nodes, clusterPolicies, labelledNodes, problems } = reading;
  const tiers = clusterPolicies.size === 0 ? {} : { clusterPolicies, labelledNodes };
  return { pods, namespaces, policies, nodes, ...tiers, problems };
}

class Reading {
  readonly problems: Problem[] = [];
  readonly pods = new Map<string, Pod>();
  readonly namespaces = new Map<string, Namespace>();
  readonly policies = new Map<string, Policy>();
  readonly nodes = new Map<string, NodeRecord>();
  readonly clusterPolicies = new Map<string, ClusterPolicy>();
  readonly labelledNodes = new Map<string, LabelledNode>();
  readonly #interner = new Interner();

  put<T extends ObjectRecord>(into: Map<string, T>, project: Project<T>, from: ManifestObject, object: unknown): void {
    const projection = project(object, this.#interner);
    const found = [...projection.problems];
    if (projection.kind === 'record') {
      if (into.has(projection.key)) found.push(duplicate(object, projection.key));
      into.set(projection.key, projection.record);
    }
    for (const problem of found)
      this.problems.push({ ...problem, message: `${problem.message} (${from.file}:${from.line})` });
  }

  /** What is wrong with it was said of the node itself. */
  addLabelledNode(object: unknown): void {
    const projection = projectLabelledNode(object, this.#interner);
    if (projection.kind === 'record') this.labelledNodes.set(projection.key, projection.record);
  }

  addMentionedNamespaces(): void {
    for (const { namespace: name } of [...this.pods.values(), ...this.policies.values()]) {
      if (this.namespaces.has(name)) continue;
      const labels = this.#interner.labels({ [NAMESPACE_NAME_LABEL]: name });
      this.namespaces.set(name, { name, uid: '', labels });
    }
  }
}

/** A List is its items, and theirs where one of them is a List. */
function takeApart(document: YamlDocument, file: string, part: string | undefined): ManifestObject[] {
  const found: ManifestObject[] = [];
  const take = (value: unknown, path: readonly (string | number)[], where: string | undefined): void => {
    if (!isList(value)) {
      const line = (path.length === 0 ? undefined : document.lineAt(path)) ?? document.line;
      const lineAt = (field: readonly (string | number)[]): number | undefined => document.lineAt([...path, ...field]);
      const positionAt: ManifestObject['positionAt'] = (field) => document.positionAt([...path, ...field]);
      found.push({ object: value, file, line, lineAt, positionAt, ...(where === undefined ? {} : { part: where }) });
      return;
    }
    const { kind, apiVersion } = value;
    // The items of a typed list (PodList, as the API server sends it) do not repeat their kind.
    const typed = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
    for (const [index, item] of value.items.entries()) {
      const given = isRecord(item) ? { ...typed, ...item } : item;
      take(given, [...path, 'items', index], [where, `item ${index + 1}`].filter(Boolean).join(', '));
    }
  };
  take(document.value, [], part);
  return found;
}

function isList(value: unknown): value is Record<string, unknown> & { kind: string; items: unknown[] } {
  return isRecord(value) && typeof value.kind === 'string' && value.kind.endsWith('List') && Array.isArray(value.items);
}

function kindOf(object: unknown): string {
  return isRecord(object) ? `${String(object.apiVersion)}/${String(object.kind)}` : '';
}

/** The object, in `namespace` if it names none. */
export function withNamespace(object: unknown, namespace: string): unknown {
  if (!isRecord(object) || !isRecord(object.metadata)) return object;
  const given = object.metadata.namespace;
  if (given !== undefined && given !== null && given !== '') return object;
  return { ...object, metadata: { ...object.metadata, namespace } };
}

/** Deployments and the like are none of our business; what looks like one of ours and is not, is. */
function unknownKind(from: ManifestObject): Problem[] {
  const { object } = from;
  if (!isRecord(object) || typeof object.kind !== 'string')
    return [fileProblem(from.file, from.line, `holds ${quote(object)} without a kind: ignored`)];
  if (!['Pod', 'Namespace', 'Node', 'NetworkPolicy', 'ClusterNetworkPolicy'].includes(object.kind)) return [];
  const { metadata } = object;
  const name = isRecord(metadata) && typeof metadata.name === 'string' ? metadata.name : '';
  const message = `is ${quote(object.apiVersion)}, not the ${object.kind} this agent knows: ignored (${from.file}:${from.line})`;
  return [{ object: { kind: object.kind, name }, field: 'apiVersion', message }];
}

function duplicate(object: unknown, key: string): Problem {
  const kind = isRecord(object) ? String(object.kind) : '';
  const at = key.indexOf('/');
  const named = at < 0 ? { name: key } : { namespace: key.slice(0, at), name: key.slice(at + 1) };
  return {
    object: { kind, ...named },
    field: 'metadata.name',
    message: 'is given more than once: the last one counts',
  };
}

function fileProblem(file: string, line: number | undefined, message: string): Problem {
  const at = line === undefined ? '' : ` (${file}:${line})`;
  return { object: { kind: 'File', name: file }, field: '', message: `${message}${at}` };
}
