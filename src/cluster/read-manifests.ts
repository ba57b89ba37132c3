/** YAML and JSON files -> the same ClusterSnapshot that a watch gives. For the commands that need no cluster. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { type Document, isMap, isNode, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import type { ClusterSnapshot, Namespace, NodeRecord, Pod, Policy, Problem } from '../policy/model.ts';
import { isRecord, quote } from '../policy/raw-values.ts';
import { describeFileFailure } from './describe-failure.ts';
import {
  NAMESPACE_NAME_LABEL,
  type ObjectRecord,
  type Project,
  projectNamespace,
  projectNode,
  projectPod,
  projectPolicy,
} from './project.ts';
import { Interner } from './interner.ts';
import { messageOf } from '../core/error-text.ts';

const EXTENSIONS = new Set(['.yaml', '.yml', '.json']);
/** Above this JSON is read by JSON.parse, twenty times faster than YAML, at the price of line numbers. */
const MAX_JSON_WITH_LINES = 1024 * 1024;
/** YAML aliases may expand without limit otherwise. */
const MAX_ALIASES = 1000;

export interface ManifestObject {
  readonly object: unknown;
  /** As given, or joined to the directory given. */
  readonly file: string;
  /** 1-based line where the object starts; 1 for every item of a large JSON file. */
  readonly line: number;
}

export interface Manifests {
  readonly objects: readonly ManifestObject[];
  /** Files that cannot be read, documents that cannot be parsed. `object.kind` is `File`, `object.name` the file. */
  readonly problems: readonly Problem[];
}

/**
 * Reads files, and directories with all their .yaml, .yml and .json files, deepest included, in order of path. Several
 * documents a file and `kind: List` (or `PodList` ...) are taken apart. Never rejects.
 */
export async function readManifests(paths: readonly string[]): Promise<Manifests> {
  const objects: ManifestObject[] = [];
  const problems: Problem[] = [];
  for (const path of paths) {
    for (const file of await filesOf(path, problems)) {
      const text = await readText(file, problems);
      if (text === undefined) continue;
      const parsed = parseManifests(text, file);
      objects.push(...parsed.objects);
      problems.push(...parsed.problems);
    }
  }
  return { objects, problems };
}

/** The objects in `text`; `file` only names it. */
export function parseManifests(text: string, file: string): Manifests {
  const found = text.length > MAX_JSON_WITH_LINES ? largeJson(text) : undefined;
  if (found !== undefined) return { objects: takeApart(found, () => 1, file, 1), problems: [] };
  const objects: ManifestObject[] = [];
  const problems: Problem[] = [];
  const lineCounter = new LineCounter();
  const lineAt = (offset: number | undefined): number => lineCounter.linePos(offset ?? 0).line || 1;
  const documents = parseAllDocuments(text, { lineCounter, prettyErrors: false, logLevel: 'error' });
  // Without any document the library returns an empty list that carries no errors.
  for (const document of documents as readonly Document.Parsed[]) {
    const [error] = document.errors;
    if (error) {
      problems.push(fileProblem(file, lineAt(error.pos[0]), `is not valid YAML: ${error.message}`));
      continue;
    }
    const value = toValue(document, file, lineAt(document.contents?.range[0]), problems);
    if (value === undefined || value === null) continue;
    objects.push(
      ...takeApart(value, (index) => lineAt(itemStart(document, index)), file, lineAt(document.contents?.range[0])),
    );
  }
  return { objects, problems };
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
        break;
      case 'networking.k8s.io/v1/NetworkPolicy':
        reading.put(reading.policies, projectPolicy, from, withNamespace(object, options.defaultNamespace));
        break;
      default:
        reading.problems.push(...unknownKind(from));
    }
  }
  reading.addMentionedNamespaces();
  const { pods, namespaces, policies, nodes, problems } = reading;
  return { pods, namespaces, policies, nodes, problems };
}

class Reading {
  readonly problems: Problem[] = [];
  readonly pods = new Map<string, Pod>();
  readonly namespaces = new Map<string, Namespace>();
  readonly policies = new Map<string, Policy>();
  readonly nodes = new Map<string, NodeRecord>();
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

  addMentionedNamespaces(): void {
    for (const { namespace: name } of [...this.pods.values(), ...this.policies.values()]) {
      if (this.namespaces.has(name)) continue;
      const labels = this.#interner.labels({ [NAMESPACE_NAME_LABEL]: name });
      this.namespaces.set(name, { name, uid: '', labels });
    }
  }
}

async function filesOf(path: string, problems: Problem[]): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const entries = await readdir(path, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory() && EXTENSIONS.has(extname(entry.name)))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch (error) {
    problems.push(fileProblem(path, undefined, describeFileFailure(error, 'manifests', path)));
    return [];
  }
}

async function readText(file: string, problems: Problem[]): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    problems.push(fileProblem(file, undefined, describeFileFailure(error, 'manifests', file)));
    return undefined;
  }
}

function largeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toValue(document: Document.Parsed, file: string, line: number, problems: Problem[]): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    problems.push(fileProblem(file, line, `cannot be read: ${messageOf(error)}`));
    return undefined;
  }
}

/** A List is its items; its own line counts for what is no object. */
function takeApart(value: unknown, lineOf: (item: number) => number, file: string, line: number): ManifestObject[] {
  if (!isRecord(value) || typeof value.kind !== 'string' || !value.kind.endsWith('List') || !Array.isArray(value.items))
    return [{ object: value, file, line }];
  const { kind, apiVersion } = value;
  // The items of a typed list (PodList, as the API server sends it) do not repeat their kind.
  const typed = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
  return value.items.map((item: unknown, index) => ({
    object: isRecord(item) ? { ...typed, ...item } : item,
    file,
    line: lineOf(index),
  }));
}

function itemStart(document: Document.Parsed, index: number): number | undefined {
  const items = isMap(document.contents) ? document.contents.get('items', true) : undefined;
  const item: unknown = isSeq(items) ? items.items[index] : undefined;
  return isNode(item) ? (item as Node).range?.[0] : undefined;
}

function kindOf(object: unknown): string {
  return isRecord(object) ? `${String(object.apiVersion)}/${String(object.kind)}` : '';
}

function withNamespace(object: unknown, namespace: string): unknown {
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
  if (!['Pod', 'Namespace', 'Node', 'NetworkPolicy'].includes(object.kind)) return [];
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
