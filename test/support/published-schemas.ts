/** Objects against the schemas that Kubernetes and the Prometheus operator publish, as packages of npm hold them. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Typed {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata?: { readonly name?: string };
}

const MODULES = fileURLToPath(new URL('../../node_modules/', import.meta.url));

/**
 * One line per object and problem: a value that the schema refuses, a field that it does not have. The former is asked of the validator
 * that was made from the schema, the latter of the TypeScript type that was, as validators let unknown fields pass.
 */
export async function schemaProblems(objects: readonly unknown[]): Promise<readonly string[]> {
  const typed = objects as readonly Typed[];
  const [values, fields] = await Promise.all([Promise.all(typed.map(wrongValues)), unknownFields(typed)]);
  return [...values.flat(), ...fields];
}

/** The package's module for a group and version. */
function moduleOf({ apiVersion }: Typed): string {
  const packageName = apiVersion.startsWith('monitoring.coreos.com/')
    ? '@kubernetes-models/prometheus-operator'
    : 'kubernetes-models';
  return `${packageName}/${apiVersion}`;
}

async function wrongValues(object: Typed): Promise<readonly string[]> {
  const models = (await import(moduleOf(object))) as Record<string, new (data: object) => { validate(): void }>;
  const Model = models[object.kind];
  if (!Model) return [`${describe(object)}: ${moduleOf(object)} has no such kind`];
  try {
    new Model(object).validate();
    return [];
  } catch (error) {
    return [`${describe(object)}: ${(error as Error).message}`];
  }
}

async function unknownFields(objects: readonly Typed[]): Promise<readonly string[]> {
  const parent = join(MODULES, '.cache');
  mkdirSync(parent, { recursive: true });
  // Beneath node_modules, so that the compiler finds the packages.
  const folder = mkdtempSync(join(parent, 'schemas-'));
  try {
    const files = objects.map((object, index) => {
      const file = join(folder, `${index}-${object.kind}.ts`);
      const type = `import('${moduleOf(object)}').I${object.kind}`;
      writeFileSync(file, `export const object: ${type} = ${JSON.stringify(object, undefined, 1)};\n`);
      return file;
    });
    return await compile(files);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compile(files: readonly string[]): Promise<readonly string[]> {
  const options =
    '--ignoreConfig --noEmit --strict --skipLibCheck --target esnext --module nodenext --moduleResolution nodenext';
  return new Promise((resolve, reject) => {
    execFile(join(MODULES, '.bin/tsc'), [...options.split(' '), ...files], { timeout: 60_000 }, (error, out, err) => {
      if (!error) resolve([]);
      else if (out.trim() === '') reject(new Error(`tsc: ${err || error.message}`));
      else resolve(out.trim().split('\n'));
    });
  });
}

function describe({ kind, metadata }: Typed): string {
  return `${kind} ${metadata?.name ?? ''}`;
}
