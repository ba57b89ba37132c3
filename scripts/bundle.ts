/** The bundle: portcullis.mjs, the parts it loads when they are asked for, and the licences of the packages in it. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isBuiltin } from 'node:module';
import { build, type Plugin } from 'esbuild';
import { bundledPackages, licenseTexts } from './bundled-licenses.ts';

const ROOT = join(import.meta.dirname, '..');

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const BANNER = `import { createRequire as portcullisCreateRequire } from 'node:module';
const require = portcullisCreateRequire(import.meta.url);`;

/**
 * Node's own modules are taken as objects. An `import` would make a module of each, which reads all that it exports: of node:http that
 * is undici, 2 MB and some 30 ms.
 */
const BUILT_INS: Plugin = {
  name: 'built-ins',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /./ }, ({ path }) =>
      isBuiltin(path) ? { path: path.replace(/^(?:node:)?/, 'node:'), namespace: 'built-in' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'built-in' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
    }));
  },
};

/** Parts of packages that the program does not use, and which they load with the rest: [package, part]. */
const UNUSED: readonly (readonly [importer: string, path: string])[] = [
  ['prom-client', './lib/cluster'],
  ['prom-client', './lib/pushgateway'],
  ['prom-client', '@opentelemetry/api'],
  ['pino', 'thread-stream'],
];

const LEFT_OUT: Plugin = {
  name: 'left-out',
  setup: ({ onResolve, onLoad, onEnd }) => {
    const found = new Set<string>();
    onResolve({ filter: /./ }, ({ path, importer }) => {
      const unused = UNUSED.find((each) => each[1] === path && importer.includes(`/node_modules/${each[0]}/`));
      if (!unused) return undefined;
      found.add(unused.join(' '));
      return { path, namespace: 'left-out' };
    });
    onLoad({ filter: /./, namespace: 'left-out' }, ({ path }) => ({
      contents: `module.exports = class { constructor() { throw new Error(${JSON.stringify(`${path} is not in this bundle`)}); } };`,
    }));
    onEnd(() => {
      const missed = UNUSED.filter((each) => !found.has(each.join(' ')));
      return { errors: missed.map((each) => ({ text: `${each.join(' ')}: nobody imports it any more` })) };
    });
  },
};

/**
 * Replaces `folder` by all that the image needs besides Node.js and the netfilter tools. Resolves to the files that are in it, relative
 * to the root of the sources. Parts of their own, because the agent alone is a tenth of the whole, and what is not read takes no memory.
 */
export async function bundle(folder: string): Promise<readonly string[]> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [{ in: join(ROOT, 'src/main.ts'), out: 'portcullis' }],
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node22.19',
    format: 'esm',
    banner: { js: `#!/usr/bin/env node\n${BANNER}` },
    // Names in stack traces and metrics stay readable.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [BUILT_INS, LEFT_OUT],
    metafile: true,
  });
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.keys(output.inputs));
  const files = inputs.filter((path) => !/^(?:built-in|left-out):/.test(path));
  writeFileSync(join(folder, 'THIRD_PARTY_LICENSES.txt'), licenseTexts(ROOT, bundledPackages(files)));
  return files;
}
