/** The bundle: portcullis.mjs, the parts it loads when they are asked for, and the licences of the packages in it. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { bundledPackages, licenseTexts } from './bundled-licenses.ts';

const ROOT = join(import.meta.dirname, '..');

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const BANNER = `import { createRequire as portcullisCreateRequire } from 'node:module';
const require = portcullisCreateRequire(import.meta.url);`;

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
    metafile: true,
  });
  const files = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs));
  writeFileSync(join(folder, 'THIRD_PARTY_LICENSES.txt'), licenseTexts(ROOT, bundledPackages(files)));
  return files;
}
