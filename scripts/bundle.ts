/** The bundle: portcullis.mjs, the parts it loads when they are asked for, and the licences of the packages in it. */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, join } from 'node:path';
import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild';
import { ffiFile } from '../src/host/ffi-file.ts';
import { bundledPackages, licenseTexts } from './bundled-licenses.ts';
import { asScript, refuseCircles } from './part-script.ts';

const ROOT = join(import.meta.dirname, '..');

/**
 * Node's own modules are taken as objects. An `import` would make a module of each, which reads all that it exports: of node:http that
 * is undici, 2 MB and some 30 ms. Of what is imported by name, only the names in use are read, once: esbuild's own copy of an object
 * for its importers has a getter for each name.
 */
const BUILT_INS: Plugin = {
  name: 'built-ins',
  setup: (bundler) => {
    bundler.onResolve({ filter: /./ }, ({ path: wanted, kind }) => {
      if (!isBuiltin(wanted)) return undefined;
      const path = wanted.replace(/^(?:node:)?/, 'node:');
      return { path, namespace: kind === 'require-call' ? 'built-in' : 'built-in-names', sideEffects: false };
    });
    bundler.onLoad({ filter: /./, namespace: 'built-in' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
    bundler.onLoad({ filter: /./, namespace: 'built-in-names' }, async ({ path }) => {
      const names = Object.keys((await import(path)) as object).filter((name) => /^(?!default$)\w+$/.test(name));
      const each = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => all.${name})();`);
      const all = `const all = /* @__PURE__ */ process.getBuiltinModule(${JSON.stringify(path)});`;
      return { contents: [all, 'export default all;', ...each].join('\n') };
    });
  },
};

const KUBECONFIG_CLIENT = '@kubernetes/client-node';

/** Parts of packages that the program does not use, and which they load with the rest: [package, part]. */
const UNUSED: readonly (readonly [importer: string, path: string])[] = [
  ['prom-client', './lib/cluster'],
  ['prom-client', './lib/pushgateway'],
  ['prom-client', './lib/summary'],
  ['prom-client', '@opentelemetry/api'],
  ['pino', 'thread-stream'],
  ['pino', '@pinojs/redact'],
  // Requests are the program's own: of the client it takes what reads a kubeconfig and finds credentials.
  [KUBECONFIG_CLIENT, './gen/index.js'],
  [KUBECONFIG_CLIENT, 'undici'],
];

/** Modules of Node.js of which a package needs hardly anything, and what it gets instead: together they take 1 MB. */
const REPLACED: readonly (readonly [importer: string, path: string, contents: string])[] = [
  // The program starts no workers.
  ['pino', 'worker_threads', 'exports.isMainThread = true;'],
  ['sonic-boom', 'assert', 'module.exports = (ok, message) => { if (!ok) throw new Error(message); };'],
];

const REPLACE: Plugin = {
  name: 'replace',
  setup: (bundler) => {
    const found = new Set<string>();
    const rowOf = (path: string, importer: string) =>
      REPLACED.find((each) => each[1] === path && importer.includes(`/node_modules/${each[0]}/`));
    bundler.onResolve({ filter: /./ }, ({ path, importer }) => {
      const row = rowOf(path, importer);
      if (!row) return undefined;
      found.add(row[1]);
      return { path: row[1], namespace: 'replaced' };
    });
    bundler.onLoad({ filter: /./, namespace: 'replaced' }, ({ path }) => ({
      contents: REPLACED.find((each) => each[1] === path)![2],
    }));
    bundler.onEnd(() => ({ errors: REPLACED.filter((each) => !found.has(each[1])).map(unneeded) }));
  },
};

/** Of its file with KubeConfig, not of its index, which loads all kinds of the API, tar, and web sockets. */
const CREDENTIALS_ONLY: Plugin = {
  name: 'credentials-only',
  setup: (bundler) => {
    const path = join(ROOT, 'node_modules', KUBECONFIG_CLIENT, 'dist/config.js');
    bundler.onResolve({ filter: new RegExp(`^${KUBECONFIG_CLIENT}$`) }, () => ({ path }));
  },
};

const LEFT_OUT: Plugin = {
  name: 'left-out',
  setup: (bundler) => {
    const found = new Set<string>();
    bundler.onResolve({ filter: /./ }, ({ path, importer }) => {
      const unused = UNUSED.find((each) => each[1] === path && importer.includes(`/node_modules/${each[0]}/`));
      if (!unused) return undefined;
      found.add(unused.join(' '));
      return { path, namespace: 'left-out' };
    });
    bundler.onLoad({ filter: /./, namespace: 'left-out' }, ({ path }) => ({
      contents: `module.exports = class { constructor() { throw new Error(${JSON.stringify(`${path} is not in this bundle`)}); } };`,
    }));
    bundler.onEnd(() => ({ errors: UNUSED.filter((each) => !found.has(each.join(' '))).map(unneeded) }));
  },
};

function unneeded([importer, path]: readonly [importer: string, path: string, ...rest: unknown[]]): { text: string } {
  return { text: `${importer} ${path}: nobody imports it any more` };
}

/** Modules that read files beside them: the bundle has what they read. */
const TEXTS: Plugin = {
  name: 'texts',
  setup: (bundler) => {
    bundler.onLoad({ filter: /\/src\/cli\/page\/page-parts\.ts$/ }, async ({ path }) => {
      const values = Object.entries((await import(path)) as object);
      return { contents: values.map(([name, text]) => `export const ${name} = ${JSON.stringify(text)};`).join('\n') };
    });
  },
};

/** The library that calls C functions is a file beside the bundle. */
const FFI = 'koffi.node';
const FFI_PACKAGE = 'node_modules/koffi';
const FFI_FILE: Plugin = {
  name: 'ffi-file',
  setup: (bundler) => {
    bundler.onLoad({ filter: /\/src\/host\/ffi-file\.ts$/ }, () => ({
      contents: `
        import { existsSync, realpathSync } from 'node:fs';
        import { dirname, join } from 'node:path';
        export function ffiFile() {
          const file = join(dirname(realpathSync(process.argv[1])), ${JSON.stringify(FFI)});
          return existsSync(file) ? file : undefined;
        }`,
    }));
  },
};

const COMMON: BuildOptions = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: 'node22.19',
  format: 'esm',
  // Names in stack traces and metrics stay readable.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  logLevel: 'warning',
};

/**
 * Replaces `folder` by all that the image needs besides Node.js and the netfilter tools. Resolves to the files that are in it, relative
 * to the root of the sources. Parts of their own, because the agent alone is a tenth of the whole, and what is not read takes no memory.
 * What an agent needs of them is in three files all the same: to read and take in each part by itself takes as long as all else of a start.
 */
export async function bundle(folder: string): Promise<readonly string[]> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  await build({
    ...COMMON,
    entryPoints: [{ in: join(ROOT, 'src/load-parts.ts'), out: 'portcullis' }],
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    banner: { js: '#!/usr/bin/env node' },
  });
  const { metafile, outputFiles } = await build({
    ...COMMON,
    entryPoints: [{ in: join(ROOT, 'src/main.ts'), out: 'program' }],
    outdir: folder,
    outExtension: { '.js': '.cjs' },
    splitting: true,
    plugins: [REPLACE, BUILT_INS, CREDENTIALS_ONLY, LEFT_OUT, TEXTS, FFI_FILE],
    metafile: true,
    write: false,
  });
  refuseCircles(metafile.outputs);
  const functions = new Map<string, string>();
  for (const { path, text } of outputFiles) functions.set(basename(path), await asFunction(text, basename(path)));
  for (const [file, names] of inFiles(metafile))
    writeFileSync(join(folder, file), `({${names.map((name) => functions.get(name)!).join(',\n')}})\n`);
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.keys(output.inputs));
  const files = inputs.filter((path) => !/^(?:built-in(?:-names)?|left-out|replaced):/.test(path));
  const library = ffiFile();
  if (library !== undefined) copyFileSync(library, join(folder, FFI));
  const packages = [...bundledPackages(files), ...(library === undefined ? [] : [FFI_PACKAGE])].sort();
  writeFileSync(join(folder, 'THIRD_PARTY_LICENSES.txt'), licenseTexts(ROOT, packages));
  return ['src/load-parts.ts', ...files];
}

/** What a start of the agent loads, one after the other: the file of each holds all that it needs and the ones before do not hold. */
export const START = ['src/main.ts', 'src/cli/command-line.ts', 'src/cli/run.ts'];

/** Which parts are in which file; each file is named after its first. Parts that other commands need too are also in files of their own. */
function inFiles({ outputs }: Metafile): ReadonlyMap<string, readonly string[]> {
  const partOf = (entry: string): string => {
    const found = Object.keys(outputs).find((path) => outputs[path]!.entryPoint === entry);
    if (found === undefined) throw new Error(`${entry} is no part of the bundle`);
    return found;
  };
  /** A part and all that it imports, but for what is held already. */
  const hold = (path: string, held: Set<string>): readonly string[] => {
    if (held.has(path)) return [];
    held.add(path);
    const needed = outputs[path]!.imports.filter(({ kind }) => kind === 'import-statement');
    return [path, ...needed.flatMap((each) => hold(each.path, held))];
  };
  const held = new Set<string>();
  const start = START.map((entry) => hold(partOf(entry), held));
  const always = new Set(start[0]);
  const others = Object.keys(outputs).filter((path) => outputs[path]!.entryPoint !== undefined && !held.has(path));
  const alone = others.flatMap((path) => hold(path, always)).map((path) => [path]);
  return new Map([...alone, ...start].map((paths) => [basename(paths[0]!), paths.map((path) => basename(path))]));
}

/** A member of an object, to be called with what a CommonJS module is called with: only scripts can be kept compiled. */
async function asFunction(text: string, name: string): Promise<string> {
  return `${JSON.stringify(name)}:function(exports,require,module){${await asScript(text, name)}\n}`;
}
