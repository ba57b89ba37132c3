/**
 * Bundles the program into dist/: portcullis.mjs, and the parts it loads when they are asked for. The agent alone is a tenth of the
 * whole, and what is not read takes no memory. That folder is all the image needs besides Node.js and the netfilter tools.
 * Argument: another folder than dist/.
 */
import { globSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { build } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
const OUT_DIR = resolve(process.argv[2] ?? join(ROOT, 'dist'));
const ENTRY = 'portcullis.mjs';

/** Some dependencies are CommonJS and call `require` for Node's own modules, which an ES module does not have. */
const BANNER = `import { createRequire as portcullisCreateRequire } from 'node:module';
const require = portcullisCreateRequire(import.meta.url);`;

rmSync(OUT_DIR, { recursive: true, force: true });
mkdirSync(OUT_DIR);
await build({
  entryPoints: [{ in: join(ROOT, 'src/main.ts'), out: basename(ENTRY, '.mjs') }],
  outdir: OUT_DIR,
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
});
for (const file of globSync('*.mjs', { cwd: OUT_DIR }).sort()) {
  console.log(`${file}: ${Math.round(statSync(join(OUT_DIR, file)).size / 1024)} KiB`);
}
