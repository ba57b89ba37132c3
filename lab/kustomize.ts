/**
 * A kustomization folder -> its objects, without kustomize: resources, components, patches, labels, images and ConfigMaps from files, in
 * kustomize's order. Any other field is refused by name, so that nothing is built other than kustomize would. List items that a patch
 * adds stand behind those that were there, not ahead of them.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parse } from 'yaml';
import { messageOf } from '../src/core/error-text.ts';
import { type ManifestObject, parseManifests } from '../src/cluster/read-manifests.ts';
import { cloneJson, isObject, textOf } from './api/json.ts';
import { jsonPatch, mergePatch, strategicPatch } from './api/patch.ts';
import { apiVersionOf, RESOURCES } from './api/resources.ts';
import { SCHEMAS } from './api/schemas.ts';

type Fields = Record<string, unknown>;

/** Names file and field. */
export class KustomizeFailed extends Error {
  override readonly name = 'KustomizeFailed';
}

interface Found {
  readonly object: Fields;
  readonly file: string;
  readonly line: number;
}

const FILE_NAMES = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];
/** The keys of a kustomization in the order kustomize goes by them. */
const STEPS = {
  resources: addResources,
  components: applyComponents,
  configMapGenerator: generateConfigMaps,
  patches: applyPatches,
  labels: addLabels,
  images: setImages,
} satisfies Record<string, (all: readonly Found[], value: unknown, at: Place) => readonly Found[]>;
const OTHER_KEYS = ['apiVersion', 'kind', 'metadata'];

interface Place {
  readonly folder: string;
  readonly file: string;
}

/** The file that makes a folder a kustomization, if there is one. */
export function kustomizationOf(folder: string): string | undefined {
  return FILE_NAMES.map((name) => join(folder, name)).find((path) => existsSync(path));
}

/** Throws KustomizeFailed. */
export function buildKustomization(folder: string): readonly ManifestObject[] {
  return build(folder, 'Kustomization', []);
}

function build(folder: string, kind: 'Kustomization' | 'Component', before: readonly Found[]): readonly Found[] {
  const file = kustomizationOf(folder);
  if (file === undefined) throw new KustomizeFailed(`${folder}: no kustomization.yaml`);
  const fields = readYaml(file);
  if (!isObject(fields)) throw new KustomizeFailed(`${file}: is no mapping`);
  const written = fields.kind ?? 'Kustomization';
  if (written !== kind) throw new KustomizeFailed(`${file}: kind: expected ${kind}, found ${JSON.stringify(written)}`);
  for (const key of Object.keys(fields)) {
    if (key in STEPS || OTHER_KEYS.includes(key)) continue;
    throw new KustomizeFailed(`${file}: ${key}: not known here; build the folder with kustomize`);
  }
  const at = { folder, file };
  let all = before;
  for (const [key, step] of Object.entries(STEPS)) if (fields[key] !== undefined) all = step(all, fields[key], at);
  return all;
}

function addResources(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  const result = [...all];
  for (const path of paths(value, 'resources', at)) {
    const more = isFolder(path) ? build(path, 'Kustomization', []) : readObjects(path);
    for (const each of more) {
      const twice = result.find((other) => identity(other.object) === identity(each.object));
      if (twice)
        throw new KustomizeFailed(`${each.file}:${each.line}: ${identity(each.object)} is in ${twice.file} too`);
      result.push(each);
    }
  }
  return result;
}

function applyComponents(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  return paths(value, 'components', at).reduce((sofar, path) => build(path, 'Component', sofar), all);
}

function generateConfigMaps(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  const made = mappings(value, 'configMapGenerator', at).map((entry) => {
    allowOnly(entry, ['name', 'namespace', 'files', 'options'], 'configMapGenerator', at);
    const options = isObject(entry.options) ? entry.options : {};
    allowOnly(options, ['disableNameSuffixHash', 'labels', 'annotations'], 'configMapGenerator.options', at);
    if (options.disableNameSuffixHash !== true)
      throw new KustomizeFailed(`${at.file}: configMapGenerator: only with options.disableNameSuffixHash: true`);
    const data = Object.fromEntries(paths(entry.files, 'files', at).map((path) => [basename(path), readText(path)]));
    const { labels, annotations } = options;
    const metadata = { name: entry.name, namespace: entry.namespace, labels, annotations };
    return {
      object: withoutUndefined({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data }),
      file: at.file,
      line: 1,
    };
  });
  return [...all, ...made];
}

function applyPatches(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  return mappings(value, 'patches', at).reduce<readonly Found[]>((sofar, entry) => {
    allowOnly(entry, ['path', 'patch', 'target'], 'patches', at);
    const path = typeof entry.path === 'string' ? join(at.folder, entry.path) : at.file;
    const patch = typeof entry.patch === 'string' ? parseYaml(entry.patch, at.file) : readYaml(path);
    const target = isObject(entry.target) ? entry.target : ownTarget(patch, path);
    allowOnly(target, ['group', 'version', 'kind', 'name', 'namespace'], 'patches.target', at);
    const hit = sofar.filter(({ object }) => isTarget(object, target));
    if (hit.length === 0) throw new KustomizeFailed(`${path}: no object matches ${JSON.stringify(target)}`);
    return sofar.map((each) => (hit.includes(each) ? { ...each, object: patched(each.object, patch, path) } : each));
  }, all);
}

/** A patch without `target` names the object that it changes. */
function ownTarget(patch: unknown, path: string): Fields {
  if (!isObject(patch) || !isObject(patch.metadata))
    throw new KustomizeFailed(`${path}: a patch without a target names kind and metadata.name`);
  return { kind: patch.kind, name: patch.metadata.name };
}

function isTarget(object: Fields, { group, version, kind, name, namespace }: Fields): boolean {
  const [first = '', second] = String(object.apiVersion).split('/');
  const metadata = isObject(object.metadata) ? object.metadata : {};
  const actual = [second === undefined ? '' : first, second ?? first, object.kind, metadata.name, metadata.namespace];
  return [group, version, kind, name, namespace].every(
    (wanted, index) => wanted === undefined || wanted === actual[index],
  );
}

/** Strategic for the API's own kinds, a merge patch for others, JSON patch where the patch is a list. */
function patched(object: Fields, patch: unknown, path: string): Fields {
  try {
    if (Array.isArray(patch)) return jsonPatch(object, patch);
    const info = RESOURCES.find((each) => each.kind === object.kind && apiVersionOf(each) === object.apiVersion);
    if (!isObject(patch)) throw new Error('neither an object nor a list of operations');
    return info ? strategicPatch(object, patch, SCHEMAS[info.plural]) : (mergePatch(object, patch) as Fields);
  } catch (error) {
    throw new KustomizeFailed(`${path}: ${messageOf(error)}`, { cause: error });
  }
}

function addLabels(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  return mappings(value, 'labels', at).reduce<readonly Found[]>((sofar, entry) => {
    allowOnly(entry, ['pairs', 'includeTemplates'], 'labels', at);
    const pairs = isObject(entry.pairs) ? entry.pairs : {};
    return sofar.map((each) => {
      const object = withLabels(cloneJson(each.object), pairs);
      const template = templateOf(object);
      if (template && entry.includeTemplates === true) Object.assign(template, withLabels(template, pairs));
      return { ...each, object };
    });
  }, all);
}

function withLabels(object: Fields, pairs: Fields): Fields {
  const metadata = isObject(object.metadata) ? object.metadata : {};
  const labels = isObject(metadata.labels) ? metadata.labels : {};
  return { ...object, metadata: { ...metadata, labels: { ...labels, ...pairs } } };
}

function setImages(all: readonly Found[], value: unknown, at: Place): readonly Found[] {
  return mappings(value, 'images', at).reduce<readonly Found[]>((sofar, entry) => {
    allowOnly(entry, ['name', 'newName', 'newTag', 'digest'], 'images', at);
    return sofar.map((each) => {
      const object = cloneJson(each.object);
      for (const container of containersOf(object)) {
        if (typeof container.image === 'string') container.image = renamed(container.image, entry);
      }
      return { ...each, object };
    });
  }, all);
}

function renamed(image: string, { name, newName, newTag, digest }: Fields): string {
  const [, path, tag = ''] = /^(.*?)((?::[^:/@]+)?(?:@.*)?)$/.exec(image)!;
  if (path !== name) return image;
  const end = digest === undefined ? (newTag === undefined ? tag : `:${textOf(newTag)}`) : `@${textOf(digest)}`;
  return `${textOf(newName ?? path)}${end}`;
}

function containersOf(object: Fields): readonly Fields[] {
  const pod = object.kind === 'Pod' ? object : templateOf(object);
  const spec = isObject(pod?.spec) ? pod.spec : {};
  return ['initContainers', 'containers'].flatMap((list) =>
    Array.isArray(spec[list]) ? spec[list].filter(isObject) : [],
  );
}

function templateOf(object: Fields): Fields | undefined {
  const template = isObject(object.spec) ? object.spec.template : undefined;
  return isObject(template) ? template : undefined;
}

// ---- reading

function readObjects(path: string): readonly Found[] {
  const { objects, problems } = parseManifests(readText(path), path);
  if (problems[0]) throw new KustomizeFailed(problems[0].message);
  return objects.map(({ object, file, line }) => {
    if (!isObject(object)) throw new KustomizeFailed(`${file}:${line}: is no object`);
    return { object, file, line };
  });
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new KustomizeFailed(messageOf(error), { cause: error });
  }
}

function readYaml(path: string): unknown {
  return parseYaml(readText(path), path);
}

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new KustomizeFailed(`${path}: is not valid YAML: ${messageOf(error)}`, { cause: error });
  }
}

function paths(value: unknown, key: string, { folder, file }: Place): readonly string[] {
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string'))
    throw new KustomizeFailed(`${file}: ${key}: expected a list of paths`);
  const remote = value.find((each) => each.includes('://'));
  if (remote !== undefined) throw new KustomizeFailed(`${file}: ${key}: ${remote} is not on this machine`);
  return value.map((each) => join(folder, each));
}

function mappings(value: unknown, key: string, { file }: Place): readonly Fields[] {
  if (!Array.isArray(value) || !value.every(isObject))
    throw new KustomizeFailed(`${file}: ${key}: expected a list of mappings`);
  return value;
}

function allowOnly(fields: Fields, known: readonly string[], key: string, { file }: Place): void {
  const other = Object.keys(fields).find((name) => !known.includes(name));
  if (other !== undefined)
    throw new KustomizeFailed(`${file}: ${key}.${other}: not known here; build the folder with kustomize`);
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

function identity({ apiVersion, kind, metadata }: Fields): string {
  const { name, namespace } = isObject(metadata) ? metadata : {};
  return `${textOf(kind)} ${namespace === undefined ? '' : `${textOf(namespace)}/`}${textOf(name)} (${textOf(apiVersion)})`;
}

function withoutUndefined(value: Fields): Fields {
  return JSON.parse(JSON.stringify(value)) as Fields;
}
